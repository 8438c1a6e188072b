"""One rule says which stored plan is a server's: all keys of what it runs, its own plan before another server's."""

from typing import Any

import msgspec
import pytest

from whisper_ops.history import PlanRecord
from whisper_ops.identity import IDENTITY_FIELDS, Identity
from whisper_ops.plan.plan_lookup import plan_for
from whisper_ops.server_names import same_machine

RUNS = Identity(
    software="whisper-ops", version="1.2.0", engine="ctranslate2", model="large-v3-turbo", compute_type="float16",
    max_batch=16, gpu_name="H100 80GB",
)  # fmt: skip


def plan(created_at: float, server: str = "http://asr-1:8000", **changes: Any) -> PlanRecord:
    what = {key: getattr(RUNS, key) for key in IDENTITY_FIELDS} | changes
    return PlanRecord(
        created_at=created_at, server=server, objective="", provisional=False, max_connections_per_gpu=int(created_at),
        reason="", body="{}", **what,
    )  # fmt: skip


def test_the_newest_plan_of_what_runs_is_taken_and_its_own_goes_first() -> None:
    plans = [plan(3), plan(1), plan(9, server="http://asr-2:8000")]
    assert plan_for(plans, RUNS) == plans[2]
    assert plan_for(plans, RUNS, "asr-1:8000") == plans[0]
    assert plan_for(plans, RUNS, "asr-7:8000") == plans[2]
    assert plan_for([], RUNS) is None


@pytest.mark.parametrize("key", IDENTITY_FIELDS)
def test_a_plan_that_differs_in_any_key_is_another_servers(key: str) -> None:
    values: dict[str, Any] = {"simulated": True, "max_batch": 8}
    other = values.get(key, "another")
    assert plan_for([plan(1, **{key: other})], RUNS) is None
    assert plan_for([plan(1, **{key: other})], RUNS, not_yet=[key]) is not None


def test_what_a_server_does_not_say_differs_from_every_value() -> None:
    assert plan_for([plan(1)], msgspec.structs.replace(RUNS, gpu_name=None)) is None
    assert plan_for([plan(1, gpu_name=None)], msgspec.structs.replace(RUNS, gpu_name=None)) is not None


def test_software_whose_figures_are_at_another_port_has_the_plan_of_its_machine() -> None:
    live = Identity(software="whisperlive")
    what = dict.fromkeys(IDENTITY_FIELDS) | {"simulated": False}
    plans = [
        plan(3, "asr-1:9090", **what | {"software": "WhisperLive"}),
        plan(9, "asr-2:9090", **what | {"software": "whisperlive"}),
    ]
    assert plan_for(plans, live, "http://asr-1:9091") == plans[0]
    assert plan_for(plans, live, "asr-2:9091") == plans[1]
    assert plan_for(plans, live, "asr-3:9091") == plans[1], "as of any server that runs the same"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("asr-1:9090", "http://ASR-1:9091/", True),
        ("asr-1:9090", "asr-10:9090", False),
        ("[::1]:9090", "[::1]:9091", True),
        ("[::1]", "[::1]:9091", True),
        ("[::1]:9090", "[::2]:9090", False),
        ("asr-1", "asr-1:9091", True),
        ("asr-1:9090/ws", "asr-1:9091", True),
    ],
)
def test_two_ports_of_one_machine(one: str, other: str, same: bool) -> None:
    assert same_machine(one, other, "whisperlive") == same
    assert not same_machine(one, other, "whisper-ops"), "two of ours on one machine are two servers"
