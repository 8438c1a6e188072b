"""How many streams a server holds within 3 s, ours beside a real WhisperLive in one run: `bench_server.py` prints it.

Human speech is played to our server of before windows were bounded, too: that commit, from this repository's history.

Same model, same speech, same load client (`whisper-ops sweep`, which warms each server up before it measures), one
server at a time.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from capacity.corpus.clips import load
from capacity.corpus.maker import make_from
from capacity.corpus.word_times import OfflinePass
from capacity.loadgen.word_latency import score
from server.worker.decode_windows import VARIABLE
from tests.bench.figure import Figure
from tests.bench.peer import PeerError, install, model_folder, running, whisperlive
from tests.support.servers import free_port, running_server
from whisper_ops.history import History
from whisper_ops.objective.word_errors import Clips, paired_excess, total_errors

LEVELS = "14,24"
PEER_LEVELS = "1,2,3,4,6"
LEVEL_SECONDS = 20
LIMIT_SECONDS = 3.0
PROMPTS = Path("/usr/share/asterisk/sounds/en")
HUMAN_MINUTES, HUMAN_SECONDS = 10, 30
HUMAN_LEVELS, WHOLE_LEVELS, HUMAN_PEER_LEVELS = "24,32,40,48,56,64,72", "16,24,32,40,48,56", "1,2,3"
BEFORE_LEVELS = "16,20,24,28,32,40"
BEFORE = "9da2d45a007d109dae7dec41ca1524c4c21d28fa"
"""The last commit before windows were bounded."""
WHOLE_BATCH = "4"
"""Rows a batch when windows were whole."""
BEYOND = (1.2, 1.5, 2.0)
LEAST_GAIN = 1.5
"""In streams held, over the server of before."""
HELD_AT_LEAST = 14
WORST_WER = 10.0
"""Per cent of words that may be wrong in any level of ours."""


class Speech(NamedTuple):
    """What is played, and for how long at each level."""

    corpus: Path | None
    """None: the default one."""
    seconds: int


USUAL = Speech(None, LEVEL_SECONDS)


class Level(NamedTuple):
    """One level of one server."""

    streams: int
    held: bool
    """Within the objective, on evidence that counts."""
    reason: str
    stable_p50: float
    stable_p95: float
    partials: float
    """Texts a second a stream."""
    clips: Clips
    """Word errors and words of each utterance."""


def ours(folder: Path, arguments: Sequence[str], levels: str, speech: Speech = USUAL, rule: str = "") -> list[Level]:
    """The levels of our own server; `rule`: of windows, for comparison."""
    environment = {**os.environ, VARIABLE: rule}
    with running_server(folder, "--max-connections-per-gpu", "512", *arguments, environment=environment) as server:
        return _measure(server.url, "native", levels, folder / "bench.db", speech)


def before(folder: Path, arguments: Sequence[str], levels: str, speech: Speech) -> list[Level]:
    """The levels of our server as it was at the commit `BEFORE`.

    Raises:
        PeerError: this clone has no history.
    """
    checkout = folder / "before"
    made = subprocess.run(
        ["git", "worktree", "add", "--force", "--detach", checkout, BEFORE], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise PeerError(f"git has no commit {BEFORE[:7]} here: {made.stderr.strip()[-200:]}")
    # Python looks into the folder that it is started in before anything that is installed.
    run_in = ("env", "-C", str(checkout))
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    arguments = ("--max-connections-per-gpu", "512", *arguments)
    try:
        with running_server(folder, *arguments, environment=environment, before=run_in) as server:
            return _measure(server.url, "native", levels, folder / "bench.db", speech)
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", checkout], capture_output=True, check=False)


def theirs(folder: Path, levels: str = PEER_LEVELS, speech: Speech = USUAL) -> list[Level]:
    """The levels of WhisperLive in batch mode, with as many threads as CTranslate2 takes: that suits it best.

    Raises:
        PeerError: it cannot be had on this machine.
    """
    install(["whisper_live"])
    port = free_port()
    with running(whisperlive(model_folder(), port, None), port, folder / "whisperlive.log"):
        return _measure(f"ws://127.0.0.1:{port}", "whisperlive", levels, folder / "bench.db", speech)


def _measure(url: str, protocol: str, levels: str, history: Path, speech: Speech) -> list[Level]:
    command = [sys.executable, "-m", "whisper_ops", "sweep", url, "--json", "--protocol", protocol, "--levels", levels]
    command += ["--objective", f"stable_p95<={LIMIT_SECONDS:g}s", "--duration", str(speech.seconds), "--fresh"]
    command += [] if speech.corpus is None else ["--corpus", str(speech.corpus)]
    answer = subprocess.run([*command, "--history", str(history)], capture_output=True, text=True, check=False)
    if not answer.stdout:
        raise RuntimeError(f"the sweep of {url} ended with {answer.returncode}: {answer.stderr[-400:]}")
    body = json.loads(answer.stdout)
    with History.reading(history) as store:
        return [_level(store, body["sweep_id"], found) for found in body["levels"]]


def _level(store: History, sweep_id: int, found: dict[str, Any]) -> Level:
    said = store.sweeps.utterances(sweep_id, found["streams"], found["repeat"])
    return Level(
        streams=found["streams"],
        held=bool(found["passed"]),
        reason=found["reason"],
        stable_p50=_number(found["stable_p50_seconds"]),
        stable_p95=_number(found["stable_p95_seconds"]),
        partials=_number(found["partials_per_second"]),
        clips={one.clip: (one.errors, one.words) for one in said},
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def lines(name: str, levels: Sequence[Level], *, promised: bool) -> Iterator[Figure]:
    """The figures of each level; `promised`: each is to be within the limit."""
    for level in levels:
        at = f"{name}, {level.streams} streams"
        yield Figure(f"{at}: p95 stable word latency", level.stable_p95, "s", LIMIT_SECONDS if promised else None)
        yield Figure("… p50", level.stable_p50, "s")
        errors = total_errors(level.clips)
        if errors is not None:
            what = f"… word error rate (± {100 * errors.margin:.1f}, {sum(errors.words)} words)"
            yield Figure(what, 100 * errors.value, "%", WORST_WER if promised else None)
        yield Figure("… texts a second a stream", level.partials)
        if not level.held:
            click.echo(f"  … not held: {level.reason}")


def largest_held(levels: Sequence[Level]) -> Level | None:
    """The largest level that was held, if every smaller one was."""
    best = None
    for level in sorted(levels, key=lambda level: level.streams):
        if not level.held:
            break
        best = level
    return best


def beside(mine: Sequence[Level], peers: Sequence[Level]) -> Iterator[Figure]:
    """Theirs at the largest level it holds, beside ours at the promised level and at the largest it holds."""
    here, there = largest_held(mine), largest_held(peers)
    yield Figure("WhisperLive: streams held within 3 s", there.streams if there else 0)
    yield Figure("whisper-ops: streams held within 3 s", here.streams if here else 0, "", HELD_AT_LEAST, at_least=True)
    if here is None or there is None:
        return
    yield Figure(f"… of {here.streams} and {there.streams}: times WhisperLive's", here.streams / there.streams)
    for level in mine:
        if level.streams == HELD_AT_LEAST or level is here:
            yield from _against(level, there, promised=level.streams == HELD_AT_LEAST)


def _against(level: Level, there: Level, *, promised: bool) -> Iterator[Figure]:
    """One level of ours beside theirs: errors in what both said, and how often somebody sees text."""
    at = f"ours at {level.streams}, theirs at {there.streams}"
    more = paired_excess(level.clips, there.clips)
    if more is not None:
        # What both said, utterance by utterance. No worse: what there is more can be luck, one time in twenty.
        what = f"{at}: word errors beyond theirs ({sum(more.words)} words both said)"
        yield Figure(what, 100 * more.value, "points", round(100 * more.margin, 2) if promised else None)
    yield Figure(f"{at}: texts a second a stream, theirs", there.partials)
    least = there.partials if promised else None
    yield Figure("… ours", level.partials, "", least, at_least=True)


def human(folder: Path, arguments: Sequence[str]) -> Iterator[Figure]:
    """People who hardly pause: bounded windows, the server of before, today's with whole windows, and WhisperLive."""
    speech = _people(folder)
    if speech is None:
        return
    mine = ours(folder, arguments, HUMAN_LEVELS, speech)
    yield from lines("human speech, bounded windows", mine, promised=False)
    here = largest_held(mine)
    try:
        earlier = before(folder, arguments, BEFORE_LEVELS, speech)
    except PeerError as error:
        click.echo(f"  the server of before does not stand beside it: {error}")
    else:
        yield from lines("human speech, the server of before", earlier, promised=False)
        yield from _times_as_many(here, largest_held(earlier), "the server of before", LEAST_GAIN)
    whole = ours(folder, (*arguments, "--max-batch", WHOLE_BATCH), WHOLE_LEVELS, speech, "whole")
    yield from lines("human speech, whole windows", whole, promised=False)
    yield from _times_as_many(here, largest_held(whole), "whole windows", None)
    yield Figure("human speech, offline with 30 s of padding: word error rate", 100 * _offline(speech), "%")
    try:
        peers = theirs(folder, HUMAN_PEER_LEVELS, speech)
    except PeerError as error:
        click.echo(f"  WhisperLive does not stand beside it: {error}")
        return
    yield from lines("human speech, WhisperLive", peers, promised=False)
    there = largest_held(peers)
    if here and there:
        yield Figure(
            f"human speech, ours at {here.streams}: streams for each of WhisperLive's", here.streams / there.streams
        )


def _times_as_many(here: Level | None, other: Level | None, name: str, least: float | None) -> Iterator[Figure]:
    yield Figure(f"human speech: streams held within 3 s, {name}", other.streams if other else 0)
    yield Figure("… bounded windows", here.streams if here else 0)
    if here and other:
        yield Figure("… times as many", here.streams / other.streams, "", least, at_least=True)


def overload(folder: Path, arguments: Sequence[str]) -> Iterator[Figure]:
    """Beyond the largest load held, on one server: 1.2, 1.5 and 2 times as many streams, and then that load again."""
    speech = _people(folder)
    if speech is None:
        return
    with running_server(folder, "--max-connections-per-gpu", "512", *arguments) as server:

        def measured(levels: str) -> list[Level]:
            return _measure(server.url, "native", levels, folder / "bench.db", speech)

        held = largest_held(measured(HUMAN_LEVELS))
        if held is None:
            click.echo(f"  not one of {HUMAN_LEVELS} streams is held here")
            return
        yield from lines("at the limit", [held], promised=False)
        beyond = ",".join(str(math.ceil(times * held.streams)) for times in BEYOND)
        yield from lines("beyond it", measured(beyond), promised=False)
        yield from lines("and back at once", measured(str(held.streams)), promised=True)


def _people(folder: Path) -> Speech | None:
    """Recorded prompts joined into stretches; None where there are none on this machine."""
    if not (PROMPTS / "vm-login.wav").is_file():
        click.echo(f"  no recorded prompts in {PROMPTS}: make system-packages installs them")
        return None
    corpus = folder / "human"
    if not corpus.exists():
        make_from(corpus, PROMPTS, HUMAN_MINUTES * 60, OfflinePass(), lambda *_: None, click.echo)
    return Speech(corpus, HUMAN_SECONDS)


def _offline(speech: Speech) -> float:
    """The share of words that are wrong when the same model hears each stretch in one go, in windows of 30 s."""
    from faster_whisper import WhisperModel  # only where it is used: not every developer has the extra

    assert speech.corpus is not None
    model: Any = WhisperModel(str(model_folder()), device="cpu", compute_type="int8")
    errors = words = 0
    for clip in load(speech.corpus).clips:
        found, _ = model.transcribe(
            clip.samples.astype(np.float32) / 32768, language="en", beam_size=1, condition_on_previous_text=False
        )
        counted = score([token.word for token in clip.tokens], " ".join(part.text for part in found))
        errors, words = errors + counted.errors, words + counted.reference
    return errors / words


def throughput(folder: Path, arguments: Sequence[str], levels: str = LEVELS) -> Iterator[Figure]:
    """Ours, and WhisperLive beside it where it can be had."""
    mine = ours(folder, arguments, levels)
    yield from lines("whisper-ops", mine, promised=True)
    try:
        peers = theirs(folder)
    except PeerError as error:
        click.echo(f"  WhisperLive does not stand beside it: {error}")
        return
    yield from lines("WhisperLive", peers, promised=False)
    yield from beside(mine, peers)
