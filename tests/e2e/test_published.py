"""A server that has only the published endpoints, in every command: a real one with all else taken from it."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from capacity.corpus.tone_corpus import make_tones
from tests.support.published import only_published
from tests.support.servers import Running, running_server, whisper_ops
from whisper_ops.history import History


def beside(server: Running, work: Callable[[str], None], *sockets: str) -> None:
    """Do `work` with the address of that server as one of another make."""

    async def main() -> None:
        async with only_published(server.port, sockets or ("/ws", "/asr")) as port:
            await asyncio.to_thread(work, f"http://127.0.0.1:{port}")

    asyncio.run(main())


def test_dash_and_record_show_its_slots_and_gpus(tmp_path: Path) -> None:
    history = tmp_path / "history.db"

    def work(url: str) -> None:
        shown = whisper_ops("dash", url, "--once")
        assert shown.returncode == 0, shown.stderr
        assert "healthy" in shown.stdout
        assert "0/6" in shown.stdout
        told = json.loads(whisper_ops("dash", url, "--json").stdout)["servers"][0]
        assert (told["figures"]["slots"], len(told["gpus"])) == (6, 2)
        assert told["gpus"][0]["memory_total_bytes"] > 1e9
        recorded = whisper_ops("record", url, "--history", str(history), "--duration", "3", "--interval", "0.3")
        assert recorded.returncode == 0, recorded.stderr
        assert "published endpoints" in recorded.stderr

    with running_server(
        tmp_path, "--engine", "simulated", "--devices", "sim:2", "--max-connections-per-gpu", "3"
    ) as one:
        beside(one, work)
    with History.reading(history) as opened:
        (name,) = opened.polls.servers()
        polls = list(opened.polls.between(name, 0, 1e12))
    assert len(polls) >= 2
    assert {(poll.figures.slots, len(poll.gpus)) for poll in polls if poll.figures} == {(6, 2)}


@pytest.mark.slow
@pytest.mark.parametrize("socket", ["/ws", "/asr"])
def test_check_fills_and_empties_it_in_the_protocol_that_it_speaks(tmp_path: Path, socket: str) -> None:
    def work(url: str) -> None:
        checked = whisper_ops("check", url, "--json")
        found = {line["check"]: line for line in json.loads(checked.stdout)["findings"]}
        refused = found["connection 7 is refused"]
        spread = next(line for check, line in found.items() if "spread" in check)
        assert spread["figures"].startswith("GPU 0: 3, GPU 1: 3")
        assert {line["answer"] for line in (refused, spread)} == {"pass"}, found
        assert found["slots are free again after disconnect"]["answer"] == "pass"

    with running_server(
        tmp_path, "--engine", "simulated", "--devices", "sim:2", "--max-connections-per-gpu", "3"
    ) as one:
        beside(one, work, socket)


@pytest.mark.slow
def test_a_sweep_and_a_recording_of_it_give_a_plan(tmp_path: Path) -> None:
    history, tones = tmp_path / "history.db", make_tones(tmp_path / "tones")

    def work(url: str) -> None:
        words = ("--history", str(history))
        # It does not say that it is simulated, so what to play has to be said.
        sweep = whisper_ops("sweep", url, "--levels", "1,2,3", "--duration", "6", "--corpus", str(tones), *words)
        assert sweep.returncode in {0, 1}, sweep.stderr
        planned = whisper_ops("plan", *words, "--json")
        assert planned.returncode == 0, planned.stderr
        body = json.loads(planned.stdout)
        assert body["capacity"]["last_pass"] >= 1
        assert any("memory" in resource["name"].lower() for resource in body["resources"])

    with running_server(
        tmp_path, "--engine", "simulated", "--devices", "sim:1", "--max-connections-per-gpu", "6"
    ) as one:
        beside(one, work, "/ws")
