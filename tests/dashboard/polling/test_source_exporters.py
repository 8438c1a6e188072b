"""Whole pages of exporters become the right figures: pods, instances, hosts, blanks, counters that fall."""

import asyncio
from pathlib import Path

import pytest

from dashboard.alerts import AlertBook, load_rules
from dashboard.polling.poller import Poller
from tests.dashboard.sockets import answering, http, listening
from whisper_ops.exporters.catalogue import ready_made
from whisper_ops.exporters.rates import Counters
from whisper_ops.history import History
from whisper_ops.snapshot import GpuFigures, Snapshot
from whisper_ops.snapshot_client.exporter_source import PrometheusSource

PAGES = Path(__file__).parents[2] / "data" / "exporters"
MIB = 2**20


async def polled(kind: str, *pages: str, pause: float = 0.0) -> tuple[list[Snapshot], PrometheusSource]:
    """What the pollers hand on, a snapshot a page; a page is a file's name or its text."""
    texts = [(PAGES / f"{page}.prom").read_bytes() if "\n" not in page else page.encode() for page in pages]
    answers = iter(texts)
    async with listening(answering(lambda: http(next(answers), kind="text/plain; version=0.0.4"))) as port:
        source = PrometheusSource(f"http://127.0.0.1:{port}", ready_made(kind))
        poller = Poller(source)
        read = []
        for _ in texts:
            read.append(await poller.once())
            await asyncio.sleep(pause)
        await poller.close()
    assert [snapshot.error for snapshot in read] == [None] * len(texts)
    return read, source


def page(name: str) -> str:
    return (PAGES / f"{name}.prom").read_text("utf-8")


async def test_four_pods_on_one_gpu_are_one_gpu() -> None:
    (snapshot,), source = await polled("dcgm", "dcgm-time-slicing")
    assert snapshot.gpus == (
        GpuFigures(
            gpu_id=0, uuid="GPU-be6e8706-1ee7-9ce9-7c5e-80ebf0f66714", name="Tesla T4", temperature_celsius=61,
            power_watts=68.512, power_limit_watts=70, gpu_ratio=0.97, memory_used_bytes=8218 * MIB,
            memory_total_bytes=(8218 + 6712 + 429) * MIB, sm_clock_hertz=1.59e9, throttle_reasons="sw_power_cap",
            ecc_errors=1,
        ),
    )  # fmt: skip
    assert snapshot.figures is not None
    assert snapshot.figures.gpus == 1
    assert source.remarks.take_new() == []


async def test_instances_of_a_gpu_are_one_gpu_whose_memory_adds_up() -> None:
    (snapshot,), _ = await polled("dcgm", "dcgm-mig")
    shared, whole = snapshot.gpus
    assert (shared.gpu_id, shared.temperature_celsius, shared.power_watts) == (0, 54, 212.4)
    # Two pods are on the instance of 4 parts, which counts once.
    assert shared.memory_used_bytes == (8000 + 2500 + 13) * MIB
    assert shared.memory_total_bytes == (8000 + 11916 + 4 + 2500 + 7443 + 3 + 13 + 4851) * MIB
    assert shared.gpu_ratio == pytest.approx((4 * 0.5 + 2 * 1.0 + 1 * 0.0) / 7)
    assert (whole.gpu_id, whole.gpu_ratio, whole.memory_used_bytes) == (1, 0.0, 4 * MIB)
    assert snapshot.figures is not None
    assert snapshot.figures.gpus == 2


async def test_a_row_of_the_whole_gpu_goes_before_those_of_its_instances() -> None:
    row = 'DCGM_FI_DEV_FB_USED{{gpu="0",UUID="GPU-a",Hostname="h"{more}}} {value}\n'
    text = "".join(
        row.format(more=more, value=value)
        for more, value in (("", 900), (',GPU_I_ID="1"', 400), (',GPU_I_ID="2"', 500))
    )
    (snapshot,), _ = await polled("dcgm", text)
    assert snapshot.gpus[0].memory_used_bytes == 900 * MIB


async def test_two_hosts_that_count_from_0_are_three_gpus_that_keep_their_numbers() -> None:
    text = page("dcgm-two-hosts")
    without = "\n".join(line for line in text.splitlines() if 'UUID="GPU-a6158b59' not in line) + "\n"
    (first, second), _ = await polled("dcgm", text, without)
    told = [(gpu.gpu_id, (gpu.uuid or "")[:12], gpu.temperature_celsius, gpu.power_watts) for gpu in first.gpus]
    assert told == [
        (0, "GPU-a6158b59", 44, 55.31),
        (1, "GPU-bd94f0f5", 46, 57.0),
        (2, "GPU-6bf47ca9", 31, 41.25),
    ]
    assert [gpu.gpu_id for gpu in second.gpus] == [1, 2]


async def test_one_number_on_two_hosts_without_uuids_are_two_gpus() -> None:
    text = "".join(
        f'DCGM_FI_DEV_GPU_TEMP{{gpu="0",Hostname="{host}"}} {temp}\n' for host, temp in (("a", 50), ("b", 60))
    )
    (snapshot,), _ = await polled("dcgm", text)
    assert [gpu.temperature_celsius for gpu in snapshot.gpus] == [50, 60]


async def test_every_blank_of_dcgm_is_unknown() -> None:
    (snapshot,), source = await polled("dcgm", "dcgm-blanks")
    first, second = snapshot.gpus
    assert first == GpuFigures(gpu_id=0, uuid=first.uuid, name="NVIDIA H100 80GB HBM3", sm_clock_hertz=1.98e9), (
        "nothing else is known of it"
    )
    # Its free memory is blank, so its total is not known; its utilisation comes from the profiler.
    assert (second.memory_used_bytes, second.memory_total_bytes, second.gpu_ratio) == (600 * MIB, None, 0.25)
    assert (second.throttle_reasons, second.ecc_errors) == (None, None)
    assert source.remarks.take_new() == [], "a blank is no fault"


async def test_a_figure_that_cannot_be_is_unknown_said_once_and_not_stored(tmp_path: Path) -> None:
    text = page("dcgm-time-slicing").replace("} 61\n", "} 244\n").replace("} 97\n", "} 388\n")
    read, source = await polled("dcgm", text, text)
    for snapshot in read:
        assert (snapshot.gpus[0].temperature_celsius, snapshot.gpus[0].gpu_ratio) == (None, None)
        assert snapshot.gpus[0].power_watts == 68.512
    said = source.remarks.take_new()
    assert len(said) == 2
    assert any("GPU 0, temperature_celsius 244, which cannot be" in words for words in said)
    with History.writing(tmp_path / "history.db") as history:
        history.polls.add(read)
        (stored, _) = history.database.rows("SELECT temperature_celsius, gpu_ratio, power_watts FROM gpu_sample")
    assert stored == {"temperature_celsius": None, "gpu_ratio": None, "power_watts": 68.512}
    book = AlertBook(load_rules(None))
    assert not [change for snapshot in read for change in book.take(snapshot)]


async def test_idle_seconds_that_fall_by_a_hundredth_are_no_restart() -> None:
    (first, second), source = await polled("node", "node-before", "node-after", pause=0.1)
    assert first.host is not None
    assert second.host is not None
    assert (first.host.cpu_ratio, first.host.hostname, first.host.cpu_count) == (None, "asr-1", 2)
    assert second.host.cpu_ratio is not None
    assert 0 <= second.host.cpu_ratio <= 1
    assert second.host.network_receive_bytes_per_second is not None
    assert second.host.network_receive_bytes_per_second > 0
    assert second.host.network_send_bytes_per_second is not None  # it began again at 0 and sent 120 kB since
    (limit,) = source.remarks.take_new()
    assert "descriptors_hard_limit 9.223e+18, which is no limit at all" in limit
    assert second.host.descriptors_hard_limit is None


@pytest.mark.parametrize(
    ("pages", "increases"),
    [
        ((100.0, 130.0, 145.5), (30.0, 15.5)),
        ((421467.02, 421467.01, 421467.05), (0.0, pytest.approx(0.03))),  # what it fell is not counted twice
        ((500.0, 3.0, 4.0), (3.0, 1.0)),  # restarted
        ((0.0, 0.0), (0.0,)),
        ((500.0, 300.0, 310.0), (None, 10.0)),  # a riddle
        ((100.0, 0.0), (0.0,)),
    ],
)
def test_only_a_fall_to_near_zero_is_a_restart(pages: tuple[float, ...], increases: tuple[float | None, ...]) -> None:
    counters = Counters()
    found = []
    for at, value in enumerate(pages):
        counters.page(float(at))
        found.append(counters.increase("metric", value))
    assert found == [None, *increases]


def test_a_clock_that_was_set_back_changes_no_rate() -> None:
    counters = Counters()
    counters.page(10.0)
    counters.page(12.5)
    assert counters.elapsed == 2.5


async def test_vllm_with_two_engines() -> None:
    (first, second), _ = await polled("vllm", "vllm-before", "vllm-after")
    assert first.figures is not None
    assert second.figures is not None
    assert (first.figures.streams_active, second.figures.streams_active) == (7, 6)
    assert (first.figures.completed_total, second.figures.completed_total) == (303, 323)
    assert first.figures.started_at == pytest.approx(1.79586400557e9)
    # Ten quick and ten slow ones an engine in between.
    assert second.figures.lag_p50_seconds == pytest.approx(0.25)
    assert second.identity is not None
    assert second.identity.model == "openai/whisper-large-v3-turbo"
    assert second.host is not None
    assert (second.host.open_descriptors, second.host.descriptors_soft_limit) == (145, 1_048_576)


async def test_moshis_streams_and_its_share_of_the_processor() -> None:
    (snapshot,), _ = await polled("moshi", "moshi")
    assert snapshot.figures is not None
    assert snapshot.host is not None
    assert (snapshot.figures.streams_active, snapshot.figures.accepted_total, snapshot.host.cpu_ratio) == (12, 41, 0.37)
    assert snapshot.figures.lag_p95_seconds is None, "how long a step of the model takes is no lag"


async def test_nginxs_own_page_and_its_exporters() -> None:
    (snapshot,), _ = await polled("nginx", "nginx")
    assert snapshot.figures is not None
    assert (snapshot.figures.streams_active, snapshot.figures.accepted_total) == (12, 120)
    (snapshot,), _ = await polled("nginx", "nginx_connections_writing 13\nnginx_connections_accepted 120\n")
    assert snapshot.figures is not None
    assert (snapshot.figures.streams_active, snapshot.figures.slots) == (13, None)


async def test_labels_may_hold_any_character_and_odd_lines_stop_nothing() -> None:
    text = (
        'node_uname_info{nodename="a\u2028b\\"c,d}",release="6"} 1\n'
        "  node_load1\t2.5 1700000000000\n"
        f'node_load1{{x="{"y" * 20_000}"}} 7\n'
        "node_sockstat_sockets_used 0x1F\n"
    )
    (snapshot,), source = await polled("node", text)
    assert snapshot.host is not None
    assert (snapshot.host.hostname, snapshot.host.load_1m, snapshot.host.sockets) == ('a b"c,d}', 2.5, None)
    assert source.remarks.counts == {"bad line": 2}
