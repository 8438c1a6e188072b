"""What was found about a level, as data: a kind and its figures. `str` makes the words where they are shown."""

from typing import TypeAlias

import msgspec

from whisper_ops.lenient_json import decode_strictly
from whisper_ops.objective.grammar import MEASURES, amount


class Finding(msgspec.Struct, frozen=True, tag_field="kind"):
    """One thing that speaks about a level."""


class Missed(Finding, frozen=True, tag="missed"):
    """A condition of the objective is not met, or cannot be answered."""

    measure: str
    at_most: bool
    limit: float
    """The bound that was missed, in base units, with the figure of one stream where it counts from that."""
    written: str
    value: float | None = None
    """None: it was not measured."""
    relative: bool = False
    no_baseline: bool = False
    """It counts from one stream, of which nothing was measured."""

    def named(self, what: str) -> str:
        """In words, with the measure called `what`."""
        if self.value is None:
            return f"{what} was not measured"
        if self.no_baseline:
            return f"{what} of one stream was not measured, and {self.written} counts from it"
        limit = amount(self.measure, self.limit)
        than = f"{limit} ({self.written} of one stream)" if self.relative else limit
        return f"{what} {amount(self.measure, self.value)} {'>' if self.at_most else '<'} {than}"

    def __str__(self) -> str:
        return self.named(self.measure)


class WordErrors(Finding, frozen=True, tag="word_errors"):
    """More word errors than the objective allows: surely (`missed`), or so far only by chance perhaps."""

    missed: bool
    value: float
    """Errors a word; above those of one stream where `relative`."""
    margin: float | None
    """Half the width of its interval; None: a single utterance tells nothing."""
    limit: float
    relative: bool
    words: int
    enough: int | None = None
    """Words that would tell, about; None: more than anybody would play."""

    def named(self, what: str) -> str:
        """In words, with the measure called `what`."""
        unit, sign = (" points", "+") if self.relative else (" %", "")
        margin = "?" if self.margin is None else f"{self.margin * 100:.1f}"
        limit, value = f"{sign}{self.limit * 100:g}{unit}", f"{self.value * 100:{sign}.1f} ± {margin}{unit}"
        if self.missed:
            return f"{what} {value} > {limit}{' of one stream' if self.relative else ''}"
        enough = "more than can be played" if self.enough is None else f"about {self.enough:,}"
        # Here the short name is the one that everybody knows.
        return f"too few words to judge WER ({self.words:,} of {enough}): {value}, limit {limit}"

    def __str__(self) -> str:
        return self.named("wer")


class GeneratorLate(Finding, frozen=True, tag="generator_late"):
    """The load generator did not keep its own pace, so the level says nothing about the server."""

    late_seconds: float
    allowed_seconds: float

    def __str__(self) -> str:
        late, allowed = self.late_seconds * 1e3, self.allowed_seconds * 1e3
        return f"the load generator was late itself: {late:.0f} ms at p99, {allowed:.0f} ms allowed"


class OtherLoad(Finding, frozen=True, tag="other_load"):
    """Other programs took much of the server's machine, so the level says as much about them."""

    share: float
    """Of the machine's processor time, or of a GPU's time."""
    counts: bool
    """The level was to count all the same."""
    gpu: bool = False
    programs: tuple[str, ...] = ()
    """Those on the GPU, as `python3 (4711)`."""

    @property
    def place(self) -> str:
        """What they took it of."""
        return "the GPU" if self.gpu else "the processors"

    def __str__(self) -> str:
        named = f" ({', '.join(self.programs)})" if self.programs else ""
        return f"other programs took {self.share:.0%} of {self.place}{named}"


class StoppedEarly(Finding, frozen=True, tag="stopped_early"):
    """The level was ended because its answer was known."""

    streams: int
    ended: int | None = None
    """So many of them were refused or broke off."""
    behind_seconds: float | None = None
    """Half of them were further behind than this."""
    error: str | None = None
    """What the first stream that ended badly was told."""

    def __str__(self) -> str:
        if self.ended is not None:
            why = f" ({self.error})" if self.error else ""
            return f"stopped early: {self.ended} of {self.streams} streams were refused or broke off{why}"
        return f"stopped early: half of the streams were more than {self.behind_seconds:.0f} s behind"


class NotLive(Finding, frozen=True, tag="not_live"):
    """Fewer streams were live at once than were asked for."""

    live: float
    asked: int
    error: str | None = None
    """What the first stream that ended badly was told."""

    def __str__(self) -> str:
        why = f" ({self.error})" if self.error else ""
        return f"only {self.live:.1f} of {self.asked} streams were live at once{why}"


class TextMissing(Finding, frozen=True, tag="text_missing"):
    """The server dropped words."""

    share: float

    def __str__(self) -> str:
        return f"{self.share * 100:.0f} % of the words never came"


class NoPartials(Finding, frozen=True, tag="no_partials"):
    """No partial results, without which word latency cannot be compared."""

    def __str__(self) -> str:
        return "the server sent no partial results, so its word latency cannot be compared"


class TooShort(Finding, frozen=True, tag="too_short"):
    """Too short a level for a law."""

    seconds: float
    needed_seconds: float

    def __str__(self) -> str:
        return f"too short ({self.seconds:.0f} s of {self.needed_seconds:.0f} s)"


class FewWords(Finding, frozen=True, tag="few_words"):
    """Too few words for a law."""

    words: int
    needed: int

    def __str__(self) -> str:
        return f"too few words ({self.words:,} of {self.needed:,})"


class Unsettled(Finding, frozen=True, tag="unsettled"):
    """A level that was held as long as it may be, and still could be on either side of these conditions."""

    conditions: tuple[str, ...]

    def __str__(self) -> str:
        return f"too near {' and '.join(self.conditions)} to be sure of more than this measurement"


AnyFinding: TypeAlias = (
    Missed
    | WordErrors
    | GeneratorLate
    | OtherLoad
    | StoppedEarly
    | NotLive
    | TextMissing
    | NoPartials
    | TooShort
    | FewWords
    | Unsettled
)


def encode(findings: tuple[AnyFinding, ...]) -> str:
    """As the history keeps them."""
    return msgspec.json.encode(findings).decode()


def decode(text: str) -> tuple[AnyFinding, ...]:
    """From the history; nothing where another version wrote what this one does not know."""
    try:
        return decode_strictly(text, tuple[AnyFinding, ...])
    except msgspec.DecodeError:
        return ()


def misses(finding: AnyFinding) -> bool:
    """Whether it is about the objective and fails the level."""
    return isinstance(finding, Missed) or (isinstance(finding, WordErrors) and finding.missed)


def speaks_against(finding: AnyFinding) -> bool:
    """Whether it is a reason for a level to fail or to be no evidence, and not only to be less sure of."""
    return misses(finding) or not (
        isinstance(finding, WordErrors | TooShort | FewWords | Unsettled)
        or (isinstance(finding, OtherLoad) and finding.counts)
    )


def judged_again(finding: AnyFinding) -> bool:
    """Whether it follows from the objective, and so has to be found anew for another one."""
    return isinstance(finding, Missed | WordErrors | Unsettled)


def sentences(findings: tuple[AnyFinding, ...]) -> str:
    """All of them in one line."""
    return "; ".join(map(str, findings))


def in_words(finding: AnyFinding) -> str:
    """A finding for a plan, where nobody knows the measures' short names."""
    if isinstance(finding, Missed):
        return finding.named(MEASURES[finding.measure].title)
    return finding.named(MEASURES["wer"].title) if isinstance(finding, WordErrors) else str(finding)
