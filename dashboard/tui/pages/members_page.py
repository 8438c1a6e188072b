"""A fleet behind brokers: how many servers are well and what is free, then the brokers, then every server."""

from collections.abc import Iterable, Sequence

from dashboard import figure_text as f
from dashboard.tui.pages.broker_members import (
    MemberView,
    brokers,
    lag_of,
    members_of,
    members_of_all,
    state_counts,
    with_slots,
)
from dashboard.tui.pages.gauges import bar
from dashboard.tui.pages.row_keys import member_key, server_key
from dashboard.tui.pages.server_states import server_state
from dashboard.tui.pages.styled_lines import BLANK, Cell, Line, Page, TextSpan, cell, folded, line, width_of, wrapped
from dashboard.tui.pages.text_table import TextColumn, TextTable
from dashboard.tui.pages.thresholds import lag_style
from dashboard.world import ServerView, World
from whisper_ops.formatting import counted

_BAR = 12
_BROKERS = (
    TextColumn(key="name", title="   broker", width=16, grows=True),
    TextColumn(key="state", title="state", width=10),
    TextColumn(key="members", title="servers", width=7, align="right"),
    TextColumn(key="free", title="free", width=6, align="right"),
    TextColumn(key="rejects", title="rej/m", width=5, align="right", at=66),
    TextColumn(key="age", title="age", width=8, align="right"),
)
_MEMBERS = (
    TextColumn(key="name", title="   server", width=16, grows=True),
    TextColumn(key="state", title="state", width=10),
    TextColumn(key="used", title="taken", width=_BAR, at=80),
    TextColumn(key="slots", title="slots", width=8, align="right"),
    TextColumn(key="free", title="free", width=6, align="right"),
    TextColumn(key="gpus", title="GPUs", width=4, align="right", at=72),
    TextColumn(key="lag", title="lag p95", width=8, align="right", at=60),
    TextColumn(key="age", title="age", width=8, align="right"),
)


def members_page(world: World, width: int) -> Page:
    """The page of all brokers and their servers."""
    crumbs = ("fleet", "members")
    asked = brokers(world)
    if not asked:
        return Page(crumbs=crumbs, body=tuple(_no_broker(world, width)))
    members = members_of_all(world)
    name_width = 3 + max(len(name) for name in (*(one.name for one in asked), *(one.answer.name for one in members)))
    broker_table, member_table = TextTable(_BROKERS, width, name_width), TextTable(_MEMBERS, width, name_width)
    body = [
        broker_table.header(),
        *(part for broker in asked for part in _broker(world, broker, broker_table, width)),
        BLANK,
        member_table.header(),
        *(part for member in members for part in _member(world, member, member_table, width)),
    ]
    return Page(crumbs=crumbs, head=(*_totals(asked, members, width), BLANK), body=tuple(body))


def _no_broker(world: World, width: int) -> list[Line]:
    if world.mode == "replay":
        text = "The state of servers behind a broker is not recorded, only their totals; L goes back to the present."
        return wrapped(text, width, " ")
    return [
        line(TextSpan(" no broker is watched", "title")),
        BLANK,
        *wrapped(
            "whisper-ops broker URL… sends clients to a server with a free slot; dash http://BROKER shows its servers "
            "here: which are free, draining or lost.",
            width,
            " ",
        ),
    ]


def _totals(asked: Sequence[ServerView], members: Sequence[MemberView], width: int) -> tuple[Line, ...]:
    known = with_slots(members)
    free, slots = _known_sum(one.slots_free for one in known), _known_sum(one.slots for one in known)
    gpus = sum(one.gpus or 0 for one in known)
    processors = all(gpu.is_cpu for broker in asked if broker.answer for gpu in broker.answer.gpus)
    devices = counted(gpus, "CPU" if processors and gpus else "GPU")
    answer: tuple[TextSpan | str, ...] = (
        " free ", TextSpan(f.count(free), "title"), f" of {f.count(slots)} slots    streams ",
        TextSpan(f.count(_known_sum(one.streams_active for one in known)), "title"),
        TextSpan(f"    {counted(len(members), 'server')} · {devices} · {counted(len(asked), 'broker')}", "dim"),
    )  # fmt: skip
    states = [TextSpan(f" {state.glyph} {f.count(many)} {state.word} ", state.style)
              for state, many in state_counts(members).items()]  # fmt: skip
    return (*folded(line(*answer), width), *_in_lines(states, width))


def _in_lines(pieces: Sequence[TextSpan], width: int) -> list[Line]:
    """As many pieces in a line as there is room for, none of them broken."""
    rows: list[list[TextSpan]] = [[]]
    for piece in pieces:
        if rows[-1] and width_of((*rows[-1], piece)) > width:
            rows.append([])
        rows[-1].append(piece)
    return [line(*row) for row in rows]


def _known_sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _broker(world: World, broker: ServerView, table: TextTable, width: int) -> list[Line]:
    state = server_state(broker, world)
    answer = broker.answer
    members = members_of(world, broker)
    cells: dict[str, Cell] = {
        "name": (TextSpan(f" {state.glyph} ", state.style), TextSpan(broker.name, "title")),
        "state": cell(state.word, state.style),
        "age": cell(f.duration(world.now - answer.at) if answer else f.UNKNOWN, "dim"),
    }
    if answer is not None and not broker.silent:
        cells |= {
            "members": cell(f.count(len(members))),
            "free": cell(f.count(sum(one.answer.slots_free or 0 for one in members))),
            "rejects": cell(f.count(broker.rejects_per_minute), "bad" if broker.rejects_per_minute else ""),
        }
    why = (
        f"no answer: {broker.newest.error}; its servers are shown as it last reported them"
        if broker.silent and broker.newest
        else ""
    )
    return [table.row(cells, key=server_key(broker.name)), *wrapped(why, width - 1, "    ", "dim")]


def _member(world: World, member: MemberView, table: TextTable, width: int) -> list[Line]:
    state, answer = member.state, member.answer
    cells: dict[str, Cell] = {
        "name": (TextSpan(f" {state.glyph} ", state.style), TextSpan(answer.name, "title")),
        "state": cell(state.word, state.style),
        "age": cell(f.duration(member.age), "warn" if state.word == "stale" else "dim"),
        "gpus": cell(f.count(answer.gpus)),
        "used": (),
    }
    if answer.state != "silent":
        objective = world.objective_for(world.server(member.broker))
        cells |= {
            "used": bar(f.share(answer.slots_used, answer.slots), _BAR, "warn" if state.word == "full" else "fill"),
            "slots": cell(f.over(answer.slots_used, answer.slots)),
            "free": cell(f.count(answer.slots_free), "title" if answer.slots_free else "dim"),
            "lag": cell(f.seconds(lag_of(answer)), lag_style(lag_of(answer), objective)),
        }
    lines = [table.row(cells, key=member_key(member.broker, answer.name))]
    return lines + [part for why in _why(member) for part in wrapped(why, width - 1, "    ", "dim")]


def _why(member: MemberView) -> list[str]:
    """Why a member gets no streams, or gets them from some brokers only."""
    answer, sentences = member.answer, []
    if answer.error is not None:
        sentences.append(answer.error)
    if answer.gpus_failed:
        sentences.append(f"{counted(answer.gpus_failed, 'GPU')} failed")
    if answer.state == "draining":
        left = answer.streams_active if answer.streams_active is not None else answer.slots_used
        sentences.append(f"no new stream is sent there; {counted(left, 'stream')} left; :undrain ends that")
    if member.unreached_by:
        sentences.append(f"not reached by {' and '.join(member.unreached_by)}, which sends no streams there")
    return sentences
