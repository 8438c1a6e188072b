"""Rules of one family watch the same figure on the same side: where the further limit is passed, the nearer is too."""

from collections.abc import Iterable, Sequence

from dashboard.alerts.rules import AlertRule
from dashboard.world import AlertView


def highest(alerts: Iterable[AlertView], rules: Sequence[AlertRule]) -> list[AlertView]:
    """Alerts without the standing ones that say less than another one of their family, on the same server or GPU."""
    known = {rule.name: rule for rule in rules}
    kept: list[AlertView] = []
    furthest: dict[tuple[str, int | None, str, bool], float] = {}
    listed = list(alerts)
    for alert in listed:
        rule = known.get(alert.rule)
        if rule is not None and alert.until is None:
            key = _key(alert, rule)
            furthest[key] = max(_reach(rule), furthest.get(key, _reach(rule)))
    for alert in listed:
        rule = known.get(alert.rule)
        if rule is None or alert.until is not None or furthest[_key(alert, rule)] <= _reach(rule):
            kept.append(alert)
    return kept


def _key(alert: AlertView, rule: AlertRule) -> tuple[str, int | None, str, bool]:
    return alert.server, alert.gpu_id, rule.figure, rule.over is not None


def _reach(rule: AlertRule) -> float:
    """How far its limit lies in the direction that is bad."""
    return rule.limit if rule.over is not None else -rule.limit
