"""`make audit`: what it says of pins with, without and beyond the reach of advisories."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "requirements" / "audit.py"
CLEAN = {"name": "click", "version": "8.5.1", "vulns": []}
BAD = {"name": "h11", "version": "0.1", "vulns": [{"id": "CVE-2025-43859", "fix_versions": ["0.16.0"]}]}
UNKNOWN = {"name": "idna", "skip_reason": "Dependency not found"}


def audit(tmp_path: Path, answers: dict[str, list[object] | None]) -> subprocess.CompletedProcess[str]:
    """Run the script in a folder of its own, beside a uv that answers as pip-audit does."""
    script = tmp_path / "audit.py"
    script.write_text(SCRIPT.read_text())
    (tmp_path / "base.txt").write_text("click==8.5.1\nh11==0.1\nidna==3.20 ; python_version < '4'\n")
    said = {
        source: json.dumps({"dependencies": found, "fixes": []}) if found is not None else "Traceback: no network"
        for source, found in answers.items()
    }
    uv = tmp_path / "uv"
    uv.write_text(
        f"#!{sys.executable}\nimport sys\nsaid = {said!r}\n"
        "print(said[sys.argv[sys.argv.index('--vulnerability-service') + 1]])\n"
    )
    uv.chmod(uv.stat().st_mode | stat.S_IXUSR)
    return subprocess.run([sys.executable, script, uv], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("pypi", "osv", "code", "words"),
    [
        ([CLEAN], None, 0, ["no advisory is known against any of 1 pinned packages"]),
        ([CLEAN, BAD], None, 1, ["h11 0.1: CVE-2025-43859, fixed in 0.16.0", "advisories against 1 of 2"]),
        ([UNKNOWN], [CLEAN], 0, ["no advisory is known"]),  # the index has no advisories, and OSV has
        ([UNKNOWN], None, 3, ["NOT DONE: no source of advisories answered here, so none of 3 packages was checked"]),
        (None, None, 3, ["NOT DONE"]),
        ([CLEAN, UNKNOWN], None, 3, ["INCOMPLETE: not checked: idna"]),
        ([BAD, UNKNOWN], None, 1, ["CVE-2025-43859", "INCOMPLETE"]),
    ],
)
def test_an_audit_says_what_is_known_and_what_was_not_checked(
    tmp_path: Path, pypi: list[object] | None, osv: list[object] | None, code: int, words: list[str]
) -> None:
    done = audit(tmp_path, {"pypi": pypi, "osv": osv})
    assert done.returncode == code, done.stdout + done.stderr
    for word in words:
        assert word in done.stdout


def test_no_uv_is_no_audit(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, str(tmp_path / "none")], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 3
    assert "NOT DONE" in done.stdout
