"""Every HTML report stands on one page: one style, light and dark, every word escaped, nothing from another address."""

from pathlib import Path

import msgspec
import pytest

from capacity.reports.html import html
from capacity.reports.markdown import markdown
from capacity.reports.plots import Plot, PlotBar, Series
from capacity.reports.report import Report, ReportTable, Section, columns

ROOT = Path(__file__).parents[3]
MARKUP = "<b onclick='x'> & co"
REPORT = Report(
    answer=MARKUP,
    lines=(MARKUP,),
    next_step="Next: measure",
    command="sweep <URL>",
    about=(MARKUP, "two"),
    sections=(
        Section(
            heading=MARKUP,
            lines=(MARKUP,),
            table=ReportTable(columns("a", MARKUP, figures=[MARKUP]), ((MARKUP, "1"), ("x", "2")), 1),
            code=(MARKUP,),
        ),
        Section(
            plots=(
                Plot(title=MARKUP, y_label=MARKUP, series=(Series(MARKUP, ((1.0, 2.0),)),), limits=((MARKUP, 1.0),)),
                Plot(y_label="y", bars=(PlotBar(MARKUP, 1.0),)),
                Plot(y_label="empty"),
            )
        ),
    ),
    notes=(MARKUP,),
)


def test_there_is_one_page() -> None:
    files = [path for kind in ("*.py", "*.j2", "*.html") for path in (ROOT / "capacity").rglob(kind)]
    begins = [path.name for path in files if "<!doctype html>" in path.read_text("utf-8").lower()]
    assert begins == ["report.html.j2"]


def test_every_word_of_a_report_is_text() -> None:
    page = html(REPORT)
    assert "<b" not in page.replace("<body>", "").replace("<br>", "")
    assert page.count("&lt;b onclick=&#39;x&#39;&gt; &amp; co") >= 12
    assert "<title>&lt;b" in page
    assert "prefers-color-scheme: dark" in page
    assert "Next: measure: <code>sweep &lt;URL&gt;</code>" in page
    assert "nothing was measured" in page
    assert '<tr class="binds"><td>x</td><td class="figures">2</td></tr>' in page


def test_what_binds_is_marked_in_markdown_and_plots_are_left_out() -> None:
    text = markdown(REPORT)
    assert "| **x** | 2 |" in text
    assert "svg" not in text
    assert "- Next: measure: `sweep \\<URL>`." in text


@pytest.mark.parametrize(("x_top", "y_top"), [(0.0, 0.0), (1e-6, 1e9), (7.0, 0.3)])
def test_a_plot_stays_within_its_axes(x_top: float, y_top: float) -> None:
    plot = Plot(y_label="y", series=(Series("s", ((0.0, 0.0), (x_top, y_top), (2 * x_top, 5 * y_top))),))
    frame = msgspec.structs.replace(plot, x_top=x_top, y_top=y_top).frame
    for x, y in plot.series[0].points:
        assert frame.left <= frame.x(x) <= frame.right
        assert frame.top <= frame.y(y) <= frame.bottom
    assert 2 <= len(frame.y_ticks) <= 8
