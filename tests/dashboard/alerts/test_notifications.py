"""A webhook and a command hear of alerts; when they fail it is said once, and nothing waits for them."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dashboard.alerts import Alert, AlertChange
from dashboard.alerts.notifications import Notifier
from tests.dashboard.sockets import answering, http, listening, until
from whisper_ops.errors import UserError

ALERT = Alert(
    rule="lag", severity="critical", server="one", since=1.0, value=3, minimum=2, mean=2.5, maximum=3,
    sentence="one: lag: 3 s",
)  # fmt: skip
STARTED = AlertChange("started", ALERT)


async def sent(notifier: Notifier, *changes: AlertChange, until_: Callable[[], object] | None = None) -> None:
    task = asyncio.create_task(notifier.run())
    for change in changes:
        notifier.put(change)
    await notifier.drain(20)
    if until_ is not None:
        await until(until_)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_webhook_gets_json() -> None:
    bodies: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            bodies.append(await reader.readexactly(length))
            writer.write(http(b"ok"))

    said: list[str] = []
    async with listening(take) as port:
        await sent(
            Notifier(said.append, webhook=f"http://127.0.0.1:{port}/secret"), STARTED, AlertChange("ended", ALERT)
        )
    first, second = (json.loads(body) for body in bodies)
    assert (first["schema"], first["event"], second["event"]) == ("whisper-ops/alert/1", "started", "ended")
    assert (first["rule"], first["server"], first["since"], first["maximum"]) == ("lag", "one", 1.0, 3.0)
    assert said == []


async def test_a_webhook_that_refuses_is_said_once_without_its_path_and_so_is_its_return() -> None:
    answers = [http(b"", status="403 No"), http(b"", status="403 No"), http(b"ok")]
    said: list[str] = []
    pages = iter(answers)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.write(next(pages))
        await writer.drain()

    async with listening(take) as port:
        notifier = Notifier(said.append, webhook=f"http://127.0.0.1:{port}/services/hunter2")
        await sent(notifier, STARTED, STARTED, STARTED)
    assert said == [
        "the webhook at 127.0.0.1 answered 403; alerts go on without it",
        "the webhook at 127.0.0.1 works again",
    ]


async def test_a_webhook_nobody_answers_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.alerts.notifications._PAUSE_SECONDS", 0.01)
    said: list[str] = []
    async with listening(answering(lambda: b"")) as port:
        pass
    await sent(Notifier(said.append, webhook=f"http://127.0.0.1:{port}/hunter2"), STARTED, STARTED)
    assert said == ["the webhook at 127.0.0.1 could not be reached (ConnectError); alerts go on without it"]


async def test_a_command_gets_the_alert_but_not_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_OPS_TOKEN", "hunter2")
    out = tmp_path / "out"
    script = tmp_path / "tell.py"
    script.write_text(
        "import os, sys\n"
        f"out = open({str(out)!r}, 'w')\n"
        "out.write(sys.stdin.read() + os.environ['WHISPER_OPS_ALERT_RULE'] + str(dict(os.environ)))\n"
    )
    said: list[str] = []
    await sent(Notifier(said.append, command=f"{sys.executable} {script}"), STARTED)
    text = out.read_text()
    assert '"event":"started"' in text
    assert "}lag" in text
    assert "hunter2" not in text
    assert said == []


async def test_a_command_that_fails_hangs_or_is_missing_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.alerts.notifications._COMMAND_SECONDS", 0.2)
    for command, sentence in (
        ("false", "the alert command false ended with exit code 1"),
        ("sleep 60", "the alert command sleep took more than 0 s and was stopped"),
        (
            "no-such-command-here",
            "the alert command no-such-command-here could not be started: No such file or directory",
        ),
    ):
        said: list[str] = []
        await sent(Notifier(said.append, command=command), STARTED, STARTED)
        assert said == [sentence]


@pytest.mark.parametrize("options", [{"webhook": "hooks.example/x"}, {"command": ""}, {"command": "'unclosed"}])
def test_what_cannot_be_right_is_said_at_the_start(options: dict[str, str]) -> None:
    with pytest.raises(UserError):
        Notifier(print, **options)


def test_too_many_changes_are_dropped_and_counted() -> None:
    notifier = Notifier(print, command="true")
    for _ in range(1002):
        notifier.put(STARTED)
    assert notifier.lost_total == 2
