"""A fit from a question to the JSON that answers it: `whisper-ops/fit/1`."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from capacity.fit.table_capacity import FittedCapacity, ceiling, no_objective, within
from capacity.fit.table_levels import Columns, TableLevel, TableLevels, read_levels
from capacity.models.latency import DEFAULT_PRIOR, PACED, fit_latency
from capacity.models.law import Law, Reciprocal
from capacity.models.selection import LEAST_LEVELS, Chosen, Kind, compete
from capacity.models.throughput import fit_throughput
from capacity.tables.cells import Mark
from capacity.tables.table import Table
from capacity.tables.text_rows import read
from whisper_ops.errors import Exit, UserError
from whisper_ops.objective import ObjectiveTerm, condition

_CLOSED_LOOP = re.compile(r"concurren|thread|worker|task|client|process|in.?flight|vus?\b", re.IGNORECASE)
"""A column of these is a number of requests in flight, each sent when the one before is answered."""


class FitRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a file."""

    load: str
    metric: str
    kind: Kind
    unit: str | None = None
    objective: str | None = None
    predict: tuple[float, ...] = ()
    by: tuple[str, ...] = ()
    decimal: Mark | None = None
    """The mark before decimals, where the file does not tell."""


class Prediction(msgspec.Struct, frozen=True):
    """A figure expected at a load, and the ends of its 80 % interval."""

    load: float
    value: float
    low: float
    high: float


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for one curve."""

    model: str | None
    scores: dict[str, float | None]
    predictions: tuple[Prediction, ...]
    capacity: FittedCapacity
    levels: int
    unit: str | None = None
    left_out: tuple[str, ...] = ()
    key: dict[str, str] = {}
    points: tuple[tuple[float, float], ...] = ()


def answer(path: Path, question: FitRequest) -> list[Fit]:
    """Answer for every curve of a file, one without `by`.

    Raises:
        UserError: the file or the question cannot be read (exit code 2), or is not enough evidence (exit code 4).
    """
    table = read(path, question.decimal)
    table.require(question.load, question.metric, *question.by)
    if not table.rows:
        raise UserError(f"{path} has column names but no row, and so no load level", Exit.EVIDENCE)
    if not question.by:
        return [_one(table, question, {})]
    return [_group(table.where(key), question, key) for key in table.keys(question.by)]


def _group(table: Table, question: FitRequest, key: dict[str, str]) -> Fit:
    """One curve of several: a curve without enough evidence says so and does not stop the others."""
    try:
        return _one(table, question, key)
    except UserError as error:
        if error.code != Exit.EVIDENCE:
            raise
        return refused(str(error), question, key)


def refused(reason: str, question: FitRequest, key: dict[str, str] | None = None) -> Fit:
    """The answer that says why there is none."""
    nothing = FittedCapacity(
        last_pass=None, first_fail=None, estimate=None, low=None, high=None, status="not_identifiable", reason=reason
    )
    return Fit(model=None, scores={}, predictions=(), capacity=nothing, levels=0, unit=question.unit, key=key or {})


def _one(table: Table, question: FitRequest, key: dict[str, str]) -> Fit:
    unit = _unit(table, question)
    objective = None if question.objective is None else condition(question.objective, unit)
    judged = question.metric if objective is None else objective.column
    table.require(judged)
    positive = question.kind in ("throughput", "latency")
    found = read_levels(table, Columns(question.load, question.metric, judged, positive))
    if len(found.levels) < 2:
        raise UserError(_too_few(table, found, key), Exit.EVIDENCE)
    chosen = compete(question.kind, found.loads, found.figures)
    return Fit(
        model=chosen.name,
        scores=chosen.scores,
        predictions=_predictions(chosen, found, question),
        capacity=_capacity(chosen, found, question, objective),
        levels=len(found.levels),
        unit=unit,
        left_out=found.left_out,
        key=key,
        points=tuple((level.load, level.figure) for level in found.levels),
    )


def _unit(table: Table, question: FitRequest) -> str | None:
    """The unit of the figure: as its cells or its column state, else as it was asked."""
    stated = table.unit(question.metric)
    if stated and question.unit and stated.lower() != question.unit.lower():
        raise UserError(f"--unit says {question.unit}, and {question.metric} of {table.path} is in {stated}")
    return question.unit or stated


def _predictions(chosen: Chosen, found: TableLevels, question: FitRequest) -> tuple[Prediction, ...]:
    if len(found.levels) < LEAST_LEVELS or not question.predict:
        return ()
    band = chosen.law.band(list(question.predict), noise=True)
    band = np.maximum(band, 0.0)  # a line may point below what any of these figures can be
    return tuple(
        Prediction(load, float(value), float(low), float(high))
        for load, (low, value, high) in zip(question.predict, band, strict=True)
    )


def _capacity(
    chosen: Chosen, found: TableLevels, question: FitRequest, objective: ObjectiveTerm | None
) -> FittedCapacity:
    if objective is None:
        return ceiling(chosen.shape, found.levels) if question.kind == "throughput" else no_objective()
    levels = found.levels
    if objective.column == question.metric and question.kind in ("memory", "cpu"):
        return within(chosen.shape, levels, objective)
    if objective.column != question.metric:
        # The objective speaks of another column, and so its own law has to say where it is missed.
        levels = tuple(msgspec.structs.replace(level, figure=max(level.judged)) for level in levels)
        if any(level.figure <= 0 for level in levels):
            raise UserError(f"the objective's column {objective.column} has figures of 0 or less, which no law fits")
    return within(_judging(levels, objective, question.load), levels, objective)


def _judging(levels: Sequence[TableLevel], objective: ObjectiveTerm, load: str) -> Law:
    """The law that says where the objective is left.

    What must stay below a bound is read as a latency; what must stay above one, and falls, as a latency upside down.
    """
    loads, figures = [level.load for level in levels], [level.figure for level in levels]
    prior = DEFAULT_PRIOR if _CLOSED_LOOP.search(load) else PACED
    if objective.at_most:
        return fit_latency(loads, figures, prior)
    if figures[-1] < figures[0]:
        return Reciprocal(fit_latency(loads, [1 / figure for figure in figures], prior))
    return fit_throughput(loads, figures)


def _too_few(table: Table, found: TableLevels, key: dict[str, str]) -> str:
    where = ", ".join(f"{column} {value}" for column, value in key.items())
    what = f"{table.path}{f' ({where})' if where else ''}"
    levels = "no usable load level" if not found.levels else f"one load level ({found.loads[0]:g})"
    more = f"; left out: {found.left_out[0]}" if found.left_out else ""
    return f"{what} has {levels}; a fit needs two for a capacity and {LEAST_LEVELS} for predictions{more}"


def document(fits: Sequence[Fit], question: FitRequest) -> dict[str, object]:
    """The body of the JSON: the one fit, or one a group under `groups` when the question has `by`."""
    bodies = [msgspec.to_builtins(fit) for fit in fits]
    if question.by:
        return {"by": list(question.by), "groups": bodies}
    del bodies[0]["key"]
    body: dict[str, object] = bodies[0]
    return body
