"""Two sweeps side by side as a table: a row a figure, what cannot be told, and the verdict."""

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from capacity.loadtest.compare import LevelChange, SweepComparison, figure_text
from capacity.reports.output import Output
from capacity.reports.sweep_tables import UNLIMITED
from whisper_ops.console import PlainConsole, table_width


def output(compared: SweepComparison) -> Output:
    """A comparison in its forms."""

    def show(console: Console) -> None:
        width = table_width(console)
        console.print(table(compared, width), width=width)

    return Output(schema="sweep-compare", body=compared.body, show=show)


def table(compared: SweepComparison, width: int = UNLIMITED) -> Group:
    """The comparison for people: a row a figure, and below it what cannot be told, and the verdict.

    Args:
        compared: what to show.
        width: characters there are; with few, both sweeps share a column.
    """
    rows = _rows(compared, [f"sweep {compared.a}", f"sweep {compared.b}"], lambda one, other: [one, other])
    if PlainConsole(width=UNLIMITED).measure(rows).maximum > width:
        rows = _rows(compared, [f"{compared.a} → {compared.b}"], lambda one, other: [f"{one} → {other}"])
    limits = f"largest level that met the objective: {compared.limit_a or '—'} → {compared.limit_b or '—'}"
    return Group(rows, *map(Text, _doubts(compared)), Text(limits), Text(_verdict(compared)))


def _rows(compared: SweepComparison, heads: Sequence[str], cells: Callable[[str, str], list[str]]) -> Table:
    rows = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in ("streams", "figure", *heads, ""):
        rows.add_column(column, justify="left" if column in {"figure", ""} else "right", no_wrap=True)
    for change in compared.changes:
        values = cells(figure_text(change.a, change.figure), figure_text(change.b, change.figure))
        mark = "✗ worse" if change.worse else "? open" if change.open else ""
        rows.add_row(str(change.streams), change.name, *values, mark)
    return rows


def _doubts(compared: SweepComparison) -> list[str]:
    """Each level has its own number of words; that they are few is said once."""
    sharing: dict[int | None, list[LevelChange]] = {}
    for change in compared.changes:
        if change.open:
            sharing.setdefault(change.words_enough, []).append(change)
    return [_doubt(changes, enough) for enough, changes in sharing.items()]


def _doubt(changes: Sequence[LevelChange], enough: int | None) -> str:
    counts = [str(changes[0].words)] if len(changes) == 1 else []
    counts += [f"about {enough} would do"] if enough else []
    return f"? {_named(changes)}: too few words to judge" + (f" ({', '.join(counts)})" if counts else "")


def _verdict(compared: SweepComparison) -> str:
    """The numbers stand in the table."""
    if not compared.worse:
        return "✓ not worse"
    worse: dict[str, list[LevelChange]] = {}
    for change in compared.changes:
        if change.worse:
            worse.setdefault(change.figure, []).append(change)
    parts = [_named(changes) for changes in worse.values()]
    if compared.lost:
        parts.append(f"passed before, and fails: {_list([str(streams) for streams in compared.lost])} streams")
    return f"✗ worse: {'; '.join(parts)}"


def _named(changes: Sequence[LevelChange]) -> str:
    return f"{changes[0].name} at {_list([str(change.streams) for change in changes])}"


def _list(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
