"""The layout of the house: packages without circles, and names that say which module or class is meant."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("whisper_ops", "server", "dashboard", "capacity")


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))}


def package_of(module: str) -> str:
    return module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules of the house that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in FILES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in FILES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in FILES)


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """The packages of a circle, in order; empty where there is none."""
    done: set[str] = set()

    def follow(package: str, path: list[str]) -> list[str]:
        if package in path:
            return path[path.index(package) :]
        if package in done:
            return []
        for target in sorted(arrows.get(package, ())):
            if found := follow(target, [*path, package]):
                return found
        done.add(package)
        return []

    return next((found for package in sorted(arrows) if (found := follow(package, []))), [])


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_packages_have_no_circles() -> None:
    arrows: dict[str, set[str]] = defaultdict(set)
    for module, path in FILES.items():
        if path.name == "__main__.py":  # an entry point: nobody imports it
            continue
        for target in imported(ast.parse(path.read_text("utf-8"))):
            if package_of(target) != package_of(module):
                arrows[package_of(module)].add(package_of(target))
    assert circle(arrows) == []


@pytest.mark.parametrize("room", ROOMS)
def test_no_module_name_stands_twice_in_a_room(room: str) -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module, path in FILES.items():
        # A command's module is named as the command is.
        if module.split(".")[0] == room and path.stem not in {"__init__", "__main__"} and ".commands." not in module:
            places[path.stem].append(module)
    assert {stem: modules for stem, modules in places.items() if len(modules) > 1} == {}


def public_classes(tree: ast.Module) -> Iterator[str]:
    """Classes that other modules may import."""
    yield from (node.name for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_"))


def test_no_public_class_name_stands_twice_in_the_house() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module, path in FILES.items():
        for name in public_classes(ast.parse(path.read_text("utf-8"))):
            places[name].append(module)
    assert len(places) > 500
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}
