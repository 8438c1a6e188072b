"""Containers are recognised by their first bytes."""

import pytest

from server.uploads import container_formats


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"RIFF\0\0\0\0WAVE", "wav"),
        (b"RIFF\0\0\0\0AVI ", None),
        (b"\xff\xfb\x90\x00", "mp3"),
        (b"\xff\xf1\x50\x80", "aac"),
        (b"\xff\xff\xff\xff", None),
        (b"#EXTM3U\n", None),
        (b"ffconcat version 1.0\n", None),
        (b"v=0\r\no=- 0 0 IN IP4", None),
        (b"<?xml version", None),
        (b"[playlist]", None),
        (b"", None),
    ],
)
def test_containers_are_told_by_their_first_bytes(head: bytes, name: str | None) -> None:
    assert container_formats.demuxer(head) == name
