"""The host analysis that operators write by hand, from one command: its tables, verdicts, settings, in every form."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.capacity.planner_cli import Done, whisper_ops
from whisper_ops.errors import Exit

EXAMPLE = Path(__file__).parents[3] / "docs" / "host-profile.toml"


def paper(capsys: pytest.CaptureFixture[str], *more: str, file: Path = EXAMPLE) -> Done:
    return whisper_ops(capsys, "plan", "--host-profile", str(file), *more)


def table(text: str, heading: str) -> dict[str, str]:
    """The rows of a printed table by their first cell."""
    lines = text.partition(f"\n{heading}")[2].split("\n\n")[0].splitlines()
    return {line.strip().split("  ")[0]: line for line in lines[1:]}


def test_the_example_is_the_hand_analysis(capsys: pytest.CaptureFixture[str]) -> None:
    body = paper(capsys, "--json").json
    assert body["schema"] == "whisper-ops/plan/1"
    host = body["host"]
    assert (host["memory_total_bytes"], host["memory_free_bytes"], host["connections_now"]) == (64e9, 53e9, 51)
    limits = {limit["name"]: limit for limit in body["limits"]}
    assert {name: limit["allows"] for name, limit in limits.items()} == {
        "RAM": 2120, "CPU": 480, "ports": 9410, "descriptors (soft limit)": 204, "descriptors (hard limit)": 104857,
        "file-max": 200_000, "tasks": None, "somaxconn": None,
    }  # fmt: skip
    assert (limits["RAM"]["least"], limits["RAM"]["most"]) == (1766, 3533)
    assert (limits["CPU"]["least"], limits["CPU"]["most"]) == (300, 800)
    assert {name: limit["verdict"] for name, limit in limits.items()} == {
        "RAM": "possible", "CPU": "binding", "ports": "not limiting", "descriptors (soft limit)": "binding",
        "descriptors (hard limit)": "not limiting", "file-max": "not limiting", "tasks": "not limiting",
        "somaxconn": "not limiting",
    }  # fmt: skip
    assert (body["waiting"]["low"], body["waiting"]["high"]) == (800, 1000)
    assert (body["first"], body["after_fixes"]) == ("descriptors (soft limit)", "CPU")
    memory = body["per_call"]["memory"]
    assert memory["total"] == {"low": 15e6, "typical": 25e6, "high": 30e6}
    assert [cause["name"] for cause in memory["causes"]] == [
        "socket and audio buffers", "session and transcript", "recognition state",
    ]  # fmt: skip


def test_loads_say_what_is_used_and_free(capsys: pytest.CaptureFixture[str]) -> None:
    body = paper(capsys, "--json").json
    loads = {load["connections"]: load for load in body["loads"]}
    assert list(loads) == [100, 200, 500, 1000, 2000]
    uses = {use["name"]: (use["used"]["typical"], use["free"]) for use in loads[500]["uses"]}
    assert uses["CPU"] == pytest.approx((25, -1))
    assert uses["RAM"] == pytest.approx((12.5e9, 40.5e9))
    assert uses["descriptors"] == pytest.approx((2500, 521788))
    assert uses["ports"] == pytest.approx((1500, 26731))
    results = [(load["short"], load["settings"], load["waiting"]) for load in body["loads"]]
    soft = ["descriptors (soft limit)"]
    assert results == [
        ([], [], ""), ([], [], ""), (["CPU"], soft, "fits"), (["CPU"], soft, "may fit"), (["CPU"], soft, ""),
    ]  # fmt: skip


def test_tiers_have_cpu_and_memory_and_a_row_for_today(capsys: pytest.CaptureFixture[str]) -> None:
    body = paper(capsys, "--json").json
    now = body["current"]
    assert (now["connections"], now["memory_in_use_bytes"]) == (51, 11e9)
    assert now["cpu_cores"] == pytest.approx(2.55)
    tiers = {tier["name"]: tier for tier in body["tiers_after_fixes"]}
    assert [tier["connections"] for tier in tiers.values()] == [240, 336, 432, 1000]
    assert (tiers["conservative"]["cpu_cores"], tiers["conservative"]["memory_in_use_bytes"]) == (12, 17e9)
    assert tiers["extreme"]["cpu_cores_waiting"] == pytest.approx({"low": 24, "typical": 27, "high": 30})
    assert [tier["connections"] for tier in body["tiers"]] == [102, 142, 183, 204]


def test_the_report_in_the_terminal_holds_every_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    out = paper(capsys).out
    assert out.startswith("voice box: First to bind: descriptors (soft limit), at 204 connections")
    assert "the CPU carries 800 to 1,000" in out
    costs = table(out, "What one call takes")
    assert "3 % (2 to 5)" in costs["recognition"]
    assert "25 MB (15 to 30)" in costs["a call"]
    assert "3 (2 to 3)" in costs["a call"]
    loads = table(out, "Loads: what so many calls use and leave free")
    assert "25 cores used, 1 short" in loads["500"]
    assert "fits with waiting" in loads["500"]
    assert "50 GB used, 3 GB free" in loads["2,000"]
    tiers = table(out, "Tiers with the settings raised")
    assert "11 of 64 GB in use" in tiers["current"]
    assert "\n  LimitNOFILE=524288\n" in out
    assert "Enough as they are: ports 28,231, file-max 1,000,000, tasks 77,149, somaxconn 2,048." in out


def test_markdown_and_html_hold_what_the_terminal_holds(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    done = paper(capsys, "--markdown", "--html", str(tmp_path / "host.html"))
    page = (tmp_path / "host.html").read_text()
    for text in (
        "What one call takes",
        "25 MB (15 to 30)",
        "480",
        "LimitNOFILE=524288",
        "11 of 64 GB in use",
        "may fit",
    ):
        assert text in done.out, text
        assert text in page, text
    assert "| RAM | 53 GB free | 25 MB (15 to 30) | 2,120 |" in done.out
    assert page.startswith("<!doctype html>")
    assert "<script" not in page


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--target", "400"), "For 400 concurrent calls: 1 machine like this, at up to 432 calls each"),
        (("--target", "1000", "--survive", "1"), "4 machines like this, of which 1 may be lost"),
        (("--peak-arrivals", "40/min", "--mean-length", "6min"), "For 281 concurrent calls: 1 machine"),
    ],
)
def test_a_demand_is_machines_like_this(capsys: pytest.CaptureFixture[str], more: tuple[str, ...], words: str) -> None:
    done = paper(capsys, *more)
    assert done.code == Exit.GOOD
    assert words in done.out


def test_what_a_host_needs_is_printed_as_configuration(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    systemd = paper(capsys, "--emit", "systemd").out
    assert "\n[Service]\nLimitNOFILE=524288\nTasksMax=77149\n" in systemd
    assert "net.core.somaxconn = 2048\n" in paper(capsys, "--emit", "sysctl").out
    small = tmp_path / "small.toml"
    small.write_text(EXAMPLE.read_text().replace("somaxconn = 2048", "somaxconn = 128").replace("1_000_000", "900"))
    out = paper(capsys, "--emit", "sysctl", file=small).out
    assert "net.core.somaxconn = 4096\n" in out
    assert "fs.file-max = 1048576\n" in out
    body = paper(capsys, "--json", file=small).json
    verdicts = {limit["name"]: limit["verdict"] for limit in body["limits"]}
    assert (verdicts["somaxconn"], verdicts["file-max"], body["first"]) == ("possible", "binding", "file-max")
    for target in ("server", "prometheus-rules"):
        refused = paper(capsys, "--emit", target)
        assert refused.code == Exit.USAGE
        assert f"--emit {target} cannot be honoured together with --host-profile" in refused.sentence()


@pytest.mark.parametrize(
    "said",
    [
        {"memory": {"low": "15 MB", "high": "30 MB", "typical": "25 MB"}, "cpu": "3-8 %, typically 5 %"},
        {"memory": "15 MB - 30 MB (typically 25 MB)", "cpu": ["3 %", "5 %", "8 %"]},
        {"memory_mb": [15, 25, 30], "cpu_percent": {"min": 3, "max": 8, "nominal": 5}},
        {"ram": {"a": "10–20 MB, typically 16 MB", "b": "5..10 MB, typically 9 MB"}, "cpu": [0.03, 0.05, 0.08]},
    ],
)
def test_ranges_may_be_written_in_many_ways(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, said: dict[str, Any]
) -> None:
    file = tmp_path / "host.json"
    file.write_text(json.dumps({"host": {"cores": 24, "memory_free": "53 GB"}, "per_call": said}))
    limits = {limit["name"]: limit for limit in paper(capsys, "--json", file=file).json["limits"]}
    assert [limits["RAM"][end] for end in ("least", "allows", "most")] == [1766, 2120, 3533]
    assert [limits["CPU"][end] for end in ("least", "allows", "most")] == [300, 480, 800]


def test_other_words_and_derived_figures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    file.write_text(
        'cores = 8\nport_range = "32768 60999"\n"fs.file-max" = 900\nTasksMax = 400\nefficiency = "80 %"\n'
        'memory = "16 GiB"\nmemory_free = "12 GiB"\nconntrack_max = 500\n'
        '[per_connection]\ncpu = "10 %"\nports = "2-3"\nfiles = 2\nthreads = 4\nmemory = "100 MiB"\n'
    )
    body = paper(capsys, "--json", file=file).json
    allows = {limit["name"]: limit["allows"] for limit in body["limits"]}
    assert allows == {
        "RAM": 122, "CPU": 64, "ports": 9410, "file-max": 450, "connection tracking": 166, "tasks": 100,
    }  # fmt: skip
    assert body["host"]["memory_total_bytes"] == 16 * 2**30


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[host]\ncores = 2\ncoffee = 3\n[per_call]\ncpu = '1 %'", ("'coffee' is not known", "somaxconn", "tasks_max")),
        ("[host]\ncores = 2\n[per_call]\nsugar = 1", ("'sugar' is not known", "descriptors")),
        ("[host]\ncores = 2\ncpus = 3\n[per_call]\ncpu = '1 %'", ("says cores twice, as cores and as cpus",)),
        ("[host]\ncores = 2\n[per_call]\ncpu = 5", ("cpu is 5 with no unit", "cores, or per cent of a core")),
        ("[host]\nmemory_free = 53\n[per_call]\nmemory = '1 MB'", ("memory_free is 53 with no unit", "bytes, or MB")),
        ("[host]\ncores = 2\n[per_call]\ncpu = '8-3 %'", ("out of order",)),
        ("[host]\ncores = 2\n[per_call]\ncpu = '3-8 %, typically 9 %'", ("out of order",)),
        ("[host]\ncores = 2\n[per_call]\ncpu = '3-5-8 %'", ("write one amount, or two",)),
        ("[host]\ncores = 2\n[per_call]\ncpu = [1, 2, 3, 4]", ("a list is [low, high]",)),
        ("[host]\ncores = 2\n[per_call]\ncpu = {low = '3 %'}", ("has low and high",)),
        ("[host]\ncores = 2\n[per_call]\ncpu = '3 MB'", ("not a number with a unit",)),
        ("[host]\ncores = '2-4'\n[per_call]\ncpu = '3 %'", ("is a range", "say the least")),
        ("[host]\ncores = nan\n[per_call]\ncpu = '3 %'", ("over what a machine can have",)),
        ("[host]\ncores = inf\n[per_call]\ncpu = '3 %'", ("over what a machine can have",)),
        ("[host]\ncores = true\n[per_call]\ncpu = '3 %'", ("cores is True, which is not a number",)),
        ("[host]\nports = '²'\n[per_call]\nports = 2", ("not a plain number",)),
        (f"[host]\ncores = 1{'0' * 400}\n[per_call]\ncpu = '3 %'", ("over what a machine can have",)),
        ("[host]\ncores = 2\n[per_call]\ncpu = 1e-300", ("too little to be counted",)),
        ("[host]\ncores = 2\n[per_call]\ncpu = '1,5 %'", ("not a number with a unit",)),
        ("[host]\ncores = 2\n[per_call]\ncpu = '3 %'\nduty = 0", ("a call that never works",)),
        ("[host]\ncores = 2\n[per_call]\ncpu = '3 %'\nduty = 48", ("duty is 48 with no unit", "or per cent")),
        (
            "[host]\ncores = 2\nefficiency = '167 %'\n[per_call]\ncpu = '3 %'",
            ("efficiency is '167 %', which is over 1", "say duty in [per_call]"),
        ),
        ("[host]\ncores = 2\n[per_call]\ncpu = '3 %'\n[call]\ncpu = '4 %'", ("twice, in [per_call] and in [call]",)),
        ("[host]\nmemory_total = '64 GB'\n[per_call]\nmemory = '3 MB'", ("not memory_free",)),
        (
            "[host]\nmemory_total = '6 GB'\nmemory_free = '7 GB'\n[per_call]\nmemory = '3 MB'",
            ("more than memory_total",),
        ),
        ("[host]\nport_range = '9-3'\n[per_call]\nports = 1", ("no range of ports",)),
        ('[host]\ncores = 2\n[per_call.cpu]\n"a\\u001b[2J" = "3 %"', ("is no name",)),
        ("host = 3\n[per_call]\ncpu = '3 %'", ("make it a section [host]",)),
        (f"a = {'[' * 5000}", ("nested too deep",)),
        ("{" + '"a":{' * 5000, ("nested too deep",)),
        ('[host]\ncores = 2\nname = "x\\u0000"\n[per_call]\ncpu = "3 %"', ("is no name",)),
        ("[host]\ncores = 2\nname = 'x\x00'\n", ("it is not UTF-8 text",)),
    ],
)
def test_a_bad_profile_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    file = tmp_path / "host.toml"
    file.write_text(text)
    done = paper(capsys, file=file)
    assert done.code == Exit.USAGE
    for word in words:
        assert word in done.sentence()


def test_a_host_that_carries_nothing_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    file.write_text('[host]\nmemory_free = "1 MB"\n[per_call]\nmemory = "2 MB"\n')
    done = paper(capsys, "--target", "5", file=file)
    assert done.code == Exit.NO
    assert "Not one call fits on this machine" in done.out
    assert "not one call" in paper(capsys, "--emit", "sysctl", file=file).sentence()


def test_the_documented_example_is_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    text = (EXAMPLE.parent / "planner.md").read_text()
    body = EXAMPLE.read_text().partition("\n")[2].strip()
    assert body in text


def test_a_name_of_a_cause_is_no_markup(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    file.write_text('title = "[/nope]"\n[host]\ncores = 2\n[per_call.cpu]\n"[bold]<b>|x" = "3 %"\n')
    assert "[bold]<b>|x" in paper(capsys, file=file).out
    marked = paper(capsys, "--markdown", file=file).out
    assert "\\|x" in marked
    assert "[bold]<b>" not in marked
    page = tmp_path / "page.html"
    paper(capsys, "--html", str(page), file=file)
    assert "<b>" not in page.read_text()


def test_doctor_writes_a_profile_that_can_be_planned(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "here.toml"
    file.write_text(whisper_ops(capsys, "doctor", "--profile", "--proxy").out)
    body = paper(capsys, "--json", file=file).json
    limits = {limit["name"]: limit["allows"] for limit in body["limits"]}
    assert {"RAM", "CPU", "ports", "descriptors (soft limit)", "somaxconn"} <= set(limits)
    assert limits["RAM"] > 0
    refused = whisper_ops(capsys, "doctor", "--profile", "--want", "5")
    assert "--want cannot be honoured together with --profile" in refused.sentence()
