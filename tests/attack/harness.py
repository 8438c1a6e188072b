"""What every attack is held against: a real server with four clients that behave, and what the attack does to them.

    def test_some_attacks(tmp_path: Path) -> None:
        with besieged(tmp_path) as siege:
            siege.attack("what it does", lambda: do_it(siege.server), seconds=4)
            siege.attack("what else", lambda: do_that(siege.server))
        siege.report.check()

A siege costs some seconds, an attack in it what it takes: put those of one kind into one siege. `check` asserts what an
attacker may not take: the good clients' words, their latency, the server's memory, descriptors, slots and life, and a
log without a traceback. WHISPER_OPS_ATTACK=full makes attacks long, holds each against the quiet moments next to it (a
machine is not equally fast all day), and prints the counts.
"""

import base64
import json
import os
import re
import secrets
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.support.servers import Running, running_server

FULL = os.environ.get("WHISPER_OPS_ATTACK") == "full"
GOOD_CLIENTS = 4
QUIET_SECONDS = 8.0 if FULL else 3.0
SIMULATED = ("--engine", "simulated", "--devices", "sim:1", "--sim-law", "a=0.01,b=0.002,load=0")
GAP_SECONDS = 2.0 if FULL else 0.0
"""Quiet before each attack."""
_BESIDE = 24
"""Quiet finals, those nearest in time, that an attack is held against."""
_SLACK_SECONDS = 0.1 if FULL else 3.0
"""Beside a fifth of the quiet latency: an engine pass or two, and the scheduler of a machine whose two cores also run
the attacker and the good clients. A short measurement on a busy machine says whether clients starve, no more."""


def examples(short: int, full: int) -> int:
    """How many inputs to try: few in `make test-slow`, many in `make test-attack`."""
    return full if FULL else short


@dataclass
class Attack:
    """One attack. `finals`: how long the good clients' finals took meanwhile, from an utterance's end, in seconds."""

    name: str
    began: float
    ended: float
    counts: dict[str, Any]
    finals: list[float] = field(default_factory=list)
    quiet: list[float] = field(default_factory=list)
    """The same of the moments beside it."""

    def __str__(self) -> str:
        p95s = f"p95 {_shown(p95(self.finals))} of {len(self.finals)} finals, quiet {_shown(p95(self.quiet))}"
        return f"{self.name}: {json.dumps(self.counts)}; {p95s}"


@dataclass
class Report:
    """What the attacks did to the good clients and the server. Latencies in seconds."""

    attacks: list[Attack] = field(default_factory=list)
    said: int = 0
    missing: int = 0
    errors: list[str] = field(default_factory=list)
    quiet: list[float] = field(default_factory=list)
    during: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    rss_bytes: tuple[int, int] = (0, 0)
    descriptors: tuple[int, int] = (0, 0)
    slots_used: int = 0
    exit_code: int | None = None
    tracebacks: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        during, health = _shown(p95(self.during)), _shown(max(self.health, default=None))
        heard = (
            f"all attacks: p95 {during} s of {len(self.during)} finals; {self.missing} of {self.said} words missing; "
            f"errors {self.errors}; /health at most {health} s"
        )
        after = (
            f"after: memory {self.rss_bytes[0] / 1e6:.0f} → {self.rss_bytes[1] / 1e6:.0f} MB; descriptors "
            f"{self.descriptors[0]} → {self.descriptors[1]}; {self.slots_used} slots held; "
            f"exit code {self.exit_code}; {len(self.tracebacks)} tracebacks {self.tracebacks[:1]}"
        )
        quiet = f"quiet: p95 {_shown(p95(self.quiet))} s of {len(self.quiet)} finals"
        return "\n  ".join([quiet, *map(str, self.attacks), heard, after])

    def check(self, *, memory_bytes: float = 64e6, slack_seconds: float = _SLACK_SECONDS) -> None:
        """Fail unless nobody but the attacker noticed the attacks."""
        if FULL:
            sys.stdout.write(f"\n{self}\n")
        assert self.exit_code is None, self
        assert self.errors == [], self
        assert self.missing == 0, self
        # Of a dozen finals the p95 is the slowest one: the same attack done again adds to what there is to judge by.
        groups = {a.name: [b for b in self.attacks if b.name == a.name] for a in self.attacks}
        each = [([q for a in same for q in a.quiet], [f for a in same for f in a.finals]) for same in groups.values()]
        pairs = each if FULL else [(self.quiet, self.during)]
        for before, meanwhile in pairs:
            quiet, during = p95(before), p95(meanwhile)
            assert quiet is not None, self
            assert during is not None, self
            assert during <= 1.2 * quiet + slack_seconds, self
        assert max(self.health) < 5.0, self
        assert self.rss_bytes[1] - self.rss_bytes[0] < memory_bytes, self
        assert self.descriptors[1] <= self.descriptors[0] + 4, self
        assert self.slots_used == 0, self
        assert self.tracebacks == [], self


def p95(values: Sequence[float]) -> float | None:
    """None of nothing."""
    return float(np.quantile(values, 0.95)) if values else None


def _shown(value: float | None) -> str:
    return "—" if value is None else f"{value:.3f}"


class Siege:
    """A server under attack. `report` is complete when the block of `besieged` has ended."""

    def __init__(self, server: Running, good: "subprocess.Popen[str]") -> None:
        self.server, self.report = server, Report()
        self._good = good
        time.sleep(QUIET_SECONDS)
        self.report.rss_bytes = (self.rss(), 0)
        self.report.descriptors = (self._descriptors(), 0)

    def attack(self, name: str, work: Callable[[], dict[str, Any] | None], seconds: float = 0.0) -> None:
        """Do it, and go on for at least so long as `seconds`; what it returns is counted in the report."""
        time.sleep(GAP_SECONDS)
        began = time.monotonic()
        counts = work() or {}
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        self.report.attacks.append(Attack(name, began, time.monotonic(), counts))

    def end(self) -> None:
        """Let the good clients finish, and the server come to rest."""
        report = self.report
        output, _ = self._good.communicate(timeout=90)
        assert self._good.returncode == 0, "the good clients failed by themselves"
        seen = json.loads(output.splitlines()[-1])
        for client in seen["clients"]:
            report.said += client["said"]
            report.missing += client["missing"]
            report.errors += client["errors"]
        self._sort([(ended_at, took) for client in seen["clients"] for ended_at, took in client["finals"]])
        first = min((attack.began for attack in report.attacks), default=0.0)
        report.health = [took for at, took in seen["health"] if at + took >= first]
        report.exit_code = self.server.process.poll()
        if report.exit_code is None:
            self._rest()
        said = self.server.log.read_text("utf-8", "replace")
        report.tracebacks = re.findall(r"Traceback \(most recent call last\):\n(?:[ \t].*\n)*.*", said)

    def _sort(self, finals: list[tuple[float, float]]) -> None:
        """By what went on when an utterance ended; each is when that was, and how long its final took."""
        quiet = []
        for ended_at, took in finals:
            # A final that came while an attack went on belongs to it, even if its utterance ended before.
            hit = [a for a in self.report.attacks if ended_at + took >= a.began and ended_at <= a.ended]
            (self.report.during if hit else self.report.quiet).append(took)
            for attack in hit:
                attack.finals.append(took)
            if not hit:
                quiet.append((ended_at, took))
        for attack in self.report.attacks:
            away = sorted(quiet, key=lambda one, a=attack: max(a.began - one[0], one[0] - a.ended))  # type: ignore[misc]
            attack.quiet = [took for _, took in away[:_BESIDE]]

    def _rest(self) -> None:
        """Wait until the server has given back what it held, a while."""
        report, deadline = self.report, time.monotonic() + 20
        while True:
            report.slots_used = self.server.get("/health")["capacity"]["used_slots"]
            report.rss_bytes = (report.rss_bytes[0], self.rss())
            report.descriptors = (report.descriptors[0], self._descriptors() + GOOD_CLIENTS)
            settled = report.slots_used == 0 and report.descriptors[1] <= report.descriptors[0]
            if settled or time.monotonic() > deadline:
                return
            time.sleep(0.2)

    def rss(self) -> int:
        """Memory of the server and its processes, in bytes."""
        process = psutil.Process(self.server.process.pid)
        return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])

    def _descriptors(self) -> int:
        return psutil.Process(self.server.process.pid).num_fds()


@contextmanager
def besieged(folder: Path, *arguments: str, before: Sequence[str] = ()) -> Iterator[Siege]:
    """A simulated server, and good clients that speak; `before`: what its command is run by, as ("prlimit", …)."""
    with running_server(folder, *SIMULATED, *arguments, before=before) as server:
        good = subprocess.Popen(
            [sys.executable, "-m", "tests.attack.good", server.ws_url, str(GOOD_CLIENTS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            siege = Siege(server, good)
            yield siege
            siege.end()
        finally:
            good.kill()
            good.wait()


# --- an attacker's own protocol code: what libraries refuse to send -------------------------------------

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


def tcp(server: Running, timeout: float = 10.0) -> socket.socket:
    """A connection that says nothing yet."""
    return socket.create_connection(("127.0.0.1", server.port), timeout)


def handshake(server: Running, path: str = "/ws", *headers: str) -> socket.socket:
    """A WebSocket as a plain socket, upgraded."""
    sock = tcp(server)
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", *headers]
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    said = b""
    while b"\r\n\r\n" not in said:
        more = sock.recv(1)
        assert more, f"no upgrade: {said!r}"
        said += more
    assert b" 101 " in said.split(b"\r\n")[0], said
    return sock


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A client's frame, masked with zeros."""
    head = bytes([opcode | (0x80 if fin else 0)])
    size = len(payload)
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", size)
    return head + bytes(4) + payload


@dataclass
class Flood:
    """What came of sending the same bytes again and again. `code`: of the close frame, None without one."""

    sent_bytes: int = 0
    received_bytes: int = 0
    code: int | None = None
    reason: str = ""
    seconds: float = 0.0


def flood(sock: socket.socket, data: bytes, seconds: float, *, read: bool = True) -> Flood:
    """Send `data` over and over, as fast as it goes, until the server closes or the time is over."""
    result, received, began = Flood(), bytearray(), time.monotonic()
    sock.setblocking(False)
    data = data * max(1, 65536 // max(1, len(data)))
    at = 0
    events = selectors.EVENT_WRITE | (selectors.EVENT_READ if read else 0)
    with selectors.DefaultSelector() as selector, suppress(OSError):
        selector.register(sock, events)
        while time.monotonic() - began < seconds:
            for _, ready in selector.select(0.1):
                if ready & selectors.EVENT_READ:
                    more = sock.recv(65536)
                    if not more:
                        raise OSError
                    result.received_bytes += len(more)
                    received = (received + more)[-4096:]
                if ready & selectors.EVENT_WRITE:
                    count = sock.send(data[at:])
                    result.sent_bytes += count
                    at = (at + count) % len(data)
    result.seconds = time.monotonic() - began
    with suppress(OSError):
        sock.setblocking(True)
        sock.settimeout(2.0)
        until = time.monotonic() + 2.0
        while time.monotonic() < until and (more := sock.recv(65536)):
            received = (received + more)[-4096:]
    _read_close(bytes(received), result)
    return result


def _read_close(tail: bytes, result: Flood) -> None:
    """The close frame is the last thing a server sends."""
    for at in range(len(tail) - 3, -1, -1):
        if tail[at] == 0x88 and tail[at + 1] == len(tail) - at - 2:
            result.code = struct.unpack_from("!H", tail, at + 2)[0]
            result.reason = tail[at + 4 :].decode("utf-8", "replace")
            return
