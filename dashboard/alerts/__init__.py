"""Alerts: rules with hold time and hysteresis, evaluated wherever pollers run."""

from dashboard.alerts.evaluator import Alert, AlertBook, Change
from dashboard.alerts.rules import Rule, load_rules

__all__ = ["Alert", "AlertBook", "Change", "Rule", "load_rules"]
