"""The comparison of two sweeps as a table."""

import io

import pytest
from rich.console import Console

from capacity.loadtest.compare import LevelChange, SweepComparison
from capacity.reports.compare_table import table


@pytest.mark.parametrize("width", [80, 60])
def test_a_comparison_fits_into_a_narrow_terminal(width: int) -> None:
    changes = [
        change
        for streams in (5, 30, 150)
        for change in (
            LevelChange(streams, "end_to_final_p95_seconds", 0.2, 12.44, worse=streams > 5),
            LevelChange(streams, "wer_ratio", 0.02, 1.045, worse=False, words=140 + streams, words_enough=850),
        )
    ]
    compared = SweepComparison(
        a=1041, b=1043, changes=tuple(changes), limit_a=150, limit_b=5, reasons=("…",), lost=(30, 150)
    )
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table(compared, width))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    assert not [line for line in lines if "…" in line], "nothing is cut off"
    text = " ".join(" ".join(lines).split())
    assert "end_to_final_p95 0.20 s" in text
    assert "12.44 s ✗ worse" in text
    assert "104.5 % ? open" in text
    assert "? wer at 5, 30 and 150: too few words to judge (about 850 would do)" in text
    assert text.endswith("✗ worse: end_to_final_p95 at 30 and 150; passed before, and fails: 30 and 150 streams")
