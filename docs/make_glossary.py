"""Write docs/glossary.md from the dashboard's terms and the documented types; `--check` says whether it is current."""

import inspect
import sys
from pathlib import Path
from types import ModuleType

from whisper_ops import wire
from whisper_ops.glossary import GLOSSARY, GlossaryTerm
from whisper_ops.history import records
from whisper_ops.plan import plan_document

PAGE = Path(__file__).with_name("glossary.md")
_INTRODUCTION = """\
# Glossary

Made by `make docs` from `whisper_ops/glossary.py`, which the dashboard shows too (`w`); do not edit it here.

One line a term, as it is used on screens, in tables, in messages and in the code. `—` is "not known", never 0.
"""
_TYPES: dict[str, ModuleType] = {
    "What a server answers": wire,
    "What the history keeps of measurements": records,
    "What a plan is made of": plan_document,
}


def page() -> str:
    sections = [_section(title, terms) for title, terms in GLOSSARY.items()]
    return "\n".join([_INTRODUCTION, *sections, *(_types(title, module) for title, module in _TYPES.items())])


def _section(title: str, terms: tuple[GlossaryTerm, ...]) -> str:
    return "\n".join([f"## {title}\n", *(f"- **{term.name}**{_titles(term)}: {term.meaning}" for term in terms), ""])


def _types(title: str, module: ModuleType) -> str:
    """The public classes of a module, each with the first line of its docstring."""
    classes = [
        one
        for name, one in vars(module).items()
        if inspect.isclass(one) and one.__module__ == module.__name__ and not name.startswith("_")
    ]
    lines = (f"- **{one.__name__}**: {(one.__doc__ or '').splitlines()[0].rstrip('.')}" for one in classes)
    return "\n".join([f"## {title}: the types of `{module.__name__}`\n", *lines, ""])


def _titles(term: GlossaryTerm) -> str:
    return f" ({', '.join(f'`{title}`' for title in term.titles)})" if term.titles else ""


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page(), "utf-8")
    elif PAGE.read_text("utf-8") != page():
        sys.exit("docs/glossary.md is out of date: run `make docs`")
