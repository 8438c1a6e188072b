"""Plans in the history: the one writer of their rows, and the one reader, also of what earlier versions stored."""

from functools import lru_cache
from typing import Any

import msgspec

from whisper_ops.errors import UserError
from whisper_ops.history import PlanRecord
from whisper_ops.identity import IDENTITY_FIELDS
from whisper_ops.lenient_json import decode_strictly
from whisper_ops.plan.plan_document import Plan

SCHEMA = "whisper-ops/plan/1"


class UnreadablePlanError(UserError):
    """A stored plan that this version cannot read; its columns still can be."""


def encoded(plan: Plan) -> str:
    """A plan as the history keeps it."""
    return msgspec.json.encode({"schema": SCHEMA, **msgspec.to_builtins(plan)}).decode()


def record_of(plan: Plan) -> PlanRecord:
    """The plan as a row of the history."""
    return PlanRecord(
        **msgspec.structs.asdict(plan.identity),
        created_at=plan.created_at,
        server=plan.server,
        objective=plan.objective,
        provisional=plan.provisional,
        max_connections_per_gpu=plan.max_connections_per_gpu,
        last_pass=plan.capacity.last_pass,
        first_fail=plan.capacity.first_fail,
        binding_resource=plan.binding_resource,
        binding_kind=plan.binding_kind or None,
        reason=plan.reason,
        body=encoded(plan),
    )


def read(record: PlanRecord) -> Plan:
    """The plan that a row holds. The columns go first: they are what plans are chosen by.

    Raises:
        UnreadablePlanError: it cannot be read.
    """
    try:
        return _with_columns(_decoded(record.body), record)
    except msgspec.MsgspecError as error:
        raise UnreadablePlanError(f"the stored plan of {record.server} cannot be read: {error}") from error


def read_or_columns(record: PlanRecord) -> Plan:
    """The same; of a plan that cannot be read what its columns say, which is the limit and why."""
    try:
        return read(record)
    except UnreadablePlanError:
        return _with_columns(Plan(), record)


@lru_cache(maxsize=256)
def _decoded(body: str) -> Plan:
    """Screens are painted twice a second, and a plan is tens of kilobytes."""
    return decode_strictly(body, Plan)


def _with_columns(plan: Plan, record: PlanRecord) -> Plan:
    ran: dict[str, Any] = {name: getattr(record, name) for name in IDENTITY_FIELDS}
    server = record.server or ""
    return msgspec.structs.replace(
        plan,
        created_at=record.created_at,
        server=server,
        key=msgspec.structs.replace(plan.key, **ran, server=server, objective=record.objective),
        objective=record.objective,
        simulated=record.simulated,
        provisional=record.provisional,
        max_connections_per_gpu=record.max_connections_per_gpu,
        reason=record.reason,
        binding_kind=record.binding_kind or "",
        binding_resource=record.binding_resource,
        capacity=msgspec.structs.replace(plan.capacity, last_pass=record.last_pass, first_fail=record.first_fail),
    )
