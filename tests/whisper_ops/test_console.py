"""What is said on stderr: in the terminal's width, between words; whole in a pipe; what is to be copied stays whole."""

import sys

import pytest

from whisper_ops.console import say
from whisper_ops.formatting import wrapped

SENTENCE = "Other programs took up to 89% of the processors meanwhile: without them there is more room."
COMMAND = "    whisper-ops dash --replay '2026-11-28 22:51:23' --history '/a folder with a long name/history.db'"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_sentence_is_broken_between_words_on_a_terminal_only(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    say(SENTENCE)
    lines = capsys.readouterr().err.splitlines()
    assert " ".join(lines) == SENTENCE
    assert len(lines) == (2 if terminal else 1)
    assert not any(line.startswith(" ") for line in lines)


def test_a_command_on_a_line_of_its_own_is_kept_whole() -> None:
    text = f"{SENTENCE}\n  what it showed:\n{COMMAND}"
    assert wrapped(text, 60).splitlines()[-1] == COMMAND
    assert wrapped(text, 60).splitlines()[-2] == "  what it showed:"
