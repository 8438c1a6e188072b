"""A whisper-ops server: one `GET /snapshot` a poll."""

import time

import msgspec

from whisper_ops import wire
from whisper_ops.http_answers import MAX_JSON_BYTES
from whisper_ops.lenient_json import NotJsonError, OtherShapeError, decode
from whisper_ops.server_names import default_name
from whisper_ops.snapshot import Snapshot, from_wire
from whisper_ops.snapshot_client.http_client import Access, HttpClient
from whisper_ops.snapshot_client.source import OtherServerError, Remarks, SourceError

_CLOCK_TOLERANCE_SECONDS = 60.0
_PROCESSES = 64
"""Servers behind one address that are told apart."""


class WhisperOpsSource:
    """Polls `URL/snapshot`. `name` is what its rows are called; without one, the address."""

    def __init__(self, url: str, *, name: str | None = None, access: Access | None = None) -> None:
        self.name = name or default_name(url)
        self.remarks = Remarks()
        self._before: dict[str | None, wire.ServerSnapshot] = {}
        """The last answer of each server process: behind a balancer several answer at one address."""
        self._last: str | None = None
        self._http = HttpClient(url, access)

    async def read(self) -> Snapshot:
        """One poll, stamped with this machine's clock."""
        began = time.perf_counter()
        response = await self._http.get("/snapshot", MAX_JSON_BYTES)
        answer = await self._http.parsed(response, lambda: self._decode(response.body, response.content_type))
        at = time.time()
        self._compare_clocks(answer.health.timestamp - at)
        before = self._previous(answer)
        return _without_stale_figures(from_wire(self.name, at, time.perf_counter() - began, answer, before))

    def _previous(self, answer: wire.ServerSnapshot) -> wire.ServerSnapshot | None:
        """The answer before of the same process, and a remark where they take turns."""
        before = self._before.pop(answer.server_id, None)
        self._before[answer.server_id] = answer
        if len(self._before) > _PROCESSES:
            del self._before[next(iter(self._before))]
        # One that was started again never comes back by its old name.
        if before is not None and answer.server_id != self._last:
            self.remarks.note(
                "balancer",
                f"{self.name} is a balancer: {len(self._before)} servers answer in turn, and its figures are now of "
                "one, now of another; poll each at its own address",
            )
        self._last = answer.server_id
        return before

    async def close(self) -> None:
        await self._http.close()

    def _decode(self, body: bytes, content_type: str) -> wire.ServerSnapshot:
        try:
            answer, loose = decode(body, wire.ServerSnapshot)
        except OtherShapeError as error:
            raise OtherServerError(
                f"{self.name} answered something else than a whisper-ops server does: {error}"
            ) from error
        except NotJsonError as error:
            if "html" in content_type or body.lstrip()[:1] == b"<":
                raise OtherServerError(
                    f"{self.name} answered HTML, not JSON; is another program listening there?"
                ) from error
            raise SourceError(f"{self.name} sent JSON that is cut off or broken: {error}") from error
        if loose is not None:
            self.remarks.note(loose.kind, f"{self.name} sends {loose.words}")
        return answer

    def _compare_clocks(self, ahead: float) -> None:
        if abs(ahead) > _CLOCK_TOLERANCE_SECONDS:
            direction = "ahead of" if ahead > 0 else "behind"
            self.remarks.note(
                "clock",
                f"the clock of {self.name} is {abs(ahead):.0f} s {direction} this machine's; "
                "rows carry this machine's time",
            )


def _without_stale_figures(read: Snapshot) -> Snapshot:
    """A poll without figures of streams that are gone.

    A server's lags are those of its last minute: where no stream is left they are nobody's. And what its workers say
    of who speaks is up to a second older than how many are connected, so that more may speak than are there.
    """
    gpus = tuple(
        msgspec.structs.replace(
            gpu,
            lag_p95_seconds=gpu.lag_p95_seconds if gpu.streams_active != 0 else None,
            streams_speaking=_at_most(gpu.streams_speaking, gpu.streams_active),
        )
        for gpu in read.gpus
    )
    figures = read.figures
    if figures is None:
        return msgspec.structs.replace(read, gpus=gpus)
    there = _at_most(figures.streams_speaking, figures.streams_active)
    figures = msgspec.structs.replace(figures, streams_speaking=there)
    if figures.streams_active == 0:
        figures = msgspec.structs.replace(figures, lag_p50_seconds=None, lag_p95_seconds=None, lag_p99_seconds=None)
    return msgspec.structs.replace(read, gpus=gpus, figures=figures)


def _at_most(part: int | None, whole: int | None) -> int | None:
    return part if part is None or whole is None else min(part, whole)
