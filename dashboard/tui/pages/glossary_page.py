"""The words of the screens, one line each: the lines of docs/glossary.md."""

from dashboard.tui.pages.styled_lines import BLANK, Line, Page, TextSpan, hanging, line, wrapped
from whisper_ops.glossary import GLOSSARY, GlossaryTerm

_NAME_WIDTH = 18
_NARROW = 70


def words_page(about: str, width: int) -> Page:
    """All of them, by what they are about."""
    body: list[Line] = []
    for title, terms in GLOSSARY.items():
        body += [*([BLANK] if body else []), line(TextSpan(f" {title}", "accent"))]
        body += [part for term in terms for part in _term(term, width)]
    return Page(crumbs=(about, "words"), body=tuple(body))


def _term(term: GlossaryTerm, width: int) -> list[Line]:
    if width < _NARROW:
        return [line(TextSpan(f"  {term.name}", "title")), *wrapped(plain(term.meaning), width, "    ")]
    return hanging((TextSpan(term.name, "title"),), _NAME_WIDTH + 2, plain(term.meaning), width)


def plain(text: str) -> str:
    """Without the marks of Markdown."""
    return text.replace("`", "")
