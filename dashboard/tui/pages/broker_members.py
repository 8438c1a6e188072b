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
_TWIN = ServerState("○", "twice", "dim", 9)
"""Another name leads to the same server, whose slots count once."""
_HEALTHY = ServerState("●", "healthy", "ok", 9)


_NAMED = 3
"""Servers of a state that are named in a sentence."""


class SeenMember(NamedTuple):
    """A server as the broker with the newest reading of it sees it."""

    broker: str
    said: wire.Member
    age: float | None
    """Seconds since it answered; None: it never did."""
    state: ServerState
    unreached_by: tuple[str, ...] = ()
    """Brokers that do not reach it, while this one does."""


def brokers(world: World) -> list[ServerView]:
    """Those of the servers on screen that are brokers."""
    return [server for server in world.servers if server.answer is not None and server.answer.members is not None]


def seen(world: World) -> list[SeenMember]:
    """Every server behind the brokers once, the worst first."""
    every = [member for broker in brokers(world) for member in members_of(world, broker)]
    # Who never answered a broker has no id there: another one may know it, by the same name.
    ids = {one.said.name: one.said.server_id for one in every if one.said.server_id and one.state is not _TWIN}
    found: dict[str, list[SeenMember]] = {}
    for member in every:
        # Another name of a server that the broker knows already is a row of its own, whose slots count nowhere.
        own = None if member.state is _TWIN else member.said.server_id or ids.get(member.said.name)
        found.setdefault(own or member.said.name, []).append(member)
    return sorted((_one(each) for each in found.values()), key=lambda one: (one.state.rank, one.said.name))


def lag_of(member: wire.Member) -> float | None:
    """The lag of the streams that are there; of the last minute's, which are gone, it is nobody's."""
    return None if member.streams_active == 0 else member.lag_p95_s


def members_of(world: World, broker: ServerView) -> list[SeenMember]:
    """The members of one broker, in its order."""
    answer = broker.answer
    if answer is None:
        return []
    since = world.now - answer.at
    objective = world.objective_for(broker)
    made = []
    for member in answer.members or ():
        age = None if member.age_seconds is None else member.age_seconds + max(0.0, since)
        made.append(SeenMember(broker.name, member, age, _state(member, age, objective)))
    return made


def unwell(world: World, broker: ServerView) -> list[str]:
    """Which servers behind a broker are not well, in a sentence; none where all are, or it is no broker."""
    named: dict[ServerState, list[str]] = {}
    members = members_of(world, broker)
    for member in members:
        if not member.state.well:
            named.setdefault(member.state, []).append(member.said.name)
    if not named:
        return []
    parts = [
        f"{len(names)} {state.word}: {', '.join(sorted(names)[:_NAMED])}{', …' * (len(names) > _NAMED)}"
        for state, names in sorted(named.items(), key=lambda pair: pair[0].rank)
    ]
    return [f"of {counted(len(members), 'server')} {'; '.join(parts)} (6 shows all)"]


def counting(members: Iterable[SeenMember]) -> list[wire.Member]:
    """Those whose slots are there, each server once."""
    return [one.said for one in members if one.state is not _TWIN and one.said.state != "silent"]


def counted_states(members: Iterable[SeenMember]) -> dict[ServerState, int]:
    """How many are in each state, the worst first."""
    counts: dict[ServerState, int] = {}
    for member in members:
        counts[member.state] = counts.get(member.state, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: pair[0].rank))


def _one(readings: list[SeenMember]) -> SeenMember:
    """What several brokers say of one server: what the one says that read it last, if any reaches it."""
    best = min(readings, key=lambda one: (one.said.state == "silent", one.age if one.age is not None else float("inf")))
    if best.said.state == "silent":
        return best
    lost = tuple(one.broker for one in readings if one.said.state == "silent")
    return best._replace(unreached_by=lost)


def _state(member: wire.Member, age: float | None, objective: float) -> ServerState:
    if member.state == "silent":
        return _SILENT if member.age_seconds is None else _LOST
    if member.error is not None:
        return _TWIN
    holding = {"draining": _DRAINING, "starting": _STARTING}.get(member.state)
    states = [
        (_LATE, lag_style(lag_of(member), objective) == "bad"),
        (_DEGRADED, bool(member.gpus_failed)),
        (_STALE, age is not None and age > STALE_AFTER_SECONDS),
        (holding or _HEALTHY, True),
    ]
    worst = next(state for state, holds in states if holds)
    return _FULL if worst is _HEALTHY and member.slots and member.slots_free == 0 else worst
