"""Alerts: rules with hold time and hysteresis, evaluated wherever pollers run."""

from dashboard.alerts.evaluator import Alert, AlertBook, AlertChange
from dashboard.alerts.rules import AlertRule, load_rules

__all__ = ["Alert", "AlertBook", "AlertChange", "AlertRule", "load_rules"]
