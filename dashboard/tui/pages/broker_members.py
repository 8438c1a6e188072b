"""The servers behind brokers: what several brokers say of one is one reading, and its state in a word."""

from collections.abc import Iterable
from typing import NamedTuple

from dashboard.tui.pages.server_states import ServerState
from dashboard.tui.pages.thresholds import lag_style
from dashboard.world import STALE_AFTER_SECONDS, ServerView, World
from whisper_ops import wire
from whisper_ops.formatting import counted

_LOST = ServerState("✕", "lost", "bad", 0)
"""It answered before, and does not any more."""
_SILENT = ServerState("✕", "silent", "bad", 1)
"""It never answered this broker."""
_LATE = ServerState("▲", "late", "bad", 2)
_DEGRADED = ServerState("▲", "degraded", "warn", 3)
_STALE = ServerState("◌", "stale", "warn", 4)
_FULL = ServerState("◆", "full", "warn", 5)
_DRAINING = ServerState("▽", "draining", "note", 6)
_STARTING = ServerState("◔", "starting", "note", 7)
_DUPLICATE = ServerState("○", "twice", "dim", 9)
"""Another name leads to the same server, whose slots count once."""
_HEALTHY = ServerState("●", "healthy", "ok", 9)


_NAMED = 3
"""Servers of a state that are named in a sentence."""


class MemberView(NamedTuple):
    """A server as the broker with the newest reading of it sees it."""

    broker: str
    answer: wire.Member
    age: float | None
    """Seconds since it answered; None: it never did."""
    state: ServerState
    unreached_by: tuple[str, ...] = ()
    """Brokers that do not reach it, while this one does."""


def brokers(world: World) -> list[ServerView]:
    """Those of the servers on screen that are brokers."""
    return [server for server in world.servers if server.answer is not None and server.answer.members is not None]


def members_of_all(world: World) -> list[MemberView]:
    """Every server behind the brokers once, the worst first."""
    every = [member for broker in brokers(world) for member in members_of(world, broker)]
    # Who never answered a broker has no id there: another one may know it, by the same name.
    ids = {
        one.answer.name: one.answer.server_id for one in every if one.answer.server_id and one.state is not _DUPLICATE
    }
    by_server: dict[str, list[MemberView]] = {}
    for member in every:
        # Another name of a server that the broker knows already is a row of its own, whose slots count nowhere.
        own = None if member.state is _DUPLICATE else member.answer.server_id or ids.get(member.answer.name)
        by_server.setdefault(own or member.answer.name, []).append(member)
    return sorted((_merged(each) for each in by_server.values()), key=lambda one: (one.state.rank, one.answer.name))


def lag_of(member: wire.Member) -> float | None:
    """The lag of the streams that are there; of the last minute's, which are gone, it is nobody's."""
    return None if member.streams_active == 0 else member.lag_p95_s


def members_of(world: World, broker: ServerView) -> list[MemberView]:
    """The members of one broker, in its order."""
    answer = broker.answer
    if answer is None:
        return []
    since = world.now - answer.at
    objective = world.objective_for(broker)
    views = []
    for member in answer.members or ():
        age = None if member.age_seconds is None else member.age_seconds + max(0.0, since)
        views.append(MemberView(broker.name, member, age, _state(member, age, objective)))
    return views


def members_not_well(world: World, broker: ServerView) -> list[str]:
    """Which servers behind a broker are not well, in a sentence; none where all are, or it is no broker."""
    named: dict[ServerState, list[str]] = {}
    members = members_of(world, broker)
    for member in members:
        if not member.state.well:
            named.setdefault(member.state, []).append(member.answer.name)
    if not named:
        return []
    parts = [
        f"{len(names)} {state.word}: {', '.join(sorted(names)[:_NAMED])}{', …' * (len(names) > _NAMED)}"
        for state, names in sorted(named.items(), key=lambda pair: pair[0].rank)
    ]
    return [f"of {counted(len(members), 'server')} {'; '.join(parts)} (6 shows all)"]


def with_slots(members: Iterable[MemberView]) -> list[wire.Member]:
    """Those whose slots are there, each server once."""
    return [one.answer for one in members if one.state is not _DUPLICATE and one.answer.state != "silent"]


def state_counts(members: Iterable[MemberView]) -> dict[ServerState, int]:
    """How many are in each state, the worst first."""
    counts: dict[ServerState, int] = {}
    for member in members:
        counts[member.state] = counts.get(member.state, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: pair[0].rank))


def _merged(readings: list[MemberView]) -> MemberView:
    """What several brokers say of one server: what the one says that read it last, if any reaches it."""
    best = min(
        readings, key=lambda one: (one.answer.state == "silent", one.age if one.age is not None else float("inf"))
    )
    if best.answer.state == "silent":
        return best
    lost = tuple(one.broker for one in readings if one.answer.state == "silent")
    return best._replace(unreached_by=lost)


def _state(member: wire.Member, age: float | None, objective: float) -> ServerState:
    if member.state == "silent":
        return _SILENT if member.age_seconds is None else _LOST
    if member.error is not None:
        return _DUPLICATE
    holding = {"draining": _DRAINING, "starting": _STARTING}.get(member.state)
    states = [
        (_LATE, lag_style(lag_of(member), objective) == "bad"),
        (_DEGRADED, bool(member.gpus_failed)),
        (_STALE, age is not None and age > STALE_AFTER_SECONDS),
        (holding or _HEALTHY, True),
    ]
    worst = next(state for state, holds in states if holds)
    return _FULL if worst is _HEALTHY and member.slots and member.slots_free == 0 else worst
