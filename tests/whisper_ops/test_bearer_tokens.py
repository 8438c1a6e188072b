"""Tokens come from a file or the environment."""

from pathlib import Path

import pytest

from whisper_ops.bearer_tokens import read_token
from whisper_ops.errors import UserError


def test_the_file_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_OPS_TOKEN", "from-environment")
    file = tmp_path / "token"
    file.write_text("from-file\n")
    assert read_token(file) == "from-file"
    assert read_token(None) == "from-environment"


def test_without_either_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WHISPER_OPS_TOKEN", raising=False)
    assert read_token(None) is None


@pytest.mark.parametrize("blank", [" ", "\t \n", "two words", "füße", "line\nline", "bell\x07"])
def test_what_no_header_can_carry_is_no_token(tmp_path: Path, blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text(blank)
    for variable in ("WHISPER_OPS_TOKEN", "WHISPER_OPS_ADMIN_TOKEN"):
        monkeypatch.setenv(variable, blank)
        for given in (file, None):
            with pytest.raises(UserError, match="token") as caught:
                read_token(given, variable)
            assert not blank.strip() or blank.strip() not in str(caught.value), "a token is never shown"


def test_an_empty_variable_is_none_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_OPS_TOKEN", "")
    assert read_token(None) is None


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "No such file"), (b"", "is empty"), (b" \n", "is empty"), (b"\xff\xfe\x00", "not UTF-8 text")],
)
def test_a_file_that_holds_no_token_is_named(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=sentence) as caught:
        read_token(file)
    assert str(file) in str(caught.value)
