"""Which alerts last: each poll is held against the rules."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

from dashboard.alerts.messages import alert_text, place
from dashboard.alerts.rule_figures import FigureHistory, figure
from dashboard.alerts.rules import AlertRule, Severity
from whisper_ops.history import AlertRecord
from whisper_ops.snapshot import Snapshot

ENDED_KEPT = 500


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
    """What the rule looks at; None: no figure, as where the history cannot be written."""
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


class _Watch:
    """One rule on one server or GPU, from the first poll past its limit until the alert has ended or did not begin.

    Times are of the book's clock, but for those that alerts carry.
    """

    __slots__ = ("alert", "began_at", "cleared_at", "count", "gpu_id", "maximum", "minimum", "over", "rule", "server",
                 "since", "total")  # fmt: skip

    def __init__(
        self, rule: AlertRule, server: str, gpu_id: int | None, at: float, ahead: float, resumed: AlertRecord | None
    ) -> None:
        """`ahead`: seconds that the wall's clock is ahead of the book's. `resumed`: an alert that is still the same."""
        self.rule, self.server, self.gpu_id = rule, server, gpu_id
        self.alert: Alert | None = None
        """None until the hold time is over."""
        self.over = False
        self.began_at = at + ahead if resumed is None else resumed.started_at
        """UTC epoch seconds: it is the key of the alert's row, so it never changes."""
        self.since = self.began_at - ahead
        self.cleared_at: float | None = None
        self.count, self.total = 0, 0.0
        self.minimum, self.maximum = float("inf"), float("-inf")
        if resumed is not None:
            self._resume(resumed)

    def take(self, at: float, value: float | None) -> AlertChange | None:
        """The figure at a poll; None: it is not known, or its GPU is not there any more and has nothing wrong."""
        return self._before_start(at, value) if self.alert is None else self._while_active(self.alert, at, value)

    def ended(self, alert: Alert, at: float) -> Alert:
        return msgspec.structs.replace(alert, until=self.began_at + at - self.since)

    def _before_start(self, at: float, value: float | None) -> AlertChange | None:
        if value is None or not self.rule.broken(value):
            self.over = True
            return None
        self._add(value)
        if at - self.since < self.rule.hold_seconds:
            return None
        self.alert = self._alert(value)
        return AlertChange("started", self.alert)

    def _while_active(self, alert: Alert, at: float, value: float | None) -> AlertChange | None:
        if value is not None and not self.rule.cleared(value):
            self.cleared_at = None
            self._add(value)
            self.alert = self._alert(value)
            return None
        self.cleared_at = at if self.cleared_at is None else self.cleared_at
        if at - self.cleared_at < self.rule.clear_seconds:
            return None
        self.over = True
        return AlertChange("ended", self.ended(alert, self.cleared_at))

    def _add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.minimum, self.maximum = min(self.minimum, value), max(self.maximum, value)

    def _resume(self, record: AlertRecord) -> None:
        for value in (record.min_value, record.max_value, record.mean_value):
            if value is not None:
                self.minimum, self.maximum = min(self.minimum, value), max(self.maximum, value)
        if record.mean_value is not None:
            self.count, self.total = 1, record.mean_value

    def _alert(self, value: float) -> Alert:
        rule = self.rule
        return Alert(
            rule=rule.name,
            severity=rule.severity,
            server=self.server,
            gpu_id=self.gpu_id,
            since=self.began_at,
            value=value,
            minimum=self.minimum,
            mean=self.total / self.count,
            maximum=self.maximum,
            sentence=f"{place(self)}: {alert_text(rule, value, self.gpu_id)}",
            figure=rule.figure,
            over=rule.over,
            under=rule.under,
        )


class _ServerWatches:
    """What the rules know of one server."""

    def __init__(self) -> None:
        self.figures = FigureHistory()
        self.polled_at = float("-inf")
        self.watches: dict[tuple[str, int | None], _Watch] = {}
        """By rule and GPU."""

    @property
    def active(self) -> list[tuple[_Watch, Alert]]:
        return [(watch, watch.alert) for watch in self.watches.values() if watch.alert is not None]


class AlertBook:
    """Takes every snapshot, answers with the alerts that it begins or ends, and knows which last.

    How long something lasts is measured by `clock`, whose zero is anywhere: the wall's clock may be set back by an hour
    while a server dies. Without one the snapshots' own time counts, as in a replay.
    """

    def __init__(self, rules: Iterable[AlertRule], clock: Callable[[], float] | None = None) -> None:
        self._clock = clock
        self._rules = [(rule, figure(rule.figure)) for rule in rules]
        self._servers: dict[str, _ServerWatches] = {}
        self._resumable: dict[tuple[str, str, int | None], AlertRecord] = {}
        """Alerts of an earlier watcher by rule, server and GPU, until the next poll says whether they last."""
        self.ended: deque[Alert] = deque(maxlen=ENDED_KEPT)
        """Oldest first."""

    @property
    def active(self) -> list[Alert]:
        """Those that last, critical ones first, then the oldest."""
        active = [alert for server in self._servers.values() for _, alert in server.active]
        return sorted(active, key=lambda alert: (alert.severity != "critical", alert.since))

    def resume(self, records: Iterable[AlertRecord]) -> None:
        """Take over alerts that lasted when the last watcher ended: each that the next poll finds on is the same."""
        limits = {rule.name: rule.limit for rule, _ in self._rules if rule.figure == "silent_seconds"}
        for record in records:
            self._resumable[record.rule, record.server, record.gpu_id] = record
            if record.rule in limits:
                figures = self._server(record.server).figures
                figures.silent_since = record.started_at - limits[record.rule] - self._ahead(time.time())

    def take(self, snapshot: Snapshot) -> list[AlertChange]:
        """Hold a poll against every rule. In a replay one that is not newer than its server's last is passed over."""
        server, ahead = self._server(snapshot.server), self._ahead(snapshot.at)
        if self._clock is not None:
            snapshot = msgspec.structs.replace(snapshot, at=snapshot.at - ahead)
        elif snapshot.at <= server.polled_at:
            return []
        server.polled_at = snapshot.at
        if snapshot.state == "live":
            server.figures.restarted(snapshot)
        changes: list[AlertChange] = []
        for rule, read in self._rules:
            # A silent server's figures are not known: what was on stays on, and nothing else begins.
            if snapshot.state == "silent" and rule.figure != "silent_seconds":
                continue
            values: dict[int | None, float | None] = dict(read(snapshot, server.figures))
            for watch, _ in server.active:
                if watch.rule is rule:
                    values.setdefault(watch.gpu_id, None)
            for gpu_id, value in values.items():
                changes += self._judge(rule, snapshot, gpu_id, value, ahead)
        return changes

    def forget(self, server: str) -> list[Alert]:
        """A server that is polled no more: its alerts end with its last poll, and are returned."""
        known = self._servers.pop(server, None)
        ended = [] if known is None else [watch.ended(alert, known.polled_at) for watch, alert in known.active]
        self.ended.extend(ended)
        return ended

    def _server(self, name: str) -> _ServerWatches:
        return self._servers.setdefault(name, _ServerWatches())

    def _ahead(self, at: float) -> float:
        """Seconds by which the wall's clock, which says `at`, is ahead of ours."""
        return 0.0 if self._clock is None else at - self._clock()

    def _judge(
        self, rule: AlertRule, snapshot: Snapshot, gpu_id: int | None, value: float | None, ahead: float
    ) -> Iterator[AlertChange]:
        watches, key = self._server(snapshot.server).watches, (rule.name, gpu_id)
        watch = watches.get(key)
        if watch is None:
            resumed = self._resumable.pop((rule.name, snapshot.server, gpu_id), None)
            if value is None or not rule.broken(value):
                return  # most figures are never past their limit
            watch = watches[key] = _Watch(rule, snapshot.server, gpu_id, snapshot.at, ahead, resumed)
        change = watch.take(snapshot.at, value)
        if watch.over:
            del watches[key]
        if change is not None:
            if change.kind == "ended":
                self.ended.append(change.alert)
            yield change
