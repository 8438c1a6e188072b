"""`/metrics` in both text formats: what each reader is given, and that it reads it."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from prometheus_client import parser as text_parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from server.metrics import exposition
from tests.server.http.test_routes import serving
from tests.server.virtual import World
from whisper_ops import wire
from whisper_ops.exporters.catalogue import ready_made
from whisper_ops.exporters.figure_reader import FigureReader
from whisper_ops.exporters.text_format import parse
from whisper_ops.snapshot import from_wire
from whisper_ops.untrusted_text import one_line

ROOT = Path(__file__).parents[3]
PATHS = ["/metrics", "/metrics/prometheus"]
PUBLISHED = (
    "whisperlivekit_gpu_total",
    "whisperlivekit_connections_active",
    "whisperlivekit_gpu_memory_allocated_gb",
    "whisperlivekit_setup_time_ms_avg",
)
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
TELEGRAF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,*/*;q=0.3"


def read(answer: httpx.Response) -> dict[str, Any]:
    """The families by name, by the parser that the content type names."""
    assert answer.headers["content-type"] in (exposition.OPENMETRICS, exposition.TEXT)
    openmetrics = answer.headers["content-type"] == exposition.OPENMETRICS
    parser: Any = openmetrics_parser if openmetrics else text_parser
    return {family.name: family for family in parser.text_string_to_metric_families(answer.text)}


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        (None, False),
        ("*/*", False),
        ("text/plain", False),
        ("text/*;q=0.5", False),
        ("application/json", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        (TELEGRAF, False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=0,*/*", False),
        ("application/openmetrics-text;q=0.1,text/plain", False),
        ("text/plain;version=0.0.4;q=0.9,application/openmetrics-text;version=1.0.0;q=0.5", False),
        ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", False),
        ("application/openmetrics-text;q=often,text/plain;q=0.1", False),
        ("", False),
        (";;;,,q=1", False),
        ("application/openmetrics-text", True),
        ('Application/OpenMetrics-Text ; Version="1.0.0" ; Q=0.9 , text/plain;q=0.8', True),
        ("text/plain,application/openmetrics-text", True),
        ("application/*", True),
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
    ],
)
def test_a_reader_gets_the_format_it_asks_for(accept: str | None, openmetrics: bool) -> None:
    assert exposition.prefers_openmetrics(accept or "") is openmetrics


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("accept", ["*/*", "application/openmetrics-text;version=1.0.0"])
def test_each_format_is_read_by_its_own_parser(path: str, accept: str) -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        client = await world.client().connected()
        await client.speak(2.0)
        answer = await http.get(path, headers={"accept": accept})
        families = read(answer)
        assert answer.headers["vary"] == "Accept"
        assert families["whisper_ops_lag_seconds"].type == "histogram"
        assert client.of("ready")[0]["connection_id"] not in answer.text
        info = families["whisper_ops_build" if "openmetrics" in accept else "whisper_ops_build_info"]
        assert info.samples[0].labels["simulated"] == "true"
        refused = families["whisper_ops_connections_rejected"]
        assert {sample.labels["reason"]: sample.value for sample in refused.samples}["no_capacity"] == 0
        assert ("whisperlivekit_connections_active" in families) == (path == "/metrics/prometheus")

    serving(work)


@pytest.mark.parametrize("accept", ["*/*", "application/openmetrics-text"])
def test_every_family_has_help_and_type_from_the_start(accept: str) -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        text = (await http.get("/metrics/prometheus", headers={"accept": accept})).text
        typed = set(re.findall(r"^# TYPE (\S+) \S+$", text, re.MULTILINE))
        assert typed == set(re.findall(r"^# HELP (\S+) \S.*$", text, re.MULTILINE))
        assert set(PUBLISHED) <= typed
        suffixes = r"(_bucket|_sum|_count|_total|_info)$"
        sampled = set(re.findall(r"^([a-z]\w*)[ {]", text, re.MULTILINE))
        assert not {name for name in sampled if name not in typed and re.sub(suffixes, "", name) not in typed}

    serving(work)


def test_floats_are_written_whole() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        world.hub.started_at = 1795871234.5678
        families = read(await http.get("/metrics"))
        assert families["whisper_ops_start_time_seconds"].samples[0].value == 1795871234.5678
        snapshot = msgspec.json.decode((await http.get("/snapshot")).content, type=wire.ServerSnapshot)
        memory = families["whisper_ops_host_memory_total_bytes"].samples[0].value
        assert memory == snapshot.host.memory_total_bytes
        assert families["whisper_ops_host_load_1m"].samples

    serving(work)


def test_the_set_up_of_each_stream_is_in_a_histogram() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        for _ in range(3):
            await world.client().connected()
        answer = await http.get("/metrics/prometheus")
        setup = read(answer)["whisper_ops_setup_seconds"]
        values = {sample.name: sample.value for sample in setup.samples if sample.labels.get("le", "+Inf") == "+Inf"}
        assert values["whisper_ops_setup_seconds_count"] == values["whisper_ops_setup_seconds_bucket"] == 3
        mean_ms = (await http.get("/performance")).json()["averages"]["setup_time_ms"]
        assert values["whisper_ops_setup_seconds_sum"] == pytest.approx(3 * mean_ms / 1000)
        (published,) = read(answer)["whisperlivekit_setup_time_ms_avg"].samples
        assert published.value == pytest.approx(mean_ms)

    serving(work, max_connections_per_gpu=5)


def test_promtool_finds_nothing_but_the_published_names_to_complain_about() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; `make system-packages` installs it")
    pages: dict[str, str] = {}

    async def work(world: World, http: httpx.AsyncClient) -> None:
        await world.client().connected()
        pages.update({path: (await http.get(path)).text for path in PATHS})

    serving(work)
    for path, page in pages.items():
        done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        # Those names are promised as they are, with their units.
        assert all(line.startswith("whisperlivekit_") for line in said.splitlines()), said
        assert path != "/metrics" or done.returncode == 0
        assert "no help text" not in said


def test_words_of_the_model_are_escaped_in_both_formats() -> None:
    name = 'small"\n# EOF\nwhisper_ops_slots 99\x1b]0;owned\x07\r\\'

    async def work(world: World, http: httpx.AsyncClient) -> None:
        for accept in ("*/*", "application/openmetrics-text"):
            page = await http.get("/metrics", headers={"accept": accept})
            families = read(page)
            info = families.get("whisper_ops_build") or families["whisper_ops_build_info"]
            assert info.samples[0].labels["model"] == one_line(name)
            assert not [line for line in page.text.split("\n") if not line.isprintable()]
            assert [sample.value for sample in families["whisper_ops_slots"].samples] == [8]

    serving(work, model=name)


def test_every_metric_that_we_name_anywhere_is_exported() -> None:
    deploy = [*ROOT.glob("deploy/prometheus/*"), *ROOT.glob("deploy/grafana/*")]
    places = [*ROOT.glob("docs/*.md"), ROOT / "README.md", *deploy]
    places += [ROOT / f"whisper_ops/exporters/data/{kind}.toml" for kind in ("whisper-ops", "whisperlivekit-metrics")]
    # What a dot follows is a module.
    pattern = re.compile(r"\b(?:whisper_ops|whisperlivekit)_[a-z0-9_]*[a-z0-9](?![\w.])")
    named = {name for place in places for name in pattern.findall(place.read_text("utf-8"))}
    assert len(named) > 20
    pages: list[str] = []

    async def work(world: World, http: httpx.AsyncClient) -> None:
        client = await world.client().connected()
        await client.speak(2.0)
        pages.append((await http.get("/metrics/prometheus")).text)

    serving(work)
    known = set(re.findall(r"^(?:# TYPE )?([a-z]\w+)[ {]", pages[0], re.MULTILINE))
    assert not named - known


def test_our_own_page_read_through_the_catalogue_says_what_our_snapshot_says() -> None:
    async def work(world: World, http: httpx.AsyncClient) -> None:
        client = await world.client().connected()
        await client.speak(2.0)
        said = msgspec.json.decode((await http.get("/snapshot")).content, type=wire.ServerSnapshot)
        text = (await http.get("/metrics")).text
        mapping = ready_made("whisper-ops")
        page = parse(text, mapping.metrics(), lambda *_: pytest.fail("a line that is none"), "it")
        read = FigureReader(mapping).snapshot("it", page, 1.0)
        snapshot = from_wire("it", 1.0, 0.0, said)
        assert read.identity == snapshot.identity
        assert len(read.gpus) == len(snapshot.gpus)
        gpus = zip(read.gpus, snapshot.gpus, strict=True)
        pairs = [(read.figures, snapshot.figures), (read.host, snapshot.host), *gpus]
        compared = 0
        for ours, theirs in pairs:
            assert ours is not None
            for name in ours.__struct_fields__:
                value = getattr(ours, name)
                if value is not None:
                    # A gauge is read to the digit; what moves from one request to the next is near.
                    assert value == pytest.approx(getattr(theirs, name), rel=0.2, abs=2), name
                    compared += 1
        assert compared > 30

    serving(work)
