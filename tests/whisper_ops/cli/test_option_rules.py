"""Options that cannot be honoured together are an error in one sentence, in every command."""

from pathlib import Path

import click
import pytest

from tests.capacity.planner_cli import whisper_ops
from whisper_ops.cli import COMMANDS, main
from whisper_ops.errors import Exit
from whisper_ops.history import History

HOST = Path(__file__).parents[3] / "docs" / "host-profile.toml"
MEASURED = (
    ("--history", "x.db"), ("--server", "x"), ("--model", "x"), ("--gpu", "x"), ("--gpu-speed", "2"), ("--chunk", "1"),
    ("--objective", "x<=1"), ("--price", "x"), ("--gpus-per-machine", "2"),
)  # fmt: skip
TOGETHER = [
    *((("plan", "--host-profile", str(HOST), *more), more[0]) for more in MEASURED),
    (("plan", "--json", "--markdown"), "--markdown"),
    (("plan", "--emit", "sysctl", "--json"), "--emit"),
    (("plan", "--emit", "sysctl", "--markdown"), "--emit"),
    (("plan", "--gpu-speed", "2"), "--gpu"),
    (("plan", "--blocking", "1%", "--target", "5"), "--peak-arrivals"),
    (("plan", "--gpus-per-machine", "2"), "--target"),
    (("plan", "--server", "x", "diff"), "whisper-ops plan diff --server"),
    (("plan", "--json", "diff"), "whisper-ops plan diff --json"),
    (("plan", "--markdown", "diff"), "leave it out"),
    (("import", "x.csv", "--from", "2d"), "--prometheus"),
    (("import", "x.csv", "--step", "2s"), "--prometheus"),
    (("import", "x.csv", "--mapping", "dcgm"), "--prometheus"),
    (("import", "x.csv", "--objective", "x<=1"), "--levels"),
    (("import", "x.csv", "--levels", "--by", "x"), "--levels"),
    (("import", "x.csv", "--token-file", "x"), "--prometheus"),
    (("import", "--prometheus", "http://x", "--map", "at=x"), "--prometheus"),
    (("import", "--prometheus", "http://x", "--levels"), "--prometheus"),
    (("import", "--prometheus", "http://x", "--by", "x"), "--prometheus"),
    (("import", "--prometheus", "http://x", "--server", "x"), "--prometheus"),
    (("import", "--prometheus", "http://x", "--decimal", "comma"), "--prometheus"),
    (("import", "x.csv", "--prometheus", "http://x"), "either"),
    (("sweep", "http://x", "--search", "--levels", "1,2"), "--search"),
    (("sweep", "http://x", "--search", "--soak", "1h"), "--soak"),
    (("sweep", "http://x", "--tolerance", "5"), "--search"),
    (("sweep", "http://x", "--max-levels", "5"), "--search"),
    (("sweep", "http://x", "--max-streams", "5"), "--search"),
    (("sweep", "http://x", "--connect", "--protocol", "whisperlive"), "--connect"),
    (("dash", "--replay", "1 h ago", "http://x"), "--replay"),
    (("dash", "--replay", "1 h ago", "--once"), "--replay"),
    (("dash", "--replay", "1 h ago", "--json"), "--replay"),
    (("dash", "--replay", "1 h ago", "--watch", "5"), "--replay"),
    (("dash", "--replay", "1 h ago", "--interval", "5"), "--replay"),
    (("dash", "--replay", "1 h ago", "--hosts", "x"), "--replay"),
    (("dash", "--replay", "1 h ago", "--token-file", "x"), "--replay"),
    (("dash", "http://x", "--once", "--watch", "5"), "--watch"),
    (("dash", "http://x", "--once", "--theme", "night"), "--theme"),
    (("dash", "http://x", "--json", "--admin-token-file", "x"), "--json"),
    (("dash", "http://x", "--read-only", "--admin-token-file", "x"), "--read-only"),
    (("corpus", "make", "--times", "--again"), "--times"),
    (("corpus", "make", "--times", "--sentences", "x"), "--times"),
    (("serve", "--engine", "simulated", "--model", "x"), "--engine simulated"),
    (("serve", "--workers", "2"), "--cluster"),
    (("serve", "--min-workers", "2"), "--cluster"),
    (("serve", "--worker-port", "9000"), "--cluster"),
    (("serve", "--cluster", "local", "--headroom", "20%"), "--min-workers"),
    (("serve", "--cluster", "local", "--scale-down-after", "1min"), "--max-workers"),
    (("serve", "--cluster", "local", "--lease", "5s"), "--lease"),
    (("serve", "--cluster", "local", "--public-url", "ws://x/ws"), "--public-url"),
    (("serve", "--cluster", "local", "--tls-cert", "x"), "--tls-cert"),
    (("serve", "--cluster", "local", "--devices", "cuda:0"), "--devices"),
    (("serve", "--cluster", "local", "--devices", "cpu,cpu"), "--devices"),
    (("serve", "--cluster", "local", "--workers", "0"), "--workers 0"),
    (("serve", "--cluster", "local", "--workers", "4", "--max-workers", "3"), "--workers 4"),
    (("serve", "--cluster", "local", "--min-workers", "4", "--max-workers", "3"), "--min-workers 4"),
    (("serve", "--cluster", "10.0.0.1"), "HOST:PORT"),
    (("serve", "--cluster", "ray://10.0.0.1:10001"), "HOST:PORT"),
    (("serve", "--cluster", "10.0.0.1:6379"), "--token-file"),
    (("serve", "--orphan-timeout", "5min"), "--lease"),
    (("serve", "--engine", "simulated", "--lease", "5s"), "--admin-token-file"),
    (("broker", "http://a:1", "--cluster", "a:1"), "--cluster"),
    (("serve", "--engine", "simulated", "--compute-type", "int8"), "--engine simulated"),
    (("serve", "--sim-law", "a=1"), "--engine ctranslate2"),
    (("serve", "--engine", "torch", "--sim-law", "a=1"), "--engine torch"),
    (("serve", "--engine", "simulated", "--devices", "sim:1", "--tls-key", "x.csv"), "--tls-cert"),
    (("serve", "--engine", "simulated", "--devices", "sim:1", "--history", "x.db"), "auto"),
    (("doctor", "--history", "x.db"), "--server"),
    (("doctor", "--profile", "--json"), "--profile"),
    (("doctor", "--profile", "--want", "5"), "--profile"),
    (("export", "stream", "--since", "2h"), "no time"),
    (("export", "level", "--server", "x"), "no server"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), TOGETHER, ids=[" ".join(row[0]) for row in TOGETHER])
def test_options_that_exclude_each_other_are_refused(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHISPER_OPS_HISTORY", str(tmp_path / "history.db"))  # nobody's wish in these commands
    (tmp_path / "x.csv").write_text("n,x\n1,2\n")
    if arguments[0] == "export":
        History.writing(tmp_path / "history.db").close()
    done = whisper_ops(capsys, *arguments)
    assert done.code == Exit.USAGE, done.err
    assert words in done.sentence()


def test_every_rule_names_options_that_there_are() -> None:
    """A rule about an option that was renamed would never hold, and never be missed."""
    checked = 0
    for _, command in _commands():
        names = {parameter.name for parameter in command.params}
        for rule in getattr(command.callback, "rules", ()):
            asked = {*getattr(rule, "options", ()), *getattr(rule, "others", ())} | (
                {rule.option} if hasattr(rule, "option") else set()
            )
            assert asked <= names, (command.name, asked - names)
            checked += 1
    assert checked > 20


def _commands() -> list[tuple[str, click.Command]]:
    context = click.Context(main)
    found = []
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {sub}", command.commands[sub]) for sub in command.commands]
    return found
