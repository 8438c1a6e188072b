"""A simulated day as a report: the answer first, then what it rests on, then the hours."""

from typing import Any

import msgspec

from capacity.fleet.erlang import blocking
from capacity.fleet.simulation.scenario import Scenario
from capacity.fleet.simulation.simulation_result import HourOfDay, SimulationResult
from capacity.reports.output import Output
from capacity.reports.report import Report, ReportTable, Section, columns
from capacity.reports.terminal import show
from whisper_ops.formatting import counted
from whisper_ops.plan.plan_document import Plan


def output(scenario: Scenario, result: SimulationResult, plan: Plan | None) -> Output:
    """A simulated day in its forms; `plan` says how many calls a GPU carries, where nobody else did."""

    def body() -> dict[str, Any]:
        return {
            "scenario": msgspec.to_builtins(scenario),
            "plan": None if plan is None else {"server": plan.server, "created_at": plan.created_at},
            **msgspec.to_builtins(result),
        }

    return Output(schema="simulate", body=body, show=lambda console: show(report(scenario, result, plan), console))


def report(scenario: Scenario, result: SimulationResult, plan: Plan | None) -> Report:
    """The refusals and GPUs of a simulated day, what was assumed, and a row an hour of the day."""
    answer, *lines = _answer(scenario, result)
    return Report(answer=answer, lines=(*lines, *_basis(scenario, plan)), sections=(Section(table=_hours(result)),))


def _answer(scenario: Scenario, answer: SimulationResult) -> list[str]:
    money = ""
    if answer.price_per_day is not None and answer.price_per_stream_hour is not None:
        money = (
            f", {answer.price_per_day:,.2f} {answer.currency} a day "
            f"({answer.price_per_stream_hour:.4f} an hour of a stream)"
        )
    used = "" if answer.utilization is None else f", {answer.utilization * 100:.0f} % of their slots in use"
    lines = [f"{answer.gpus_most:,} GPUs at most, {answer.gpu_hours_per_day:,.0f} GPU hours a day{used}{money}."]
    lines.append(
        f"{answer.refused:,} of {answer.calls:,} calls were refused ({_share(answer.blocking)}{_interval(answer)}); "
        f"{answer.streams_most:,} were live at once."
    )
    if scenario.lose_every_seconds is not None:
        lines.append(
            f"{answer.interrupted:,} calls were on a machine that was lost; {answer.lost:,} found no other slot."
        )
    if scenario.is_flat and scenario.machines is not None and scenario.balancer != "blind":
        slots = scenario.machines * scenario.slots_per_machine
        parts = [(region.share, blocking(region.share * scenario.peak_streams, slots)) for region in scenario.regions]
        lines.append(f"Erlang's formula says {_share(sum(part * refused for part, refused in parts))}.")
    return lines


def _basis(scenario: Scenario, plan: Plan | None) -> list[str]:
    origin = "--slots" if plan is None else f"the plan for {plan.key.title}"
    fleet = (
        counted(scenario.machines, "machine")
        if scenario.machines is not None
        else f"scaled every {scenario.scale_every_seconds:g} s with {scenario.headroom * 100:g} % headroom, "
        f"{scenario.start_seconds:g} s until a machine takes calls"
    )
    marks = (
        [word for word, holds in (("PROVISIONAL", plan.provisional), ("SIMULATED", plan.simulated)) if holds]
        if plan
        else []
    )
    warning = [f"The plan is {' and '.join(marks)}: do not buy machines by it."] if marks else []
    assumed = (
        f"Assumed: {counted(scenario.slots_per_gpu, 'call')} a GPU ({origin}), "
        f"{counted(scenario.gpus_per_machine, 'GPU')} a machine; {fleet}; "
        f"calls of {scenario.mean_length_seconds:g} s ({scenario.lengths}); {scenario.balancer}; "
        f"{counted(scenario.days, 'day')}, seed {scenario.seed}."
    )
    return [assumed, *warning]


def _interval(answer: SimulationResult) -> str:
    if answer.blocking_low is None or answer.blocking_high is None:
        return "; too few days for an interval"
    return f"; 95 % sure: {_share(answer.blocking_low)} to {_share(answer.blocking_high)}"


def _hours(answer: SimulationResult) -> ReportTable:
    money = any(hour.price is not None for hour in answer.hours)
    latency = any(hour.latency_p95_seconds is not None for hour in answer.hours)
    titles = ["hour", "calls", "streams", "most", "GPUs", "most", "refused", "a GPU, p95"]
    titles += ["latency p95"] * latency + [f"{answer.currency} an hour"] * money
    rows = tuple(_cells(hour, latency=latency, money=money) for hour in answer.hours)
    return ReportTable(columns(*titles, figures=titles), rows)


def _cells(hour: HourOfDay, *, latency: bool, money: bool) -> tuple[str, ...]:
    load, seconds, price = hour.connections_per_gpu_p95, hour.latency_p95_seconds, hour.price
    cells = [
        f"{hour.hour:02d}",
        f"{hour.arrivals_per_hour:,.0f}",
        f"{hour.streams_mean:,.0f}",
        f"{hour.streams_most:,}",
        f"{hour.gpus_mean:,.1f}",
        f"{hour.gpus_most:,}",
        _share(hour.blocking),
        "—" if load is None else f"{load:,.1f}",
    ]
    if latency:
        cells.append("—" if seconds is None else f"{seconds:.2f} s")
    if money:
        cells.append("—" if price is None else f"{price:,.2f}")
    return tuple(cells)


def _share(share: float | None) -> str:
    return "—" if share is None else f"{share * 100:.3g} %"
