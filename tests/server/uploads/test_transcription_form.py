"""Every field of OpenAI's form is served or refused."""

from typing import Any

import httpx
import pytest

from tests.server.http.test_routes import serving
from tests.server.scenarios.test_streams import spoken
from tests.server.uploads.form_client import post_form
from tests.server.virtual import World

GRAINS = "timestamp_granularities__"


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "model": ({"model": "gpt-4o-transcribe"}, 404, "model"),
    "prompt": ({"prompt": "Names."}, 400, "prompt"),
    "temperature": ({"temperature": "0.4"}, 400, "temperature"),
    "no number": ({"temperature": "warm"}, 400, "temperature"),
    "format": ({"response_format": "diarized_json"}, 400, "response_format"),
    "stream of text": ({"stream": "true", "response_format": "srt"}, 400, "response_format"),
    "stream": ({"stream": "maybe"}, 400, "stream"),
    "grain": (
        {"timestamp_granularities__": "letter", "response_format": "verbose_json"},
        400,
        "timestamp_granularities",
    ),
    "grain alone": ({GRAINS: "word"}, 400, "timestamp_granularities"),
    "include": ({"include__": "logprobs"}, 400, "include"),
    "speakers": ({"known_speaker_names__": ["a", "b"]}, 400, "known_speaker_names"),
    "keywords": ({"keywords__": ["a"]}, 400, "keywords"),
    "languages": ({"languages__": ["de", "en"]}, 400, "languages"),
    "language": ({"language": "klingon"}, 400, "language"),
    "languages twice": ({"language": ["de", "en"]}, 400, "language"),
    "chunking": ({"chunking_strategy": "manual"}, 400, "chunking_strategy"),
    "chunking bounds": ({"chunking_strategy": '{"type":"server_vad","threshold":9}'}, 400, "chunking_strategy"),
    "chunking deep": ({"chunking_strategy": "[" * 9999}, 400, "chunking_strategy"),
    "chunking field": (
        {"chunking_strategy[type]": "server_vad", "chunking_strategy[loud]": "1"},
        400,
        "chunking_strategy",
    ),
    "unknown": ({"hotwords": "x"}, 400, "hotwords"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_parameter_that_is_not_honoured_is_an_error_of_openais_shape(name: str) -> None:
    fields, status, param = REFUSED[name]

    async def work(world: World, http: httpx.AsyncClient) -> None:
        answer = await post_form(http, **fields)
        assert answer.status_code == status
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["param"] == param
        assert error["type"] == "invalid_request_error"
        assert world.hub.slots.used == 0

    serving(work)


SERVED: list[dict[str, Any]] = [
    {"model": "whisper-1", "temperature": "0", "prompt": "", "language": "en", "stream": "false"},
    {"model": "simulated", "chunking_strategy": "auto"},
    {"chunking_strategy": '{"type":"server_vad","silence_duration_ms":400}'},
    {"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "0.5"},
]


@pytest.mark.parametrize("fields", SERVED)
def test_what_is_honoured_is_served(fields: dict[str, Any]) -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        answer = await post_form(http, **fields)
        assert answer.json() == {"text": " ".join(spoken(3.0)), "usage": {"type": "duration", "seconds": 3.0}}

    serving(work)
