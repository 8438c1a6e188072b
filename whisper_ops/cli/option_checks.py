"""What every option of every command refuses: numbers in other digits, NaN and infinity, and unprintable text.

click reads `²`, `١٢`, `1_000`, `nan` and `inf` as numbers. They come from slips of the keyboard, pass every comparison
that asks for a range, and break what follows.
"""

import math
import re
from pathlib import Path
from typing import Any

import click

MOST = 10**9
"""No option of ours means anything above it, and a clock, a database or a list of so many breaks."""
_LONGEST = 2**16
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,12}\s*")
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")


class _Text:
    """Text that can be printed and stored."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401  # click's signature
        if isinstance(value, str):
            wrong = _wrong(value)
            if wrong is not None:
                raise click.BadParameter(wrong, ctx, param)
        return super().convert(value, param, ctx)  # type: ignore[misc]  # it is mixed into click's types only

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str | None:
        """What to say of an argument that is not there."""
        if param.human_readable_name == "URL":
            return "Give the server's address, such as http://127.0.0.1:8000."
        return super().get_missing_message(param, ctx)  # type: ignore[misc,no-any-return]  # as above


class _File(_Text):
    """A path that the system can look at."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401  # click's signature
        made = super().convert(value, param, ctx)
        try:
            Path(value).stat()
        except (FileNotFoundError, NotADirectoryError):
            pass  # for the command to judge, which may make it
        except OSError as error:  # a name that is too long, a loop of links
            raise click.BadParameter(f"{_short(str(value))}: {error.strerror or error}.", ctx, param) from error
        return made


class _Figure(_Text):
    """A finite number in plain digits."""

    form = _NUMBER
    what = "a number"
    name = "number"
    """In help, where click says FLOAT RANGE."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401  # click's signature
        if isinstance(value, str) and not self.form.fullmatch(value):
            raise click.BadParameter(f"{_short(value)} is not {self.what}.", ctx, param)
        number = super().convert(value, param, ctx)
        if not math.isfinite(number) or abs(number) > MOST:
            raise click.BadParameter(f"{_short(str(value))} is out of every range; the most is {MOST:,}.", ctx, param)
        return number


class _Count(_Figure):
    """A whole number in plain digits."""

    form = _WHOLE
    name = "n"
    what = "a whole number of up to twelve digits"


def make_strict(command: click.Command) -> None:
    """Have every parameter of a command, and of those below it, refuse what no parameter takes."""
    for parameter in command.params:
        parameter.type = _strict(parameter.type)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            make_strict(inner)


def _strict(kind: click.ParamType[Any]) -> click.ParamType[Any]:
    """The same type, which looks first at what was typed."""
    if isinstance(kind, _Text):
        return kind
    mixin: type[_Text] = _Text
    if isinstance(kind, click.types.IntParamType):
        mixin = _Count
    elif isinstance(kind, click.types.FloatParamType):
        mixin = _Figure
    elif isinstance(kind, click.Path):
        mixin = _File
    strict_kind = type(type(kind).__name__, (mixin, type(kind)), {})
    made: click.ParamType[Any] = object.__new__(strict_kind)
    made.__dict__.update(kind.__dict__)
    return made


def _wrong(text: str) -> str | None:
    if "\0" in text:
        return f"{_short(text)} holds a zero byte."
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"{_short(text)} is not text in UTF-8."
    return None if len(text) <= _LONGEST else f"{_short(text)} is longer than {_LONGEST:,} characters."


def _short(text: str) -> str:
    return ascii(text if len(text) <= 40 else f"{text[:40]}…")
