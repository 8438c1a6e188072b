"""Student's t: how far off a figure may be of which there are few readings."""

import numpy as np


def quantile(freedom: float, probability: float) -> float:
    """What a standardised figure stays below with this probability, in standard errors; one degree of freedom at least.

    Args:
        freedom: degrees of freedom, as readings less what was fitted to them.
        probability: one-sided; for a two-sided interval of 95 % it is 0.975.
    """
    from scipy.special import stdtrit  # noqa: PLC0415  # half a second to import; generators and --help do without

    return float(np.asarray(stdtrit(max(freedom, 1.0), probability)))
