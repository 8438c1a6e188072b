"""The images and deploy/compose.yaml for real: built, started, spoken to, harmed, measured and taken down."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from capacity.corpus import clips as corpus
from capacity.corpus.maker import make_default
from tests.server.speaker import Speaker, longest_loss
from tests.support import containers
from tests.support.compose import BUILD, SERVERS, TOKEN, Stack, copied_model, running_stack
from tests.support.containers import BASE, CommandError, Podman
from tests.support.servers import whisper_ops

REASON = "`make test-containers` sets podman up, builds images of it all and starts them (5 minutes)"
if not os.environ.get("WHISPER_OPS_CONTAINERS"):
    pytest.skip(REASON, allow_module_level=True)
pytestmark = [
    pytest.mark.speech,
    pytest.mark.serial,
    pytest.mark.timeout(1500),
]
CLIENTS = 6
CLIPS = 5


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    missing = [name for name in containers.NEEDED if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    assert not missing, f"{', '.join(missing)} not installed; `make container-packages` installs them"
    # A supervisor's SIGTERM takes everything down as Ctrl-C does.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with containers.podman(tmp_path_factory.mktemp("podman")) as ours:
            containers.make_base(ours)
            yield ours
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def stack(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    tree = containers.fresh_clone(tmp_path_factory.mktemp("clone"))
    containers.fetch_wheels(tree, "server.txt", "demo.txt")
    models = copied_model(tmp_path_factory.mktemp("models"))
    with running_stack(podman, tree, MODELS=str(models), MODEL="/models/tiny.en", SLOTS="4") as running:
        yield running


@pytest.fixture(scope="module")
def speech() -> tuple[bytes, list[str]]:
    """Some clips one after the other with a second between: their sound and their words."""
    clips = corpus.load(make_default(lambda *_: None)).clips[:CLIPS]
    sound = b"".join(clip.samples.tobytes() + bytes(2 * corpus.RATE) for clip in clips)
    return sound, [plain(word) for clip in clips for word in clip.text.split()]


def test_the_image_refuses_to_be_open_runs_as_nobody_and_hears_of_its_port(stack: Stack) -> None:
    image = "whisper-ops:cpu"
    with pytest.raises(CommandError, match=r"exit code 2\n(.|\n)*--token-file"):
        stack.podman("run", "--rm", image)
    said = stack.podman("run", "--rm", "--entrypoint", "id", image, "-u").strip()
    assert said == "10001"
    assert "Usage" in stack.podman("run", "--rm", image, "--help")
    look = "ls -A / /data /models; ls /opt/whisper-ops"
    listed = stack.podman("run", "--rm", "--entrypoint", "sh", image, "-c", look)
    assert not {"source", "product", "wheels"} & set(listed.split()), "nothing of the build is left"
    name = stack.name("port")
    environment = ("--env", "PORT=9123", "--env", "WHISPER_OPS_TOKEN=t")
    serve = ("serve", "--host=0.0.0.0", "--engine=simulated", "--devices=sim:1")
    stack.podman("run", "--detach", "--rm", "--name", name, "--read-only", *environment, image, *serve)
    try:
        stack.wait(lambda: healthy(stack, name), "port", 60)
    finally:
        stack.podman("kill", name)


def healthy(stack: Stack, name: str) -> bool:
    """Whether the image's own HEALTHCHECK says so."""
    try:
        stack.podman("healthcheck", "run", name)
    except CommandError:
        return False
    return True


def test_streams_spread_over_the_replicas_and_a_killed_one_costs_no_word(
    stack: Stack, speech: tuple[bytes, list[str]]
) -> None:
    sound, said = speech
    url = f"ws://127.0.0.1:{stack.port}/ws?token={TOKEN}"

    async def main() -> tuple[Speaker, list[Speaker]]:
        calm = await Speaker(url, sound, speed=2).run()
        speakers = [Speaker(url, sound) for _ in range(CLIENTS)]
        runs = []
        for speaker in speakers:
            runs.append(asyncio.create_task(speaker.run()))
            await speaker.ready()
        used = [(await asyncio.to_thread(stack.health, name))["capacity"]["used_slots"] for name in SERVERS]
        assert used == [CLIENTS // 3] * 3
        await asyncio.sleep(5)
        first = await asyncio.to_thread(stack.first_process, "server-2")
        await asyncio.to_thread(stack.compose, "kill", "server-2")
        assert await asyncio.to_thread(stack.first_process, "server-2") != first
        await asyncio.gather(*runs)
        return calm, speakers

    calm, speakers = asyncio.run(main())
    assert longest_loss(said, calm.words)[1] <= 0.15
    for speaker in speakers:
        assert speaker.done is not None, speaker.errors
        lost, differ = longest_loss(calm.words, speaker.words)
        assert lost < 3, speaker.words
        assert differ <= 0.15, speaker.words
    # It comes back at its address: nginx sends streams there again, and nobody told it anything.
    stack.compose("start", "server-2")
    stack.ready("server-2")
    # The first tries still go to the hardware address that the container had before.
    stack.wait(lambda: len({stack.answering() for _ in range(6)}) == len(SERVERS), "nginx", 60)


def plain(word: str) -> str:
    return "".join(c for c in word.casefold() if c.isalnum())


def test_cpu_and_memory_of_every_replica_are_read_from_its_container(stack: Stack, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    watches = (f"--watch={name}=podman:{stack.name(name)}" for name in SERVERS)
    # The command asks podman by its name, with the settings of this test.
    swept = whisper_ops(
        *("sweep", stack.url, "--levels", "3", "--duration", "12s", "--token-file", str(token), "--json", *watches),
        *("--history", str(tmp_path / "history.db"), "--no-warm-up"),
        timeout=240, **stack.podman.environment,
    )  # fmt: skip
    assert swept.returncode in (0, 1), swept.stderr
    said = json.loads(swept.stdout)
    assert said["levels"][-1]["connected"] == 3
    assert set(said["watched"]) == set(SERVERS)
    for name, figures in said["watched_summary"].items():
        assert 0.01 < figures["cpu_ratio"]["peak"] <= 2 * (os.cpu_count() or 1), name
        # tiny.en alone is 75 MB; the file that it was read from is the kernel's, not the container's.
        assert 100e6 < figures["memory_bytes"]["mean"] < 2e9, name
    wrong = whisper_ops(
        "sweep", stack.url, "--watch", f"a=podman:{stack.name('none')}", timeout=60, **stack.podman.environment
    )
    assert wrong.returncode == 2
    assert "podman knows no container" in wrong.stderr


def test_prometheus_scrapes_all_three_and_has_the_rules(stack: Stack) -> None:
    def up() -> bool:
        found = (stack.ask("query", query='up{job="whisper-ops"} == 1') or {}).get("result", [])
        return {one["metric"]["instance"] for one in found} == {f"{name}:8000" for name in SERVERS}

    stack.wait(up, "prometheus", 60)
    slots = stack.ask("query", query="sum(whisper_ops_slots)")["result"][0]["value"][1]
    assert slots == "12"
    assert stack.ask("rules")["groups"][0]["rules"]


def test_the_recorder_writes_what_happened(stack: Stack) -> None:
    history = "/data/history.db"
    told = stack.inside("recorder", "whisper-ops", "history", "info", "--history", history)
    assert all(name in told for name in SERVERS), told
    query = "SELECT count(*), count(DISTINCT server_id), max(streams_active) FROM server_sample"
    code = f"import sqlite3; print(*sqlite3.connect('file:{history}?mode=ro', uri=True).execute('{query}').fetchone())"
    count, servers, most = stack.inside("recorder", "python3", "-c", code).split()
    assert int(count) > 30
    assert int(servers) == len(SERVERS)
    assert int(most) >= CLIENTS // 3


def test_the_load_generator_leaves_its_results_in_the_folder(stack: Stack) -> None:
    results = stack.folder / "results"
    shutil.copytree(corpus.default_folder(), results / "cache/whisper-ops/speech")
    (stack.folder / ".env").open("a").write("LEVELS=2\nDURATION=8s\n")
    # Exit code 1: it ran, and the objective was missed, which is up to what else this machine does.
    with suppress(CommandError):
        stack.load()
    swept = json.loads((results / "sweep.json").read_text())
    assert swept["levels"][-1]["connected"] == 2
    assert set(swept["watched"]) == set(SERVERS)
    assert all(figures["memory_bytes"]["mean"] > 50e6 for figures in swept["watched_summary"].values())
    assert "<html" in (results / "sweep.html").read_text()
    assert list((results / "transcripts").iterdir())
    info = json.loads(stack.load("history", "info", "--history", "/results/history.db", "--json"))
    assert info["levels"] == len(swept["levels"]), info


def test_the_image_with_cuda_has_the_library_that_the_engine_opens(stack: Stack) -> None:
    """No GPU is needed for that."""
    containers.fetch_wheels(stack.folder.parent, "cuda.txt")
    target = ("--target", "cuda", "--tag", "whisper-ops:cuda", "--file", str(stack.folder / "Dockerfile"))
    settings = ("--build-arg", f"BASE={BASE}", "--build-arg", "PIP_NO_INDEX=1")
    stack.podman("build", *BUILD.split(), *target, *settings, str(stack.folder.parent), timeout=600)
    code = (
        "import ctypes; ctypes.CDLL('libcublas.so.12'); import ctranslate2; print(ctranslate2.get_cuda_device_count())"
    )
    run = ("run", "--rm", "--entrypoint", "python3", "whisper-ops:cuda", "-c", code)
    assert stack.podman(*run).strip() == "0"
