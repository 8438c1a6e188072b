"""One stream in a worker: its audio, its utterances, and the text that becomes of them. Pure; time is an argument.

Positions are samples at 16 kHz from the stream's start; `now` is any monotonic clock in seconds. At most one window of
a stream is in work at a time, so its texts come in order.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from server import ipc
from server.audio_formats import SAMPLE_RATE, Samples
from server.engines.engine import EngineRow, Hypothesis, TimedWord
from server.worker.decode_windows import BOUNDED, WindowRule
from server.worker.language_detection import SURE_SECONDS, StreamLanguage
from server.worker.no_speech import is_noise
from server.worker.real_time import RealTimePace
from server.worker.scheduler import CONTEXTS_SECONDS, Job, context_seconds
from server.worker.segmenter import Tuning, tuned
from server.worker.silero import FRAME
from server.worker.stream_audio import StreamAudio
from server.worker.transcript import Transcript
from server.worker.utterance import Utterance, cut_at
from server.worker.vad import Vad

LONGEST_SECONDS = 15.0
"""Speech without a pause is cut at a word after this long."""
FIRST_SECONDS = 0.6
"""Audio an utterance has before its first partial."""
SETTLING_SECONDS = 0.15
"""So much silence, and what was said is decoded at once: if the pause goes on, that text is the final."""
_TRIES = 2
"""So often an utterance that is over is decoded when the engine fails."""
KEPT = 32 * FRAME
"""Samples kept in silence: a later utterance may turn out to begin in it. Whole frames: a replay has the same grid."""
LEAST_NEW_SECONDS = 0.3
"""Less new speech changes no text; it waits while the engine is behind."""
_CUT_MARGIN_SECONDS = 1.0
"""Words this close to the end of a window may be incomplete; a forced cut leaves them to the next."""


@dataclass(frozen=True)
class DecodeWindow:
    """A stretch of an utterance that is being decoded."""

    stream: int
    utterance: Utterance
    end: int
    row: EngineRow
    cut: bool
    speech_end: int
    voice: float
    """The mean probability that somebody spoke in it."""


class Stream:
    """See the module. Text leaves through `events`, which the worker empties."""

    def __init__(
        self,
        opened: ipc.Open,
        vad: Vad,
        cadence: float,
        tuning: Tuning | None = None,
        contexts: Sequence[float] = CONTEXTS_SECONDS,
        rule: WindowRule = BOUNDED,
    ) -> None:
        self.number = opened.stream
        self.cadence = cadence
        self.behind = False
        """Whether the engine has more to do than it can."""
        self._rule = rule
        self.contexts = contexts
        """Audio contexts that its windows are padded to, in seconds."""
        self.ended = False
        self.withheld = 0
        """Utterances whose text was not told, as nobody had spoken; the worker counts and empties it."""
        self.pace = RealTimePace(opened.replayed_s)
        self.inbox: deque[ipc.Message] = deque()
        """What came before its time, for the worker to hand over when it has time."""
        self._words = opened.words
        self._language = StreamLanguage(opened.language, opened.detected_language)
        self._sound = StreamAudio(opened, vad, tuning or tuned(opened.turns), self._opened, self._closed)
        self._segmenter = self._sound.segmenter
        self._transcript = Transcript(opened.stream, opened.segment, words=opened.words)
        self._utterances: deque[Utterance] = deque()
        self._settled = self._sound.origin
        self._now = 0.0
        self._in_work = False
        self._done = False

    @property
    def events(self) -> list[ipc.Message]:
        """What the worker is to send, and to empty."""
        return self._transcript.events

    @property
    def vad(self) -> Vad:
        """What judges its sound."""
        return self._sound.vad

    # --- audio in -----------------------------------------------------------------------------------

    def feed(self, data: bytes, now: float) -> None:
        """Take audio as the client sent it, and judge it."""
        self.receive(data, now)
        self._judge()

    def receive(self, data: bytes, now: float) -> None:
        """Take audio as the client sent it, to be judged with that of other streams: see `next_samples`."""
        self._now = now
        self.pace.feed(self._sound.take(data), now)

    def next_samples(self) -> Samples | None:
        """What is to be judged next, by `vad`, and then heard; None: more has to come first."""
        return self._sound.next_samples()

    def add_probabilities(self, probabilities: Sequence[float]) -> None:
        """The speech probabilities of the frames of `next_samples`."""
        self._sound.add_probabilities(probabilities)
        if not self._utterances:
            self._settle(self._segmenter.quiet_from - KEPT)

    def _judge(self) -> None:
        while (sound := self.next_samples()) is not None:
            self.add_probabilities(self.vad(sound))

    def flush(self, now: float) -> None:
        """End the open utterance here."""
        self._flush(now, last=False)

    def _flush(self, now: float, *, last: bool) -> None:
        self._now = now
        self._judge()
        self._sound.judge_rest(last=last)
        self._segmenter.close()
        self._transcript.flush()
        self._finish_decoded()

    def end(self, now: float) -> None:
        """No more audio comes. `Done` follows the last final."""
        if self.ended:
            return
        self._sound.take_rest()
        self._flush(now, last=True)
        self.ended = True
        self._finish_decoded()

    def speak(self, language: str | None) -> None:
        """From the next window on, decode in this language; None: in what the stream sounds like."""
        spoke = self._language.given
        self._language = StreamLanguage(language, spoke)

    def _opened(self, start: int) -> None:
        self._utterances.append(Utterance(self._transcript.begin(), start, self._now))

    def _closed(self, end: int, speech_end: int) -> None:
        utterance = self._utterances[-1]
        utterance.end, utterance.speech_end = end, speech_end
        utterance.closed_at = self._now - max(0, self._segmenter.position - speech_end) / SAMPLE_RATE
        self._finish_decoded()

    # --- what to decode -----------------------------------------------------------------------------

    def job(self) -> "Job[Stream] | None":
        """The window that this stream would like to have decoded, if any."""
        if self._in_work or not self._utterances:
            return None
        utterance = self._utterances[0]
        end, cut = self._window_end(utterance)
        seconds = (end - utterance.window_start) / SAMPLE_RATE
        if (found := self._due(utterance, seconds, cut=cut)) is None:
            return None
        due, final = found
        paced = self.pace.due - (self._sound.end - end) / SAMPLE_RATE
        return Job(self, due, final, context_seconds(seconds, self.contexts), paced)

    def _due(self, utterance: Utterance, seconds: float, *, cut: bool) -> tuple[float, bool] | None:
        """When its next window is due, and whether that may be its last; None: there is none yet."""
        if cut or utterance.end is not None:
            return utterance.closed_at if utterance.end else max(utterance.opened_at, utterance.decoded_at), True
        if utterance.decoded_to >= self._segmenter.speech_end:
            return None
        patient = self.behind and self._rule.thrifty
        if self._segmenter.silence_seconds >= SETTLING_SECONDS and not patient:
            return max(utterance.opened_at, utterance.decoded_at), True
        if utterance.decoded_to:
            new = (self._segmenter.speech_end - utterance.decoded_to) / SAMPLE_RATE
            return None if patient and new < LEAST_NEW_SECONDS else (utterance.decoded_at + self.cadence, False)
        return (utterance.opened_at, False) if seconds >= FIRST_SECONDS else None

    def _window_end(self, utterance: Utterance) -> tuple[int, bool]:
        # The same end whether it is decoded as soon as a pause begins or after it: a replay then hears the same.
        speech_end = self._segmenter.speech_end if utterance.end is None else utterance.speech_end
        end = min(self._sound.end, speech_end + round(SETTLING_SECONDS * SAMPLE_RATE))
        limit = utterance.window_start + round(LONGEST_SECONDS * SAMPLE_RATE)
        return min(end, limit), end > limit

    def take(self, now: float, context: float) -> DecodeWindow:
        """Begin the window of `job`, padded to a context in seconds."""
        utterance = self._utterances[0]
        end, cut = self._window_end(utterance)
        audio = self._sound.slice(utterance.window_start, end)
        long = len(audio) > self._rule.bound * SAMPLE_RATE
        words = cut or (long if utterance.end is None else self._words)
        at_s = utterance.window_start / SAMPLE_RATE
        prefix = " ".join(utterance.prefix) if self._rule.forced else ""
        # A pause that begins may be the end: then this window's text is the final.
        last = cut or utterance.end is not None or self._segmenter.silence_seconds >= SETTLING_SECONDS
        language, choose = self._language.for_window(len(audio) / SAMPLE_RATE, last=last)
        known = utterance.known
        new_s = max(0, end - utterance.decoded_to) / SAMPLE_RATE if known else math.inf
        row = EngineRow(audio, context, at_s, language, words, prefix, self.number, choose, known, new_s)
        self._in_work = True
        utterance.decoded_at = now
        speech_end = self._segmenter.speech_end if utterance.end is None else utterance.speech_end
        voice = self._sound.voice(utterance.window_start, min(end, speech_end))
        return DecodeWindow(self.number, utterance, end, row, cut, min(end, speech_end), voice)

    # --- text out -----------------------------------------------------------------------------------

    def apply(self, window: DecodeWindow, heard: Hypothesis, now: float) -> None:
        """Take what was heard in a window."""
        self._in_work, self._now = False, now
        utterance = window.utterance
        utterance.decoded_to = max(window.speech_end, utterance.start + 1)
        utterance.undecoded, utterance.failures = False, 0
        self._take_text(window, heard)
        if window.cut:
            self._cut(window, heard.words or ())
            return
        whole = utterance.end is not None and utterance.decoded_to >= utterance.speech_end
        # A window taken before the utterance ended may hold all its speech, but was not asked for the words' times.
        if whole and (window.row.words or not self._needs_words(utterance)):
            self._finish()
            self._finish_decoded()
            return
        self._advance(window)
        utterance = self._utterances[0]
        if utterance.words or utterance.shown:
            self._transcript.partial(utterance, window.end, self.covered_s)

    def _advance(self, window: DecodeWindow) -> None:
        """Let the next window begin later where this one was long, and end a segment where it is long enough."""
        utterance, rule = window.utterance, self._rule
        if window.row.words:
            language = utterance.heard.language if utterance.heard is not None else None
            utterance.hold(window.end / SAMPLE_RATE - rule.hold, rule.least_probability(language))
        if len(window.row.audio) > rule.bound * SAMPLE_RATE and (begin := utterance.advance(rule.left)) is not None:
            utterance.window_start = max(utterance.window_start, self._sound.quiet_near(begin))
        if window.end - utterance.start > LONGEST_SECONDS * SAMPLE_RATE:
            # What was told to be stable is in this segment.
            count = len(utterance.agreement.stable)
            if utterance.before and (at_s := utterance.boundary(count)) is not None:
                self._split(utterance, count, self._sound.quiet_near(round(at_s * SAMPLE_RATE)))

    def _split(self, utterance: Utterance, count: int, at: int) -> None:
        """Make a segment of the first words; the rest goes on as the next utterance."""
        said = self._final(utterance, count, at, min(at, utterance.window_start))
        self._utterances[0] = utterance.after(count, at, utterance.segment + said, self._now)
        self._renumber(list(self._utterances)[1:], said)

    def _take_text(self, window: DecodeWindow, heard: Hypothesis) -> None:
        """Take a window's text, unless nobody spoke; what is stable was heard twice, and stays."""
        utterance = window.utterance
        before = utterance.heard
        utterance.noise = bool(heard.text) and not utterance.stable and is_noise(heard, window.voice)
        if utterance.noise:
            utterance.take(Hypothesis(""), window.end / SAMPLE_RATE, comparable=True, hold=False)
            return
        utterance.heard = heard
        seconds = len(window.row.audio) / SAMPLE_RATE
        unsure = heard.languages is not None and not self._language.sure and seconds < SURE_SECONDS
        comparable = before is None or before.language == heard.language
        utterance.take(heard, window.end / SAMPLE_RATE, comparable=comparable, hold=unsure)

    def fail(self, window: DecodeWindow) -> None:
        """A window could not be decoded: one that will grow waits for that, one that is over is tried again, once."""
        self._in_work = False
        utterance = window.utterance
        utterance.undecoded = True
        if utterance.end is None and not window.cut:
            utterance.decoded_to = window.end
            return
        utterance.failures += 1
        if utterance.failures < _TRIES:
            return
        utterance.decoded_to = window.end
        if window.cut:
            self._transcript.undecoded(utterance, window.end)
            utterance.start = utterance.window_start = window.end
            utterance.before, utterance.undecoded, utterance.failures = len(utterance.agreement.stable), False, 0
        self._finish_decoded()

    def _finish_decoded(self) -> None:
        """Utterances that ended and whose speech is decoded need nothing more to be final."""
        while self._utterances and not self._in_work:
            first = self._utterances[0]
            if first.end is None or (first.failures < _TRIES and self._lacks(first)):
                break
            self._finish()
        self._transcript.answer_flushes(self._utterances[0].segment if self._utterances else None)
        if self.ended and not self._utterances and not self._done:
            self._done = True
            self._transcript.done(self._sound.end / SAMPLE_RATE)

    def _lacks(self, utterance: Utterance) -> bool:
        """Whether an utterance that is over must be decoded once more to be final."""
        return utterance.undecoded or self._needs_words(utterance) or utterance.decoded_to < utterance.speech_end

    def _needs_words(self, utterance: Utterance) -> bool:
        return self._words and not utterance.timed

    def _finish(self) -> None:
        utterance = self._utterances.popleft()
        assert utterance.end is not None
        if not self._final(utterance, len(utterance.agreement.words), utterance.end):
            # Numbers are those of texts: whoever plays the audio again counts the same.
            self._renumber(list(self._utterances), -1)
        if utterance.undecoded:
            self._transcript.undecoded(utterance, utterance.end)

    def _renumber(self, later: list[Utterance], by: int) -> None:
        for utterance in later:
            utterance.segment += by
        self._transcript.renumber(by)

    def _final(self, utterance: Utterance, count: int, end: int, kept: int | None = None) -> bool:
        """Send a final of the first words and settle its audio. Whether there was any text to send.

        What is before the sample `kept` is needed no more; None: what is before `end`.
        """
        self._settle(end, kept)
        if not utterance.told(count):
            self.withheld += utterance.noise
            return False
        if utterance.heard is not None:
            self._language.learn(utterance.heard, (end - utterance.start) / SAMPLE_RATE)
        self._transcript.final(utterance, count, end, (self.covered_s, self.settled_s), self._now)
        return True

    def _cut(self, window: DecodeWindow, timed: Sequence[TimedWord]) -> None:
        """Make a segment of the first part of a window whose words did not become stable; the rest goes on."""
        utterance = window.utterance
        words, stable = utterance.agreement.words, len(utterance.agreement.stable)
        timed = () if utterance.noise else timed
        length_s, begin_s = len(window.row.audio) / SAMPLE_RATE, utterance.window_start / SAMPLE_RATE
        count, cut_s = cut_at(timed, length_s - _CUT_MARGIN_SECONDS)
        kept = max(0, count + len(words) - len(timed))
        if kept < stable and (known := utterance.boundary(stable)) is not None:
            kept, cut_s = stable, known - begin_s
        if cut_s < length_s / 3:
            # No word ends where one can cut, or their times are wrong: take the window whole, and move on.
            kept, cut_s = len(words), length_s
        at = min(window.end, utterance.window_start + round(cut_s * SAMPLE_RATE))
        utterance.before, utterance.window_start = kept, at
        self._split(utterance, kept, at)
        rest = self._utterances[0]
        if rest.words or rest.shown:
            self._transcript.partial(rest, window.end, self.covered_s)
        self._finish_decoded()

    # --- where it is --------------------------------------------------------------------------------

    def _settle(self, position: int, kept: int | None = None) -> None:
        """What lies before `position` is needed no more, or what lies before `kept` where that is less."""
        if position > self._settled:
            self._settled = position
            self._sound.drop(position if kept is None else kept)

    @property
    def settled_s(self) -> float:
        """Audio before this is needed no more, in seconds."""
        return self._settled / SAMPLE_RATE

    @property
    def covered_s(self) -> float:
        """Audio before this is in a text or was judged silent, without a gap, in seconds."""
        if not self._utterances:
            return self._segmenter.quiet_from / SAMPLE_RATE
        first = self._utterances[0]
        if len(self._utterances) == 1 and first.decoded_to >= max(self._segmenter.speech_end, first.speech_end):
            return self._segmenter.position / SAMPLE_RATE
        return max(first.start, first.decoded_to) / SAMPLE_RATE

    @property
    def speaking(self) -> bool:
        """Whether an utterance is open or waits for its text."""
        return bool(self._utterances)
