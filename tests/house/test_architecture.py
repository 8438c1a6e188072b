"""docs/architecture.md names what is there: its modules and packages exist, and its arrows are imports."""

import re
from functools import cache
from itertools import pairwise

from tests.support.source_tree import FILES, ROOMS, ROOT, imported, package_of

PAGE = (ROOT / "docs/architecture.md").read_text("utf-8")
PICTURE = PAGE.partition("```mermaid")[2].partition("```")[0]
LABELS = dict(re.findall(r'(\w+)\["([\w/]+)"\]', PICTURE))


def arrows() -> set[tuple[str, str]]:
    """The picture's arrows between packages: `a["x/y"] --> b --> c` are two."""
    found = set()
    for line in PICTURE.splitlines():
        names = [re.sub(r"\[.*\]", "", part).strip() for part in line.split("-->")]
        found |= {(LABELS[one], LABELS[other]) for one, other in pairwise(names)}
    return found


@cache
def imports() -> frozenset[tuple[str, str]]:
    """The packages below the rooms, as folders, each with those that it imports."""
    return frozenset((folder(module), folder(target)) for module in FILES for target in imported(module))


def folder(module: str) -> str:
    return "/".join(package_of(module).split(".")[:2])


def test_every_module_and_folder_that_is_named_exists() -> None:
    named = re.findall(r"`((?:whisper_ops|server|dashboard|capacity|docs)/[\w/.]*)`", PAGE)
    assert len(named) > 60
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_name_of_code_on_the_page_is_defined() -> None:
    names = set(re.findall(r"`([A-Z]\w+|\w+_\w+)`", PAGE)) - set(ROOMS)
    assert names >= {"Engine", "ResourceRule", "make_engine"}
    source = "\n".join(path.read_text("utf-8") for path in FILES.values())
    assert [
        name for name in names if not re.search(rf"^(class|def|    def) {name}\b|^{name}\b", source, re.MULTILINE)
    ] == []


def test_the_picture_shows_every_package_and_only_imports() -> None:
    packages = {folder(module) for module in FILES if package_of(module).count(".")}
    assert set(LABELS.values()) == packages
    assert len(arrows()) > 40
    assert arrows() - imports() == set(), "the picture has an arrow where no module imports another"


def test_a_wrong_arrow_would_be_seen() -> None:
    assert ("capacity/planner", "capacity/loadtest") in imports()
    assert ("capacity/loadtest", "capacity/planner") not in imports()
