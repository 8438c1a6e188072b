"""The words of screens and tables are explained in one line each, on the screen and in the docs alike."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import dashboard.tui.pages
from capacity.reports.sweep_tables import _COLUMNS as SWEEP_COLUMNS
from dashboard.tui.pages.glossary_page import plain, words_page
from dashboard.tui.pages.gpu_page import _device, _load
from dashboard.tui.pages.once_table import _FIGURES as ONCE_COLUMNS
from dashboard.tui.pages.text_table import TextColumn
from tests.dashboard.scenes import world
from whisper_ops.glossary import GLOSSARY

ROOT = Path(__file__).parents[2]
TERMS = [term for terms in GLOSSARY.values() for term in terms]
WANTED = {
    "front", "cadence", "fill", "knee", "lag", "stream", "session", "connection", "utterance", "partial", "final",
    "level", "objective", "audit", "limit", "slot", "admission", "drain", "binding resource", "tier", "exporter",
    "snapshot", "sample",
}  # fmt: skip


def known() -> set[str]:
    return {name for term in TERMS for name in (term.name, *term.titles)}


def columns() -> set[str]:
    """The titles of every table of the dashboard."""
    found = set()
    for module in pkgutil.iter_modules(dashboard.tui.pages.__path__, "dashboard.tui.pages."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, tuple):
                found |= {column.title.strip() for column in value if isinstance(column, TextColumn)}
    return found


def test_the_words_of_the_field_are_there_each_once_in_one_line() -> None:
    names = [term.name for term in TERMS]
    assert set(names) >= WANTED
    assert len(set(names)) == len(names)
    titles = [title for term in TERMS for title in (term.name, *term.titles)]
    assert len(set(titles)) == len(titles), "a title means one thing"
    for term in TERMS:
        assert len(term.meaning) <= 110, term
        assert "\n" not in term.meaning
        assert not term.meaning.endswith("."), term


def test_every_title_of_a_screen_is_explained() -> None:
    found = columns()
    assert {"fill", "memory", "law", "rej/m", "if it is lost", "throttle"} <= found
    server = next(server for server in world().servers if server.answer and server.answer.gpus)
    assert server.answer is not None
    gpu = server.answer.gpus[0]
    readings = {reading.name for reading in (*_load(world(), server, gpu), *_device(gpu))}
    assert {"batch fill", "ECC errors"} <= readings
    missing = (found | readings | set(ONCE_COLUMNS)) - known()
    assert not missing, f"say in whisper_ops/glossary.py what they mean: {missing}"


def test_every_title_of_a_sweep_is_explained() -> None:
    missing = set(SWEEP_COLUMNS) - known()
    assert not missing, f"say in whisper_ops/glossary.py what they mean: {missing}"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_screen_says_the_same_as_the_docs(width: int) -> None:
    said = " ".join(words_page("fleet", width).text.split())
    written = (ROOT / "docs/glossary.md").read_text("utf-8")
    for term in TERMS:
        assert plain(term.meaning) in said
        assert term.meaning in written
    assert all(len(line.text) <= width for line in words_page("fleet", width).body)


@pytest.mark.parametrize(
    "module", ["whisper_ops.wire", "whisper_ops.history.records", "whisper_ops.plan.plan_document"]
)
def test_every_documented_type_is_explained_in_one_line(module: str) -> None:
    classes = {
        name: one
        for name, one in inspect.getmembers(importlib.import_module(module), inspect.isclass)
        if one.__module__ == module and not name.startswith("_")
    }
    assert len(classes) >= 8
    page = (ROOT / "docs/glossary.md").read_text("utf-8")
    for name, one in classes.items():
        line = (one.__doc__ or "").partition("\n")[0].rstrip(".")
        assert f"- **{name}**: {line}\n" in page
        assert 25 <= len(line) <= 110, f"{name}: say what it is, in one line"


def test_the_page_is_current() -> None:
    script = [sys.executable, str(ROOT / "docs/make_glossary.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
