"""A worker's supervisor: it keeps one server process running and renews its lease. It knows nothing of Ray.

When a supervisor dies, its server goes on with its streams and refuses new ones once its lease runs out. The next
supervisor on that machine takes the server over.
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
from server.cluster.worker_spec import ServerState, WorkerReport, WorkerSpec

log = logging.getLogger("whisper_ops.cluster")

_HUNG_SECONDS = 60.0
"""Without an answer for so long a server is killed: its clients get nothing either."""
_START_SECONDS = 3600.0
"""The same before its first answer, as it may be downloading its model."""
_STOP_SECONDS = 10.0
"""From a drain's deadline to SIGKILL."""
_MAX_RESTART_PAUSE_SECONDS = 30.0
_PORTS = 1000
"""Tried, from `first_port` on."""
_NOT_INHERITED = ("RAY_", "NOTIFY_SOCKET", "WATCHDOG_")
"""Prefixes of variables meant for Ray's processes, or for a service manager's own child."""
_MOST_LOG_BYTES = 32 << 20


class LeaseAnswer(msgspec.Struct):
    """A server's answer to `PUT /admin/lease`."""

    status: str
    used_slots: int
    total_slots: int


class Supervisor:
    """`run` works until `stop`; other methods may be called from any thread."""

    def __init__(
        self, name: str, spec: WorkerSpec, host: str, folder: Path | None = None, environment: Mapping[str, str] = {}
    ) -> None:
        self._spec, self._host = spec, host
        self._environment = {**os.environ, **environment}
        self._devices = self._environment.get("CUDA_VISIBLE_DEVICES")
        self._file = StateFile.of(name, folder)
        self._report = WorkerReport(name=name)
        self._report_lock = threading.Lock()
        self._process: psutil.Process | None = None
        self._port = 0
        self._answered_at, self._has_answered = 0.0, False
        self._failures, self._not_before = 0, 0.0
        self._leaving = threading.Event()
        """Set: no further server is started."""
        self._stopping = threading.Event()
        self._http = httpx.Client(timeout=5, trust_env=False, headers={"Authorization": f"Bearer {spec.admin_token}"})

    @property
    def check_seconds(self) -> float:
        """Between two checks: a lease is renewed several times before it could run out."""
        return self._spec.lease_seconds / 5

    # --- keeping a server running -------------------------------------------------------------------

    def run(self) -> None:
        self._take_over()
        while not self._stopping.is_set():
            try:
                self.check()
            except Exception:
                log.exception("%s: supervising failed", self._report.name)
            self._stopping.wait(self.check_seconds if self._process is not None else 0.5)

    def check(self) -> None:
        """Renew the server's lease, or start one where there is none."""
        if self._process is not None and not runs(self._process):
            self._server_lost(f"the server ended: {self._last_log_line()}")
        if self._process is None:
            if not self._leaving.is_set() and time.monotonic() >= self._not_before:
                self._start()
            return
        if self._renew():
            return
        patience = _HUNG_SECONDS if self._has_answered else _START_SECONDS
        if time.monotonic() - self._answered_at > patience:
            log.warning("%s: the server hangs and is killed", self._report.name)
            self._kill()
            self._server_lost(f"the server did not answer for {patience:.0f} s")

    def _start(self) -> None:
        try:
            self._launch()
        except (OSError, subprocess.SubprocessError) as error:
            self._server_lost(f"no server could be started: {error}")

    def _launch(self) -> None:
        self._port = _free_port(self._host, self._spec.first_port)
        if self._file.log.exists() and self._file.log.stat().st_size > _MOST_LOG_BYTES:
            self._file.log.unlink()
        where = ("--host", self._host, "--port", str(self._port), "--lease", f"{self._spec.lease_seconds:g}s")
        serve = [sys.executable, "-m", "whisper_ops", "serve", *self._spec.arguments, *where]
        launch = [sys.executable, "-m", "server.cluster.launch", str(self._file.log), *serve]
        started = subprocess.run(launch, env=self._server_environment(), capture_output=True, text=True, check=True)
        self._adopt(psutil.Process(int(started.stdout)))
        log.info("%s: started a server on port %d", self._report.name, self._port)
        self._update(starts=self._report.starts + 1)

    def _server_environment(self) -> dict[str, str]:
        environment = {key: value for key, value in self._environment.items() if not key.startswith(_NOT_INHERITED)}
        environment.pop("WHISPER_OPS_TOKEN", None)
        if self._spec.token is not None:
            environment["WHISPER_OPS_TOKEN"] = self._spec.token
        return {**environment, "WHISPER_OPS_ADMIN_TOKEN": self._spec.admin_token}

    def _adopt(self, process: psutil.Process) -> None:
        self._process, self._answered_at, self._has_answered = process, time.monotonic(), False
        self._file.write(RecordedProcess(process.pid, process.create_time(), self._host, self._port, self._devices))
        url = f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{self._port}"
        self._update(url=url, state="starting", streams=None, process_id=process.pid, error=None)

    def _take_over(self) -> None:
        """Adopt the previous supervisor's server, if it runs on the same GPU and accepts our admin token."""
        known = self._file.read()
        process = process_of(known) if known is not None else None
        if known is None or process is None or (known.host, known.devices) != (self._host, self._devices):
            return
        self._port = known.port
        self._adopt(process)
        deadline = time.monotonic() + self._spec.lease_seconds
        while not self._renew():
            if time.monotonic() > deadline or not runs(process):
                log.warning(
                    "%s: process %d does not renew its lease for us and is left alone", self._report.name, process.pid
                )
                self._server_lost("the previous server does not accept this supervisor")
                return
            time.sleep(0.5)
        log.info("%s: took over the server on port %d", self._report.name, self._port)

    def _server_lost(self, why: str) -> None:
        served = self._report.state in ("live", "draining")
        self._failures = 0 if served else self._failures + 1
        self._not_before = time.monotonic() + min(_MAX_RESTART_PAUSE_SECONDS, 0.5 * 2.0 ** min(self._failures, 10))
        self._process = None
        log.warning("%s: %s", self._report.name, why)
        self._update(state="none", streams=0, process_id=None, error=why)

    def _renew(self) -> bool:
        """Renew the lease and update the report; whether the server answered."""
        try:
            answer = self._http.put(f"{self._report.url}/admin/lease")
            answer.raise_for_status()
            answered = msgspec.json.decode(answer.content, type=LeaseAnswer)
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            if self._report.state != "starting":
                self._update(state="silent", streams=None, error=f"the server does not answer: {error}")
            return False
        self._answered_at, self._has_answered = time.monotonic(), True
        state: ServerState = "live"
        if answered.status in ("starting", "draining"):
            state = "starting" if answered.status == "starting" else "draining"
        self._update(state=state, streams=answered.used_slots, slots=answered.total_slots, error=None)
        return True

    def _last_log_line(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._file.log.read_text("utf-8", "replace")[-2000:].strip().splitlines()
            return lines[-1][-300:] if lines else "its log is empty"
        return "its log cannot be read"

    def _update(self, **changes: object) -> None:
        with self._report_lock:
            self._report = replace(self._report, **changes)  # type: ignore[arg-type]  # fields of WorkerReport, by name

    # --- calls of the cluster -----------------------------------------------------------------------

    def report(self) -> WorkerReport:
        return replace(self._report, is_draining=self._leaving.is_set())

    def drain(self, deadline_seconds: float) -> None:
        """Drain the server, and start no other one.

        Raises:
            httpx.HTTPError: no answer; the call may be repeated.
        """
        self._leaving.set()
        self._admin("POST", {"deadline_s": deadline_seconds})

    def recall(self) -> None:
        """Undo `drain`.

        Raises:
            httpx.HTTPError: no answer.
        """
        self._leaving.clear()
        self._admin("DELETE", {})

    def _admin(self, method: str, body: dict[str, float]) -> None:
        if self._process is not None:
            self._http.request(method, f"{self._report.url}/admin/drain", json=body).raise_for_status()
            self._renew()

    def stop(self, drain_seconds: float = 0.0) -> None:
        """End the server when its streams have ended, at the latest after `drain_seconds`."""
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
        """Kill the server's process group, which includes its GPU worker."""
        if self._process is not None and runs(self._process):
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _free_port(host: str, first: int) -> int:
    """A port that is free now; a server that loses the race for it is started again.

    Raises:
        OSError: no port of the range is free.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(first, first + _PORTS) if first else [0]:
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    raise OSError(f"no port of {host} from {first} on is free")
