"""A report: what a command found, as sentences, tables and plots, before it becomes lines, Markdown or HTML."""

from collections.abc import Sequence

import msgspec

from capacity.reports.plots import Plot


class Column(msgspec.Struct, frozen=True):
    """A column of a table."""

    title: str
    figures: bool = False
    """Whether its cells are figures: aligned to the right and never broken into lines."""


class ReportTable(msgspec.Struct, frozen=True):
    """Rows of cells, each as wide as `columns`."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    binds: int | None = None
    """The row of the binding resource, which every form marks; None: none binds."""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a report."""

    heading: str = ""
    lines: tuple[str, ...] = ()
    table: ReportTable | None = None
    code: tuple[str, ...] = ()
    """Lines to be copied as they are."""
    plots: tuple[Plot, ...] = ()
    """For HTML alone."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole report: the answer first."""

    answer: str
    warning: str = ""
    """Why its figures must not be relied on; empty: they may be."""
    lines: tuple[str, ...] = ()
    next_step: str = ""
    """The last of the lines, without its command."""
    command: str = ""
    """What to paste into a shell for the next step; empty: there is none."""
    about: tuple[str, ...] = ()
    """What was measured, and under what conditions."""
    sections: tuple[Section, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> tuple[str, ...]:
        """The lines below the answer, the next step with its command as the last of them."""
        if not self.next_step:
            return self.lines
        return (*self.lines, f"{self.next_step}: `{self.command}`." if self.command else f"{self.next_step}.")


def columns(*titles: str, figures: Sequence[str] = ()) -> tuple[Column, ...]:
    """Columns with these titles; those named in `figures` hold figures."""
    return tuple(Column(title, title in figures) for title in titles)
