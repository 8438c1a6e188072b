"""Which alerts are on: each poll is held against the rules."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import msgspec

from dashboard.alerts.messages import place, said
from dashboard.alerts.rule_figures import FigureHistory, figure
from dashboard.alerts.rules import AlertRule, Severity
from whisper_ops.history import AlertRecord
from whisper_ops.snapshot import Snapshot

PAST_KEPT = 500


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that held for its hold time, and what its figure did since."""

    rule: str
    severity: Severity
    server: str
    gpu_id: int | None = None
    since: float
    """When the condition began, UTC epoch seconds."""
    until: float | None = None
    """When it ended; None while it lasts."""
    value: float
    """The newest value."""
    minimum: float
    mean: float
    maximum: float
    sentence: str
    figure: str | None = None
    """What the rule looks at; None: this alert is about no figure."""
    over: float | None = None
    under: float | None = None
    """The rule's limit, on the one side or the other."""

    def record(self) -> AlertRecord:
        """The row that the history keeps of it."""
        return AlertRecord(
            rule=self.rule, severity=self.severity, server=self.server, gpu_id=self.gpu_id, started_at=self.since,
            ended_at=self.until, min_value=self.minimum, mean_value=self.mean, max_value=self.maximum,
            sentence=self.sentence, figure=self.figure, last_value=self.value, over_limit=self.over,
            under_limit=self.under,
        )  # fmt: skip


class AlertChange(msgspec.Struct, frozen=True):
    """An alert that began or ended."""

    kind: Literal["started", "ended"]
    alert: Alert


Key = tuple[str, str, int | None]


class PollMoment(NamedTuple):
    """When a poll was: by the clock that holds are measured with, and how far the wall's clock is ahead of it."""

    at: float
    ahead: float


class _Watch:
    """One rule on one server or GPU: waiting, holding, on, or about to end."""

    __slots__ = ("began_at", "count", "least", "most", "on", "since", "total", "until")

    def __init__(self) -> None:
        self.on = False
        self.began_at = 0.0
        """When the condition began, UTC epoch seconds: an alert's name in the history, so it stays what it was."""
        self.reset()

    def reset(self) -> None:
        self.since: float | None = None
        self.until: float | None = None
        self.count, self.total = 0, 0.0
        self.least, self.most = float("inf"), float("-inf")

    def take_over(self, left: AlertRecord, ahead: float) -> None:
        self.began_at, self.since = left.started_at, left.started_at - ahead
        for value in (left.min_value, left.max_value, left.mean_value):
            if value is not None:
                self.least, self.most = min(self.least, value), max(self.most, value)
        if left.mean_value is not None:
            self.count, self.total = 1, left.mean_value

    def wall(self, at: float | None) -> float | None:
        """A moment of our clock as UTC epoch seconds, as far from the beginning as it was."""
        return None if at is None or self.since is None else self.began_at + at - self.since

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.least, self.most = min(self.least, value), max(self.most, value)


class AlertBook:
    """Feed it every snapshot; it says what changed and knows what is on.

    How long something lasts is measured by `clock`, whose zero is anywhere: the wall's clock may be set back by an hour
    while a server dies. Without one the snapshots' own time counts, as in a replay.
    """

    def __init__(self, rules: Iterable[AlertRule], clock: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._rules = [(rule, figure(rule.figure)) for rule in rules]
        self._past: dict[str, FigureHistory] = {}
        self._seen: dict[str, float] = {}
        self._watches: dict[Key, _Watch] = {}
        self._active: dict[Key, Alert] = {}
        self._left: dict[Key, AlertRecord] = {}
        self.past: deque[Alert] = deque(maxlen=PAST_KEPT)
        """Ended ones, oldest first."""

    @property
    def active(self) -> list[Alert]:
        """Those that last, critical ones first, then the oldest."""
        return sorted(self._active.values(), key=lambda alert: (alert.severity != "critical", alert.since))

    def resume(self, left: Iterable[AlertRecord]) -> None:
        """Take over alerts that stood when the last watcher left: one that the next poll finds still on is the same."""
        limits = {rule.name: rule.limit for rule, _ in self._rules if rule.figure == "silent_seconds"}
        for record in left:
            self._left[record.rule, record.server, record.gpu_id] = record
            if record.rule in limits:
                past = self._past.setdefault(record.server, FigureHistory())
                past.silent_since = record.started_at - limits[record.rule] - self._ahead(time.time())

    def take(self, snapshot: Snapshot) -> list[AlertChange]:
        """Hold a poll against every rule. In a replay one that is not newer than its server's last is passed over."""
        ahead = self._ahead(snapshot.at)
        if self._clock is not None:
            snapshot = msgspec.structs.replace(snapshot, at=snapshot.at - ahead)
        elif snapshot.at <= self._seen.get(snapshot.server, float("-inf")):
            return []
        self._seen[snapshot.server] = snapshot.at
        past = self._past.setdefault(snapshot.server, FigureHistory())
        if snapshot.state == "live":
            past.restarted(snapshot)
        changes: list[AlertChange] = []
        for rule, read in self._rules:
            # A silent server's figures are not known: what was on stays on, and nothing else begins.
            if snapshot.state == "silent" and rule.figure != "silent_seconds":
                continue
            values = dict(read(snapshot, past))
            gone = [key[2] for key in self._active if key[:2] == (rule.name, snapshot.server) and key[2] not in values]
            for gpu_id, value in (*values.items(), *((gpu_id, None) for gpu_id in gone)):
                change = self._hold(rule, (rule.name, snapshot.server, gpu_id), PollMoment(snapshot.at, ahead), value)
                if change is not None:
                    changes.append(change)
        return changes

    def forget(self, server: str) -> list[Alert]:
        """A server that is polled no more: its alerts end with its last poll, and are returned."""
        self._past.pop(server, None)
        last = self._seen.pop(server, None)
        watches = {key: self._watches.pop(key) for key in list(self._watches) if key[1] == server}
        on = {key: self._active.pop(key) for key in list(self._active) if key[1] == server}
        ended = [msgspec.structs.replace(alert, until=watches[key].wall(last)) for key, alert in on.items()]
        self.past.extend(ended)
        return ended

    def _ahead(self, at: float) -> float:
        """How far the wall's clock, which says `at`, is ahead of ours."""
        return 0.0 if self._clock is None else at - self._clock()

    def _hold(self, rule: AlertRule, key: Key, moment: PollMoment, value: float | None) -> AlertChange | None:
        watch = self._watches.get(key)
        if watch is None:
            left = self._left.pop(key, None)
            if value is None or not rule.broken(value):
                return None  # most are never more than this
            watch = self._watches[key] = _Watch()
            if left is not None:
                watch.take_over(left, moment.ahead)
        if watch.on:
            return self._lasting(rule, key, watch, moment.at, value)
        return self._waiting(rule, key, watch, moment, value)

    def _waiting(
        self, rule: AlertRule, key: Key, watch: _Watch, moment: PollMoment, value: float | None
    ) -> AlertChange | None:
        if value is None or not rule.broken(value):
            watch.reset()
            return None
        if watch.since is None:
            watch.since, watch.began_at = moment.at, moment.at + moment.ahead
        watch.add(value)
        if moment.at - watch.since < rule.hold_seconds:
            return None
        watch.on = True
        alert = self._active[key] = _alert(rule, key, watch, value)
        return AlertChange("started", alert)

    def _lasting(self, rule: AlertRule, key: Key, watch: _Watch, at: float, value: float | None) -> AlertChange | None:
        # A GPU that is not there any more has nothing wrong with it.
        if value is not None and not rule.cleared(value):
            watch.until = None
            watch.add(value)
            self._active[key] = _alert(rule, key, watch, value)
            return None
        watch.until = at if watch.until is None else watch.until
        if at - watch.until < rule.clear_seconds:
            return None
        ended = msgspec.structs.replace(self._active.pop(key), until=watch.wall(watch.until))
        del self._watches[key]
        self.past.append(ended)
        return AlertChange("ended", ended)


def _alert(rule: AlertRule, key: Key, watch: _Watch, value: float) -> Alert:
    _, server, gpu_id = key
    alert = Alert(
        rule=rule.name,
        severity=rule.severity,
        server=server,
        gpu_id=gpu_id,
        since=watch.began_at,
        value=value,
        minimum=watch.least,
        mean=watch.total / watch.count,
        maximum=watch.most,
        sentence="",
        figure=rule.figure,
        over=rule.over,
        under=rule.under,
    )
    return msgspec.structs.replace(alert, sentence=f"{place(alert)}: {said(rule, value, gpu_id)}")
