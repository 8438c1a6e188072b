"""A GPU that was never measured: what carries over from a measured one, what had to be assumed, and what to test.

What a connection costs the host does not depend on the GPU, nor does the memory it takes: published lines of one server
were 17.68 + 0.1736·N GiB on an L4 and 17.90 + 0.1734·N on an L40S. Speed does not carry over: between an RTX 5090 and
an L40S one published knee stayed where it was (the host bound it) and another moved by half. So a limit by speed is
only given where `--gpu-speed` says how fast the GPU is relative to the measured one, and then with a wide interval.
"""

import re

import msgspec

from capacity.next_levels import MINUTE, NextLevels
from capacity.planner.bracket import judged_levels
from capacity.planner.caps import Caps
from capacity.planner.evidence import Evidence
from capacity.planner.explanations import NextStep, cut_text, measured
from capacity.planner.resources import RULES, resource
from capacity.planner.sweep_command import sweep_command, sweep_seconds
from capacity.tiers import RECOMMENDED, cut, tiers
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import planned_time
from whisper_ops.plan.plan_document import Capacity, Plan, Resource
from whisper_ops.plan.plan_sentences import confidence, limit_text
from whisper_ops.plan.resource_kinds import (
    CONNECTION_TRACKING,
    DESCRIPTORS,
    GPU_MEMORY,
    HOST_CPU,
    HOST_MEMORY,
    NETWORK,
    SERVER_CORE,
    SPEED,
)

CARRIED = (SERVER_CORE, HOST_CPU, HOST_MEMORY, DESCRIPTORS, CONNECTION_TRACKING, NETWORK)
_WIDER = 0.15
"""Added to both ends of a carried interval: two published GPUs agreed within 2 %, and two are few."""
_SPEED_WIDER = 1.5
"""Factor on both ends of a limit by speed: published pairs of knees moved by 1.0 to 1.5 where chips differ by 1.3."""
_GIGABYTES = re.compile(r"(?<!\d)(\d{1,3})\s*GB", re.IGNORECASE)
_SIZES = {
    "T4": 16e9, "A10": 24e9, "L4": 24e9, "L40S": 48e9, "A100": 40e9, "H100": 80e9, "H200": 141e9, "B200": 180e9,
    "RTX 3090": 24e9, "RTX 4090": 24e9, "RTX 5090": 32e9,
}  # fmt: skip
"""Memory by the makers' data sheets, the smallest where a name is sold in two sizes."""


def memory_of(gpu: str) -> float | None:
    """Bytes of a GPU's memory by its name: as the name says, else by the data sheet; None for an unknown name."""
    said = _GIGABYTES.search(gpu)
    if said:
        return float(said[1]) * 1e9
    words = re.sub(r"[^a-z0-9 ]", " ", gpu.lower()).split()
    known = [name for name in _SIZES if set(name.lower().split()) <= set(words)]
    return _SIZES[max(known, key=len)] if known else None


def transferred(donor: Plan, evidence: Evidence, caps: Caps, gpu: str, speed: float | None) -> Plan:
    """A plan for `gpu` from a plan of another GPU and its evidence; provisional whatever the evidence was.

    Args:
        donor: the plan of the measured GPU.
        evidence: what it was made from.
        caps: the totals of its server.
        gpu: the name of the GPU that was not measured.
        speed: how fast that is relative to the measured one, from a benchmark of the same model; None: not known.

    Raises:
        UserError: nothing that was measured carries over (exit code 4).
    """
    memory = memory_of(gpu)
    rows = [
        _wider(row)
        for row in donor.resources
        if row.kind in CARRIED and row.status == "identified" and row.limit is not None
    ]
    if memory is not None:
        rule = next(rule for rule in RULES if rule.kind == GPU_MEMORY)
        on_it = resource(evidence, msgspec.structs.replace(caps, gpu_memory_bytes=memory), rule)
        rows += [_wider(on_it)] if on_it.limit is not None else []
    if speed is not None and donor.capacity.low is not None:
        rows.append(_by_speed(donor, speed))
    if all(row.kind in (CONNECTION_TRACKING, NETWORK) for row in rows):  # arithmetic, which is true of every GPU
        raise UserError(
            f"nothing was measured with {gpu}, and nothing measured on {donor.key.device} carries over to it: there is "
            "no law of memory or of the host; sweep the new GPU, or say how fast it is with --gpu-speed",
            Exit.EVIDENCE,
        )
    return _plan(donor, evidence, gpu, sorted(rows, key=lambda row: row.low or 0.0), memory, speed)


def _plan(
    donor: Plan, evidence: Evidence, gpu: str, rows: list[Resource], memory: float | None, speed: float | None
) -> Plan:
    bounded = speed is None
    # Of what only bounds the limit the upper ends count, of what is the limit the lower ones.
    first = min(rows, key=lambda row: row.high or 0.0) if bounded else rows[0]
    after = next((row for row in rows if row is not first), None)
    low, high = first.low or 0.0, min(row.high for row in rows if row.high is not None)
    safe = None if bounded or high < 1 else max(int(low), 1)
    allowed = f"{limit_text(first)} connections" if high >= 1 else "less than one connection"
    capacity = Capacity(
        last_pass=None, first_fail=None, estimate=None if bounded else min(first.limit or high, high),
        low=None if bounded else low,
        high=high, status="upper_bound" if bounded else "identified",
        reason=f"{first.name} allows {allowed}",
    )  # fmt: skip
    highest = max(int(high), safe or 0)
    levels = _next_levels(evidence, highest)
    following = _next_step(evidence, levels)
    made = msgspec.structs.replace(
        donor,
        key=msgspec.structs.replace(donor.key, gpu_name=gpu),
        transferred_from=donor.key.device,
        provisional=True,
        max_connections_per_gpu=None if safe is None else cut(safe, RECOMMENDED),
        safe_limit=safe,
        waits_for=None,
        cut="" if safe is None else cut_text(safe, cut(safe, RECOMMENDED)),
        reason=f"{first.name} ({first.law}) allows {allowed}; {_missing(gpu, speed)}",
        next_test=str(following),
        next_step=following.step,
        next_command=following.command,
        next_levels=levels,
        next_seconds=MINUTE,
        binding_kind=first.kind,
        binding_resource=first.name,
        runner_up_kind="" if after is None else after.kind,
        runner_up=None if after is None else after.name,
        capacity=capacity,
        resources=tuple(rows),
        tiers=() if safe is None else tiers(safe, highest, rows, "the lower end", "the upper end of the interval"),
        levels=(),
        notes=(
            *_notes(donor, gpu, rows, memory, speed),
            "this plan is not stored, so `serve` will not take its number",
        ),
    )
    return msgspec.structs.replace(made, sure=confidence(made, made.created_at))


def _by_speed(donor: Plan, speed: float) -> Resource:
    capacity = donor.capacity
    low = (capacity.low or 0.0) * speed / _SPEED_WIDER
    high = (capacity.high or capacity.low or 0.0) * speed * _SPEED_WIDER
    middle = (capacity.estimate or capacity.low or 0.0) * speed
    return Resource(
        kind=SPEED, law=f"{speed:g} × what {donor.key.device} carries", unit="s", cap=None,
        cap_text="as the objective says", limit=middle, low=low, high=high, evidence="assumed from --gpu-speed",
        status="identified",
    )  # fmt: skip


def _wider(row: Resource) -> Resource:
    low = row.low if row.low is not None else row.limit or 0.0
    high = row.high if row.high is not None else row.limit or 0.0
    return msgspec.structs.replace(
        row, low=low * (1 - _WIDER), high=high * (1 + _WIDER), evidence=f"carried over: {row.evidence}"
    )


def _missing(gpu: str, speed: float | None) -> str:
    if speed is None:
        return f"how fast {gpu} decodes is not known, so it may carry far fewer"
    return f"its speed is taken to be {speed:g} of the measured one"


def _notes(donor: Plan, gpu: str, rows: list[Resource], memory: float | None, speed: float | None) -> list[str]:
    carried = [row for row in rows if row.kind != SPEED]
    names = ", ".join(row.name for row in carried)
    told = [f"carried over from {donor.key.device}, with 15 % added to both ends: {names or 'nothing'}"]
    if memory is None:
        told.append(f"how much memory {gpu} has is not known here; write it into the name, as in '{gpu} 24GB'")
    elif any(row.kind == GPU_MEMORY for row in carried):
        told.append(
            f"assumed: {gpu} has {memory / 1e9:.0f} GB, and a connection takes as much of it as on {donor.key.device}"
        )
    if speed is None:
        told.append("not carried over: latency, step time and GPU busy time, which need --gpu-speed RATIO or a sweep")
    else:
        told.append(
            f"assumed: decoding is what binds, and {gpu} does it {speed:g} times as fast; half as wide again both ways"
        )
    return told


def _next_levels(evidence: Evidence, highest: int) -> tuple[int, ...]:
    gpus = evidence.key.gpus
    tried = [level.streams for level in judged_levels(evidence) if level.repeats][-1:] or [highest * gpus]
    most = max(min(highest * gpus, 2 * tried[0]), 4)
    return tuple(sorted({max(1, round(most * share)) for share in (0.125, 0.25, 0.5, 1.0)}))


def _next_step(evidence: Evidence, levels: tuple[int, ...]) -> NextStep:
    """The address of a server with that GPU is not known."""
    advice = NextLevels(aim="find_failure", levels=levels)
    command = sweep_command(evidence.key, advice, address="URL")
    time = planned_time(round(sweep_seconds(evidence.key, advice), -1))
    return NextStep(f"{measured(advice)} on the new GPU (about {time})", command)
