"""How far a command is, told to the program that started it."""

from pathlib import Path

import pytest

from whisper_ops.progress import VARIABLE, Progress, read, tell

HALF = Progress(doing="level 2 of 3", done_ratio=0.5, left_seconds=20.0)


def test_what_is_told_is_read_and_the_newest_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "progress"
    assert read(path) is None
    tell(HALF)
    assert not list(tmp_path.iterdir()), "nobody asked for it"
    monkeypatch.setenv(VARIABLE, str(path))
    tell(Progress(doing="level 1 of 3", done_ratio=0.1, left_seconds=50.0))
    tell(HALF)
    assert read(path) == HALF
    assert [file.name for file in tmp_path.iterdir()] == ["progress"]


def test_where_it_cannot_be_left_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gone" / "progress"))
    tell(HALF)


@pytest.mark.parametrize(
    "said",
    ["", "{", '{"doing":"x"}', '{"doing":"x","done_ratio":2,"left_seconds":1}',
     '{"doing":"x","done_ratio":-1,"left_seconds":1}', '{"doing":"x","done_ratio":0,"left_seconds":-5}', "[" * 3000],
)  # fmt: skip
def test_nonsense_is_no_progress(tmp_path: Path, said: str) -> None:
    path = tmp_path / "progress"
    path.write_text(said, "utf-8")
    assert read(path) is None
