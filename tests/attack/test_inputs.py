"""Random messages in every protocol: each connection gets an answer or goes on; none is dropped without a word."""

import base64
import json
import random
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.attack.harness import Siege, besieged, examples

PROTOCOLS = ("/ws", "/asr", "/", "/v1/realtime")
_WORDS = ("type", "event_id", "session", "audio", "input", "format", "uid", "language", "task", "flush", "end", "rate")
_NUMBERS = (0, -1, 1 << 31, 1 << 63, 1 << 64, 10**400, 1.5, -0.0, 1e308)

HELLO: dict[str, Any] = {"uid": "u", "language": "en", "task": "transcribe", "model": "small", "use_vad": True}
VALID: dict[str, list[dict[str, Any]]] = {
    "/ws": [{"type": "flush"}, {"type": "keepalive"}, {"type": "end"}],
    "/asr": [{}],
    "/": [HELLO, {**HELLO, "send_last_n_segments": 3, "audio_format": "int16"}],
    "/v1/realtime": [
        {"type": "session.update", "event_id": "e", "session": {"type": "transcription", "audio": {"input": {}}}},
        {
            "type": "session.update",
            "session": {
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": 16000},
                        "transcription": {"model": "m", "language": "en"},
                        "turn_detection": {"type": "server_vad", "threshold": 0.5},
                    }
                }
            },
        },
        {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(640)).decode()},
        {"type": "input_audio_buffer.commit"},
    ],
}
"""What a client would say, to be spoilt."""


class Dice(random.Random):
    """Makes things that no client would say."""

    def value(self, depth: int = 0) -> Any:
        plain = (
            lambda: self.choice(_NUMBERS),
            lambda: self.choice((None, True, False)),
            lambda: self.choice(_WORDS),
            lambda: "".join(chr(self.choice((self.randrange(32), self.randrange(0x3000), 0x202E))) for _ in range(20)),
            lambda: self.choice(("é", "x" * 3000, "\x00", "auto", "de-DE")),
            lambda: self.randint(-1000, 100_000),
        )
        nested = (
            lambda: [self.value(depth + 1) for _ in range(self.randrange(4))],
            lambda: {self.choice(_WORDS): self.value(depth + 1) for _ in range(self.randrange(5))},
        )
        return self.choice(plain + nested if depth < 4 else plain)()

    def spoilt(self, message: dict[str, Any]) -> dict[str, Any]:
        """A message with one thing in it exchanged, added or gone."""
        whole: dict[str, Any] = json.loads(json.dumps(message))
        place = whole
        while True:
            inner = [value for value in place.values() if isinstance(value, dict)]
            if not inner or self.random() < 0.3:
                break
            place = self.choice(inner)
        name = self.choice([*place, *_WORDS])
        if self.random() < 0.2:
            place.pop(name, None)
        else:
            place[name] = self.value()
        return whole

    def message(self, protocol: str) -> str | bytes:
        match self.randrange(8):
            case 0:
                return self.randbytes(self.choice((0, 1, 3, 100, 5000)))
            case 1:
                return self.choice(("", "{", "[" * 5000, '{"type":' * 2000, '"', "null", "\ufeff{}", "END_OF_AUDIO"))
            case 2:
                return json.dumps(self.value())
            case 3:
                text = json.dumps(self.choice(VALID[protocol]))
                return text[: self.randrange(len(text) + 1)]
            case 4:
                return json.dumps(self.choice(VALID[protocol]))
            case _:
                return json.dumps(self.spoilt(self.choice(VALID[protocol])))


def _inputs(siege: Siege, protocol: str) -> dict[str, Any]:
    dice, left = Dice(protocol), examples(40, 10_000)
    outcomes: Counter[str] = Counter()
    while left > 0:
        with connect(f"ws://127.0.0.1:{siege.server.port}{protocol}", compression=None) as client:
            try:
                if protocol == "/" and dice.random() < 0.5:
                    client.send(json.dumps(HELLO))
                for _ in range(10):
                    client.send(dice.message(protocol))
                    left -= 1
                    _listen(client, 0.0)
                _listen(client, 0.02)
            except ConnectionClosed as closed:
                outcomes[str(closed.rcvd.code) if closed.rcvd else "dropped without a word"] += 1
            else:
                outcomes["goes on"] += 1
    return dict(outcomes)


def _listen(client: ClientConnection, seconds: float) -> None:
    with suppress(TimeoutError):
        while True:
            json.loads(client.recv(seconds))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_any_message_is_answered(tmp_path: Path) -> None:
    with besieged(tmp_path, "--max-connections-per-gpu", "16") as siege:
        for protocol in PROTOCOLS:
            siege.attack(f"random messages to {protocol}", partial(_inputs, siege, protocol), 1.5)
    for attack in siege.report.attacks:
        assert set(attack.counts) <= {"goes on", "1000", "1003", "1007", "1008", "1013", "4400"}, attack
    siege.report.check()
