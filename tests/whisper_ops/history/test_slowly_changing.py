"""Whatever order polls are put in, and however the work is cut into runs, each reads back as it was."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_ops.history import History
from whisper_ops.identity import Identity
from whisper_ops.snapshot import GpuFigures, HostFigures, ServerFigures, Snapshot

NAMES = st.sampled_from(["a", "b", None])
gpus = st.lists(st.tuples(st.integers(0, 2), NAMES), unique_by=lambda gpu: gpu[0], max_size=3)


class Say(NamedTuple):
    """One poll put in, and whether the writer is closed and opened again before it."""

    snapshot: Snapshot
    restart: bool


@st.composite
def polls(draw: st.DrawFn) -> Say:
    server, at = draw(st.sampled_from(["one", "two"])), float(draw(st.integers(0, 12)))
    restart = draw(st.booleans())
    if draw(st.integers(0, 4)) == 0:
        return Say(Snapshot(server=server, at=at, state="silent", error="gone"), restart)
    model = draw(NAMES)
    identity = None if draw(st.booleans()) else Identity(model=model, simulated=draw(st.booleans()))
    return Say(
        Snapshot(
            server=server,
            at=at,
            identity=identity,
            figures=ServerFigures(slots=draw(st.integers(0, 3)), started_at=draw(st.sampled_from([None, 1.5]))),
            gpus=tuple(GpuFigures(gpu_id=gpu_id, name=name) for gpu_id, name in sorted(draw(gpus))),
            host=HostFigures(hostname=draw(NAMES), cpu_ratio=0.5) if draw(st.booleans()) else None,
        ),
        restart,
    )


@settings(max_examples=80, deadline=None)
@given(st.lists(polls(), max_size=25), st.integers(1, 5))
def test_polls_in_any_order_read_back_as_they_were(told: list[Say], batch: int) -> None:
    expected = {(said.snapshot.server, said.snapshot.at): said.snapshot for said in told}
    with TemporaryDirectory() as folder:
        path = Path(folder, "history.db")
        history = History.writing(path)
        waiting: list[Snapshot] = []
        for said in told:
            waiting.append(said.snapshot)
            if said.restart or len(waiting) >= batch:
                history.polls.add(waiting)
                waiting = []
            if said.restart:
                history.close()
                history = History.writing(path)
        history.polls.add(waiting)
        for server in ("one", "two"):
            wanted = [expected[key] for key in sorted(expected) if key[0] == server]
            assert list(history.polls.between(server, 0, 100)) == wanted
            assert list(history.polls.between(server, 5, 9)) == [s for s in wanted if 5 <= s.at < 9]
        history.close()
