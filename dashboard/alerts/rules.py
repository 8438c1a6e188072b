"""Alert rules: what is looked at, when it is too much, for how long. From the shipped file and the user's own."""

from pathlib import Path
from typing import Any, Literal

import msgspec

from dashboard.alerts.rule_figures import DERIVED, known_figure
from whisper_ops.toml_lines import TomlFile

SHIPPED = Path(__file__).with_name("shipped.toml")

Severity = Literal["warning", "critical"]


class AlertRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule. Exactly one of `over` and `under` is given."""

    name: str
    figure: str
    over: float | None = None
    under: float | None = None
    clear: float | None = None
    """The figure must be back at this or past it for the alert to end; without it, at `over` or `under` itself."""
    hold_seconds: float = 30.0
    clear_seconds: float = 10.0
    severity: Severity = "warning"
    enabled: bool = True

    @property
    def limit(self) -> float:
        """The value that it watches."""
        limit = self.over if self.over is not None else self.under
        assert limit is not None
        return limit

    def broken(self, value: float) -> bool:
        """Whether `value` is past the limit."""
        return value > self.limit if self.over is not None else value < self.limit

    def cleared(self, value: float) -> bool:
        """Whether `value` is back."""
        back = self.limit if self.clear is None else self.clear
        return value <= back if self.over is not None else value >= back


def load_rules(path: Path | None = None) -> list[AlertRule]:
    """The shipped rules, with those of `path` on top.

    Raises:
        UserError: the file cannot be read, or a rule is wrong; with its line.
    """
    rules = _read(TomlFile(SHIPPED))
    if path is not None:
        rules |= _read(TomlFile(path))
    return [rule for rule in rules.values() if rule.enabled]


def _read(file: TomlFile) -> dict[str, AlertRule]:
    for key in file.tables:
        if key != "alert":
            raise file.wrong(f'there is no [{key}] in a file of rules; a rule is written [alert."its name"]', key)
    tables = file.tables.get("alert", {})
    return {name: _rule(file, name, table) for name, table in tables.items()}


def _rule(file: TomlFile, name: str, table: dict[str, Any]) -> AlertRule:
    where = _header(file, name)
    enabled = table.get("enabled", True)
    if enabled is False:
        return AlertRule(name=name, figure="slots_ratio", over=1, enabled=False)
    rule = file.struct({"name": name, **table}, AlertRule, where)
    if (rule.over is None) == (rule.under is None):
        raise file.wrong(f'[alert."{name}"] needs over or under, and not both', where)
    if not known_figure(rule.figure):
        raise file.wrong(
            f"there is no figure {rule.figure}; there are {', '.join(sorted(DERIVED))}, "
            "and server.X, gpu.X, host.X for the figures of docs/history.md",
            where, key="figure",
        )  # fmt: skip
    if rule.clear is not None and rule.broken(rule.clear):
        raise file.wrong(
            f"clear = {rule.clear:g} is past the limit {rule.limit:g}: it would end as it begins", where, key="clear"
        )
    if rule.hold_seconds < 0 or rule.clear_seconds < 0:
        raise file.wrong("hold_seconds and clear_seconds cannot be below 0", where)
    return rule


def _header(file: TomlFile, name: str) -> str:
    """The rule's header as it is spelled in the file."""
    for spelling in (f'alert."{name}', f"alert.'{name}", f"alert.{name}"):
        if f"[{spelling}" in file.text:
            return spelling
    return f'alert."{name}'
