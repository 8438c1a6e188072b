"""A sweep as an HTML file."""

from pathlib import Path

import pytest

from capacity.reports.sweep_html import render, write_report
from tests.capacity.made_levels import level, outcome
from whisper_ops.errors import UserError


def test_the_report_stands_alone_and_says_simulated(tmp_path: Path) -> None:
    page = render(outcome(level(5), level(10, 2.5, passed=False, reason="stable_p95 2.50 s > 2.00 s <b>")))
    assert "This server is simulated" in page
    assert "the limit lies in [5, 10)" in page
    assert "<svg" in page
    assert "limit of stable p95" in page
    assert "p95 stable word latency ≤ 2 s" in page
    assert "&lt;b&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    with pytest.raises(UserError, match="cannot write the report"):
        write_report(outcome(level(5)), tmp_path / "no" / "such" / "folder.html")
