"""`sweep --connect`: where streams go, with what, and who is told our token."""

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from capacity.corpus.clips import load
from capacity.loadgen.connection import TOKEN_KEPT
from capacity.loadgen.two_step_connect import ask_connect, parse_answer
from capacity.loadtest.level import LoadShape
from capacity.loadtest.runner import Sweep, SweepOptions, SweepOutcome
from capacity.loadtest.strategies import LevelList
from capacity.loadtest.target import parse_target
from tests.capacity.double import Double, Faults, coded_corpus, running_double
from tests.capacity.loadtest.test_runner import Quiet
from tests.dashboard.sockets import answering, http, listening
from whisper_ops.history import History
from whisper_ops.objective import parse

SHAPE = LoadShape(seconds=1.5, setup_seconds=4, drain_seconds=2, warm_up_seconds=0, cool_seconds=0)


@pytest.mark.parametrize(
    ("asked", "ws_url", "same"),
    [
        ("http://lb:8000/connect", "ws://lb:8000/ws?ticket=t", True),
        ("https://lb/connect", "wss://lb:443/ws?ticket=t", True),
        ("http://LB:80/connect", "ws://lb/ws?ticket=t", True),
        ("http://lb:8000/connect", "ws://evil:8000/ws?ticket=t", False),
        ("http://lb:8000/connect", "ws://lb:9000/ws?ticket=t", False),
        ("https://lb/connect", "ws://lb:443/ws?ticket=t", False),
        ("https://lb/connect", "wss://lb@evil/ws?ticket=t", False),
        ("https://lb/connect", "wss://lb.evil/ws?ticket=t", False),
    ],
)
def test_only_the_host_that_was_asked_is_the_same(asked: str, ws_url: str, *, same: bool) -> None:
    assert parse_answer(asked, ws_url, "t").is_same_host is same


def test_a_ticket_that_is_not_in_the_address_is_put_there() -> None:
    assert parse_answer("http://a/connect", "ws://a/ws?region=eu", "t t").url == "ws://a/ws?region=eu&ticket=t+t"
    assert parse_answer("http://a/connect", "ws://a/ws", None).url == "ws://a/ws"


@pytest.mark.parametrize("ws_url", ["", "http://a/ws", "ws://", "ws://a/\x1b]0;", "ws://" + "a" * 3000, "ws://a:b/ws"])
def test_what_is_no_address_of_a_websocket_is_not_gone_to(ws_url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whichever part of it cannot be read
        parse_answer("http://a/connect", ws_url, None)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (http(b'{"ws_url": "' + b"x" * (1 << 20) + b'"}'), "/connect"),
        (http(gzip.compress(bytes(1 << 24)), status="200 OK\r\nContent-Encoding: gzip"), "/connect"),
        (http(b'{"ws_url": ' + b"[" * 10_000), "without the address"),
        (http(b'["ws://a/ws"]'), "without the address"),
        (http(b'{"ws_url": 7}'), "without the address"),
        (http(b"", status="404 Not Found"), "HTTP 404"),
        (http(b"", status="302 Found\r\nLocation: http://127.0.0.1:1/"), "HTTP 302"),
        (http(b"", status="429 Too Many Requests"), "no room"),
    ],
    ids=["long", "zipped", "deep", "a list", "a number", "absent", "elsewhere", "too many"],
)
async def test_what_connect_may_answer_is_bounded_and_said(answer: bytes, sentence: str) -> None:
    async with listening(answering(lambda: answer)) as port:
        with pytest.raises(ConnectionError, match=sentence):
            await ask_connect(f"http://127.0.0.1:{port}/connect", {}, 5.0)


async def swept(double: Double, folder: Path, token: str) -> SweepOutcome:
    target = parse_target(double.url, two_step=True, token=token)
    with History.writing(folder / "history.db") as store:
        corpus = load(coded_corpus(folder / "speech"))
        sweep = Sweep(store, target, corpus, SHAPE, parse("stable_p95<=5s"), Quiet(), SweepOptions(processes=1))
        return await sweep.run(LevelList((1,)))


@pytest.mark.parametrize("knows_ticket", [True, False])
async def test_a_host_that_connect_names_is_not_told_our_token(tmp_path: Path, *, knows_ticket: bool) -> None:
    elsewhere = Faults() if knows_ticket else Faults(token="another")
    async with (
        running_double(elsewhere) as other,
        running_double(Faults(token="secret", hands_out=f"{other.url.replace('http', 'ws')}/ws")) as double,
    ):
        outcome = await swept(double, tmp_path, "secret")
        assert set(other.authorizations) == ({None} if knows_ticket else set())
        assert other.accepted == (1 if knows_ticket else 0)
    assert (outcome.state == "done") is knows_ticket
    if not knows_ticket:
        assert TOKEN_KEPT in (outcome.reason or "")


async def test_the_host_that_was_asked_gets_the_token_and_the_ticket(tmp_path: Path) -> None:
    async with running_double(Faults(token="secret")) as double:
        outcome = await swept(double, tmp_path, "secret")
        assert outcome.state == "done"
        assert double.authorizations == ["Bearer secret"]
        assert not double.tickets


def test_the_double_answers_what_the_real_server_answers(tmp_path: Path) -> None:
    """Field by field: `/connect` and every message of a stream."""
    import httpx
    from websockets.asyncio.client import connect

    from tests.support.servers import running_server

    async def all_of(url: str) -> dict[str, set[str]]:
        async with httpx.AsyncClient(trust_env=False) as http:
            said = (await http.get(f"{url}/connect")).json()
        found = {"connect": set(said)}
        assert said["ticket"] in said["ws_url"]
        async with connect(said["ws_url"], proxy=None) as stream, asyncio.timeout(20):
            async for text in stream:
                message = json.loads(text)
                if message.get("state") != "connected" and message["type"] == "status":
                    continue  # the double has nothing to load
                found[message["type"]] = set(message)
                if message["type"] == "ready":
                    await stream.send(b"\x00\x00" * 1600)
                    await stream.send('{"type":"end"}')
        return found

    async def doubles() -> dict[str, set[str]]:
        async with running_double() as double:
            return await all_of(double.url)

    sim = ("--engine", "simulated", "--devices", "sim:1")
    with running_server(tmp_path, *sim) as server:
        assert asyncio.run(all_of(server.url)) == asyncio.run(doubles())
