"""One worker's supervisor: it keeps one server process running and its lease renewed. It knows nothing of clusters.

The server does not depend on it. When a supervisor dies, its server goes on with the streams that it has, takes no new
ones when its lease runs out, and the supervisor's successor on that machine takes it over as it is.
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import httpx
import msgspec
import psutil

from server.cluster.state_file import RecordedProcess, StateFile, process_of, runs
from server.cluster.worker_spec import Description, ServerState, WorkerSpec

log = logging.getLogger("whisper_ops.cluster")

_HUNG_SECONDS = 60.0
"""A server that has not answered for so long will not any more, and nobody hears anything from it."""
_FETCH_SECONDS = 3600.0
"""One that has not answered yet may be fetching its model."""
_STOP_SECONDS = 10.0
"""Beyond what a drain takes, until a server that was told to end is killed."""
_LONGEST_PAUSE_SECONDS = 30.0
_PORTS = 1000
"""Looked through from the first one on."""
_NOT_ITS = ("RAY_", "NOTIFY_SOCKET", "WATCHDOG_")
"""Variables that speak to Ray's processes, or to what a service manager started."""
_MOST_LOG_BYTES = 32 << 20


class Renewed(msgspec.Struct):
    """A server's answer to `PUT /admin/lease`."""

    status: str
    used_slots: int
    total_slots: int


class Supervisor:
    """See the module. `run` works until `stop`; every other call may come from any thread."""

    def __init__(
        self, name: str, spec: WorkerSpec, host: str, folder: Path | None = None, environment: Mapping[str, str] = {}
    ) -> None:
        self._spec, self._host = spec, host
        self._environment = {**os.environ, **environment}
        self._devices = self._environment.get("CUDA_VISIBLE_DEVICES")
        self._file = StateFile.of(name, folder)
        self._said = Description(name=name)
        self._saying = threading.Lock()
        self._process: psutil.Process | None = None
        self._port = 0
        self._answered_at, self._has_answered = 0.0, False
        self._failures, self._not_before = 0, 0.0
        self._leaving = threading.Event()
        """No other server is started."""
        self._stopping = threading.Event()
        self._http = httpx.Client(timeout=5, trust_env=False, headers={"Authorization": f"Bearer {spec.admin_token}"})

    @property
    def pause_seconds(self) -> float:
        """From one look to the next: a lease is renewed several times before it could run out."""
        return self._spec.lease_seconds / 5

    # --- keeping a server running -------------------------------------------------------------------

    def run(self) -> None:
        """Until `stop`."""
        self._take_over()
        while not self._stopping.is_set():
            try:
                self.look()
            except Exception:
                log.exception("%s: supervising failed", self._said.name)
            self._stopping.wait(self.pause_seconds if self._process is not None else 0.5)

    def look(self) -> None:
        """One look at the server: renew its lease, or start one where there is none."""
        if self._process is not None and not runs(self._process):
            self._lost(f"the server ended: {self._last_words()}")
        if self._process is None:
            if not self._leaving.is_set() and time.monotonic() >= self._not_before:
                self._start()
            return
        if self._renew():
            return
        patience = _HUNG_SECONDS if self._has_answered else _FETCH_SECONDS
        if time.monotonic() - self._answered_at > patience:
            log.warning("%s: the server hangs and is ended", self._said.name)
            self._kill()
            self._lost(f"the server did not answer for {patience:.0f} s")

    def _start(self) -> None:
        try:
            self._launch()
        except (OSError, subprocess.SubprocessError) as error:
            self._lost(f"no server could be started: {error}")

    def _launch(self) -> None:
        self._port = _free_port(self._host, self._spec.first_port)
        if self._file.log.exists() and self._file.log.stat().st_size > _MOST_LOG_BYTES:
            self._file.log.unlink()
        where = ("--host", self._host, "--port", str(self._port), "--lease", f"{self._spec.lease_seconds:g}s")
        serve = [sys.executable, "-m", "whisper_ops", "serve", *self._spec.arguments, *where]
        launch = [sys.executable, "-m", "server.cluster.launch", str(self._file.log), *serve]
        started = subprocess.run(launch, env=self._servers_environment(), capture_output=True, text=True, check=True)
        self._adopt(psutil.Process(int(started.stdout)))
        log.info("%s: started a server on port %d", self._said.name, self._port)
        self._say(starts=self._said.starts + 1)

    def _servers_environment(self) -> dict[str, str]:
        environment = {key: value for key, value in self._environment.items() if not key.startswith(_NOT_ITS)}
        environment.pop("WHISPER_OPS_TOKEN", None)
        if self._spec.token is not None:
            environment["WHISPER_OPS_TOKEN"] = self._spec.token
        return {**environment, "WHISPER_OPS_ADMIN_TOKEN": self._spec.admin_token}

    def _adopt(self, process: psutil.Process) -> None:
        self._process, self._answered_at, self._has_answered = process, time.monotonic(), False
        self._file.write(RecordedProcess(process.pid, process.create_time(), self._host, self._port, self._devices))
        url = f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{self._port}"
        self._say(url=url, state="starting", streams=None, process_id=process.pid, error=None)

    def _take_over(self) -> None:
        """Go on with the server of the supervisor before us, if it is on our GPU and lets us."""
        known = self._file.read()
        process = process_of(known) if known is not None else None
        if known is None or process is None or (known.host, known.devices) != (self._host, self._devices):
            return
        self._port = known.port
        self._adopt(process)
        deadline = time.monotonic() + self._spec.lease_seconds
        while not self._renew():
            if time.monotonic() > deadline or not runs(process):
                log.warning("%s: the server of process %d is not ours to go on with", self._said.name, process.pid)
                self._lost("the server that was here does not take us for its supervisor")
                return
            time.sleep(0.5)
        log.info("%s: goes on with the server on port %d", self._said.name, self._port)

    def _lost(self, why: str) -> None:
        served = self._said.state in ("live", "draining")
        self._failures = 0 if served else self._failures + 1
        self._not_before = time.monotonic() + min(_LONGEST_PAUSE_SECONDS, 0.5 * 2.0 ** min(self._failures, 10))
        self._process = None
        log.warning("%s: %s", self._said.name, why)
        self._say(state="none", streams=0, process_id=None, error=why)

    def _renew(self) -> bool:
        """Whether it answered."""
        try:
            answer = self._http.put(f"{self._said.url}/admin/lease")
            answer.raise_for_status()
            said = msgspec.json.decode(answer.content, type=Renewed)
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            if self._said.state != "starting":
                self._say(state="silent", streams=None, error=f"the server does not answer: {error}")
            return False
        self._answered_at, self._has_answered = time.monotonic(), True
        state: ServerState = "live"
        if said.status in ("starting", "draining"):
            state = "starting" if said.status == "starting" else "draining"
        self._say(state=state, streams=said.used_slots, slots=said.total_slots, error=None)
        return True

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._file.log.read_text("utf-8", "replace")[-2000:].strip().splitlines()
            return lines[-1][-300:] if lines else "it said nothing"
        return "its log cannot be read"

    def _say(self, **changes: object) -> None:
        with self._saying:
            self._said = replace(self._said, **changes)  # type: ignore[arg-type]  # fields of Description, by name

    # --- what others ask for ------------------------------------------------------------------------

    def describe(self) -> Description:
        """How it stands."""
        return replace(self._said, is_draining=self._leaving.is_set())

    def drain(self, deadline_seconds: float) -> None:
        """Have the server take no more streams, and start no other one.

        Raises:
            httpx.HTTPError: it did not answer; it may be asked again.
        """
        self._leaving.set()
        self._admin("POST", {"deadline_s": deadline_seconds})

    def recall(self) -> None:
        """Have it take streams again.

        Raises:
            httpx.HTTPError: it did not answer.
        """
        self._leaving.clear()
        self._admin("DELETE", {})

    def _admin(self, method: str, body: dict[str, float]) -> None:
        if self._process is not None:
            self._http.request(method, f"{self._said.url}/admin/drain", json=body).raise_for_status()
            self._renew()

    def stop(self, drain_seconds: float = 0.0) -> None:
        """End the server, after its streams have ended or so many seconds have passed."""
        self._leaving.set()
        process = self._process
        if process is not None and runs(process):
            with contextlib.suppress(httpx.HTTPError):
                self._admin("POST", {"deadline_s": drain_seconds})
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + drain_seconds + _STOP_SECONDS
            while runs(process) and time.monotonic() < deadline:
                time.sleep(0.1)
            self._kill()
        self._stopping.set()
        self._file.remove()

    def _kill(self) -> None:
        """End what is left of it: the server is the leader of its group, in which its GPU's worker is too."""
        if self._process is not None and runs(self._process):
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _free_port(host: str, first: int) -> int:
    """A port that nobody listens on now; a server that finds it taken after all is started again.

    Raises:
        OSError: there is none.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(first, first + _PORTS) if first else [0]:
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    raise OSError(f"no port of {host} from {first} on is free")
