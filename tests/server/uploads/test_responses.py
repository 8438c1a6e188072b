"""Answers in OpenAI's forms."""

import json
import struct
from typing import Any

import httpx
import pytest

from tests.server.http.test_routes import _wav, serving
from tests.server.scenarios.test_streams import spoken
from tests.server.uploads.form_client import post_form
from tests.server.virtual import World, loud


@pytest.mark.parametrize("grains", [[], ["word"], ["segment"], ["word", "segment"]])
@pytest.mark.parametrize("name", ["timestamp_granularities__", "timestamp_granularities"])
def test_words_and_segments_are_what_was_asked_for(grains: list[str], name: str) -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        fields: dict[str, Any] = {name: grains}
        said = (await post_form(http, response_format="verbose_json", **fields)).json()
        assert ("words" in said) == ("word" in grains)
        assert ("segments" in said) == (grains != ["word"])
        assert (said["task"], said["language"], said["duration"]) == ("transcribe", "english", 3.0)
        if "words" in said:
            assert [word["word"] for word in said["words"]] == spoken(3.0)
            assert said["words"][4]["end"] == pytest.approx(1.9, abs=0.05)
            assert set(said["words"][0]) == {"word", "start", "end"}

    serving(work)


def test_subtitles() -> None:
    sound = _wav(0.0)[:40] + struct.pack("<I", 2 * 160_000) + loud(48000) + bytes(64000) + loud(80000, 96000 - 16000)

    async def work(world: World, http: httpx.AsyncClient) -> None:
        srt, vtt = [(await post_form(http, sound, response_format=answer)).text for answer in ("srt", "vtt")]
        head, *cues = srt.strip().split("\n\n")
        assert head.startswith("1\n00:00:00,000 --> 00:00:0")
        assert len(cues) >= 1
        assert cues[0].startswith("2\n00:00:0")
        assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:0")
        assert vtt.split()[5:9] == spoken(3.0)[1:5]

    serving(work)


def test_a_stream_of_events_ends_with_all_the_text() -> None:
    sound = _wav(0.0)[:40] + struct.pack("<I", 2 * 160_000) + loud(48000) + bytes(64000) + loud(80000, 80000)

    async def work(world: World, http: httpx.AsyncClient) -> None:
        answer = await post_form(http, sound, stream="true")
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
        deltas = [event["delta"] for event in events if event["type"] == "transcript.text.delta"]
        assert len(deltas) > 1
        assert events[-1] == {"type": "transcript.text.done", "text": "".join(deltas)}
        assert world.hub.slots.used == 0
        answer = await post_form(http, b"RIFF0000WAVE" + bytes(100), stream="true")
        assert answer.text.startswith('data: {"error":')

    serving(work)
