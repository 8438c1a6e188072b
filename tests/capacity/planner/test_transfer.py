"""A GPU that was not measured gets what carries over and no more; host tables stand in the plan with their source."""

import json
import platform
from pathlib import Path

import pytest

from capacity.planner.host_allowances import stream_bytes_per_second
from capacity.planner.transfer import memory_of
from tests.capacity.plan_history import level, written
from tests.capacity.planner_cli import Done, whisper_ops
from whisper_ops.errors import Exit
from whisper_ops.history import History
from whisper_ops.plan.resource_kinds import PORTS, SPEED, TITLES

GIB = 2**30
# The published L4 line: 17.68 + 0.1736 N GiB; on an L40S it is 17.90 + 0.1734 N.
L4 = [level(n, n <= 24, gpu_memory_used_bytes=(17.68 + 0.1736 * n) * GIB) for n in (4, 8, 12, 16, 20, 24, 28)]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return written(tmp_path / "history.db", L4, gpu_name="L4", settings='{"gpu_memory_total_bytes": 24e9}')


def planned(capsys: pytest.CaptureFixture[str], db: Path, *more: str) -> Done:
    return whisper_ops(capsys, "plan", "--history", str(db), *more)


def test_memory_carries_over_and_holds_what_the_other_gpu_was_published_to_hold(
    capsys: pytest.CaptureFixture[str], db: Path
) -> None:
    done = planned(capsys, db, "--gpu", "NVIDIA L40S", "--json")
    assert done.code == Exit.EVIDENCE  # how fast it is was not measured, so there is no limit
    body = done.json
    assert body["transferred_from"] == "L4"
    assert body["max_connections_per_gpu"] is None
    (memory,) = body["resources"]
    truth = (48e9 * 0.95 / GIB - 17.90) / 0.1734
    assert memory["low"] <= truth <= memory["high"] <= 1.5 * memory["low"]
    assert body["capacity"]["status"] == "upper_bound"


def test_it_says_what_was_carried_assumed_and_left_out_and_is_not_stored(
    capsys: pytest.CaptureFixture[str], db: Path
) -> None:
    done = planned(capsys, db, "--gpu", "L40S")
    assert done.out.startswith("At most about ")
    assert "its speed is not known" in done.out
    assert "carried over from L4" in done.out
    assert "assumed: L40S has 48 GB" in done.out
    assert "not carried over: latency, step time and GPU busy time" in done.out
    assert "on the new GPU" in done.out
    with History.reading(db) as history:
        assert history.plans.every() == []


def test_with_its_speed_there_is_a_limit_with_a_wide_interval(capsys: pytest.CaptureFixture[str], db: Path) -> None:
    done = planned(capsys, db, "--gpu", "L40S", "--gpu-speed", "2.5", "--json")
    assert done.code == 0
    body = done.json
    speed = next(row for row in body["resources"] if row["kind"] == SPEED)
    assert (speed["low"], speed["high"]) == (24 * 2.5 / 1.5, 28 * 2.5 * 1.5)
    assert speed["low"] <= 64 <= speed["high"]  # as published for the same server on an L40S
    assert body["provisional"]
    assert body["max_connections_per_gpu"] == 36  # 90 % of the lower end
    assert planned(capsys, db, "--gpu-speed", "2").code == Exit.USAGE


def test_where_nothing_carries_over_it_is_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bare = written(tmp_path / "bare.db", [level(8, True), level(16, False)])
    done = planned(capsys, bare, "--gpu", "L4")
    assert done.code == Exit.EVIDENCE
    assert "nothing measured on H100 80GB carries over" in done.sentence()
    done = planned(capsys, tmp_path / "bare.db", "--gpu", "L4", "--model", "huge")
    assert "no level was measured with" in done.sentence()


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("NVIDIA L4", 24e9),
        ("L40S", 48e9),
        ("H100 80GB", 80e9),
        ("NVIDIA A100-SXM4-40GB", 40e9),
        ("RTX 4090", 24e9),
        ("B9", None),
    ],
)
def test_memory_is_known_by_name(name: str, size: float | None) -> None:
    assert memory_of(name) == size


def test_ports_tracking_and_network_stand_in_the_plan_and_a_proxy_is_not_taken_for_granted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    host = {"hostname": platform.node(), "port_range_low": 60000, "port_range_high": 60009, "conntrack_max": 65536}
    settings = json.dumps({"host": host})
    db = written(tmp_path / "history.db", [level(16, True), level(24, False)], settings=settings)
    rows = {row["name"]: row for row in planned(capsys, db, "--json").json["resources"]}
    assert rows[TITLES[PORTS]]["limit"] == 10
    assert rows["connection tracking"]["limit"] == 65536
    body = planned(capsys, db, "--json").json
    assert body["capacity"]["last_pass"] == 16
    assert body["binding_resource"] == "latency objective"  # ten ports bind only where there is a proxy
    assert stream_bytes_per_second(0.1) == pytest.approx((3200 + 8 + 3 * 52) / 0.1)  # three packets a frame
