"""Figures and numbers of things as people read them, written in one place."""

import re
from pathlib import Path

import pytest

from whisper_ops import formatting as f

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (0, "level", "0 levels"),
        (1, "level", "1 level"),
        (1024, "level", "1,024 levels"),
        (1, "reply", "1 reply"),
        (2, "reply", "2 replies"),
        (2, "day", "2 days"),
        (2, "process", "2 processes"),
        (3, "switch", "3 switches"),
        (2, "concurrent call", "2 concurrent calls"),
        (2, "GPU", "2 GPUs"),
        (None, "stream", "— streams"),
    ],
)
def test_a_number_of_things(number: int | None, noun: str, said: str) -> None:
    assert f.counted(number, noun) == said


def test_a_plural_of_its_own() -> None:
    assert f.counted(1, "minute or hour", "minutes and hours") == "1 minute or hour"
    assert f.counted(2, "minute or hour", "minutes and hours") == "2 minutes and hours"


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (f.age(0.4), "0 seconds"),
        (f.age(61), "1 minute"),
        (f.age(7_300), "2 hours"),
        (f.age(90_000), "1 day"),
        (f.planned_time(119), "119 s"),
        (f.planned_time(3_600), "60 min"),
        (f.times(1), "once"),
        (f.times(2), "2 times"),
    ],
)
def test_times_in_words(shown: str, said: str) -> None:
    assert shown == said


def test_nobody_has_a_plural_or_a_size_of_their_own() -> None:
    own = re.compile(
        r"""['"]s['"] (\*|if)|\* \(\w+ != 1\)|['"]\w+['"] if \w[\w.]* == 1 else ['"]\w+s['"]"""
        r"""|== 1 else f['"]\{[^}]+\} \{?\w+\}?s['"]"""
    )
    sizes = re.compile(r"def _?(size|gb|bytes|percent|duration|ago|age|plural|count)\(\w+: (float|int)[^)]*\) -> str")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for room in ("whisper_ops", "server", "dashboard", "capacity")
        for path in sorted((ROOT / room).rglob("*.py"))
        if path.name != "formatting.py"
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if (own.search(line) or sizes.search(line)) and "http{'s'" not in line
    ]
    assert not found, "whisper_ops.formatting has counted, size, duration and age"


def test_a_sentence_breaks_between_words_and_a_command_in_it_never() -> None:
    sentence = "there is no history at history.db; run `whisper-ops sweep URL --levels 1,2,4` first"
    assert f.wrapped(sentence, 40).split("\n") == [
        "there is no history at history.db; run", "`whisper-ops sweep URL --levels 1,2,4`", "first",
    ]  # fmt: skip
    assert f.wrapped("one\n\ntwo", 40) == "one\n\ntwo"
