"""The HTTP side: figures, tickets, tokens, admin calls, files. Through ASGI, with virtual time."""

import io
import json
import re
import wave
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import msgspec
import pytest
from uvicorn.protocols.utils import ClientDisconnected

from server.http.page import PARTS
from server.metrics import exposition, openmetrics
from server.metrics.host_readings import HostReadings
from server.metrics.snapshot_builder import SnapshotBuilder
from server.uploads import transcription_job
from tests.server.scenarios.test_streams import spoken
from tests.server.virtual import World, loud, run
from whisper_ops import wire

Work = Callable[[World, httpx.AsyncClient], Coroutine[Any, Any, None]]


def serving(work: Work, devices: int = 2, **settings: Any) -> None:
    async def main() -> None:
        world = await World(devices, **settings).ready()
        transport = httpx.ASGITransport(world.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://there:8000") as http:
            await work(world, http)
        await world.close()

    run(main)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/health", wire.Health),
        ("/gpu-status", wire.GpuStatus),
        ("/performance", wire.Performance),
        ("/snapshot", wire.ServerSnapshot),
        ("/connect", wire.Connect),
    ],
)
def test_answers_are_what_the_wire_types_say(path: str, kind: type) -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        await world.client().connected()
        answer = await http.get(path)
        assert answer.status_code == 200
        said: Any = msgspec.json.decode(answer.content, type=kind)
        assert set(json.loads(answer.content)) == {f.encode_name for f in msgspec.structs.fields(said)}

    serving(work)


def test_status_follows_the_slots() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        words = []
        for _ in range(10):
            words.append((await http.get("/health")).json()["status"])
            await world.client().connected()
        words.append((await http.get("/health")).json()["status"])
        assert words == ["healthy"] * 7 + ["degraded"] * 3 + ["critical"]

    serving(work, max_connections_per_gpu=5)


def test_everything_simulated_says_so() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        said = (await http.get("/snapshot")).json()
        assert said["engine"]["simulated"]
        assert all(gpu["simulated"] and "simulated" in gpu["name"] for gpu in said["gpu_status"]["gpus"])
        assert 'simulated="true"' in (await http.get("/metrics")).text

    serving(work)


def test_figures_follow_the_streams() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        client = await world.client().connected()
        await client.speak(6.0)
        said = (await http.get("/snapshot")).json()
        gpu = said["gpu_status"]["gpus"][client.of("ready")[0]["gpu_id"]]
        assert gpu["active_connections"] == gpu["speaking_streams"] == 1
        assert gpu["connection_ids"] == [client.of("ready")[0]["connection_id"]]
        assert 0 < gpu["busy_ratio"] < 0.5
        assert gpu["batch_fill_mean"] == 1
        latency = said["performance"]["latency"]
        assert 0 < latency["lag_p50_s"] <= latency["lag_p95_s"] < 1.5
        assert latency["partial_interval_s"] == pytest.approx(0.5, abs=0.2)
        await client.end()
        done = (await http.get("/performance")).json()
        assert done["total_completed_connections"] == 1
        assert done["averages"]["audio_chunks_per_connection"] == 60

    serving(work)


def test_with_no_data_averages_are_null() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        said = (await http.get("/performance")).json()
        assert set(said["averages"].values()) == {None}
        assert said["latency"]["lag_p95_s"] is None

    serving(work)


def test_orchestrators_probes() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        ping = await http.get("/ping")
        assert ping.status_code == 200
        assert set(ping.json()) == {"vram_used", "vram_total", "gpu_name"}
        await world.client().connected()
        assert (await http.get("/readyz")).status_code == 200
        assert (await http.get("/readyz?full=503")).status_code == 503
        world.hub.drain.start()
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/livez")).status_code == 200

    serving(work, devices=1, max_connections_per_gpu=1)


def test_before_the_model_is_there_ping_is_204_and_readyz_503() -> None:
    async def main() -> None:
        world = World()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://there") as http:
            assert (await http.get("/ping")).status_code == 204
            assert (await http.get("/readyz")).status_code == 503
            assert (await http.get("/health")).json()["status"] == "starting"
        await world.close()

    run(main)


def test_with_a_token_only_the_probes_are_open() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        for path in ("/livez", "/readyz", "/ping"):
            assert (await http.get(path)).status_code in (200, 204)
        for path in ("/", "/docs", "/health", "/snapshot", "/metrics", "/connect"):
            assert (await http.get(path)).status_code == 401
        assert (await http.get("/health", headers={"authorization": "Bearer secret"})).status_code == 200
        assert (await http.get("/health?token=secret")).status_code == 200
        assert (await http.get("/health?token=wrong")).status_code == 401
        stranger = world.client()
        await stranger.finished()
        assert stranger.close_code == 1008
        assert not stranger.messages
        friend = await world.client(token="secret").connected()
        assert friend.of("ready")

    serving(work, token="secret")


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_person_without_a_token_gets_the_page_that_asks_for_it(path: str) -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        answer = await http.get(path, headers={"accept": "text/html,*/*"})
        assert answer.status_code == 401
        assert 'id="login"' in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert (await http.get("/snapshot", headers={"accept": "text/html"})).json()["error"]

    serving(work, token="secret")


def test_admin_calls_need_the_admin_token() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        body = {"max_connections_per_gpu": 7}
        assert (await http.put("/admin/limits", json=body)).status_code == 403
        root = {"authorization": "Bearer root"}
        assert (await http.put("/admin/limits", json=body, headers=root)).json() == body
        assert world.hub.slots.total == 14
        for text in (b"[" * 10_000, b'{"max_connections_per_gpu":' + b"1" * 100_000):
            assert (await http.put("/admin/limits", content=text, headers=root)).status_code == 422
        for nonsense in ({}, {"max_connections_per_gpu": 0}, {"max_connections_per_gpu": "many"}):
            assert (await http.put("/admin/limits", json=nonsense, headers=root)).status_code == 422
        assert (await http.post("/admin/drain", headers=root)).json()["status"] == "draining"
        assert (await http.delete("/admin/drain", headers=root)).json()["status"] == "healthy"

    serving(work, admin_token="root")


def test_a_limit_beyond_the_open_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)

    async def work(world: World, http: httpx.AsyncClient) -> None:
        root = {"authorization": "Bearer root"}
        refused = await http.put("/admin/limits", json={"max_connections_per_gpu": 600}, headers=root)
        assert refused.status_code == 422
        assert "1200 slots need 1328 open files" in refused.json()["error"]
        assert world.hub.slots.total == 8
        # What connections without a stream may have is what the slots leave.
        for slots, left in ((400, 1024 - 800 - 64), (10, 1024 - 20 - 64)):
            answer = await http.put("/admin/limits", json={"max_connections_per_gpu": slots}, headers=root)
            assert answer.status_code == 200
            assert world.hub.connection_limits.most == left
            assert world.hub.connection_limits.most_of_an_address == left // 2

    serving(work, admin_token="root")


def test_draining_by_an_admin_sends_clients_where_told_and_ends_what_is_left() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        root = {"authorization": "Bearer root"}
        client = await world.client().connected()
        for nonsense in ("https://elsewhere/ws", "wss://", "wss://else where/ws", "ws://host:port/ws", 7):
            refused = await http.post("/admin/drain", json={"reconnect_url": nonsense}, headers=root)
            assert refused.status_code == 422
        assert world.hub.status == "healthy"
        other = {"reconnect_url": "wss://other.example/ws"}
        answer = (await http.post("/admin/drain", json=other, headers=root)).json()
        assert answer == {"status": "draining", "active_connections": 1}
        await world.until(lambda: bool(client.of("draining")))
        assert client.of("draining")[0] == {"type": "draining", "deadline_s": 5.0, **other}
        await client.finished()
        assert client.of("error")[0]["code"] == "drained"
        assert client.close_code == 1001

    serving(work, admin_token="root", drain_seconds=5.0)


def test_without_an_admin_token_nobody_is_admin() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        assert (await http.post("/admin/drain", headers={"authorization": "Bearer "})).status_code == 403

    serving(work)


def test_the_pages_fetch_nothing_from_elsewhere_and_run_nothing_but_their_files() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        for path in ("/", "/docs"):
            answer = await http.get(path)
            assert "whisper-ops server" in answer.text
            assert not re.search(
                r"<style|<script(?! type=\"module\" src=\"page/\w+.js\"></script>)|\son\w+=|\sstyle=", answer.text
            )
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert not re.search(r"unsafe|blob:|data:|\*|https?:", policy)
            assert answer.headers["referrer-policy"] == "no-referrer"
            parts = re.findall(r'(?:src|href)="(page/[^"]+)"', answer.text)
            assert len(parts) >= 3
            for part in parts:
                assert (await http.get(f"/{part}")).status_code == 200
        for path in ("/", "/docs", *PARTS):
            text = (await http.get(path)).text
            assert not re.search(r"(src|href|import|from|fetch|url|addModule)[\s=(]*[\"'`]?(https?:)?//\w", text), path
            assert not re.search(r"innerHTML|outerHTML|document\.write|\beval\b|localStorage|document\.cookie", text), (
                path
            )
        # FastAPI's own pages would load scripts of strangers.
        for path in ("/redoc", "/docs/oauth2-redirect"):
            assert (await http.get(path)).status_code == 404

    serving(work)


def test_what_a_page_is_made_of_is_open_and_nothing_else_below_it() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
        for path in PARTS:
            answer = await http.get(path)
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith(kinds[path[path.rindex(".") :]])
            assert answer.headers["x-content-type-options"] == "nosniff"
        bearer = {"authorization": "Bearer secret"}
        for path in ("/page/", "/page/index.html", "/page/../page.py", "/page/%2e%2e/page.py", "/page/nothing.js"):
            assert (await http.get(path)).status_code == 401, path
            assert (await http.get(path, headers=bearer)).status_code == 404, path
        for path in ("/sample", "/sample.wav"):
            assert (await http.get(path)).status_code == 401
        elsewhere = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"}
        assert (await http.get("/page/index.js", headers=elsewhere)).status_code == 403

    serving(work, token="secret")


def test_the_schemas_of_every_answer_are_in_the_api_document() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        document = (await http.get("/openapi.json")).json()
        schemas = document["components"]["schemas"]
        wanted = re.findall(r"#/components/schemas/(\w+)", json.dumps(document))
        assert set(wanted) <= set(schemas)
        assert "lag_p95_s" in schemas["Latency"]["properties"]

    serving(work)


def _wav(seconds: float) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(loud(round(16000 * seconds)))
    return out.getvalue()


@pytest.mark.parametrize("answer", ["json", "text", "verbose_json"])
def test_a_file_becomes_its_text(answer: str) -> None:
    pytest.importorskip("av")

    async def work(world: World, http: httpx.AsyncClient) -> None:
        form = {"model": "whisper-1", "response_format": answer}
        said = await http.post("/v1/audio/transcriptions", data=form, files={"file": ("a.wav", _wav(20.0))})
        assert said.status_code == 200
        text = said.text if answer == "text" else said.json()["text"]
        assert text.split() == spoken(20.0)
        if answer == "verbose_json":
            assert said.json()["duration"] == pytest.approx(20.0)
        assert world.hub.slots.used == 0

    serving(work)


def test_a_file_that_is_none_is_named_and_a_full_server_says_when_to_come_back() -> None:
    pytest.importorskip("av")

    async def work(world: World, http: httpx.AsyncClient) -> None:
        path = "/v1/audio/transcriptions"
        assert "file" in (await http.post(path, data={"model": "x"})).json()["error"]["message"]
        bad = await http.post(path, files={"file": ("a.wav", b"not audio at all")})
        assert bad.status_code == 400
        await world.client().connected()
        full = await http.post(path, files={"file": ("a.wav", _wav(1.0))})
        assert full.status_code == 503
        assert int(full.headers["retry-after"]) > 0

    serving(work, devices=1, max_connections_per_gpu=1)


def test_a_small_file_that_holds_days_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr(transcription_job, "MAX_SECONDS", 3)

    async def work(world: World, http: httpx.AsyncClient) -> None:
        said = await http.post("/v1/audio/transcriptions", files={"file": ("a.wav", _wav(4.0))})
        assert said.status_code == 400
        assert "more than" in said.json()["error"]["message"]
        assert world.hub.slots.used == 0
        assert world.hub.engine_stats[0].rows == 0

    serving(work)


def test_a_view_costs_no_more_with_many_streams_than_its_size() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        for _ in range(20):
            await world.client().connected()
        views = SnapshotBuilder(world.hub, HostReadings(world.hub))
        assert views.snapshot().gpu_status.total_connections == 20
        assert len(exposition.written(openmetrics.with_published(views.snapshot()), None)[0]) < 25_000

    serving(work, max_connections_per_gpu=20)


def test_who_hangs_up_before_the_upgrade_holds_no_slot() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        messages = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006}])

        async def receive() -> Any:
            return next(messages)

        async def send(message: Any) -> None:
            raise ClientDisconnected

        scope = {"type": "websocket", "path": "/ws", "query_string": b"", "headers": [], "client": ("10.0.0.1", 1)}
        await world.app({**scope, "subprotocols": [], "extensions": {}, "state": {}, "scheme": "ws"}, receive, send)
        assert world.hub.counters.accepted == 1
        assert world.hub.slots.used == 0

    serving(work, when_full="503")
