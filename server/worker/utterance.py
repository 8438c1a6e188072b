"""An utterance: its words as they stand, when they were spoken, and where its next window begins. Pure.

Words are counted from the first that is kept. Those before the window are settled: stable, and their times known. The
window's first words are stable too; they are heard again for the sake of those that follow, and matched. The first of
all may be words of the segment before, where speech went on without a pause: they lead, and are never told again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from server.audio_formats import SAMPLE_RATE
from server.engines.engine import Hypothesis, TimedWord
from server.worker.agreement import Agreement


@dataclass
class Utterance:
    """A stretch of speech. `end` is None while it is open. Positions are samples, times of words seconds."""

    segment: int
    start: int
    opened_at: float
    speech_end: int = 0
    end: int | None = None
    closed_at: float = 0.0
    decoded_to: int = 0
    decoded_at: float = 0.0
    heard: Hypothesis | None = None
    """What was heard in its newest window."""
    noise: bool = False
    """The text of its newest window was made of no speech."""
    shown: bool = False
    """Its client was shown a text."""
    agreement: Agreement = field(default_factory=Agreement)
    undecoded: bool = False
    """The engine failed on the newest window."""
    failures: int = 0
    """How often it failed on the last one."""
    window_start: int = -1
    before: int = 0
    """Words before the window."""
    lead: int = 0
    """Words that the segment before it told."""
    times: list[TimedWord | None] = field(default_factory=list)
    """When the first words were spoken, as far as that is known, from the stream's start."""

    def __post_init__(self) -> None:
        """A new utterance is decoded from its beginning."""
        if self.window_start < 0:
            self.window_start = self.start

    @property
    def prefix(self) -> list[str]:
        """The stable words that the next window begins with."""
        return self.agreement.stable[self.before :]

    @property
    def known(self) -> str:
        """What was heard in the part of its window before `decoded_to`; empty where that is no measure."""
        return "" if self.undecoded or self.noise else " ".join(self.agreement.words[self.before :])

    @property
    def timed(self) -> bool:
        """Whether it is known when each of its words was spoken."""
        return len(self.times) == len(self.agreement.words) and None not in self.times[self.lead :]

    def take(self, heard: Hypothesis, end_s: float, *, comparable: bool, hold: bool) -> None:
        """Take what was heard in a window that ends there: its words follow those before the window."""
        agreement, stable = self.agreement, len(self.agreement.stable)
        agreement.add(heard.text.split(), before=self.before, at_s=end_s, comparable=comparable, hold=hold)
        # What is stable stays as it was timed; the window may have ended in a later word.
        known: list[TimedWord | None] = [None] * len(agreement.words)
        kept = min(stable, len(self.times), len(known))
        known[:kept] = self.times[:kept]
        if heard.words is not None:
            self._place(known, heard.words)
        self.times = known

    def _place(self, known: list[TimedWord | None], heard: Sequence[TimedWord]) -> None:
        """Give words the times of what was heard; the last word heard is the last word there is."""
        words, begin_s = self.agreement.words, self.window_start / SAMPLE_RATE
        first = len(words) - len(heard)
        for i in range(max(first, self.before), len(words)):
            word = heard[i - first]
            if word.word == words[i]:
                known[i] = replace(word, start=begin_s + word.start, end=begin_s + word.end)

    def hold(self, until_s: float, sure: float = 0.0) -> None:
        """Words that are timed, end before `until_s` and are so probable will not change any more."""
        count = len(self.agreement.stable)
        for time in self.times[count:]:
            if time is None or time.end > until_s or time.probability < sure:
                break
            count += 1
        self.agreement.settle(count)

    def advance(self, left_s: float) -> int | None:
        """Let the next window begin at a stable word, so much before the words that may change.

        Answers where that word begins; None where there is none, or its time is not known.
        """
        stable = len(self.agreement.stable)
        ends = [time.end for time in self.times[:stable] if time is not None]
        if not ends:
            return None
        for k in range(stable - 1, self.before, -1):
            time = self.times[k]
            if (
                time is not None
                and time.start <= ends[-1] - left_s
                and round(time.start * SAMPLE_RATE) > self.window_start
            ):
                self.before = k
                return round(time.start * SAMPLE_RATE)
        return None

    @property
    def words(self) -> list[str]:
        """Its own words as they stand."""
        return self.agreement.words[self.lead :]

    @property
    def stable(self) -> list[str]:
        """Its own words that will not change."""
        return self.agreement.stable[self.lead :]

    def told(self, count: int) -> str:
        """The text of its own among the first words."""
        return " ".join(self.agreement.words[self.lead : count])

    def boundary(self, count: int) -> float | None:
        """When the first words end, in seconds; None where no time is known there."""
        after = self.times[count] if count < len(self.times) else None
        last = self.times[count - 1] if 0 < count <= len(self.times) else None
        if last is not None and after is not None:
            return (last.end + after.start) / 2
        return last.end if last is not None else after.start if after is not None else None

    def spoken(self, count: int, end_s: float) -> list[TimedWord]:
        """Its own of the first words, with times; those not known share the time between their neighbours."""
        words, start_s = self.agreement.words[:count], self.start / SAMPLE_RATE
        times = [*self.times[:count], *[None] * (count - len(self.times))]
        found: list[TimedWord] = []
        for i, (word, known) in enumerate(zip(words[self.lead :], times[self.lead :], strict=True), self.lead):
            time = known
            if time is None:
                start = found[-1].end if found else start_s
                steps, until = next(((j, t.start) for j, t in enumerate(times[i:]) if t), (count - i, end_s))
                time = TimedWord(word, start, start + max(0.0, until - start) / steps, 0.0)
            # Two windows are seldom of one mind about a word's place: words follow each other all the same.
            begin_s = found[-1].start if found else start_s
            start, end = (min(max(at, begin_s), end_s) for at in (time.start, time.end))
            if found and found[-1].end > start:
                found[-1] = replace(found[-1], end=start)
            found.append(TimedWord(word, start, end, time.probability))
        return found

    def after(self, count: int, start: int, segment: int, now: float) -> "Utterance":
        """The utterance that goes on at `start` when its first words are a segment of their own."""
        dropped = min(count, self.before)
        rest = Utterance(segment, start, now, self.speech_end, self.end, self.closed_at)
        rest.agreement, rest.times = self.agreement.after(dropped), self.times[dropped:]
        rest.before, rest.lead = self.before - dropped, count - dropped
        rest.decoded_at, rest.decoded_to, rest.heard = self.decoded_at, self.decoded_to, self.heard
        rest.window_start = self.window_start
        return rest


def cut_at(words: Sequence[TimedWord], limit_s: float) -> tuple[int, float]:
    """How many words to keep before `limit_s`, and the second to cut at: the widest gap of the last few words."""
    fit = sum(1 for word in words if word.end <= limit_s)
    if not fit:
        return 0, 0.0
    candidates = range(max(1, fit - 5), fit + 1)
    starts = [*(word.start for word in words), words[-1].end]
    best = max(candidates, key=lambda n: (starts[n] - words[n - 1].end, n))
    return best, (words[best - 1].end + starts[best]) / 2
