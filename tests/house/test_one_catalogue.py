"""What exporters call their figures, and what software is called, is written in the catalogue and nowhere else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from whisper_ops.exporters.catalogue import KINDS, ready_made
from whisper_ops.known_software import KNOWN, LOCAL, WHISPER_OPS, software_id, software_name

ROOT = Path(__file__).parents[2]
CATALOGUE = ROOT / "whisper_ops/exporters"
HOUSE = [
    path
    for room in ("whisper_ops", "server", "dashboard", "capacity")
    for path in sorted((ROOT / room).rglob("*.py"))
    if CATALOGUE not in path.parents and path != ROOT / "whisper_ops/known_software.py"
]
METRICS = frozenset(name for kind in KINDS for name in ready_made(kind).metrics())
METRIC = re.compile(rf"(?<![\w:])(?:{'|'.join(map(re.escape, METRICS))})(?![\w:])|\b(?:vllm:|DCGM_FI_|whisperlive_)")
NAMES = frozenset(software_id(spelling) for one in KNOWN.values() for spelling in (one.id, one.name)) - {
    WHISPER_OPS,  # which is also what this program is called
    LOCAL,
}
SOFTWARE_IS = re.compile(r"software\s*[=!]?=\s*[\"']")


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every text of a module but docstrings, with its line."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def found_in(source: str) -> list[str]:
    """What a module writes that belongs into the catalogue."""
    found = []
    for line, text in texts(ast.parse(source)):
        if METRIC.search(text):
            found.append(f"line {line}: the metric in {text!r}")
        elif software_id(text) in NAMES:
            found.append(f"line {line}: the software {text!r}")
    lines = enumerate(source.splitlines(), 1)
    return [*found, *(f"line {number}: {line.strip()}" for number, line in lines if SOFTWARE_IS.search(line))]


def test_no_module_but_the_catalogue_names_a_metric_or_a_software() -> None:
    found = {str(path.relative_to(ROOT)): found_in(path.read_text("utf-8")) for path in HOUSE}
    assert len(found) > 300
    assert not {path: lines for path, lines in found.items() if lines}


@pytest.mark.parametrize(
    "line",
    [
        'lag = "vllm:time_to_first_token_seconds"',
        'query = f"sum by (instance) (rate(whisperlive_errors_total[5m]))"',
        'METRICS = {"gpu": "DCGM_FI_DEV_GPU_UTIL"}',
        'load = "node_load1"',
        'slots = "whisper_ops_slots"',
        'if kind == "WhisperLive": pass',
        'kinds = ("dcgm exporter", "vLLM")',
        'identity = Identity(software="whisper-ops")',
        'if identity.software == "mine": pass',
    ],
)
def test_a_line_that_is_put_back_is_found(line: str) -> None:
    assert found_in(f'"""Of vLLM and node_load1, in words."""\n\n{line}\n')


def test_words_about_them_are_free() -> None:
    assert not found_in('"""WhisperLive says whisperlive_errors_total."""\nFAULT = "not a message of WhisperLive"\n')


@pytest.mark.parametrize("kind", KINDS)
def test_every_exporter_names_its_software_by_its_id(kind: str) -> None:
    assert ready_made(kind).software in KNOWN
    assert re.fullmatch("[a-z-]+", kind), "it is a prefix of an address, as in dcgm+http://…"


@pytest.mark.parametrize(
    ("spelling", "known"),
    [
        ("WhisperLive", "whisperlive"),
        ("whisper-live", "whisperlive"),
        ("Whisper Live", "whisperlive"),
        ("WHISPER_LIVE_KIT", "whisperlivekit"),
        ("vLLM", "vllm"),
        ("Whisper-Ops", "whisper-ops"),
        ("dcgm-exporter", "DCGM exporter"),
        ("Speaches", "Speaches"),
        ("", ""),
    ],
)
def test_however_it_is_spelled_it_is_one(spelling: str, known: str) -> None:
    assert software_id(spelling) == known
    assert software_id(software_name(known)) == known
