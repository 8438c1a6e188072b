"""Options that cannot be honoured together are an error: the rules stand over a command, beside its options.

Only what was typed counts. A default and an environment variable are no wish that was ignored.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, Protocol, TypeVar

import click
from click.core import ParameterSource

from whisper_ops.errors import UserError

F = TypeVar("F", bound=Callable[..., Any])


class OptionRule(Protocol):
    """What must hold between options."""

    def check(self, context: click.Context) -> None:
        """Raise UserError where it does not hold."""


class Needs(NamedTuple):
    """An option that says something about what one of `others` asks for, and nothing without it."""

    option: str
    others: tuple[str, ...]
    why: str = ""

    def check(self, context: click.Context) -> None:
        if typed(context, self.option) and not any(_is_on(context, other) for other in self.others):
            others = _or([spelled(context, other) for other in self.others])
            why = f" ({self.why})" if self.why else ""
            option = spelled(context, self.option)
            raise UserError(f"{option} means nothing without {others}{why}; add it, or leave {option} out")


class Excludes(NamedTuple):
    """An option beside which some others would be ignored; with `value`, only where it is that."""

    option: str
    others: tuple[str, ...]
    why: str = ""
    value: str | None = None

    def check(self, context: click.Context) -> None:
        value = context.params.get(self.option)
        if not _is_on(context, self.option) or (self.value is not None and value != self.value):
            return
        wrong = next((other for other in self.others if other != self.option and typed(context, other)), None)
        if wrong is not None:
            why = f": {self.why}" if self.why else ""
            this = f"{spelled(context, self.option)}{f' {value}' if self.value is not None else ''}"
            raise UserError(
                f"{spelled(context, wrong)} cannot be honoured together with {this}{why}; leave one of them out"
            )


class OnlyOne(NamedTuple):
    """Options of which each asks for the whole of the output."""

    options: tuple[str, ...]

    def check(self, context: click.Context) -> None:
        on = [spelled(context, option) for option in self.options if _is_on(context, option)]
        if len(on) > 1:
            raise UserError(f"{' and '.join(on)} cannot be honoured together: each is another output; leave one out")


def combinations(*rules: OptionRule) -> Callable[[F], F]:
    """Check rules between a command's options before it runs; stands right over its function."""

    def decorated(function: F) -> F:
        @wraps(function)
        def checked(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # whatever click hands over
            context = click.get_current_context()
            for rule in rules:
                rule.check(context)
            return function(*arguments, **options)

        checked.rules = rules  # type: ignore[attr-defined]  # for the test that looks whether their options exist
        return checked  # type: ignore[return-value]  # it takes and returns what the function does

    return decorated


def typed(context: click.Context, option: str) -> bool:
    """Whether an option or an argument was typed; `option` is its Python name."""
    if context.get_parameter_source(option) is not ParameterSource.COMMANDLINE:
        return False
    # A repeatable argument that was left out counts as typed for click, and an option's value may not be handed on.
    return option not in context.params or context.params[option] not in ((), None)


def spelled(context: click.Context, option: str) -> str:
    """An option as it is typed."""
    found = next((parameter for parameter in context.command.params if parameter.name == option), None)
    if isinstance(found, click.Option):
        return max(found.opts, key=len)
    return option.upper() if found is None else found.make_metavar(context)


def _is_on(context: click.Context, option: str) -> bool:
    return context.params.get(option) not in (None, False, (), "")


def _or(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
