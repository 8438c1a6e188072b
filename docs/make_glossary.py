"""Write docs/glossary.md from the words that the dashboard explains too; `--check` only says whether it is current."""

import sys
from pathlib import Path

from whisper_ops.glossary import GLOSSARY, GlossaryTerm

PAGE = Path(__file__).with_name("glossary.md")
_INTRODUCTION = """\
# Glossary

Made by `make docs` from `whisper_ops/glossary.py`, which the dashboard shows too (`w`); do not edit it here.

One line a word, as it is used on screens, in tables, in messages and in the code. `—` is "not known", never 0.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *(_section(title, terms) for title, terms in GLOSSARY.items())])


def _section(title: str, terms: tuple[GlossaryTerm, ...]) -> str:
    return "\n".join([f"## {title}\n", *(f"- **{term.name}**{_titles(term)}: {term.meaning}" for term in terms), ""])


def _titles(term: GlossaryTerm) -> str:
    return f" ({', '.join(f'`{title}`' for title in term.titles)})" if term.titles else ""


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page(), "utf-8")
    elif PAGE.read_text("utf-8") != page():
        sys.exit("docs/glossary.md is out of date: run `make docs`")
