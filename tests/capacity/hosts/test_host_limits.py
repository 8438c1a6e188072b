"""What a host allows: a published hand analysis to the digit, this machine, and a server that told about its own."""

import json
from pathlib import Path

import pytest

from capacity.hosts.host_limits import missed
from capacity.hosts.local_host import HostUse, limits_of
from tests.capacity.planner_cli import whisper_ops
from whisper_ops.errors import Exit
from whisper_ops.history import History
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot
from whisper_ops.telemetry.host_meter import HostMeter, machine

PUBLISHED = """
[host]
cores = 24
memory_free = "53 GB"
ports = 28231
descriptors_soft = 1024
descriptors_hard = 524288

[per_call]
memory = "25 MB"
cpu = "5 %"
ports = 3
descriptors = 5
"""


def test_a_published_hand_analysis_is_reproduced_in_one_table(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    (tmp_path / "host.toml").write_text(PUBLISHED)
    done = whisper_ops(capsys, "plan", "--host-profile", str(tmp_path / "host.toml"))
    assert done.code == 0
    rows = {line.split("  ")[0]: line for line in done.out.splitlines()}
    assert " 2,120" in rows["RAM"]
    assert " 480" in rows["CPU"]
    assert " 9,410" in rows["ports"]
    assert " 104,857" in rows["descriptors (hard limit)"]
    assert rows["descriptors (soft limit)"].split()[-2:] == ["204", "binding"]
    assert "descriptors (soft limit): binding: 204 calls as configured; a setting, raised below" in done.out
    assert done.out.startswith("First to bind: descriptors (soft limit), at 204 connections")
    assert "Next limit: CPU, at 480 connections." in done.out
    assert "\n  LimitNOFILE=524288\n" in done.out  # a comment behind it would be part of systemd's value
    assert "\n  ulimit -n 524288\n" in done.out
    raised = done.out.partition("Tiers with the settings raised")[2]
    assert [line.split()[1] for line in raised.splitlines()[2:6]] == ["240", "336", "432", "480"]


@pytest.mark.parametrize(
    "profile",
    [
        {
            "cpu_count": 24, "memory_free_bytes": 53e9, "ephemeral_ports": 28231, "nofile_soft": 1024,
            "nofile_hard": 524288, "per_connection": {"memory_mb": 25, "cpu_percent": 5, "ports": 3, "descriptors": 5},
        },
        {
            "host": {"cores": "24", "memory_free_gb": 53, "ports": "28,231", "soft": 1024, "hard": "524_288"},
            "call": {"ram": "25MB", "cpu": 0.05, "ports": 3, "nofile": 5},
        },
    ],
)  # fmt: skip
def test_a_profile_may_be_json_with_units_in_names_or_values(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, profile: dict[str, object]
) -> None:
    (tmp_path / "host.json").write_text(json.dumps(profile))
    body = whisper_ops(capsys, "plan", "--host-profile", str(tmp_path / "host.json"), "--json").json
    assert sorted(limit["allows"] for limit in body["limits"]) == [204, 480, 2120, 9410, 104857]
    assert (body["schema"], body["first"], body["after_fixes"]) == (
        "whisper-ops/plan/1", "descriptors (soft limit)", "CPU",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cores = 24", "a section [per_call]"),
        ("nonsense", "neither TOML nor JSON"),
        ('[host]\ncores = "many"\n[per_call]\ncpu = 1', "cores is 'many'"),
        ("[host]\ncores = -2\n[per_call]\ncpu = 1", "cannot be below 0"),
        ("[host]\ncores = 2\n[per_call]\ncpu = 0", "takes nothing"),
        ("[host]\ncores = 2\ncoffee = 3\n[per_call]\ncpu = 1", "'coffee' is not known here"),
        ('[host]\nmemory_free = "5 parsecs"\n[per_call]\nmemory = 1', "not a number with a unit"),
    ],
)
def test_a_bad_profile_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "host.toml").write_text(text)
    done = whisper_ops(capsys, "plan", "--host-profile", str(tmp_path / "host.toml"))
    assert done.code == Exit.USAGE
    assert sentence in done.sentence()


def test_doctor_reads_this_machine_and_checks_a_wanted_number(capsys: pytest.CaptureFixture[str]) -> None:
    body = whisper_ops(capsys, "doctor", "--json", "--want", "1").json
    assert body["short"] == []
    assert body["host"]["cpu_count"] >= 1
    names = [limit["name"] for limit in body["limits"]]
    assert {"RAM", "front core", "descriptors (soft limit)"} <= set(names)
    done = whisper_ops(capsys, "doctor", "--want", "100000000")
    assert done.code == Exit.NO
    assert "The operating system does not let 100,000,000 connections in: " in done.out
    one = whisper_ops(capsys, "doctor", "--want", "1").out
    answer = "The operating system lets 1 connection in; how many the model keeps up with: whisper-ops plan\n"
    assert one.startswith(answer), "the answer stands before the tables"
    assert whisper_ops(capsys, "doctor", "--chunk", "0").code == Exit.USAGE


def test_a_proxy_doubles_descriptors_and_makes_ports_a_limit() -> None:
    host = HostFigures(descriptors_soft_limit=1064, port_range_low=32768, port_range_high=60999)
    alone, proxied = limits_of(host, HostUse()), limits_of(host, HostUse(proxied=True))
    assert {limit.name: limit.allows for limit in alone.limits}["descriptors (soft limit)"] == 1000
    allows = {limit.name: limit.allows for limit in proxied.limits}
    assert (allows["descriptors (soft limit)"], allows["ephemeral ports"]) == (500, 28232)
    assert [limit.name for limit in missed(proxied, 600)] == ["descriptors (soft limit)"]


def test_small_frames_cost_the_front_core() -> None:
    def front(chunk: float) -> int | None:
        return next(
            limit.allows
            for limit in limits_of(HostFigures(), HostUse(chunk_seconds=chunk)).limits
            if "core" in limit.name
        )

    # Measured: 360 streams a core at 50 frames a second in the worse case, of which 90 % are used.
    assert front(0.02) == pytest.approx(321, abs=1)
    assert front(0.1) == pytest.approx(5 * 321.4, abs=2)


def test_local_figures_are_of_this_process() -> None:
    figures = machine(HostMeter())
    assert figures.descriptors_soft_limit is None or figures.descriptors_soft_limit > 0
    assert figures.memory_available_bytes is not None
    assert figures.memory_total_bytes is not None
    assert figures.memory_available_bytes <= figures.memory_total_bytes


def test_a_remote_machine_is_looked_at_through_its_servers_last_poll(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    db = tmp_path / "history.db"
    told = HostFigures(hostname="far", cpu_count=8, descriptors_soft_limit=1024, descriptors_hard_limit=4096)
    with History.writing(db) as history:
        history.polls.add(
            [Snapshot(server="far:8000", at=10.0, figures=ServerFigures(), gpus=(GpuFigures(gpu_id=0),), host=told)]
        )
    body = whisper_ops(capsys, "doctor", "--server", "http://far:8000/", "--history", str(db), "--json").json
    assert body["host"]["descriptors_soft_limit"] == 1024
    assert body["first"] == "descriptors (soft limit)"
    assert any("LimitNOFILE=4096" in line for limit in body["limits"] for line in limit["fix"])
    done = whisper_ops(capsys, "doctor", "--server", "near", "--history", str(db))
    assert done.code == Exit.EVIDENCE
    assert "no poll of a server named near" in done.sentence()
