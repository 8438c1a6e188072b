"""The filter behind `/`: `lag>1 & gpu~h100`, `state=silent | rejects>0`, or just a part of a name.

`&` binds tighter than `|`. `~` means "contains", in any case of letters. A word alone is looked for in the names of
servers and GPUs. What is unknown meets no comparison.
"""

import re
from collections.abc import Callable, Mapping

import msgspec

from dashboard.tui.pages.filter_fields import FACTS, Fact, fact_named
from whisper_ops.errors import UserError
from whisper_ops.text_bounds import short

_TERM = re.compile(r"^\s*(?P<name>[a-z]+)\s*(?P<operator><=|>=|!=|=|<|>|~)\s*(?P<value>.+?)\s*$", re.IGNORECASE)

_NUMBERS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda fact, value: fact < value,
    "<=": lambda fact, value: fact <= value,
    ">": lambda fact, value: fact > value,
    ">=": lambda fact, value: fact >= value,
    "=": lambda fact, value: fact == value,
    "!=": lambda fact, value: fact != value,
}


class FilterTerm(msgspec.Struct, frozen=True):
    """One comparison; with no name, a word to look for in names."""

    name: str | None
    operator: str
    value: str

    def meets(self, facts: Mapping[str, Fact]) -> bool:
        """Whether these facts meet the comparison."""
        if self.name is None:
            return any(self.value in str(facts.get(name) or "").lower() for name in ("server", "gpu"))
        fact = facts.get(self.name)
        if fact is None:
            return False
        if isinstance(fact, str):
            return _meets_text(fact.lower(), self.operator, self.value)
        return _NUMBERS[self.operator](float(fact), float(self.value))


class Filter(msgspec.Struct, frozen=True):
    """Alternatives of terms that must all hold; an empty filter lets everything through."""

    alternatives: tuple[tuple[FilterTerm, ...], ...] = ()

    def meets(self, facts: Mapping[str, Fact]) -> bool:
        """Whether these facts pass."""
        return not self.alternatives or any(all(term.meets(facts) for term in terms) for terms in self.alternatives)


def parse(text: str) -> Filter:
    """Read a filter.

    Raises:
        UserError: a word is not known, or a figure is compared with something that is no number.
    """
    if not text.strip():
        return Filter()
    sides = short(text, "the filter").split("|")
    return Filter(tuple(tuple(_term(part) for part in side.split("&")) for side in sides))


def _term(text: str) -> FilterTerm:
    match = _TERM.match(text)
    if match is None:
        word = text.strip().lower()
        if not word or re.search(r"[<>=~]", word):
            raise UserError(f"the filter {text.strip()!r} says nothing; write it like lag>1 & gpu~h100")
        return FilterTerm(None, "~", word)
    name, operator, value = fact_named(match["name"].lower()), match["operator"], match["value"].lower()
    if name not in FACTS:
        raise UserError(f"the filter knows no {name!r}; it knows {', '.join(FACTS)}")
    words = name in {"server", "state", "gpu", "model", "version"}
    if words and operator not in {"~", "=", "!="}:
        raise UserError(f"{name} is a word: compare it with ~, = or !=, not {operator}")
    if not words:
        _check_number(name, operator, value)
    return FilterTerm(name, operator, value)


def _check_number(name: str, operator: str, value: str) -> None:
    if operator == "~":
        raise UserError(f"{name} is a figure: compare it with <, >, = or !=, not ~")
    try:
        float(value)
    except ValueError as error:
        raise UserError(f"{name} is a figure, and {value!r} is no number; write it like {name}>1") from error


def _meets_text(fact: str, operator: str, value: str) -> bool:
    if operator == "~":
        return value in fact
    return (fact == value) is (operator == "=")
