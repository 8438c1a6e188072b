"""Making speech says what it does before it takes its time, and nothing where nothing is made."""

import io

import pytest

from capacity.commands.clip_progress import ClipProgress
from whisper_ops import console


def test_the_first_step_says_what_is_made_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(console, "narration", lambda: console.PlainConsole(file=file, width=80))
    with ClipProgress("the speech is made once, and kept in /somewhere"):
        pass
    assert file.getvalue() == ""
    with ClipProgress("the speech is made once, and kept in /somewhere") as progress:
        progress.show("speaking", 0, 50)
        progress.show("speaking", 9, 50)
        progress.show("hearing", 0, 50)
    assert file.getvalue().splitlines() == [
        "the speech is made once, and kept in /somewhere",
        "speaking: 50 clips",
        "hearing: 50 clips",
    ]
