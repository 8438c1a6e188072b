"""A sweep's results as a table and as JSON."""

import io

import pytest
from rich.console import Console

from capacity.reports.sweep_tables import json_body, level_table
from tests.capacity.made_levels import level, outcome
from whisper_ops.objective.findings import FewWords, TooShort, encode


def test_the_table_gives_each_reason_once() -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    short = "too short (20 s of 60 s)"
    console.print(
        level_table(
            [
                level(1, audit="provisional", findings=encode((TooShort(20, 60), FewWords(60, 200)))),
                level(2, None, audit="provisional", findings=encode((TooShort(20, 60), FewWords(120, 200)))),
                level(4, audit="invalid", passed=None, reason="the load generator was late itself"),
            ]
        )
    )
    text = console.export_text()
    assert text.count(short) == 1
    assert "at 1, 2: fewer than 200 words" in text
    assert "? no answer (invalid)" in text
    assert "—" in text


@pytest.mark.parametrize("width", [60, 80, 120, 140])
def test_a_terminal_gets_as_many_columns_as_fit_whole(width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    large = {"words": 123456, "wer_ratio": 1.0, "refused": 1000, "late_p99_seconds": 0.123}
    long = {"achieved_concurrency": 1000.0, "first_p50_seconds": 100.0, "stable_p50_seconds": 100.0}
    console.print(level_table([level(1000, 112.5, audit="provisional", **large, **long)], console.width))
    text = console.export_text()
    assert "✓ met (provisional)" in text
    assert "112.50 s" in text
    assert "…" not in text
    assert ("100.0 %" in text) == (width > 60)
    assert ("123 ms" in text) == (width > 120)


def test_the_json_body_holds_every_column() -> None:
    body = json_body(outcome(level(5)))
    assert body["levels"][0]["stable_p95_seconds"] == 0.5
    assert body["sweep"]["settings"] == {}
    assert body["conclusion"] == "the limit lies in [5, 10)"
