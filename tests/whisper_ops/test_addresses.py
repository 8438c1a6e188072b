"""Addresses as users write them: which are some, and which sentence says why another is none."""

import pytest

from dashboard.polling.server_list import from_argument
from whisper_ops.addresses import parsed, shown


@pytest.mark.parametrize(
    "text",
    [
        "http://asr-1:8000", "https://asr.example/path?x=1", "http://127.0.0.1", "http://[::1]:8000", "http://größe.example",
        "http://[fe80::1%25eth0]:8000", "http://my_host:8000",
    ],
)  # fmt: skip
def test_an_address(text: str) -> None:
    assert parsed(text, ("http", "https")).hostname


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://[", "brackets"),
        ("http://h:²", "its port is no number"),
        ("http://h:99999", "its port is no number"),
        ("http://h:0", "port 0"),
        ("http://", "no host"),
        ("http://²", "no host"),
        ("http://-h", "no host"),
        ("http://a b", "no address can hold"),
        ("http://h/\x1b[2J", "no address can hold"),
        ("http://h/{x}", "no address can hold"),
        (f"http://{'h' * 5000}", "no address can hold"),
        ("ftp://h", "begin with http:// or https://"),
        ("", "begin with http:// or https://"),
    ],
)
def test_no_address(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parsed(text, ("http", "https"))


def test_a_sentence_shows_no_password() -> None:
    assert shown("ws://user:secret@[::1?token=secret") == "ws://[::1"


def test_a_websocket_address_means_the_server() -> None:
    assert from_argument("ws://asr-1:8000/ws").url == "http://asr-1:8000"
    assert from_argument("wss://asr-1/asr").url == "https://asr-1"
    assert from_argument("whisperlive+ws://asr-1:9090").kind == "whisperlive"
