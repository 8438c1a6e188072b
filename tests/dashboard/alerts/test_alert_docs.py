"""What docs/monitoring.md shows can be used as it stands there."""

import re
from pathlib import Path

import pytest

from dashboard.alerts import load_rules
from dashboard.alerts.rule_figures import DERIVED
from dashboard.config import load as load_settings
from dashboard.polling.server_list import KINDS
from whisper_ops.exporters.mapping import UNITS, load

PAGE = (Path(__file__).parents[3] / "docs/monitoring.md").read_text("utf-8")
SETTINGS, MAPPING, PODS, RULES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def test_the_configuration_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRA_TOKEN", "t")
    monkeypatch.chdir(tmp_path)
    Path("whisper-ops.toml").write_text(SETTINGS)
    Path("moshi.toml").write_text(MAPPING)
    watch = load_settings()
    assert [server.label for server in watch.servers] == ["fra-1", "asr.default.svc:8000", "moshi:8088"]
    assert list(watch.fleet().pollers) == ["fra-1", "moshi:8088"]
    assert watch.alerts == Path("alerts.toml")


def test_the_mapping_and_the_rules_are_valid(tmp_path: Path) -> None:
    (tmp_path / "mapping.toml").write_text(MAPPING)
    assert load(tmp_path / "mapping.toml").gpu_label == "gpu"
    (tmp_path / "pods.toml").write_text(PODS)
    assert load(tmp_path / "pods.toml").gpu_label == "UUID"
    (tmp_path / "rules.toml").write_text(RULES)
    rules = {rule.name: rule for rule in load_rules(tmp_path / "rules.toml")}
    assert rules["too hot"].over == 85
    assert "uneven spread" not in rules


def test_every_kind_figure_and_unit_is_described() -> None:
    missing = [name for name in (*KINDS, *DERIVED) if f"`{name}" not in PAGE and name != "whisper-ops"]
    assert not missing
    words = set(PAGE.replace("`", " ").split())
    assert not {unit for unit in UNITS if unit} - words
