"""Programs that we start are told nothing that they do not need: no token, no webhook, no socket of systemd."""

import json
import sys
from pathlib import Path

import pytest

from dashboard.config import load
from dashboard.monitoring.recorder import Recorder
from tests.support.servers import free_port, running_server
from whisper_ops.bearer_tokens import environment_without_secrets

SECRETS = {
    "WHISPER_OPS_TOKEN": "hunter1",
    "WHISPER_OPS_ADMIN_TOKEN": "hunter2",
    "WHISPER_OPS_WEBHOOK": "http://127.0.0.1:1/hunter3",
    "WHISPER_OPS_SOME_LATER_SECRET": "hunter4",
    "FRA_TOKEN": "hunter5",
    "NOTIFY_SOCKET": "@hunter6",
}
THEIRS = {"PAGER_TOKEN": "the command's own", "WHISPER_OPS_HISTORY": "/var/lib/history.db"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (SECRETS | THEIRS).items():
        monkeypatch.setenv(name, value)


async def test_the_command_of_an_alert_gets_the_alert_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET")  # the recorder itself would speak to it
    (tmp_path / "whisper-ops.toml").write_text(
        f'[[server]]\nurl = "http://127.0.0.1:{free_port()}"\ntoken_env = "FRA_TOKEN"\n[alerts]\nrules = "rules.toml"\n'
    )
    rule = '[alert."server silent"]\nfigure = "silent_seconds"\nover = 0.2\nhold_seconds = 0\n'
    (tmp_path / "rules.toml").write_text(rule)
    script, out = tmp_path / "tell.py", tmp_path / "out.json"
    script.write_text(f"import json, os, sys\njson.dump(dict(os.environ), open({str(out)!r}, 'w'))\n")
    watch = load((), config=tmp_path / "whisper-ops.toml", interval=0.1)
    recorder = Recorder(
        watch, tmp_path / "history.db", lambda _: None,
        webhook=SECRETS["WHISPER_OPS_WEBHOOK"], on_alert=f"{sys.executable} {script}",
    )  # fmt: skip
    await recorder.run(3)
    environment = json.loads(out.read_text())
    assert environment["WHISPER_OPS_ALERT_RULE"] == "server silent"
    assert "hunter" not in json.dumps(environment)
    assert THEIRS.items() <= environment.items()


def test_a_worker_has_no_token(tmp_path: Path) -> None:
    with running_server(tmp_path, "--engine", "simulated", "--devices", "sim:1", "--host", "127.0.0.1") as server:
        process_id = _gpus(server.url)[0]["process_id"]
        environment = Path(f"/proc/{process_id}/environ").read_bytes()
    # FRA_TOKEN is a name that a dashboard's settings give; to a server it is somebody else's.
    assert b"hunter" not in environment.replace(SECRETS["FRA_TOKEN"].encode(), b"")
    assert b"PATH=" in environment


def _gpus(url: str) -> list[dict[str, int]]:
    import httpx

    answer = httpx.get(f"{url}/gpu-status", headers={"authorization": f"Bearer {SECRETS['WHISPER_OPS_TOKEN']}"})
    gpus: list[dict[str, int]] = answer.json()["gpus"]
    return gpus


def test_every_setting_of_ours_is_hidden_that_is_not_named() -> None:
    told = environment_without_secrets(["FRA_TOKEN"])
    assert not {name for name in SECRETS if name in told}
    assert THEIRS.items() <= told.items()
