"""The catalogue read from a real Prometheus: the same figures as from the exporter's own page, of its servers alone."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.capacity.planner_cli import whisper_ops
from tests.dashboard.polling.test_source_exporters import page
from tests.support.prometheus import running_prometheus
from whisper_ops.errors import UserError
from whisper_ops.exporters import prometheus_client, prometheus_history
from whisper_ops.exporters.catalogue import KINDS, mapping_of, ready_made
from whisper_ops.exporters.mapping import Mapping
from whisper_ops.exporters.text_format import parse
from whisper_ops.history import History
from whisper_ops.identity import Identity
from whisper_ops.snapshot import Snapshot

STEP = 60.0
MOMENTS = 30


def scraped(kind: str, instance: str, at: float, *texts: str) -> Iterator[tuple[str, str]]:
    """The rows of pages as a Prometheus keeps them, one page a minute; the last is repeated until `MOMENTS`."""
    for number in range(MOMENTS):
        text = texts[min(number, len(texts) - 1)]
        for line in text.splitlines():
            if line and not line.startswith("#"):
                row, _, value = line.rpartition(" ")
                name, brace, labels = row.partition("{")
                joined = f'instance="{instance}",job="{kind}"' + (f",{labels[:-1]}" if brace else "")
                yield name, f"{name}{{{joined}}} {value} {at + STEP * number:.0f}"


def whisperlive(number: int) -> str:
    """A page a minute: ten chunks of up to 0.25 s and ten of up to 1 s more on each."""
    text = page("whisperlive-before")
    for bound, count in ((0.25, 60), (0.5, 90), (1.0, 100), (2.5, 100), (5.0, 100), (10.0, 100), ("+Inf", 100)):
        more = 10 * number if bound in {0.25, 0.5} else 20 * number
        text = text.replace(f'le="{bound}"}} {count}.0', f'le="{bound}"}} {count + more}.0')
    return text.replace("connections_total 4.0", f"connections_total {4 + number}.0")


DCGM = 'DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",Hostname="h",modelName="H100"} 2048\n'
OURS = (
    "whisper_ops_connections_active 3\nwhisper_ops_slots 8\n"
    'whisper_ops_build_info{version="1.2.0",engine="ctranslate2",model="base",max_batch="8",simulated="false"} 1\n'
    'whisper_ops_gpu_connections_active{gpu="0"} 3\n'
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prometheus that scraped them half an hour ago, beside a program of which it knows only its process."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; `make system-packages` installs it")
    folder, at = tmp_path_factory.mktemp("prometheus"), time.time() - 3600
    pages = [whisperlive(number) for number in range(MOMENTS)]
    families: dict[str, list[str]] = {}
    for name, row in (
        *scraped("live", "asr-1:9091", at, *pages),
        *scraped("other", "db-1:9100", at, "process_cpu_seconds_total 5\nprocess_resident_memory_bytes 7e9\n"),
        *scraped("vllm", "llm-1:8000", at, *[page("vllm-before")] * 10, page("vllm-after")),
        *scraped("ours", "gpu-1:8000", at, OURS),
        *scraped("ours", "gpu-2:8000", at, OURS),
        *scraped("ours", "gpu-2:8001", at, OURS),
        *scraped("dcgm", "gpu-1:9400", at, DCGM),
        *scraped("dcgm", "gpu-2:9400", at, DCGM),
    ):
        families.setdefault(name, []).append(row)
    lines = [line for name, rows in families.items() for line in (f"# TYPE {name} gauge", *rows)]
    (folder / "metrics.txt").write_text("\n".join([*lines, "# EOF", ""]))
    made = subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(folder / "metrics.txt"), str(folder / "data")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    with running_prometheus(folder, "global: {scrape_interval: 1m}\n", "--storage.tsdb.retention.time=30d") as running:
        yield running


def read(
    url: str, *mappings: Mapping, given: Identity | None = None, until: float | None = None
) -> dict[str, list[Snapshot]]:
    """All polls by server."""
    now = until or time.time()
    found: dict[str, list[Snapshot]] = {}
    with prometheus_client.asked(url) as asked:
        window = prometheus_client.QueryWindow(now - 2 * 3600, now, STEP)
        for poll in prometheus_history.polls(asked, mappings, window, given or Identity()):
            found.setdefault(poll.server, []).append(poll)
    return found


def test_only_what_has_an_exporters_own_metrics_is_one_of_its_servers(url: str) -> None:
    assert list(read(url, ready_made("whisperlive"))) == ["asr-1:9091"]
    assert list(read(url, ready_made("vllm"))) == ["llm-1:8000"]


def test_whisperlives_chunk_time_is_no_lag_in_either_reader(url: str) -> None:
    polls = read(url, ready_made("whisperlive"))["asr-1:9091"]
    middle = polls[len(polls) // 2]
    assert middle.identity == Identity(software="whisperlive")
    assert middle.figures is not None
    assert (middle.figures.streams_active, middle.figures.rejected_total) == (3, 3)
    assert middle.figures.lag_p95_seconds is None
    assert middle.figures.final_p95_seconds == pytest.approx(0.95)
    assert middle.host is not None
    assert middle.host.process_rss_bytes == pytest.approx(2.4997888e07)


def test_vllms_lag_is_the_time_to_its_first_token_in_either_reader(url: str) -> None:
    figures = [poll.figures for poll in read(url, ready_made("vllm"))["llm-1:8000"] if poll.figures is not None]
    # Ten quick and ten slow requests an engine, all in one minute: as `test_vllm_with_two_engines` has it.
    assert {round(lag, 9) for figure in figures if (lag := figure.lag_p50_seconds) is not None} == {0.25}
    assert figures[2].lag_p50_seconds is None
    assert figures[0].streams_active == 7


def test_gpus_beside_the_one_server_of_a_machine_are_its_own(url: str) -> None:
    found = read(url, ready_made("whisper-ops"), ready_made("dcgm"))
    (gpu,) = found["gpu-1:8000"][5].gpus
    assert (gpu.streams_active, gpu.memory_used_bytes, gpu.name) == (3, 2048 * 2**20, "H100")
    assert found["gpu-1:8000"][5].identity == Identity(
        software="whisper-ops", version="1.2.0", engine="ctranslate2", model="base", max_batch=8, gpu_name="H100"
    )
    # On a machine with two servers nobody knows whose they are.
    assert set(found) == {"gpu-1:8000", "gpu-2:8000", "gpu-2:8001", "gpu-2:9400"}
    assert found["gpu-2:8000"][5].gpus[0].memory_used_bytes is None


def test_what_the_user_says_goes_first(url: str) -> None:
    given = Identity(software="vLLM", model="mine")
    (poll, *_) = read(url, ready_made("vllm"), given=given)["llm-1:8000"]
    assert poll.identity is not None
    assert (poll.identity.software, poll.identity.model) == ("vllm", "mine")


def test_an_answer_that_is_too_large_is_asked_for_in_parts(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    whole = read(url, ready_made("whisperlive"), until=now)
    monkeypatch.setattr(prometheus_client, "_ANSWER_BYTES", 4_000)  # some ten moments of nine series
    assert read(url, ready_made("whisperlive"), until=now) == whole
    monkeypatch.undo()
    monkeypatch.setattr(prometheus_client, "_MOST_POINTS", 200)
    assert read(url, ready_made("whisperlive"), until=now) == whole
    monkeypatch.setattr(prometheus_client, "_ANSWER_BYTES", 100)
    with pytest.raises(UserError, match="one moment of what the mapping asks for is too much"):
        read(url, ready_made("whisperlive"))


def test_a_mapping_file_of_ones_own_reads_a_prometheus_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, url: str
) -> None:
    mine, db = tmp_path / "mine.toml", tmp_path / "history.db"
    mine.write_text('software = "Mine"\n[server]\nstreams_active = "whisperlive_connections_active"\n')
    arguments = ["import", "--prometheus", url, "--from", "2h", "--mapping", str(mine), "--history", str(db)]
    assert whisper_ops(capsys, *arguments).code == 0
    with History.reading(db) as history:
        (name,) = history.polls.servers()
        polls = list(history.polls.between(name, 0, 2e10))
    assert name == "asr-1:9091"
    assert polls[0].identity == Identity(software="Mine")
    assert polls[0].figures is not None
    assert polls[0].figures.streams_active == 3


@pytest.mark.parametrize("named", ["dcmg", "mapping.yaml", "https://user:secret@h"])
def test_what_is_no_exporter_is_named_with_those_that_there_are(named: str) -> None:
    with pytest.raises(UserError, match=r"no exporter is called .*; there are dcgm, .*or a FILE.toml") as error:
        mapping_of(named)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_every_exporter_of_the_catalogue_is_valid(kind: str) -> None:
    mapping = ready_made(kind)
    assert mapping.metrics()
    assert Identity(software=mapping.software).software == mapping.software, "it is an id"
    assert parse("up 1\n", mapping.metrics(), lambda *_: None, "it") == {}


def test_it_is_asked_for_by_http_alone() -> None:
    with pytest.raises(UserError, match="no address of a Prometheus"), prometheus_client.asked("ftp://h"):
        pass
