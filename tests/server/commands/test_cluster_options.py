"""What `serve --cluster` tells its workers: every option that is theirs, as it was typed, and none that is not."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from server.cluster.cluster_settings import ClusterSettings
from server.commands.cluster_options import _NOT_FOR_WORKERS
from server.commands.serve import command


def asked(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> ClusterSettings:
    """What the cluster is asked for, without one."""
    found: list[ClusterSettings] = []
    double = ModuleType("server.cluster.cluster_process")
    double.serve = lambda settings, _: found.append(settings)  # type: ignore[attr-defined]  # what the command imports
    monkeypatch.setitem(sys.modules, "server.cluster.cluster_process", double)
    ran = CliRunner().invoke(command, list(arguments))
    assert found, (ran.output, ran.exception)
    return found[0]


def parsed(arguments: tuple[str, ...]) -> dict[str, Any]:
    """As a worker's own command line reads them."""
    return command.make_context("serve", list(arguments), resilient_parsing=True).params


TYPED: dict[str, tuple[str, ...]] = {
    "engine": ("--engine", "torch"), "model": ("--model", "small"), "compute_type": ("--compute-type", "float16"),
    "max_batch": ("--max-batch", "7"), "min_context": ("--min-context", "8.5"),
    "placement": ("--placement", "round_robin"), "when_full": ("--when-full", "503"),
    "reconnect_url": ("--reconnect-url", "wss://x/ws"),
    "connections_per_address": ("--connections-per-address", "3"), "idle_timeout": ("--idle-timeout", "90s"),
    "max_idle": ("--max-idle", "2h"), "max_session": ("--max-session", "30min"),
    "drain_timeout": ("--drain-timeout", "5min"), "orphan_timeout": ("--orphan-timeout", "20min"),
    "log_json": ("--log-json",),
    "allow_origin": ("--allow-origin", "https://a.example", "--allow-origin", "https://b.example"),
    "sample": ("--sample", "hello.wav"),
}  # fmt: skip
THEIRS = ("--sim-law", "--lease", "--tls-cert", "--tls-key", "--public-url")
"""Of the simulated engine, and what excludes a cluster."""


def test_every_option_of_serve_reaches_the_workers_or_is_known_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [word for typed in TYPED.values() for word in typed]
    told = parsed(asked(monkeypatch, "--cluster", "local", *words).arguments)
    wanted = parsed(tuple(words))
    assert {name: told[name] for name in TYPED} == {name: wanted[name] for name in TYPED}
    excluded = {option.removeprefix("--").replace("-", "_") for option in THEIRS}
    names = {parameter.name for parameter in command.params}
    assert names - {"help"} == set(TYPED) | _NOT_FOR_WORKERS | excluded, "say what becomes of a new option"


def test_what_was_not_typed_is_left_to_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = asked(monkeypatch, "--cluster", "local")
    assert settings.arguments == ("--max-connections-per-gpu", "16")
    assert (settings.device, settings.slots, settings.workers, settings.least, settings.most) == (
        "auto",
        16,
        None,
        None,
        None,
    )


def test_a_simulated_worker_of_several_gpus_has_the_slots_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    law = ("--engine", "simulated", "--sim-law", "a=0.02,b=0.005")
    settings = asked(monkeypatch, "--cluster", "local", *law, "--devices", "sim:4", "--max-connections-per-gpu", "8")
    assert (settings.device, settings.slots) == ("sim:4", 32)
    assert parsed(settings.arguments)["sim_law"] == "a=0.02,b=0.005"


def test_the_plan_of_this_machine_gives_the_workers_their_slots(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    auto = ("--max-connections-per-gpu", "auto", "--history", str(tmp_path / "none.db"))
    settings = asked(monkeypatch, "--cluster", "local", "--engine", "simulated", *auto)
    told = parsed(settings.arguments)
    assert (told["max_connections_per_gpu"], told["lag_objective"]) == ("2", 2.0), "a safe few, with the lag guard"


def test_a_folder_is_told_whole_and_a_name_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parsed(asked(monkeypatch, "--cluster", "local", "--model", "./model").arguments)["model"] == str(
        tmp_path / "model"
    )
    assert parsed(asked(monkeypatch, "--cluster", "local", "--model", "small").arguments)["model"] == "small"


def test_tokens_are_no_words_of_a_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret-one")
    settings = asked(monkeypatch, "--cluster", "10.0.0.1:6379", "--token-file", str(tmp_path / "token"))
    assert settings.broker.token == "secret-one"
    assert "secret-one" not in repr(settings)
    assert not any("secret" in word or "token" in word for word in settings.arguments)
