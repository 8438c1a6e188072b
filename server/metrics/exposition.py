"""Writes metrics in one of two text formats, by the reader's Accept header.

Only OpenMetrics has the types `info` and `stateset`, and a counter's family there is its name without `_total`; a
reader of the older text format fails on the first and does not find the help of the second. So each is written by its
own writer, from the same families.
"""

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from server.metrics.openmetrics import MetricFamilies

TEXT = CONTENT_TYPE_PLAIN_0_0_4
OPENMETRICS = openmetrics.CONTENT_TYPE_LATEST
_VERSIONS = {"openmetrics-text": ("1.0.0", "0.0.1"), "plain": ("0.0.4", "1.0.0")}
"""The versions that each writer's text conforms to."""


def written(families: MetricFamilies, accept: str | None) -> tuple[bytes, str]:
    """The page and its content type."""
    if prefers_openmetrics(accept or ""):
        page: bytes = openmetrics.generate_latest(families)  # type: ignore[no-untyped-call]  # prometheus-client's
        return page, OPENMETRICS
    return generate_latest(families), TEXT


def prefers_openmetrics(accept: str) -> bool:
    """Whether an Accept header asks for OpenMetrics rather than the text format.

    The text format is for readers that name neither: people with curl, and programs that know no other. A reader that
    names OpenMetrics gets it even when it likes the text format as well.
    """
    ranges = [_range(part) for part in accept.split(",")]
    wanted = _quality(ranges, "application", "openmetrics-text")
    text = _quality(ranges, "text", "plain")
    named = any(kind == "application/openmetrics-text" for kind, _, _ in ranges)
    return wanted > text or (named and wanted == text > 0)


_Range = tuple[str, str | None, float]
"""A media range, the version that it names, and its quality, 0 to 1."""


def _range(part: str) -> _Range:
    kind, *parameters = (word.strip() for word in part.split(";"))
    named = {key.strip().lower(): value.strip(' "') for key, _, value in (word.partition("=") for word in parameters)}
    try:
        quality = float(named.get("q", "1"))
    except ValueError:
        quality = 0.0
    return kind.lower(), named.get("version"), quality if 0 <= quality <= 1 else 0.0


def _quality(ranges: list[_Range], main: str, sub: str) -> float:
    """The quality that the most specific range gives a type, 0 to 1; of several versions the best."""
    for kind in (f"{main}/{sub}", f"{main}/*", "*/*"):
        found = [quality for at, version, quality in ranges if at == kind and version in (None, *_VERSIONS[sub])]
        if found:
            return max(found)
    return 0.0
