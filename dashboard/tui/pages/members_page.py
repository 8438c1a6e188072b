"""A fleet behind brokers: how many servers are well and what is free, then the brokers, then every server."""

from collections.abc import Iterable, Sequence

from dashboard import figure_text as f
from dashboard.tui.pages.broker_members import SeenMember, brokers, counted_states, counting, lag_of, members_of, seen
from dashboard.tui.pages.gauges import bar
from dashboard.tui.pages.row_keys import member_key, server_key
from dashboard.tui.pages.server_states import server_state
from dashboard.tui.pages.styled_lines import (
    BLANK,
    Cell,
    Line,
    Page,
    TextColumn,
    TextSpan,
    cell,
    columns_for,
    folded,
    header,
    line,
    row,
    width_of,
    wrapped,
)
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
    members = seen(world)
    wanted = 3 + max(len(name) for name in (*(one.name for one in asked), *(one.said.name for one in members)))
    of_brokers, of_members = columns_for(_BROKERS, width, wanted), columns_for(_MEMBERS, width, wanted)
    body = [
        header(of_brokers),
        *(part for broker in asked for part in _broker(world, broker, of_brokers, width)),
        BLANK,
        header(of_members),
        *(part for member in members for part in _member(world, member, of_members, width)),
    ]
    return Page(crumbs=crumbs, head=(*_totals(asked, members, width), BLANK), body=tuple(body))


def _no_broker(world: World, width: int) -> list[Line]:
    if world.mode == "replay":
        text = "What brokers said of their servers is not recorded, only their sums; L goes back to the present."
        return wrapped(text, width, " ")
    return [
        line(TextSpan(" no broker is watched", "title")),
        BLANK,
        *wrapped(
            "whisper-ops broker URL… sends clients to the server that has room; dash http://BROKER shows its servers "
            "here: which have room, which drain, which are lost.",
            width,
            " ",
        ),
    ]


def _totals(asked: Sequence[ServerView], members: Sequence[SeenMember], width: int) -> tuple[Line, ...]:
    known = counting(members)
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
              for state, many in counted_states(members).items()]  # fmt: skip
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


def _broker(world: World, broker: ServerView, columns: Sequence[TextColumn], width: int) -> list[Line]:
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
            "free": cell(f.count(sum(one.said.slots_free or 0 for one in members))),
            "rejects": cell(f.count(broker.rejects_per_minute), "bad" if broker.rejects_per_minute else ""),
        }
    why = (
        f"it does not answer: {broker.newest.error}; what follows is of before"
        if broker.silent and broker.newest
        else ""
    )
    return [row(columns, cells, key=server_key(broker.name)), *wrapped(why, width - 1, "    ", "dim")]


def _member(world: World, member: SeenMember, columns: Sequence[TextColumn], width: int) -> list[Line]:
    state, said = member.state, member.said
    cells: dict[str, Cell] = {
        "name": (TextSpan(f" {state.glyph} ", state.style), TextSpan(said.name, "title")),
        "state": cell(state.word, state.style),
        "age": cell(f.duration(member.age), "warn" if state.word == "stale" else "dim"),
        "gpus": cell(f.count(said.gpus)),
        "used": (),
    }
    if said.state != "silent":
        objective = world.objective_for(world.server(member.broker))
        cells |= {
            "used": bar(f.share(said.slots_used, said.slots), _BAR, "warn" if state.word == "full" else "fill"),
            "slots": cell(f.over(said.slots_used, said.slots)),
            "free": cell(f.count(said.slots_free), "title" if said.slots_free else "dim"),
            "lag": cell(f.seconds(lag_of(said)), lag_style(lag_of(said), objective)),
        }
    lines = [row(columns, cells, key=member_key(member.broker, said.name))]
    return lines + [part for why in _why(member) for part in wrapped(why, width - 1, "    ", "dim")]


def _why(member: SeenMember) -> list[str]:
    """Why a member gets no streams, or gets them from some brokers only."""
    said, sentences = member.said, []
    if said.error is not None:
        sentences.append(said.error)
    if said.gpus_failed:
        sentences.append(f"{counted(said.gpus_failed, 'GPU')} failed")
    if said.state == "draining":
        left = said.streams_active if said.streams_active is not None else said.slots_used
        sentences.append(f"no new stream is sent there; {counted(left, 'stream')} left; :undrain ends that")
    if member.unreached_by:
        sentences.append(f"not reached by {' and '.join(member.unreached_by)}, which sends nobody there")
    return sentences
