"""What was watched beside a load test, as a table."""

import io

from capacity.reports.watch_summary import watched_table
from whisper_ops.console import PlainConsole


def test_the_table_has_mean_and_peak_of_each_and_gpus_only_where_they_were_read() -> None:
    rows = [{"at": 0.0, "cpu_ratio": 0.5, "memory_bytes": 1e9}, {"at": 1.0, "cpu_ratio": 1.5, "memory_bytes": 2e9}]
    with_gpu = [{**row, "gpu_ratio": 0.25, "gpu_memory_bytes": 4e9} for row in rows]
    shown = printed({"replica-1": with_gpu, "nginx": rows, "gone [red]": []})
    assert "GPU mean/peak" in shown
    lines = {line.split("  ")[0]: line for line in shown.splitlines()}
    assert [part.strip() for part in lines["replica-1"].split("   ") if part.strip()][1:] == [
        "1.00 / 1.50", "1.50 / 2.00", "0.25 / 0.25", "4.00 / 4.00",
    ]  # fmt: skip
    assert "—" in lines["nginx"]
    assert "gone [red]" in shown
    assert "GPU" not in printed({"nginx": rows})


def printed(watched: dict[str, list[dict[str, float]]]) -> str:
    page = io.StringIO()
    PlainConsole(width=160, file=page).print(watched_table(watched))
    return page.getvalue()
