"""Telling others of alerts: a webhook and a command, never in the way of polling."""

import asyncio
import shlex
from collections.abc import Callable, Iterable
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import msgspec

from dashboard.alerts.evaluator import AlertChange
from whisper_ops import tls_trust
from whisper_ops.addresses import parsed
from whisper_ops.bearer_tokens import environment_without_secrets
from whisper_ops.errors import UserError
from whisper_ops.http_answers import status_of

_TRIES = 3
_PAUSE_SECONDS = 2.0
_WEBHOOK_SECONDS = 10.0
_COMMAND_SECONDS = 30.0
_WAITING_LIMIT = 1000


def _check(webhook: str) -> None:
    """Raise UserError for what is no address; it is not repeated, since it may hold a secret."""
    try:
        parsed(webhook, ("http", "https"))
    except ValueError as error:
        raise UserError(f"--webhook needs an address that begins with http:// or https://: {error}") from error


class Notifier:
    """Sends each change to a webhook and a command, in order, from a task of its own; what fails is said once in a row.

    Raises:
        UserError: the address or the command cannot be right.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        webhook: str | None = None,
        command: str | None = None,
        secrets: Iterable[str] = (),
    ) -> None:
        """`secrets`: variables of the environment that hold tokens of servers."""
        self._say = say
        self._secrets = tuple(secrets)
        self._webhook = webhook
        self._words = _split(command)
        if webhook is not None:
            _check(webhook)
        self._waiting: asyncio.Queue[AlertChange] = asyncio.Queue(_WAITING_LIMIT)
        self._troubled: set[str] = set()
        self.lost_total = 0

    def put(self, change: AlertChange) -> None:
        """Take a change; returns at once. Beyond a thousand waiting ones it is dropped and counted."""
        if self._webhook is None and not self._words:
            return
        try:
            self._waiting.put_nowait(change)
        except asyncio.QueueFull:
            self.lost_total += 1

    async def run(self) -> None:
        """Send until cancelled."""
        async with httpx.AsyncClient(timeout=_WEBHOOK_SECONDS, verify=tls_trust.client_context()) as client:
            while True:
                change = await self._waiting.get()
                await asyncio.gather(self._post(client, change), self._start(change))
                self._waiting.task_done()

    async def drain(self, seconds: float) -> None:
        """Wait until everything was sent, at most so long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._waiting.join(), seconds)

    async def _post(self, client: httpx.AsyncClient, change: AlertChange) -> None:
        if self._webhook is None:
            return
        # The path of a webhook is often its password: only the host is ever said.
        where = f"the webhook at {urlsplit(self._webhook).hostname}"
        why = ""
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(_PAUSE_SECONDS * attempt)
            try:
                # What it has to say is not read: it may be endless, or never end.
                status = await status_of(
                    client, "POST", self._webhook, seconds=_WEBHOOK_SECONDS,
                    content=message(change), headers={"Content-Type": "application/json"},
                )  # fmt: skip
            except httpx.HTTPError as error:
                why = f"could not be reached ({type(error).__name__})"
                continue
            if httpx.codes.is_success(status):
                self._worked(where)
                return
            why = f"answered {status}"
            if status < httpx.codes.INTERNAL_SERVER_ERROR:
                break  # it will not like it better the next time
        self._failed(where, f"{where} {why}; alerts go on without it")

    async def _start(self, change: AlertChange) -> None:
        if not self._words:
            return
        name = self._words[0]
        alert = change.alert
        about = {
            "WHISPER_OPS_ALERT": change.kind,
            "WHISPER_OPS_ALERT_RULE": alert.rule,
            "WHISPER_OPS_ALERT_SERVER": alert.server,
            "WHISPER_OPS_ALERT_SENTENCE": alert.sentence,
        }
        try:
            process = await asyncio.create_subprocess_exec(
                *self._words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env={**environment_without_secrets(self._secrets), **about},
            )
        except OSError as error:
            self._failed(name, f"the alert command {name} could not be started: {error.strerror}")
            return
        try:
            await asyncio.wait_for(process.communicate(message(change)), _COMMAND_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            self._failed(name, f"the alert command {name} took more than {_COMMAND_SECONDS:.0f} s and was stopped")
            return
        if process.returncode:
            self._failed(name, f"the alert command {name} ended with exit code {process.returncode}")
        else:
            self._worked(name)

    def _failed(self, what: str, words: str) -> None:
        if what not in self._troubled:
            self._say(words)
        self._troubled.add(what)

    def _worked(self, what: str) -> None:
        if what in self._troubled:
            self._say(f"{what} works again")
        self._troubled.discard(what)


def message(change: AlertChange) -> bytes:
    """What the webhook and the command's standard input get."""
    body = {"schema": "whisper-ops/alert/1", "event": change.kind, **msgspec.structs.asdict(change.alert)}
    return msgspec.json.encode(body)


def _split(command: str | None) -> list[str]:
    if command is None:
        return []
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UserError(f"--on-alert {command!r} is no command: {error}") from error
    if not words:
        raise UserError("--on-alert needs a command")
    return words
