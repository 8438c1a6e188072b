"""Hold the pins in requirements/ against the advisories that are known (`make audit`).

pip-audit asks a source of advisories: the package index, else OSV. Exit codes: 0 nothing is known against any pin, 1
something is, 3 no source answered for all of them, and so nothing is said of the rest.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PIP_AUDIT = "pip-audit==2.10.1"
SOURCES = ("pypi", "osv")
GOOD, FOUND, UNREACHABLE = 0, 1, 3
SECONDS = 300


class Advisory(NamedTuple):
    """Something that is known against a pin."""

    package: str
    version: str
    name: str
    fixed: str


class Answer(NamedTuple):
    """What one source said of all pins."""

    checked: frozenset[str]
    unchecked: frozenset[str]
    advisories: tuple[Advisory, ...]


def read(reports: Iterable[dict[str, Any]]) -> Answer:
    """pip-audit's own JSON, one report a file of pins."""
    checked: set[str] = set()
    unchecked: set[str] = set()
    advisories: set[Advisory] = set()
    for report in reports:
        for dependency in report["dependencies"]:
            name = dependency["name"]
            if "skip_reason" in dependency:
                unchecked.add(name)
                continue
            checked.add(name)
            for known in dependency["vulns"]:
                fixed = ", ".join(known["fix_versions"]) or "none yet"
                advisories.add(Advisory(name, dependency["version"], known["id"], fixed))
    return Answer(frozenset(checked), frozenset(unchecked - checked), tuple(sorted(advisories)))


def verdict(answer: Answer) -> tuple[int, list[str]]:
    """The exit code, and what to say."""
    lines = [f"{found.package} {found.version}: {found.name}, fixed in {found.fixed}" for found in answer.advisories]
    count = len(answer.checked) + len(answer.unchecked)
    if answer.advisories:
        packages = len({found.package for found in answer.advisories})
        lines.append(f"audit: advisories against {packages} of {count} pinned packages; raise their pins")
    elif not answer.unchecked:
        lines.append(f"audit: no advisory is known against any of {count} pinned packages")
    if answer.unchecked and not answer.checked:
        lines.append(f"audit: NOT DONE: no source of advisories answered here, so none of {count} packages was checked")
    elif answer.unchecked:
        lines.append(f"audit: INCOMPLETE: not checked: {', '.join(sorted(answer.unchecked))}")
    return (FOUND if answer.advisories else UNREACHABLE if answer.unchecked or not count else GOOD), lines


def ask(uv: str, files: Sequence[Path], source: str) -> Answer | None:
    """What a source says of the pins; None where pip-audit or the source cannot be had."""
    reports = []
    for file in files:
        # The pins are complete, so nothing is resolved or installed for it.
        options = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json")
        command = [uv, "tool", "run", "--quiet", "--from", PIP_AUDIT, "pip-audit", *options]
        try:
            done = subprocess.run(
                [*command, "--vulnerability-service", source, "--requirement", str(file)],
                capture_output=True, text=True, check=False, timeout=SECONDS,
            )  # fmt: skip
            reports.append(json.loads(done.stdout))
        except (OSError, subprocess.TimeoutExpired, json.JSONDecodeError):
            return None
    return read(reports)


def main(uv: str, folder: Path) -> int:
    """Ask the sources one after the other until one knows the pins."""
    files = sorted(folder.glob("*.txt"))
    answers = [answer for source in SOURCES if (answer := ask(uv, files, source)) is not None and answer.checked]
    best = min(answers, key=lambda answer: len(answer.unchecked), default=None)
    names = {line.split("==")[0] for file in files for line in file.read_text("utf-8").splitlines() if "==" in line}
    code, lines = verdict(best or Answer(frozenset(), frozenset(names), ()))
    sys.stdout.write("\n".join(lines) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(__file__).parent))
