"""The command line itself: help at once, mistakes as sentences, exit codes as promised."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import click
import pytest

from tests.capacity.plan_history import level, written
from whisper_ops.cli import COMMANDS, main, run
from whisper_ops.errors import Exit, UserError

HEAVY = (
    "torch",
    "faster_whisper",
    "ctranslate2",
    "textual",
    "scipy",
    "matplotlib",
    "numpy",
    "fastapi",
    "httpx",
    "msgspec",
    "rich",
    "jiwer",
    "prometheus_client",
    "psutil",
    "rapidfuzz",
    "simpy",
    "sqlite_utils",
    "websockets",
)
ROOMS = {"server", "dashboard", "capacity"}


def modules_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after running `code`."""
    script = (
        f"import sys\n{code}\nprint(); print(*sorted({{n.partition('.')[0] for n, m in sys.modules.items() if m}}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_no_heavy_package() -> None:
    loaded = modules_after(
        "from whisper_ops.cli import main\nmain.main(['--help'], standalone_mode=False, prog_name='whisper-ops')"
    )
    assert "click" in loaded
    assert loaded.isdisjoint({*HEAVY, *ROOMS}), sorted(loaded.intersection({*HEAVY, *ROOMS}))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_without_its_heavy_packages(name: str) -> None:
    script = f"from whisper_ops.cli import main\nmain.main(['{name}', '--help'], standalone_mode=False)"
    heavy = {"torch", "faster_whisper", "ctranslate2", "textual", "scipy", "matplotlib", "fastapi"}
    loaded = modules_after(script)
    assert loaded.isdisjoint(heavy), sorted(loaded.intersection(heavy))


def test_a_short_plan_and_a_look_at_a_server_import_no_more_than_they_need(tmp_path: Path) -> None:
    history = written(tmp_path / "history.db", [level(streams, passed=streams <= 16) for streams in (1, 8, 16, 24)])
    # Nobody answers there, which is said in the end.
    start = (
        "import contextlib\nfrom whisper_ops.cli import main\n"
        "with contextlib.suppress(Exception): main.main({}, standalone_mode=False)"
    )
    plan = modules_after(start.format(["plan", "--history", str(history)]))
    assert "numpy" in plan
    assert plan.isdisjoint({"scipy", "sqlite_utils", "psutil", "httpx", "textual"}), sorted(plan)
    look = ["dash", "--once", "http://127.0.0.1:9", "--history", str(history)]
    once = modules_after(start.format(look))
    assert "httpx" in once
    assert once.isdisjoint(
        {"numpy", "scipy", "sqlite3", "pynvml", "sqlite_utils", "psutil", "textual", "prometheus_client"}
    ), sorted(once)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_line_of_help(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    commands = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    for one in commands:
        silent = [p.name for p in one.params if isinstance(p, click.Option) and not p.help]
        assert not silent, f"{name}: options without help: {silent}"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--version"], 0, "whisper-ops, version"),
        (["no-such-command"], 2, "No such command 'no-such-command'"),
        (["dahs"], 2, "Did you mean 'dash'?"),
        (["sweep", "--no-such-option"], 2, "No such option"),
    ],
)
def test_exit_codes(arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(arguments)
    assert caught.value.code == code
    said = capsys.readouterr()
    assert words in said.out + said.err


def test_a_users_mistake_is_one_sentence_and_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise UserError("no server at 127.0.0.1:1; start one", Exit.UNREACHABLE)

    monkeypatch.setattr(main, "main", fail)
    with pytest.raises(SystemExit) as caught:
        run([])
    assert caught.value.code == 3
    assert capsys.readouterr().err == "whisper-ops: no server at 127.0.0.1:1; start one\n"


def test_a_folder_of_another_user_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # As `Path.exists` raises where a folder above may not be entered; root, who may enter all, runs this test too.
    denied = PermissionError(errno.EACCES, "Permission denied", "/home/other/.cache/whisper-ops/speech")
    monkeypatch.setattr("capacity.corpus.clips.Path.is_dir", Mock(side_effect=denied))
    with pytest.raises(SystemExit) as caught:
        run(["corpus", "show", "/home/other/speech"])
    assert caught.value.code == Exit.USAGE
    said = capsys.readouterr().err
    assert said.startswith(
        "whisper-ops: cannot use /home/other/.cache/whisper-ops/speech: permission denied; run this as"
    )
    assert len(said.splitlines()) == 1


def test_a_reader_that_goes_away_is_no_error() -> None:
    shell = f"{sys.executable} -m whisper_ops --help | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("Usage: whisper-ops")
    assert "Traceback" not in done.stderr


def test_only_the_screens_import_textual() -> None:
    """Recorder, pollers and alerts run on machines where nobody looks at a screen."""
    root = Path(__file__).parents[3]
    allowed = ("dashboard/tui/screens", "dashboard/tui/widgets", "dashboard/tui/app")
    modules = [
        str(path.relative_to(root).with_suffix(""))
        for room in ("whisper_ops", "dashboard", "capacity")
        for path in sorted((root / room).rglob("*.py"))
        if path.stem not in {"__init__", "__main__"}
    ]
    plain = [m.replace(os.sep, ".") for m in modules if not m.startswith(allowed)]
    imports = "\n".join(f"import {module}" for module in plain)
    assert "textual" not in modules_after(imports)


def test_the_spine_imports_no_room() -> None:
    loaded = modules_after(
        "import importlib, pkgutil, whisper_ops\n"
        "for module in pkgutil.walk_packages(whisper_ops.__path__, 'whisper_ops.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)"
    )
    assert "msgspec" in loaded
    assert loaded.isdisjoint(ROOMS)
