"""The plan document: one type and one reader, of what is stored now and of what earlier versions stored."""

import json
import sqlite3
from pathlib import Path

import msgspec
import pytest

from capacity.planner import EvidenceRequest, make_plan
from capacity.reports.plan_diff import compare
from tests.capacity.plan_history import level, written
from whisper_ops.history import History, PlanRecord
from whisper_ops.history.schema import _BINDING
from whisper_ops.plan.plan_document import Plan, Resource
from whisper_ops.plan.plan_records import UnreadablePlanError, read, read_or_columns, record_of
from whisper_ops.plan.plan_sentences import confidence
from whisper_ops.plan.resource_kinds import HOST_CPU, TITLES

DATA = Path(__file__).parents[2] / "data"
OLD = PlanRecord(
    created_at=5.0, server="http://a", model="large", objective="stable_p95_seconds<=2", provisional=True,
    max_connections_per_gpu=9, last_pass=10, first_fail=12, binding_resource="host CPU", reason="why", body="{}",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    levels = [level(n, n <= 80, front_cpu_ratio=n / 90, server_busy_ratio=n / 120) for n in (10, 20, 40, 80, 96)]
    with History.reading(written(tmp_path_factory.mktemp("plan") / "history.db", levels)) as history:
        return make_plan(history, EvidenceRequest(), 5000.0)


def test_what_is_stored_is_read_back_whole(made: Plan) -> None:
    assert read(record_of(made)) == made
    assert made.binds is not None
    assert (made.binds.kind, made.binding_resource) == (made.binding_kind, TITLES[made.binding_kind])


def test_every_kind_has_a_name_of_its_own_and_the_history_knows_what_it_was_called() -> None:
    assert len(set(TITLES.values())) == len(TITLES)
    assert all(Resource(name=title).kind == kind for kind, title in TITLES.items())
    assert all(TITLES[kind] == title for title, kind in _BINDING)


def test_a_document_of_before_kinds_gets_them(made: Plan) -> None:
    body = json.loads(record_of(made).body)
    for resource in body["resources"]:
        del resource["kind"]
    for field in ("binding_kind", "runner_up_kind", "safe_limit", "waits_for", "polled_seconds"):
        del body[field]
    old = read(msgspec.structs.replace(record_of(made), binding_kind=None, body=json.dumps(body)))
    assert [resource.kind for resource in old.resources] == [resource.kind for resource in made.resources]
    assert (old.binding_kind, old.runner_up_kind) == (made.binding_kind, made.runner_up_kind)
    assert compare(msgspec.structs.replace(record_of(made), body=json.dumps(body)), record_of(made)).why == (
        "nothing changed"
    )


def test_the_columns_go_before_the_document() -> None:
    plan = read(msgspec.structs.replace(OLD, body='{"max_connections_per_gpu": 99, "key": {"model": "other"}}'))
    assert (plan.max_connections_per_gpu, plan.identity.model, plan.capacity.first_fail) == (9, "large", 12)
    assert plan.binding_kind == HOST_CPU


def test_a_resource_that_another_version_knows_keeps_its_name() -> None:
    body = '{"resources": [{"kind": "tensor_cores", "name": "tensor cores", "limit": 7}, {"name": "wings"}]}'
    plan = read(msgspec.structs.replace(OLD, binding_resource="wings", body=body))
    assert [(one.kind, one.name) for one in plan.resources] == [("tensor_cores", "tensor cores"), ("", "wings")]
    assert (plan.binding_resource, plan.binds) == ("wings", None)


@pytest.mark.parametrize("body", ["", "[]", "not json", '{"resources": 3}', '{"capacity": {"status": "guessed"}}'])
def test_what_cannot_be_read_is_an_error_or_its_columns(body: str) -> None:
    record = msgspec.structs.replace(OLD, body=body)
    with pytest.raises(UnreadablePlanError, match="the stored plan of http://a cannot be read"):
        read(record)
    assert read_or_columns(record) == read(msgspec.structs.replace(OLD, body="{}"))


def test_a_plan_of_an_old_file_says_how_sure_it_is_now_and_what_binds(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with sqlite3.connect(path) as db:
        db.executescript((DATA / "history-2026-11-21.sql").read_text("utf-8"))
    plans = []
    for _ in range(2):
        with History.reading(path) as history:  # as it is, and migrated
            plans.append(read(history.plans.every()[0]))
        History.writing(path).close()
    assert plans[0] == plans[1]
    plan = plans[0]
    assert plan.binding_kind
    assert plan.newest_evidence_at is not None
    assert "newest 3 days ago" in confidence(plan, plan.newest_evidence_at + 3.5 * 86400)
    with History.reading(path) as history:
        assert history.plans.every()[0].binding_kind == plan.binding_kind
