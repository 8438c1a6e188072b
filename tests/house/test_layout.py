"""The layout of the code: packages without circles, and names that say which module or class is meant."""

import ast
from collections import defaultdict

import pytest

from tests.support.source_tree import FILES, ROOMS, imported, package_of, tree


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
        for target in imported(module):
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


def test_no_public_class_name_stands_twice_in_the_house() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module in FILES:
        for node in tree(module).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(module)
    assert len(places) > 500
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}
