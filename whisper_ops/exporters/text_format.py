"""The text that an exporter answers with: rows by metric, of what is looked for."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

MAX_SERIES = 20_000
"""Rows that a mapping looks for: 1,024 GPUs of 16 figures; reading them takes half a second."""
MAX_LINES = 400_000
"""Of a page of 16 MiB, with comments; a node exporter's has 2,000."""
MAX_LINE = 16_384
"""Characters of a row with all its labels; a longer one is no row of an exporter."""

Labels = dict[str, str]
Note = Callable[[str, str], None]


class MetricSeries(NamedTuple):
    """One row of a page."""

    labels: Labels
    value: float


Page = dict[str, list[MetricSeries]]
"""Rows by metric."""


class PageError(ValueError):
    """A page that cannot be read, in one sentence."""


def parse(text: str, wanted: set[str], note: Note, name: str) -> Page:
    """The wanted series of a page. A line that is none is noted; the others are read.

    Raises:
        PageError: there are more of them than any exporter has.
    """
    if text.count("\n") > MAX_LINES:
        raise PageError(f"{name} sent a page of more than {MAX_LINES:,} lines")
    # A page has thousands of lines, a mapping some ten metrics: only their lines go through the full parser.
    lines = [line for line in text.split("\n") if line[:1] not in {"", "#"} and _metric(line) in wanted]
    if len(lines) > MAX_SERIES:
        raise PageError(
            f"{name} sent {len(lines):,} series of what its mapping looks for; at most {MAX_SERIES:,} are read"
        )
    page: Page = {}
    for line in lines:
        try:
            for labels, value in _samples(line):
                page.setdefault(_metric(line), []).append(MetricSeries(labels, value))
        except (ValueError, IndexError, KeyError) as error:
            note("bad line", f"{name} has a line that is no Prometheus sample: {line[:80]!r} ({error})")
    return page


def _samples(line: str) -> Iterator[tuple[Labels, float]]:
    # Only where there is a page: a server's own snapshot is no text of Prometheus.
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415

    if len(line) > MAX_LINE:
        raise ValueError(f"it has {len(line):,} characters")
    for family in text_string_to_metric_families(f"{line}\n"):
        for sample in family.samples:
            yield dict(sample.labels), float(sample.value)


def _metric(line: str) -> str:
    head = line[:300].lstrip().split("{", 1)[0].split(None, 1)
    return head[0] if head else ""
