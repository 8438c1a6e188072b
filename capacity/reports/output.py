"""How a command hands over what it found: one interface to every form of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
from rich.console import Console

from capacity.reports.markdown import markdown
from capacity.reports.report import Report
from whisper_ops import console
from whisper_ops.user_files import write_text

Form = Literal["terminal", "json", "markdown", "configuration"]
"""What stdout can get."""


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What a command found, ready to become any of its forms; each is made when it is asked for."""

    schema: str
    """`NAME` of the JSON's `whisper-ops/NAME/1`."""
    body: Callable[[], dict[str, Any]]
    """The JSON without its schema."""
    show: Callable[[Console], None]
    """Prints what a person at a terminal reads."""
    report: Callable[[], Report] | None = None
    """All of it, for Markdown and HTML; None: the command has neither form."""
    configuration: Callable[[], str] | None = None
    """A configuration file that carries the figures; None: the command has none."""

    def print(self, form: Form = "terminal") -> None:
        """Print it on stdout.

        Raises:
            UserError: there is no configuration that would carry these figures.
        """
        if form == "json":
            console.data().out(self.json(), highlight=False)
        elif form == "markdown":
            console.data().out(markdown(self._report()), end="", highlight=False)
        elif form == "configuration":
            assert self.configuration is not None, f"{self.schema} has no configuration"
            console.data().out(self.configuration(), end="", highlight=False)
        else:
            self.show(console.data())

    def json(self) -> str:
        """The versioned document that `--json` prints."""
        return console.json_document(self.schema, self.body())

    def write_json(self, file: Path) -> None:
        """Write what `--json` prints to a file.

        Raises:
            UserError: the file cannot be written.
        """
        write_text(file, self.json() + "\n", "the results ")

    def write_html(self, file: Path) -> None:
        """Write it as an HTML file.

        Raises:
            UserError: the file cannot be written.
        """
        from capacity.reports.html import html  # noqa: PLC0415  # jinja2, which only HTML needs

        write_text(file, html(self._report()), "the report ")

    def _report(self) -> Report:
        assert self.report is not None, f"{self.schema} has no Markdown and no HTML"
        return self.report()


def form_of(*, as_json: bool = False, as_markdown: bool = False, configuration: bool = False) -> Form:
    """The form that a command's options ask for; no two of them are given together."""
    if configuration:
        return "configuration"
    return "json" if as_json else "markdown" if as_markdown else "terminal"
