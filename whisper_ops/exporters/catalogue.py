"""Every exporter that is known: a file of `data/` each, whose name is the kind. A new file is a new exporter."""

from functools import cache
from pathlib import Path

from whisper_ops.addresses import shown
from whisper_ops.errors import UserError
from whisper_ops.exporters.mapping import Mapping, Part, load

_DATA = Path(__file__).parent / "data"

KINDS = tuple(sorted(path.stem for path in _DATA.glob("*.toml")))
"""What `ready_made` knows."""


@cache
def ready_made(kind: str) -> Mapping:
    """What the metrics of an exporter of a kind are to us."""
    return load(_DATA / f"{kind}.toml")


def metric_of(kind: str, part: Part, figure: str) -> str:
    """What an exporter calls a figure; of a histogram, its buckets."""
    field = ready_made(kind).parts[part][figure][0]
    return (*field.counted, field.metric)[0]


def mapping_of(named: str) -> Mapping:
    """That of a kind, or of a user's file.

    Raises:
        UserError: it is neither, or the file cannot be read or is wrong.
    """
    if named in KINDS:
        return ready_made(named)
    if not named.endswith(".toml"):
        raise UserError(f"no exporter is called {shown(named)!r}; there are {', '.join(KINDS)}, or a FILE.toml")
    return load(Path(named))
