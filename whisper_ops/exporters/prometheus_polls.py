"""Polls from a Prometheus-compatible server, read through the catalogue of exporters."""

from collections.abc import Iterator, Sequence

from whisper_ops.errors import Exit, UserError
from whisper_ops.exporters.mapping import Mapping
from whisper_ops.exporters.prometheus_client import QueryWindow, asked
from whisper_ops.exporters.prometheus_history import polls
from whisper_ops.identity import Identity
from whisper_ops.snapshot import Snapshot, completed


def snapshots(
    url: str, mappings: Sequence[Mapping], wanted: QueryWindow, identity: Identity, token: str | None
) -> Iterator[Snapshot]:
    """Everything the mapped metrics say, as polls in the order of time.

    Raises:
        UserError: the server cannot be reached (exit code 3) or refuses, or has no load to plan from (exit code 4).
    """
    found = False
    with asked(url, token) as prometheus:
        for poll in polls(prometheus, mappings, wanted, identity):
            found = found or (poll.figures is not None and poll.figures.streams_active is not None) or bool(poll.gpus)
            yield completed(poll)
    if not found:
        names = ", ".join(sorted({name for mapping in mappings for name in mapping.metrics()})[:3])
        raise UserError(
            f"{url} knows none of the metrics that were asked for ({names}, …); try another --mapping", Exit.EVIDENCE
        )
