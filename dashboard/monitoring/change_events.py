"""What changed between two polls: a silence, a restart, another version, another limit. Imports no textual."""

from collections.abc import Callable, Iterator

from dashboard import figure_text as f
from dashboard.device_names import device_in_sentence
from whisper_ops.history import EventRecord
from whisper_ops.snapshot import Snapshot


class ChangeEvents:
    """Takes every snapshot and answers with the events that it shows, each once."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        """`clock` measures how long a silence lasts; without one the polls' own time does."""
        self._clock = clock
        self._answers: dict[str, Snapshot] = {}
        self._silent_since: dict[str, float] = {}
        self._identities: dict[tuple[str, str], str] = {}
        """The newest known version, model and precision of each server, by server and kind of event."""

    def take(self, snapshot: Snapshot) -> list[EventRecord]:
        """The events that lie between the poll before and this one."""
        name, now = snapshot.server, snapshot.at if self._clock is None else self._clock()
        if snapshot.state == "silent":
            if name in self._silent_since:
                return []
            self._silent_since[name] = now
            return [_event(snapshot, "silent", snapshot.error or "no answer")]
        events: list[EventRecord] = []
        since = self._silent_since.pop(name, None)
        if since is not None:
            events.append(_event(snapshot, "answers", f"answers again after {f.duration(now - since)}"))
        before = self._answers.get(name)
        self._answers[name] = snapshot
        events += _reading_changes(before, snapshot)
        events += self._identity_changes(snapshot)
        return [*events, *_changes(before, snapshot)] if before is not None else events

    def _identity_changes(self, snapshot: Snapshot) -> Iterator[EventRecord]:
        """Another version, model or precision; one that is unknown for some polls did not change."""
        for field, kind in (("version", "version"), ("model", "model"), ("compute_type", "precision")):
            now = None if snapshot.identity is None else getattr(snapshot.identity, field)
            if now is None:
                continue
            was = self._identities.get((snapshot.server, kind))
            self._identities[snapshot.server, kind] = now
            if was is not None and was != now:
                yield _event(snapshot, kind, f"{was} to {now}")


def gone_event(server: str, at: float) -> EventRecord:
    """A replica is polled no more: it does not answer, and its DNS name no longer leads to it."""
    return EventRecord(at=at, server=server, kind="gone", detail="its DNS name no longer leads to it")


def _changes(before: Snapshot, after: Snapshot) -> Iterator[EventRecord]:
    old, new = before.figures, after.figures
    if old is not None and new is not None:
        started = new.started_at
        if old.started_at is not None and started is not None and started > old.started_at + 1:
            yield _event(after, "restart", f"restarted at {f.clock(started)}")
        if old.slots_per_gpu is not None and new.slots_per_gpu is not None and old.slots_per_gpu != new.slots_per_gpu:
            yield _event(after, "limit", f"max_connections_per_gpu {old.slots_per_gpu} to {new.slots_per_gpu}")
        if "draining" in {old.status, new.status} and old.status != new.status:
            draining = new.status == "draining"
            yield _event(after, "drain", "draining: no new streams" if draining else "accepts new streams again")
    yield from _gpu_changes(before, after)


def _gpu_changes(before: Snapshot, after: Snapshot) -> Iterator[EventRecord]:
    restarts = {gpu.gpu_id: gpu.restarts for gpu in before.gpus}
    for gpu in after.gpus:
        was = restarts.get(gpu.gpu_id)
        if was is not None and gpu.restarts is not None and gpu.restarts > was:
            yield _event(after, "worker", f"the worker of {device_in_sentence(gpu)} was restarted")
    failed = {gpu.gpu_id for gpu in before.gpus if gpu.state == "failed"}
    for gpu in after.gpus:
        if gpu.state == "failed" and gpu.gpu_id not in failed:
            yield _event(after, "failed", f"{device_in_sentence(gpu)} failed")
        elif gpu.state == "ready" and gpu.gpu_id in failed:
            yield _event(after, "works", f"{device_in_sentence(gpu)} is ready again")


def _reading_changes(before: Snapshot | None, after: Snapshot) -> Iterator[EventRecord]:
    """GPUs that cannot be read, from the first poll on: each reason once, and when readings are back."""
    was, now = _reading_errors(before), _reading_errors(after)
    for key, (name, why) in now.items():
        if was.get(key) != (name, why):
            yield _event(after, "unreadable", f"{name}: {why}")
    for key, (name, _) in was.items():
        if key not in now:
            yield _event(after, "readable", f"{name}: readings are back")


def _reading_errors(snapshot: Snapshot | None) -> dict[int | None, tuple[str, str]]:
    """By GPU (None: all of them) what cannot be read, and why; what holds for all is not repeated for each."""
    found: dict[int | None, tuple[str, str]] = {}
    every = snapshot.figures.reading_error if snapshot is not None and snapshot.figures is not None else None
    if every is not None:
        found[None] = ("no GPU can be read", every)
    for gpu in snapshot.gpus if snapshot is not None else ():
        if gpu.reading_error is not None and gpu.reading_error != every:
            found[gpu.gpu_id] = (f"{device_in_sentence(gpu)} cannot be read", gpu.reading_error)
    return found


def _event(snapshot: Snapshot, kind: str, detail: str) -> EventRecord:
    return EventRecord(at=snapshot.at, server=snapshot.server, kind=kind, detail=detail)
