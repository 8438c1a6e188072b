"""`plan --emit cloudwatch` is what the agent's schema demands, and selects what a real server exports."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml

from capacity.reports.cloudwatch import JOB, SCRAPE_FILE
from tests.capacity.plan_history import level, written
from tests.capacity.planner_cli import whisper_ops
from tests.support.programs import DEPLOY, checked, tool
from tests.support.servers import running_server

SCHEMA = json.loads((Path(__file__).parents[1] / "data/cloudwatch/agent-schema.json").read_text("utf-8"))
SCRAPED = DEPLOY / "cloudwatch/prometheus.yaml"


@pytest.fixture
def emitted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    levels = [level(n, n <= 80, stable_p95_seconds=0.3 + n / 60) for n in (16, 32, 48, 64, 80, 88)]
    done = whisper_ops(capsys, "plan", "--history", str(written(tmp_path / "h.db", levels)), "--emit", "cloudwatch")
    return done.json


def test_it_is_what_the_agents_schema_demands(emitted: Any) -> None:
    jsonschema.validate(emitted, SCHEMA)
    prometheus = emitted["logs"]["metrics_collected"]["prometheus"]
    for section, wrong in (
        (emitted["metrics"], {"namespaces": "x"}),
        (prometheus, {"config_path": "x"}),
        (prometheus["emf_processor"]["metric_declaration"][0], {"dimension": []}),
    ):
        section.update(wrong)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(emitted, SCHEMA)
        section.pop(next(iter(wrong)))


def test_it_names_its_plan_and_carries_its_numbers(emitted: Any) -> None:
    said = emitted["whisper_ops"]
    assert said["plan"][0].startswith("whisper-ops plan for http://asr-1:8000 · ")
    assert said["plan"][1].startswith("72 connections a GPU: ")
    alarms = {alarm["AlarmName"]: alarm for alarm in said["alarms"]}
    assert alarms["whisper-ops-over-safe-limit"]["Threshold"] == 72
    assert alarms["whisper-ops-at-limit"]["Threshold"] == 80, "the most that ever passed"
    assert alarms["whisper-ops-lag-over-objective"]["Threshold"] == 2
    assert alarms["whisper-ops-silent"]["TreatMissingData"] == "breaching"


def test_what_is_selected_is_exported_and_what_is_watched_is_selected(emitted: Any, tmp_path: Path) -> None:
    processor = emitted["logs"]["metrics_collected"]["prometheus"]["emf_processor"]
    with running_server(tmp_path, "--engine", "simulated", "--devices", "sim:1") as server:
        page = httpx.get(f"{server.url}/metrics").text
    samples = {line.split("{")[0].split(" ")[0]: line for line in page.splitlines() if not line.startswith("#")}
    # What is not known yet has its head and no sample.
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE))
    chosen: set[str] = set()
    for declaration in processor["metric_declaration"]:
        (selector,) = declaration["metric_selectors"]
        found = {name for name in kinds if re.search(selector, name)}
        assert len(found) == selector.count("|") + 1, "each is one that the server exports"
        for name in found & set(samples):
            labels = set(re.findall(r'(\w+)="', samples[name])) | {"job", "instance"}
            assert all(set(dimensions) <= labels for dimensions in declaration["dimensions"])
        chosen |= found
        assert ["job"] in declaration["dimensions"]
    assert {kinds[name] for name in chosen} == {"gauge", "counter"}, "the agent drops histograms"
    assert set(processor["metric_unit"]) <= chosen
    for alarm in emitted["whisper_ops"]["alarms"]:
        assert alarm["MetricName"] in chosen
        assert alarm["Dimensions"] == [{"Name": "job", "Value": JOB}]
        assert alarm["Namespace"] == processor["metric_namespace"]


def test_the_file_that_is_scraped_by_is_there_and_valid(emitted: Any, tmp_path: Path) -> None:
    assert emitted["logs"]["metrics_collected"]["prometheus"]["prometheus_config_path"] == SCRAPE_FILE
    (job,) = yaml.safe_load(SCRAPED.read_text("utf-8"))["scrape_configs"]
    assert job["job_name"] == JOB
    shutil.copy(SCRAPED, tmp_path / "prometheus.yaml")
    checked(tool("promtool"), "check", "config", str(tmp_path / "prometheus.yaml"))
