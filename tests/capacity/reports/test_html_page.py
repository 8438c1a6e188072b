"""Every HTML report stands on one page: one style, light and dark, in which a legend keeps its colours."""

import re
from pathlib import Path

from capacity.reports.html_page import page

CAPACITY = Path(__file__).parents[3] / "capacity"


def test_there_is_one_page() -> None:
    begins = [path.name for path in CAPACITY.rglob("*.py") if "<!doctype html>" in path.read_text("utf-8").lower()]
    assert begins == ["html_page.py"]


def test_a_title_is_text_and_the_style_leaves_colours_that_a_picture_gave() -> None:
    made = page("<b> & co", ["<h1>x</h1>", ""])
    assert "<title>&lt;b&gt; &amp; co</title>" in made
    assert "prefers-color-scheme: dark" in made
    assert not re.search(r"svg text \{[^}]*fill", made), "text of a legend has the colour of its line"
