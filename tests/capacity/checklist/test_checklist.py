"""The operator's list against a double that is well and against doubles that are not."""

import asyncio
import io
from typing import Any

import pytest
from rich.console import Console

from capacity.checklist import server_memory
from capacity.checklist.check_results import CheckResult, body, check_result, table, verdict
from capacity.checklist.checklist import Checker, CheckRequest, failed
from capacity.loadtest.target import parse_target
from tests.capacity.double import Faults, running_double
from whisper_ops.errors import Exit, UserError
from whisper_ops.snapshot import GpuFigures, Snapshot


async def check(faults: Faults, wanted: CheckRequest | None = None) -> dict[str, CheckResult]:
    async with running_double(faults) as double:
        target = parse_target(double.url)
        findings = await Checker(target, wanted or CheckRequest(), lambda _: None).run()
    return {finding.check: finding for finding in findings}


def line(findings: dict[str, CheckResult], part: str) -> CheckResult:
    (found,) = [finding for check, finding in findings.items() if part in check]
    return found


TIMES = ("SETUP_MEAN_SECONDS", "SETUP_EVEN_SECONDS", "ACCEPT_SECONDS", "THROUGH_SECONDS")


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long the double takes for an answer is up to what else this machine does."""
    for limit in TIMES:
        monkeypatch.setattr(f"capacity.checklist.checklist.{limit}", 10.0)
    monkeypatch.setattr("capacity.checklist.checklist.READING_SECONDS", 0.0)  # a double's readings are of now


async def test_a_server_that_takes_longer_than_it_may_fails_the_lines_of_its_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for limit in TIMES:
        monkeypatch.setattr(f"capacity.checklist.checklist.{limit}", -10.0)
    async with running_double(Faults(slots=4)) as balancer:
        findings = await check(Faults(slots=4), CheckRequest(through=parse_target(balancer.url)))
    for part in ("on average", "round trip", "balancer"):
        assert line(findings, part).answer == "fail"
        assert line(findings, part).advice
        assert " ms" in line(findings, part).figures


async def test_a_good_server_passes_every_line_that_applies() -> None:
    async with running_double(Faults(slots=8, gpus=2)) as balancer:
        wanted = CheckRequest(through=parse_target(balancer.url), hold_seconds=0.5)
        findings = await check(Faults(slots=10, gpus=2), wanted)
    assert len(findings) == 14
    assert line(findings, "take streams").figures == "healthy; 2 of 2 GPUs ready"
    assert {finding.answer for finding in findings.values()} == {"pass"}, findings
    assert "GPU 0: 5, GPU 1: 5" in line(findings, "spread").figures
    assert line(findings, "refused").check == "connection 11 is refused"
    assert line(findings, "health").figures == "5 slots: healthy; 8 slots: degraded; 10 slots: critical"


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        (Faults(slots=4, draining=True), "the server is draining"),
        (Faults(slots=4, failed_gpus=(0,)), "no GPU takes streams"),
    ],
    ids=["draining", "all failed"],
)
async def test_a_server_that_takes_no_streams_is_said_on_top_and_not_filled(faults: Faults, reason: str) -> None:
    async with running_double(faults) as double:
        top, *others = await Checker(parse_target(double.url), CheckRequest(), lambda _: None).run()
        assert double.accepted == 0
    assert top.answer == "fail"
    assert top.figures.startswith(reason)
    assert top.advice
    assert len(others) == 13
    assert {(other.answer, other.figures) for other in others} == {("not applicable", reason)}


async def test_a_failed_gpu_is_said_on_top_and_nothing_else_is_blamed_for_it() -> None:
    findings = await check(Faults(slots=8, gpus=2, failed_gpus=(1,)))
    top = next(iter(findings.values()))
    assert (top.answer, top.figures) == ("fail", "GPU 1 failed")
    assert [f.check for f in findings.values() if f.answer == "fail"] == [top.check]
    for part in ("spread", "health"):
        assert (line(findings, part).answer, line(findings, part).figures) == ("not applicable", "GPU 1 failed")


async def test_connections_are_spread_over_the_gpus_that_are_left() -> None:
    findings = await check(Faults(slots=6, gpus=3, failed_gpus=(1,)))
    assert line(findings, "spread").answer == "pass"
    assert "GPU 0: 3, GPU 2: 3" in line(findings, "spread").figures


async def test_what_is_not_asked_for_or_not_there_does_not_apply() -> None:
    findings = await check(Faults(slots=4))
    assert line(findings, "balancer").answer == "not applicable"
    assert line(findings, "lives as long").answer == "not applicable"
    assert line(findings, "spread").answer == "not applicable"
    assert not failed(list(findings.values()))


@pytest.mark.parametrize(
    ("faults", "part", "shown"),
    [
        (Faults(slots=6, gpus=2, uneven=True), "spread", "6 apart"),
        (Faults(slots=4, never_refuses=True), "refused", "it was admitted"),
        (Faults(slots=10, always_healthy=True), "health", "10 slots: healthy"),
        (Faults(slots=4, leaks_gigabytes=0.2), "memory is back", "→"),
        (Faults(slots=4, memory_gigabytes=(1.0, 3.4)), "2 GB of memory", "GPU 0: 2.00 GB"),
        (Faults(slots=4, gpus=2, memory_gigabytes=(90.0, 100.0)), "utilisation", "GPU 0: 90 %, GPU 1: 90 %"),
        (Faults(slots=4, memory_gigabytes=(1.0, 3.0), device_name="CPU"), "2 GB of memory", "CPU: 1.60 GB"),
    ],
    ids=["uneven", "never refuses", "always healthy", "leaks memory", "no room", "nearly full", "no room on a CPU"],
)
async def test_each_fault_fails_its_own_line_and_no_other(
    faults: Faults, part: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("capacity.checklist.checklist.BACK_SECONDS", 1.0)
    findings = await check(faults)
    bad = line(findings, part)
    assert bad.answer == "fail"
    assert shown in bad.figures
    assert bad.advice
    assert [f.check for f in findings.values() if f.answer == "fail"] == [bad.check]


async def test_slots_that_stay_taken_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capacity.checklist.checklist.BACK_SECONDS", 0.3)
    findings = await check(Faults(slots=6, keeps_slots=True))
    assert line(findings, "slots are free again").answer == "fail"


async def test_a_proxy_that_cuts_is_found_with_the_age() -> None:
    findings = await check(Faults(slots=4, cuts_after_seconds=2.5), CheckRequest(hold_seconds=20))
    cut = line(findings, "lives as long")
    assert cut.answer == "fail"
    assert cut.figures in {"cut after 2 s", "cut after 3 s"}


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_list_fits_a_terminal_and_loses_nothing(width: int) -> None:
    lines = [
        CheckResult(
            check="the server takes streams", answer="fail", figures="the server is draining", advice="wait for it"
        ),
        CheckResult(check="a line with a name of its own", answer="not applicable", figures="a reason of a few words"),
    ]
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table(lines, console.width))
    text = console.export_text()
    assert "…" not in text
    words = set(text.split())
    for line in lines:
        assert words >= {*line.check.split(), *line.figures.split(), *line.advice.split()}
    # Beside each other there is room for few words; so it stands below.
    assert ("→ wait for it" in text) == (width < 100)
    assert max(map(len, text.splitlines())) <= width


async def test_the_report_names_the_server_and_the_verdict() -> None:
    findings = await check(Faults(slots=4, never_refuses=True))
    document = body("host:1", list(findings.values()))
    assert document["server"] == "host:1"
    assert document["passed"] is False


async def test_a_server_that_is_not_there_is_exit_3() -> None:
    with pytest.raises(UserError) as caught:
        await Checker(parse_target("127.0.0.1:9"), CheckRequest(), lambda _: None).run()
    assert caught.value.code == Exit.UNREACHABLE


async def test_in_a_pipe_columns_count(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from capacity.commands.check import command
    from whisper_ops import console

    monkeypatch.setenv("COLUMNS", "80")
    console.data.cache_clear()
    async with running_double(Faults(draining=True)) as double:
        result = await asyncio.to_thread(CliRunner().invoke, command, [double.url])
    console.data.cache_clear()
    assert "the server is draining" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


async def test_a_draining_server_with_live_users_is_not_asked_about() -> None:
    from click.testing import CliRunner

    from capacity.commands.check import command

    async with running_double(Faults(slots=4, draining=True)) as double:
        double.active[1] = 0
        result = await asyncio.to_thread(CliRunner().invoke, command, [double.url], standalone_mode=False)
    assert result.exception is None
    assert result.return_value == Exit.NO


async def test_it_asks_before_filling_a_server_with_live_users() -> None:
    from click.testing import CliRunner

    from capacity.commands.check import command

    async with running_double(Faults(slots=4)) as double:
        double.active[1] = 0
        result = await asyncio.to_thread(CliRunner().invoke, command, [double.url])
    assert isinstance(result.exception, UserError)
    assert "1 live stream;" in str(result.exception)
    assert "--yes" in str(result.exception)


async def test_on_a_processor_the_workers_memory_is_judged_since_the_machines_is_everybodys() -> None:
    faults = Faults(slots=4, leaks_gigabytes=0.2, device_name="CPU")
    assert line(await check(faults), "memory is back").figures == "CPU: 0.05 → 0.05 GB"


def gpus(**figures: Any) -> Snapshot:
    return Snapshot(server="x", at=0.0, gpus=(GpuFigures(gpu_id=0, **figures),))


def test_memory_that_is_not_known_is_not_judged() -> None:
    assert {found.answer for found in server_memory.headroom(gpus())} == {"not applicable"}
    assert server_memory.back(gpus(), gpus()).answer == "not applicable"
    # A GPU whose memory nobody reads is judged by what its worker holds, both times by the same measure.
    leaked = server_memory.back(gpus(process_rss_bytes=1e9), gpus(process_rss_bytes=2e9, memory_used_bytes=1e9))
    assert (leaked.answer, leaked.figures) == ("fail", "GPU 0: 1.00 → 2.00 GB")
    assert server_memory.back(gpus(memory_used_bytes=1e9), gpus(process_rss_bytes=1e9)).answer == "not applicable"


async def test_memory_that_comes_back_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server reads it once a second: a poll right after the disconnect still has the old figure."""
    monkeypatch.setattr("capacity.checklist.checklist.READING_SECONDS", 0.6)
    findings = await check(Faults(slots=4, memory_late_seconds=0.5))
    assert line(findings, "memory is back").answer == "pass"


async def test_a_balancer_is_not_checked_as_if_it_were_one_server() -> None:
    async with running_double(Faults(slots=4)) as one, running_double(Faults(slots=4)) as other:
        target = parse_target(one.url)
        checker = Checker(target, CheckRequest(), lambda _: None)
        one.server_id, names = other.server_id, {one.server_id, other.server_id}
        checker._servers.add(next(iter(names - {other.server_id})))  # what answered before
        with pytest.raises(UserError, match="is a balancer") as refused:
            await checker.run()
        assert "--through" in str(refused.value)
        assert one.empty.is_set() or not one.active


def test_the_list_ends_with_its_verdict() -> None:
    good, bad, none = (check_result(name, answer, "", "") for name, answer in (("a", True), ("b", False), ("c", None)))
    assert verdict([good, good]) == "2 checks passed and none failed."
    assert verdict([good, none]) == "1 check passed and none failed; 1 other does not apply here."
    assert verdict([good, bad, none, none]) == "1 of 2 checks failed: b; 2 others do not apply here."
