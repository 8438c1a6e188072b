"""The verification list: fill a server to its last slot, look at every step, empty it, and look again."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import mean, median

import msgspec

from capacity.checklist import server_memory
from capacity.checklist.check_results import CheckResult, check_result
from capacity.checklist.probe_connections import ProbeConnection, round_trip_seconds, with_detected_protocol
from capacity.checklist.server_state import ReportedState, not_applicable, reported_state
from capacity.loadtest.target import Target, open_source, poll_once, reach, with_protocol
from whisper_ops.errors import Exit, UserError
from whisper_ops.formatting import counted
from whisper_ops.known_software import WHISPER_OPS
from whisper_ops.snapshot import ServerFigures, Snapshot
from whisper_ops.snapshot_client.source import Source

SETUP_MEAN_SECONDS = 3.0
SETUP_EVEN_SECONDS = 0.25
"""Set-ups quicker than this need not be alike."""
ACCEPT_SECONDS = 0.1
BACK_SECONDS = 10.0
"""How long slots and memory may take to come back."""
READING_SECONDS = 1.5
"""After which a server's own readings of its memory, once a second, are of now."""
THROUGH_SECONDS = 1.0
"""What a balancer may add to the connect time."""
_SHARES = (0.5, 0.8, 1.0)
"""Of the slots; at each the health state is asked for."""

_SPREAD = "connections spread evenly over GPUs (±1)"
_SETUP_MEAN = f"set-up takes less than {SETUP_MEAN_SECONDS:g} s on average"
_SETUP_EVEN = "set-up is even: slowest ≤ 2× fastest, or under 250 ms"
_HEALTH = "health states at 50 / 80 / 100 %"
_SLOTS_BACK = "slots are free again after disconnect"
_ACCEPT = "accept within 100 ms above the round trip"
_THROUGH = "connecting through the balancer"
_HOLD = "a connection lives as long as wanted"

Say = Callable[[str], None]


class CheckRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is checked beside the list."""

    through: Target | None = None
    """The same server behind its balancer."""
    hold_seconds: float = 0.0


async def look(target: Target) -> tuple[ServerFigures, Snapshot]:
    """What the server says before anything is done to it.

    Raises:
        UserError: it cannot be reached (exit 3), or does not say how many slots it has.
    """
    snapshot = await reach(target)
    # A server whose every GPU failed has none, and the list says so.
    if snapshot.figures is None or (not snapshot.figures.slots and reported_state(snapshot).reason is None):
        why = snapshot.error or "no slots in /snapshot or /health"
        raise UserError(
            f"{target.name} does not say how many slots it has ({why}); "
            "`check` needs a server that does: ours, or one with the published endpoints",
            Exit.UNREACHABLE if snapshot.error else Exit.USAGE,
        )
    return snapshot.figures, snapshot


class Checker:
    """One run of the list. `say` is told what is being done."""

    def __init__(self, target: Target, request: CheckRequest, say: Say) -> None:
        self._target = target
        self._request = request
        self._say = say
        self._probes: list[ProbeConnection] = []
        self._states: list[tuple[int, str, str | None]] = []
        self._spreads: list[tuple[int, int]] = []
        self._servers: set[str] = set()
        self._behind: set[str | None] = set()
        """Servers behind a broker, and the broker."""

    async def run(self) -> list[CheckResult]:
        """Every line of the list, in its order.

        Raises:
            UserError: the server cannot be reached.
        """
        figures, first = await look(self._target)
        state = reported_state(first)
        if state.refusal_reason is not None:
            return [state.line(first), *not_applicable(_checks(figures.slots or 0), state.refusal_reason)]
        if first.identity is None or first.identity.software != WHISPER_OPS:
            await self._use_its_protocol()
        total, used = figures.slots or 0, figures.slots_used or 0
        trip = await round_trip_seconds(self._target)
        self._say("warming up: one connection a GPU")
        self._one_server(first)
        await self._warm_up(figures.gpus or 1, total - used)
        async with open_source(self._target) as source:
            before = await poll_once(source)
            self._one_server(before)
            try:
                self._say(f"filling {total - used} of {total} slots")
                await self._fill(source, total, used)
                await asyncio.sleep(READING_SECONDS)
                full = await poll_once(source)
                one_more = await ProbeConnection.open(self._target)
                await one_more.close()
            finally:
                await self._empty()
            self._say("waiting for slots and memory to come back")
            after, seconds = await self._until_back(source, used, before)
        lines = [
            state.line(first),
            self._spread(full, state),
            server_memory.used(full),
            *server_memory.headroom(full),
            *self._setup(),
            self._health(state),
            _refused(one_more, total),
            _slots_back(used, after, seconds),
            server_memory.back(before, after),
            self._accept(trip),
        ]
        return [*lines, await self._through(), await self._hold()]

    async def _use_its_protocol(self) -> None:
        self._target = await with_detected_protocol(self._target)
        through = self._request.through
        if through is not None:
            through = with_protocol(through, self._target.protocol)
            self._request = msgspec.structs.replace(self._request, through=through)

    # --- doing ---------------------------------------------------------------------------------------

    async def _warm_up(self, gpus: int, free: int) -> None:
        probes = [await ProbeConnection.open(self._target) for _ in range(min(gpus, free))]
        for probe in probes:
            await probe.close()
        self._one_server(*probes)
        await asyncio.sleep(READING_SECONDS)

    async def _fill(self, source: Source, total: int, used: int) -> None:
        """One after the other, so that each set-up is timed alone; at 50, 80 and 100 % the health is asked for."""
        for share in _SHARES:
            target_slots = math.ceil(share * total)
            while used + len(self._inside()) < target_slots:
                probe = await ProbeConnection.open(self._target)
                self._probes.append(probe)
                self._one_server(probe)
                if probe.ready_seconds is None:
                    break
            now = await poll_once(source)
            if now.figures is not None:
                now_used = used + len(self._inside())
                self._states.append((now_used, _state(now_used / total), now.figures.status))
            busy = [gpu.streams_active or 0 for gpu in now.gpus if gpu.state != "failed"]
            self._spreads.append((used + len(self._inside()), max(busy) - min(busy) if busy else 0))

    async def _empty(self) -> None:
        await asyncio.gather(*(probe.close() for probe in self._probes))

    async def _until_back(self, source: Source, used: int, before: Snapshot) -> tuple[Snapshot, float]:
        """The poll in which slots and memory are back, or the last in time; and how long the slots took."""
        began = time.monotonic()
        slots_seconds: float | None = None
        while True:
            snapshot = await poll_once(source)
            seconds = time.monotonic() - began
            if slots_seconds is None and snapshot.figures and (snapshot.figures.slots_used or 0) <= used:
                slots_seconds = seconds
            # A server reads its memory once a second: it may be back before the server knows.
            if seconds > BACK_SECONDS or (slots_seconds is not None and server_memory.is_back(before, snapshot)):
                return snapshot, seconds if slots_seconds is None else slots_seconds
            await asyncio.sleep(0.1)

    def _one_server(self, *answers: ProbeConnection | Snapshot) -> None:
        """Slots, GPUs and states are one server's: behind a balancer the list would mix several.

        Raises:
            UserError: another server answered than before.
        """
        for one in answers:
            if isinstance(one, Snapshot) and one.members is not None:
                # A broker speaks for all of them: its figures are those of the whole fleet.
                self._behind |= {one.server_id, *(member.server_id for member in one.members)}
        self._servers |= {one.server_id for one in answers if one.server_id is not None} - self._behind
        if len(self._servers) > 1:
            raise UserError(
                f"{self._target.name} is a balancer: {' and '.join(sorted(self._servers))} answered; check each server "
                "at its own address, and the balancer with --through URL"
            )

    def _inside(self) -> list[ProbeConnection]:
        return [probe for probe in self._probes if probe.ready_seconds is not None]

    # --- judging -------------------------------------------------------------------------------------

    def _spread(self, full: Snapshot, state: ReportedState) -> CheckResult:
        left = [gpu for gpu in full.gpus if gpu.state != "failed"]
        if len(left) < 2:
            why = state.reason or f"{len(left)} GPU"
            return check_result(_SPREAD, None, why, "there is nothing to spread over one GPU")
        counts = Counter(probe.gpu_id for probe in self._inside() if probe.gpu_id is not None)
        if not counts:  # not every protocol tells a client its GPU; the server says how many each has
            counts = Counter({gpu.gpu_id: gpu.streams_active or 0 for gpu in left})
        shown = ", ".join(f"GPU {gpu.gpu_id}: {counts[gpu.gpu_id]}" for gpu in left)
        worst = max((spread for _, spread in self._spreads), default=0)
        return check_result(_SPREAD, worst <= 1, f"{shown}; at most {worst} apart", "use --placement least_loaded")

    def _setup(self) -> list[CheckResult]:
        seconds = [probe.ready_seconds for probe in self._inside() if probe.ready_seconds is not None]
        if not seconds:
            fault = next((g.fault or g.refusal for g in self._probes if g.fault or g.refusal), "no slot was free")
            return [check_result("set-up time", False, f"no connection was admitted: {fault}", "see the server's log")]
        average, slowest, fastest = mean(seconds), max(seconds), min(seconds)
        return [
            check_result(
                _SETUP_MEAN,
                average < SETUP_MEAN_SECONDS,
                f"mean {_ms(average)} over {counted(len(seconds), 'connection')}",
                "load models at the start, and see what the status messages wait for",
            ),
            check_result(
                _SETUP_EVEN,
                slowest <= 2 * fastest or slowest < SETUP_EVEN_SECONDS,
                f"fastest {_ms(fastest)}, slowest {_ms(slowest)}",
                "one GPU or process may be slower than the others; compare them in /gpu-status",
            ),
        ]

    def _health(self, state: ReportedState) -> CheckResult:
        if state.failed:
            return check_result(_HEALTH, None, state.reason or "", "a server with a failed GPU is degraded at any load")
        shown = "; ".join(f"{used} slots: {reported}" for used, _, reported in self._states)
        good = all(reported == due for _, due, reported in self._states)
        due_states = ", ".join(f"{state} at {used}" for used, state, _ in self._states)
        return check_result(_HEALTH, good, shown, f"by the share of slots it should be {due_states}")

    def _accept(self, trip: float) -> CheckResult:
        seconds = [probe.connect_seconds for probe in self._probes if probe.connect_seconds is not None]
        if not seconds:
            return check_result(_ACCEPT, False, "no connection was opened", "see the server's log")
        above = median(seconds) - 2 * trip  # a connect and an upgrade each take one round trip
        return check_result(
            _ACCEPT,
            above < ACCEPT_SECONDS,
            f"median {_ms(median(seconds))}, round trip {_ms(trip)}",
            "the front process is busy: look at front_cpu_ratio, and run one server per group of GPUs",
        )

    async def _through(self) -> CheckResult:
        name, through = _THROUGH, self._request.through
        if through is None:
            return check_result(name, None, "no --through", "name the balancer's address with --through URL")
        self._say(f"connecting through {through.name}")
        direct = await _opens(self._target)
        around = await _opens(through)
        if around is None or direct is None:
            return check_result(
                name, False, "no connection came about", "check that the balancer passes WebSocket upgrades"
            )
        return check_result(
            name,
            around - direct < THROUGH_SECONDS,
            f"{_ms(around)} through it, {_ms(direct)} directly",
            "it holds up upgrades: let clients ask /connect and go to the direct address",
        )

    async def _hold(self) -> CheckResult:
        name, seconds = _HOLD, self._request.hold_seconds
        if not seconds:
            return check_result(name, None, "no --hold", "try with --hold 6m whether a proxy cuts connections")
        target = self._request.through or self._target
        self._say(f"holding a connection to {target.name} for {seconds:.0f} s")
        probe = await ProbeConnection.open(target)
        if probe.ready_seconds is None:
            return check_result(name, False, probe.fault or probe.refusal or "not admitted", "see the server's log")
        age = await probe.hold(seconds)
        await probe.close()
        figures = f"cut after {age:.0f} s" if age is not None else f"held for {seconds:.0f} s"
        return check_result(
            name, age is None, figures, "a proxy's limit: raise it, or let clients go to the direct address"
        )


def _refusal(total: int) -> str:
    return f"connection {total + 1} is refused"


def _checks(total: int) -> tuple[str, ...]:
    """Every line but the top one."""
    filling = (
        _SPREAD,
        server_memory.USED,
        server_memory.FREE,
        server_memory.UTILISED,
        _SETUP_MEAN,
        _SETUP_EVEN,
        _HEALTH,
        _refusal(total),
    )
    return (*filling, _SLOTS_BACK, server_memory.BACK, _ACCEPT, _THROUGH, _HOLD)


def _state(share: float) -> str:
    """The health state that the contract has for a share of slots used."""
    return "healthy" if share < 0.7 else "degraded" if share <= 0.9 else "critical"


def _refused(probe: ProbeConnection, total: int) -> CheckResult:
    if probe.refusal:
        return check_result(_refusal(total), True, probe.refusal, "")
    answer = probe.fault or "it was admitted"
    return check_result(
        _refusal(total), False, answer, "a full server must say `no_capacity` and close with 1013, or answer HTTP 503"
    )


def _slots_back(used: int, after: Snapshot, seconds: float) -> CheckResult:
    now = after.figures.slots_used if after.figures else None
    return check_result(
        _SLOTS_BACK,
        now is not None and now <= used,
        f"{now} used after {seconds:.1f} s, {used} before",
        "slots leak: see the server's log for streams that did not end",
    )


async def _opens(target: Target, times: int = 5) -> float | None:
    seconds: list[float] = []
    for _ in range(times):
        probe = await ProbeConnection.open(target)
        await probe.close()
        if probe.connect_seconds is not None:
            seconds.append(probe.connect_seconds)
    return median(seconds) if seconds else None


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"


def failed(findings: Sequence[CheckResult]) -> bool:
    """Whether any line failed."""
    return any(line.answer == "fail" for line in findings)
