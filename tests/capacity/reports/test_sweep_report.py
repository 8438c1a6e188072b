"""A sweep as an HTML file."""

from pathlib import Path

import pytest

from capacity.reports.sweep_report import output
from tests.capacity.made_levels import level, outcome
from whisper_ops.errors import UserError


def test_the_page_stands_alone_and_says_simulated(tmp_path: Path) -> None:
    file = tmp_path / "sweep.html"
    output(outcome(level(5), level(10, 2.5, passed=False, reason="stable_p95 2.50 s > 2.00 s <b>"))).write_html(file)
    page = file.read_text("utf-8")
    assert "This server is simulated" in page
    assert "the limit lies in [5, 10)" in page
    assert "<svg" in page
    assert "limit of stable p95" in page
    assert "p95 stable word latency ≤ 2 s" in page
    assert "&lt;b&gt;" in page
    assert "http" not in page
    with pytest.raises(UserError, match="cannot write the report"):
        output(outcome(level(5))).write_html(tmp_path / "no" / "such" / "folder.html")
