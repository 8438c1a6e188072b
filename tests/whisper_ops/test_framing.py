"""Messages between our own processes: whole whatever the pieces they come in, and one way of writing them."""

import asyncio
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from whisper_ops.framing import HEADER_BYTES, Frames, body_bytes, frame, read_frame

ROOT = Path(__file__).parents[2]


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_messages_come_out_whole_however_they_were_cut(messages: list[bytes], cuts: list[int]) -> None:
    sent = b"".join(map(frame, messages))
    frames, got, at = Frames(), list[bytes](), 0
    for size in [*cuts, len(sent)]:
        got += frames.cut(sent[at : at + size])
        at += size
    assert got == messages

    async def read() -> list[bytes]:
        reader = asyncio.StreamReader()
        reader.feed_data(sent + b"\x05\0")
        reader.feed_eof()
        return [body async for body in aiter_of(reader)]

    assert asyncio.run(read()) == messages, "what was cut off is the end"


async def aiter_of(reader: asyncio.StreamReader):  # type: ignore[no-untyped-def]  # noqa: ANN201  # a helper of one test
    while (body := await read_frame(reader)) is not None:
        yield body


def test_a_header_says_the_length() -> None:
    assert body_bytes(frame(bytes(70_000))[:HEADER_BYTES]) == 70_000


def test_nobody_writes_lengths_of_their_own() -> None:
    found = [
        path.relative_to(ROOT).as_posix()
        for room in ("whisper_ops", "server", "dashboard", "capacity")
        for path in sorted((ROOT / room).rglob("*.py"))
        if path.name != "framing.py" and re.search(r"len\(\w+\)\.to_bytes|Struct\(\"[<>]I", path.read_text("utf-8"))
    ]
    assert not found, "whisper_ops.framing is how our processes talk"
