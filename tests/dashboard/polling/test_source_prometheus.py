"""Exporters disagree about units and names; figures are in base units whatever they say."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.dashboard.sockets import answering, http, listening, until
from tests.support.servers import free_port
from whisper_ops.errors import UserError
from whisper_ops.exporters.catalogue import ready_made
from whisper_ops.exporters.mapping import Mapping, load
from whisper_ops.snapshot import GpuFigures, Snapshot
from whisper_ops.snapshot_client.exporter_source import PrometheusSource
from whisper_ops.snapshot_client.source import SourceError
from whisper_ops.snapshot_client.whisperlivekit_source import WhisperLiveKitSource

DCGM = """
# HELP DCGM_FI_DEV_SM_CLOCK SM clock frequency (in MHz).
# TYPE DCGM_FI_DEV_SM_CLOCK gauge
DCGM_FI_DEV_SM_CLOCK{gpu="0",UUID="GPU-a",modelName="NVIDIA H100",Hostname="h",DCGM_FI_DRIVER_VERSION="570.1"} 1980
DCGM_FI_DEV_SM_CLOCK{gpu="10",UUID="GPU-b",modelName="NVIDIA H100",Hostname="h",DCGM_FI_DRIVER_VERSION="570.1"} 1200
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a"} 1024
DCGM_FI_DEV_FB_FREE{gpu="0",UUID="GPU-a"} 80000
DCGM_FI_DEV_FB_RESERVED{gpu="0",UUID="GPU-a"} 535
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-a"} 37
DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-a"} 61
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-a"} 412.5
DCGM_FI_DEV_CLOCK_THROTTLE_REASONS{gpu="0",UUID="GPU-a"} 36
DCGM_FI_DEV_GPU_TEMP{gpu="10",UUID="GPU-b"} NaN
"""


async def polls(text: list[str], mapping: Mapping, path: str = "") -> tuple[list[Snapshot], PrometheusSource]:
    """One poll a text, all of one source."""
    pages = iter(text)
    async with listening(answering(lambda: http(next(pages).encode(), kind="text/plain; version=0.0.4"))) as port:
        source = PrometheusSource(f"http://127.0.0.1:{port}{path}", mapping)
        read = [await source.read() for _ in text]
        await source.close()
    return read, source


async def test_dcgm_is_read_in_base_units_a_gpu_a_row() -> None:
    (snapshot,), _ = await polls([DCGM], ready_made("dcgm"))
    first, second = snapshot.gpus
    assert first == GpuFigures(
        gpu_id=0, uuid="GPU-a", name="NVIDIA H100", sm_clock_hertz=1.98e9, memory_used_bytes=1024 * 2**20,
        memory_total_bytes=(1024 + 80000 + 535) * 2**20, gpu_ratio=0.37, temperature_celsius=61, power_watts=412.5,
        throttle_reasons="sw_power_cap,sw_thermal",
    )  # fmt: skip
    assert (second.gpu_id, second.sm_clock_hertz, second.temperature_celsius) == (10, 1.2e9, None)
    assert snapshot.identity is not None
    assert (snapshot.identity.software, snapshot.identity.gpu_name) == ("DCGM exporter", "NVIDIA H100")
    assert snapshot.figures is not None
    assert snapshot.figures.gpus == 2


def whisperlive(total: int, fast: int, slow: int) -> str:
    return f"""
whisperlive_connections_total {total}.0
whisperlive_connections_active 3.0
whisperlive_connections_rejected_total{{reason="full"}} 2.0
whisperlive_connections_rejected_total{{reason="auth"}} 1.0
whisperlive_transcription_latency_seconds_bucket{{le="0.5"}} {fast}.0
whisperlive_transcription_latency_seconds_bucket{{le="1.0"}} {fast + slow}.0
whisperlive_transcription_latency_seconds_bucket{{le="+Inf"}} {fast + slow}.0
whisperlive_transcription_latency_seconds_count {fast + slow}.0
process_cpu_seconds_total {total / 10}
process_open_fds 17.0
"""


async def test_totals_add_up_and_quantiles_are_of_the_time_between_two_polls() -> None:
    pages = [whisperlive(10, 100, 0), whisperlive(20, 110, 10), whisperlive(1, 0, 4), whisperlive(1, 0, 4)]
    read, _ = await polls(pages, ready_made("whisperlive"))
    figures = [snapshot.figures for snapshot in read]
    assert all(figures)
    assert [f.accepted_total for f in figures if f] == [10, 20, 1, 1]
    assert [f.rejected_total for f in figures if f] == [3, 3, 3, 3]
    # 10 fast and 10 slow; then, after a restart of that server, 4 slow; then none.
    assert [f.final_p50_seconds for f in figures if f] == [None, 0.5, 0.75, None]
    hosts = [snapshot.host for snapshot in read]
    assert hosts[0] is not None
    assert (hosts[0].open_descriptors, hosts[0].process_cpu_ratio) == (17, None)
    assert hosts[1] is not None
    assert hosts[1].process_cpu_ratio is not None
    assert hosts[1].process_cpu_ratio > 0


async def test_vllm_names_its_model() -> None:
    page = 'vllm:num_requests_running{engine="0",model_name="openai/whisper-large-v3-turbo"} 7.0\n'
    (snapshot,), _ = await polls([page], ready_made("vllm"))
    assert snapshot.identity is not None
    assert snapshot.figures is not None
    assert (snapshot.identity.model, snapshot.figures.streams_active) == ("openai/whisper-large-v3-turbo", 7)


async def test_a_broken_line_is_said_once_and_counted_and_the_rest_is_read() -> None:
    page = 'node_load1 many\nnode_load1 1.5\nnode_sockstat_sockets_used 3\nnode_uname_info{nodename="h} 1\n'
    read, source = await polls([page, page], ready_made("node"))
    assert read[1].host is not None
    assert (read[1].host.load_1m, read[1].host.sockets, read[1].host.hostname) == (1.5, 3, None)
    (remark,) = source.remarks.take_new()
    assert "node_load1 many" in remark
    assert source.remarks.counts == {"bad line": 4}


async def test_html_and_a_page_of_something_else_are_sentences() -> None:
    for text, sentence in (("<html>", "answered HTML, not a Prometheus page"), ("up 1\n", "none of the metrics")):
        with pytest.raises(SourceError, match=sentence):
            await polls([text], ready_made("node"))


async def test_an_address_with_a_path_says_where_the_page_is() -> None:
    heads: list[bytes] = []
    async with listening(answering(lambda: http(b"node_load1 1\n", kind="text/plain"), heads)) as port:
        for url in (f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}/probe/metrics"):
            source = PrometheusSource(url, ready_made("node"))
            await source.read()
            await source.close()
    assert [head.split()[1] for head in heads] == [b"/metrics", b"/probe/metrics"]


MAPPING = """
gpu_label = "gpu"

[gpu]
power_watts = { metric = "energy", unit = "mJ", rate = true }
memory_used_bytes = { metric = "mem", unit = "MiB" }
"""


async def test_a_mapping_of_ones_own_turns_energy_into_watts(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MAPPING)
    pages = ['energy{gpu="0"} 1000\nmem{gpu="0"} 2\n', 'energy{gpu="0"} 5000\nmem{gpu="0"} 2\n']
    (first, second), _ = await polls(pages, load(path))
    assert first.gpus[0].power_watts is None
    watts = second.gpus[0].power_watts
    assert watts is not None
    assert watts == pytest.approx(4.0 / (second.at - first.at), rel=0.1)  # of two clocks
    assert second.gpus[0].memory_used_bytes == 2 * 2**20


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"MiB"', '"MIB"', r"mine.toml, line 6: \[gpu\] memory_used_bytes: there is no unit 'MIB'; there are B, kB"),
        ("memory_used_bytes", "memory_used", r"line 6: there is no figure \[gpu\] memory_used"),
        ("rate = true", "rte = true", r"line 5: \[gpu\] power_watts: .*unknown field `rte`"),
        ("[gpu]", "[gpus]", r"line 4: there is no \[gpus\] in a mapping; there are gpu"),
        ('gpu_label = "gpu"', "", r"line 4: \[gpu\] needs gpu_label"),
    ],
)
def test_mistakes_in_a_mapping_are_named_by_line(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MAPPING.replace(old, new))
    with pytest.raises(UserError, match=sentence):
        load(path)


@pytest.mark.parametrize("kind", ["dcgm", "node", "vllm", "whisperlive"])
def test_every_shipped_mapping_is_valid(kind: str) -> None:
    assert ready_made(kind).metrics()


async def test_whisperlivekit_says_that_it_runs_and_with_what() -> None:
    bodies = iter([b'{"status":"ok","backend":"faster-whisper","ready":true}', b'{"status":"ok","ready":false}', b"{}"])
    async with listening(answering(lambda: http(next(bodies)))) as port:
        source = WhisperLiveKitSource(f"http://127.0.0.1:{port}")
        ready, starting = await source.read(), await source.read()
        with pytest.raises(SourceError, match="something else than WhisperLiveKit"):
            await source.read()
        await source.close()
    assert ready.identity is not None
    assert ready.figures is not None
    assert starting.figures is not None
    assert (ready.identity.engine, ready.figures.status) == ("faster-whisper", "healthy")
    assert starting.figures.status == "starting"


@pytest.fixture
def node_exporter(tmp_path: Path) -> Iterator[str]:
    """A real one, from Debian."""
    if shutil.which("prometheus-node-exporter") is None:
        pytest.skip("needs Debian's prometheus-node-exporter (make system-packages)")
    port = free_port()
    with subprocess.Popen(
        ["prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as exporter:  # fmt: skip
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            exporter.terminate()


async def test_a_real_node_exporter_says_what_this_machine_says(node_exporter: str) -> None:
    await until(lambda: _answers(node_exporter))
    source = PrometheusSource(node_exporter, ready_made("node"))
    first = await source.read()
    before = psutil.cpu_times_percent(None)
    assert before is not None
    second = await source.read()
    await source.close()
    assert first.host is not None
    assert first.host.hostname == os.uname().nodename
    assert first.host.cpu_count == os.cpu_count()
    assert first.host.memory_total_bytes == pytest.approx(psutil.virtual_memory().total, rel=0.01)
    assert first.host.memory_available_bytes == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    assert first.host.cpu_ratio is None
    assert second.host is not None
    assert second.host.cpu_ratio is not None
    assert -0.05 <= second.host.cpu_ratio <= 1.05
    assert second.host.network_receive_bytes_per_second is not None
    assert second.figures is not None
    assert second.figures.started_at == pytest.approx(psutil.boot_time(), abs=5)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/metrics", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False
