"""What changed between two stored plans, and why: their keys, their evidence, their limits."""

import math

import msgspec
from rich.console import Console

from capacity.reports.output import Output
from whisper_ops.history import PlanRecord
from whisper_ops.identity import IDENTITY_FIELDS
from whisper_ops.plan.plan_document import Plan, Resource
from whisper_ops.plan.plan_records import read

_KEYS = ("server", *IDENTITY_FIELDS, "objective")


class PlanChange(msgspec.Struct, frozen=True):
    """A field of the plan that differs, with both values as text."""

    what: str
    before: str
    after: str


class PlanDiff(msgspec.Struct, frozen=True, kw_only=True):
    """All that differs between two plans, and the sentence that says why the answer moved."""

    before: int | None
    after: int | None
    why: str
    changes: tuple[PlanChange, ...]


def compare(before: PlanRecord, after: PlanRecord) -> PlanDiff:
    """Compare two plans.

    Raises:
        UserError: a stored plan cannot be read.
    """
    old, new = read(before), read(after)
    keys = [_change(name, getattr(before, name), getattr(after, name)) for name in _KEYS]
    answer = [
        _change("connections a GPU", before.max_connections_per_gpu, after.max_connections_per_gpu),
        _change("last pass", before.last_pass, after.last_pass),
        _change("first fail", before.first_fail, after.first_fail),
        _change("binding resource", before.binding_resource, after.binding_resource),
        _change("provisional", before.provisional, after.provisional),
    ]
    limits = [
        _change(f"limit of {name}", _limit(old, kind), _limit(new, kind))
        for kind, name in sorted((_kinds(old) | _kinds(new)).items(), key=lambda found: found[1])
    ]
    evidence = [_change("levels measured", len(old.levels), len(new.levels))]
    known = tuple(change for change in (*answer, *keys, *evidence, *limits) if change is not None)
    return PlanDiff(
        before=before.max_connections_per_gpu,
        after=after.max_connections_per_gpu,
        why=_why(before, after, [change.what for change in keys if change is not None], known),
        changes=known,
    )


def output(found: PlanDiff) -> Output:
    """A comparison in its forms."""
    return Output(
        schema="plan-diff", body=lambda: msgspec.to_builtins(found), show=lambda console: _show(found, console)
    )


def _show(found: PlanDiff, console: Console) -> None:
    console.print(f"{_text(found.before)} → {_text(found.after)} connections a GPU: {found.why}.", soft_wrap=True)
    for change in found.changes:
        console.print(f"  {change.what}: {change.before} → {change.after}", soft_wrap=True)


def _why(before: PlanRecord, after: PlanRecord, keys: list[str], changes: tuple[PlanChange, ...]) -> str:
    if not changes:
        return "nothing changed"
    if keys:
        return f"something else was measured ({', '.join(keys)} changed), so the limits cannot be compared"
    if read(before).binding_kind != read(after).binding_kind:
        return f"{after.binding_resource} binds now, not {before.binding_resource}: {after.reason}"
    if before.max_connections_per_gpu == after.max_connections_per_gpu:
        return "the same limit, on other evidence"
    return f"new evidence moved the limit: {after.reason}"


def _change(what: str, before: object, after: object) -> PlanChange | None:
    return None if before == after else PlanChange(what, _text(before), _text(after))


def _text(value: object) -> str:
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _kind(resource: Resource) -> str:
    """Its kind; its name where another version knew a kind that this one does not."""
    return resource.kind or resource.name


def _kinds(plan: Plan) -> dict[str, str]:
    return {_kind(resource): resource.name for resource in plan.resources}


def _limit(plan: Plan, kind: str) -> int | None:
    found = next((resource for resource in plan.resources if _kind(resource) == kind), None)
    return None if found is None or found.limit is None else math.floor(found.limit + 1e-9)
