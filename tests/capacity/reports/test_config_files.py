"""A plan outside the terminal: HTML that needs nothing else, Markdown, configuration that tools accept, and diffs."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from capacity.planner.polls import PollEvidence
from tests.capacity.plan_history import level, written
from tests.capacity.plan_simulated import Truth, write_polls
from tests.capacity.planner_cli import Done, whisper_ops
from whisper_ops.errors import Exit
from whisper_ops.history import History

LEVELS = [
    level(
        n, n <= 80, gpu_memory_used_bytes=(12.4 + 0.168 * n) * 1e9, stable_p95_seconds=0.3 + n / 60,
        front_cpu_ratio=n / 200,
    )
    for n in (16, 32, 48, 64, 80, 88)
]  # fmt: skip


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return written(tmp_path / "history.db", LEVELS, settings='{"gpu_memory_total_bytes": 80e9}')


def plan(capsys: pytest.CaptureFixture[str], db: Path, *more: str) -> Done:
    return whisper_ops(capsys, "plan", "--history", str(db), *more)


class Addresses(HTMLParser):
    """Collects what a page would fetch, and its tags that were never closed."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "data", "srcset", "action")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_html_is_one_file_with_a_picture_of_every_law(
    capsys: pytest.CaptureFixture[str], db: Path, tmp_path: Path
) -> None:
    page = tmp_path / "plan.html"
    assert plan(capsys, db, "--html", str(page), "--target", "500").code == 0
    text = page.read_text()
    parser = Addresses()
    parser.feed(text)
    assert parser.fetched == []
    assert parser.open == []
    assert "http-equiv" not in text
    assert not re.search(r"url\(|@import|<script", text)
    pictures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(pictures) == 3  # latency, memory, server core
    for picture in pictures:
        svg = ET.fromstring(picture)
        assert len(svg.findall(".//circle")) == 6
        assert svg.find(".//polyline") is not None
    assert "For 500 concurrent calls: 7 GPUs on 7 machines, with at most 72 connections per GPU." in text
    assert plan(capsys, db, "--html", str(tmp_path / "no" / "folder.html")).code == Exit.USAGE


def test_markdown_has_the_answer_and_the_tables(capsys: pytest.CaptureFixture[str], db: Path) -> None:
    text = plan(capsys, db, "--markdown").out
    assert text.startswith("# Run at most 72 connections per GPU.\n")
    assert "| tier | connections a GPU | cut | stability |" in text
    assert "| **latency objective** |" in text


def test_the_fleet_is_the_answer_where_it_is_asked_for(capsys: pytest.CaptureFixture[str], db: Path) -> None:
    done = plan(
        capsys, db, "--target", "500", "--survive", "1", "--gpus-per-machine", "2",
        "--peak-arrivals", "40/min", "--mean-length", "6min",
    )  # fmt: skip
    answer, why = done.out.splitlines()[:2]
    assert answer == (
        "For 500 concurrent calls: 10 GPUs on 5 machines, 1 of which may be lost, with at most 72 connections per GPU."
    )
    assert why.startswith(
        "Why: 500 calls at 72 each need 7 GPUs, so 4 machines of 2, and 1 more machine may be lost. 72 each, because "
        "p95 "
    )
    assert "offered: 240 erlangs; blocking" in done.out
    for wrong, sentence in (
        (("--peak-arrivals", "40/min"), "go together"),
        (("--survive", "1"), "--target CALLS"),
        (("--target", "9", "--price", str(db.parent / "none.toml")), "cannot read the prices"),
    ):
        failed = plan(capsys, db, *wrong)
        assert failed.code == Exit.USAGE
        assert sentence in failed.sentence()


def test_what_is_far_from_a_limit_waits_for_details(capsys: pytest.CaptureFixture[str], db: Path) -> None:
    short, long = plan(capsys, db).out, plan(capsys, db, "--details").out
    assert "\nGPU memory " not in short, "full at 378, and 88 is too many already"
    assert "1 resource far from a limit, or without one: --details" in short
    assert "\nGPU memory " in long
    assert "how cut: conservative is 50% of 80" in long
    assert "--details" not in long
    for other in (("--json",), ("--markdown",), ("--emit", "server")):
        failed = plan(capsys, db, "--details", *other)
        assert failed.code == Exit.USAGE
        assert "--details" in failed.sentence()


def test_no_fleet_where_there_is_no_limit_of_one_gpu(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It ended in an error, and did not say why not one connection passes."""
    none = plan(capsys, written(tmp_path / "h.db", [level(1, False)]), "--target", "500")
    assert none.code == Exit.NO
    assert none.out.startswith("Not one connection meets the objective on this device.\nWhy: ")
    assert "note: no fleet for 500 calls: there is no limit of one GPU to size it by" in none.out
    db = written(tmp_path / "g.db", [level(n, n < 16, gpu_memory_used_bytes=(10 + n) * 1e9) for n in (2, 4, 8, 16)])
    other = plan(capsys, db, "--gpu", "L40S", "--target", "500")
    assert other.code == Exit.EVIDENCE
    assert "no fleet for 500 calls" in other.out


def test_a_fleet_for_arrivals_says_how_they_become_calls(capsys: pytest.CaptureFixture[str], db: Path) -> None:
    why = plan(capsys, db, "--peak-arrivals", "40/min", "--mean-length", "6min").out.splitlines()[1]
    assert why.startswith(
        "Why: 240 erlangs with at most 0.1 % refused are 281 calls at once, which at 72 each need 4 GPUs, one a "
        "machine. "
    )


def test_configuration_carries_the_numbers(capsys: pytest.CaptureFixture[str], db: Path) -> None:
    assert "--max-connections-per-gpu 72 --lag-objective 2\n" in plan(capsys, db, "--emit", "server").out
    unit = plan(capsys, db, "--emit", "systemd").out
    assert re.search(r"^LimitNOFILE=65536$", unit, re.MULTILINE)
    # systemd and sysctl take a comment only on a line of its own.
    for target in ("systemd", "sysctl"):
        lines = plan(capsys, db, "--emit", target).out.splitlines()
        assert all("#" not in line for line in lines if not line.startswith("#"))
    assert "net.core.somaxconn = 4096" in plan(capsys, db, "--emit", "sysctl").out


def test_nginx_has_the_servers_with_the_slots_of_the_plan(capsys: pytest.CaptureFixture[str], db: Path) -> None:
    alone = plan(capsys, db, "--emit", "nginx").out
    assert alone.startswith("# whisper-ops plan for ")
    assert "72 connections a GPU" in alone.splitlines()[1]
    assert "    server asr-1:8000 max_conns=90 max_fails=0;\n" in alone, (
        "72 slots of one GPU, and a quarter beside them"
    )
    named = plan(capsys, db, "--emit", "nginx", "--upstream", "10.0.0.1:8000", "--upstream", "http://[::1]:9000").out
    assert re.findall(r"^    server (\S+)", named, re.MULTILINE) == ["10.0.0.1:8000", "[::1]:9000"]
    for wrong in ("x; } evil", "http://user:pa@h", "h/path", "ftp://h", ""):
        assert plan(capsys, db, "--emit", "nginx", "--upstream", wrong).code == Exit.USAGE
    for alone_or_else in ((), ("--emit", "sysctl")):
        assert "--upstream" in plan(capsys, db, "--upstream", "h:1", *alone_or_else).sentence()


def test_nginx_listens_where_it_is_told(capsys: pytest.CaptureFixture[str], db: Path) -> None:
    nginx = ("--emit", "nginx", "--upstream", "server-1:8000")
    assert "    listen 127.0.0.1:8080;" in plan(capsys, db, *nginx).out
    assert "    listen 0.0.0.0:8443;" in plan(capsys, db, *nginx, "--listen", "0.0.0.0:8443").out
    assert "    listen [::]:80;" in plan(capsys, db, *nginx, "--listen", "[::]").out
    for wrong in ("", "0.0.0.0:99999", "h:1/path", "h:1; evil", "user@h:1"):
        failed = plan(capsys, db, *nginx, "--listen", wrong)
        assert failed.code == Exit.USAGE
        assert "--listen" in failed.sentence()
    for elsewhere in ((), ("--emit", "systemd")):
        assert "--listen" in plan(capsys, db, "--listen", "h:1", *elsewhere).sentence()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_accepts_its_configuration(capsys: pytest.CaptureFixture[str], db: Path, tmp_path: Path) -> None:
    (tmp_path / "ours.conf").write_text(plan(capsys, db, "--emit", "nginx", "--upstream", "127.0.0.1:8000").out)
    main = tmp_path / "nginx.conf"
    main.write_text(f"pid {tmp_path}/pid; events {{}} http {{ access_log off; include {tmp_path}/ours.conf; }}\n")
    checked = subprocess.run(
        ["nginx", "-t", "-p", str(tmp_path), "-c", str(main), "-e", "stderr"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_rules(capsys: pytest.CaptureFixture[str], db: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(plan(capsys, db, "--emit", "prometheus-rules").out)
    checked = subprocess.run(["promtool", "check", "rules", str(rules)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "4 rules found" in checked.stdout


def test_rules_hold_the_measured_limits(capsys: pytest.CaptureFixture[str], db: Path) -> None:
    text = plan(capsys, db, "--emit", "prometheus-rules").out
    assert "expr: whisper_ops_gpu_connections_active > 72\n" in text
    assert "expr: whisper_ops_gpu_connections_active >= 80\n" in text


def test_a_provisional_plan_warns_in_its_configuration(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    db = written(tmp_path / "h.db", [level(2, True, audit="provisional"), level(4, False, audit="provisional")])
    assert "# PROVISIONAL: do not take it to production" in plan(capsys, db, "--emit", "server").out
    assert "(provisional)" in plan(capsys, db, "--markdown").out.splitlines()[0]


def test_a_diff_says_what_changed_and_why(capsys: pytest.CaptureFixture[str], db: Path) -> None:
    done = whisper_ops(capsys, "plan", "diff", "--history", str(db))
    assert done.code == Exit.EVIDENCE
    assert "a comparison needs 2" in done.sentence()
    plan(capsys, db)
    written(db, [level(72, False, started_at=5000.0)], settings='{"gpu_memory_total_bytes": 80e9}')
    plan(capsys, db)
    done = whisper_ops(capsys, "plan", "diff", "--history", str(db))
    assert done.out.startswith("72 → 57 connections a GPU: new evidence moved the limit:")
    assert "first fail: 88 → 72" in done.out
    written(db, [level(8, True, started_at=9000.0), level(16, False, started_at=9001.0)], version="1.3.0")
    plan(capsys, db)
    body = whisper_ops(capsys, "plan", "diff", "--history", str(db), "--json").json
    assert body["schema"] == "whisper-ops/plan-diff/1"
    assert "version changed" in body["why"]


def test_a_plan_from_polls_is_reported_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    db = write_polls(tmp_path / "polls.db", Truth(limit=80, base=0.3, growth=0.4, power=1), 38)
    done = plan(capsys, db, "--html", str(tmp_path / "p.html"))
    assert done.code == 0
    assert "from ordinary polls, with no measured level" in done.out
    with History.reading(db) as history:
        (stored,) = history.plans.every()
    assert stored.last_pass is None
    assert stored.max_connections_per_gpu is not None


@pytest.mark.parametrize("columns", [80, 100, 140])
def test_the_tables_keep_to_the_columns_there_are(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    levels = [level(n, n <= 80, server_descriptors=40 + 4 * n, host_cpu_ratio=n / 200) for n in (16, 32, 48, 64, 88)]
    db = written(tmp_path / "h.db", levels, settings='{"host": {"descriptors_soft_limit": 20000}}')
    monkeypatch.setenv("COLUMNS", str(columns))
    out = plan(capsys, db, "--details").out
    head = next(index for index, line in enumerate(out.splitlines()) if line.startswith("resource"))
    rows = out.splitlines()[head : out.splitlines().index("", head)]
    assert max(len(row.rstrip()) for row in rows) <= columns
    assert "to raise descriptors: LimitNOFILE=65536" in out  # whole, not cut


def test_one_of_a_thing_is_not_many(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    db = written(tmp_path / "h.db", [level(1, True), level(2, False)])
    assert (
        "For 2 concurrent calls: 2 GPUs on 2 machines, with at most 1 connection per GPU."
        in plan(capsys, db, "--target", "2").out
    )
    assert (
        "For 1 concurrent call: 1 GPU on 1 machine, with at most 1 connection per GPU."
        in plan(capsys, db, "--target", "1").out
    )


def test_a_fleet_sized_by_a_lower_bound_says_that_it_may_be_smaller(
    capsys: pytest.CaptureFixture[str], db: Path, tmp_path: Path
) -> None:
    sentence = "a GPU may carry more, and the fleet be smaller"
    passed = written(tmp_path / "h.db", [level(n, True) for n in (2, 4, 8)], gpus=4)
    assert sentence in plan(capsys, passed, "--target", "500").out
    assert sentence not in plan(capsys, passed).out
    assert sentence not in plan(capsys, db, "--target", "500").out  # its limit was found


def test_simulated_gpus_are_counted_and_not_listed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    four = " + ".join(f"simulated GPU {number}" for number in range(4))
    db = written(tmp_path / "h.db", [level(4, True)], gpu_name=four, gpus=4, simulated=True)
    assert " · 4 × simulated GPU · " in plan(capsys, db).out.splitlines()[6]
    db = written(tmp_path / "mixed.db", [level(4, True)], gpu_name="L4 + RTX 4090", gpus=3)
    assert " · 3 GPUs: L4 + RTX 4090 · " in plan(capsys, db).out.splitlines()[6]


@pytest.mark.parametrize(("gpu", "shown"), [("CPU", False), ("L4", True), (None, True)])
def test_a_processor_has_no_row_of_gpu_memory(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, gpu: str | None, shown: bool
) -> None:
    levels = [level(n, True, gpu_memory_used_bytes=(2 + n) * 1e9) for n in (1, 2, 4)]
    db = written(tmp_path / "h.db", levels, gpu_name=gpu, settings='{"gpu_memory_total_bytes": 24e9}')
    assert ("GPU memory" in plan(capsys, db).out) is shown


def test_a_short_time_of_polls_is_told_in_minutes() -> None:
    spans = {40.0: "40 seconds", 95.0: "1.6 minutes", 5400.0: "1.5 hours", 2 * 86400.0: "2.0 days"}
    assert {seconds: PollEvidence(seconds=seconds).span for seconds in spans} == spans
