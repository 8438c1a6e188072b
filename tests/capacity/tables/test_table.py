"""Tables as people and programs export them: the right values, or one sentence that names the row and both readings."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.capacity.planner_cli import Done, whisper_ops
from whisper_ops.errors import Exit
from whisper_ops.history import History
from whisper_ops.snapshot import Snapshot


def fitted(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str | bytes, *more: str) -> Done:
    file = tmp_path / "table.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return whisper_ops(
        capsys, "fit", str(file), "--load", "n", "--metric", "x", "--kind", "memory", "--json", *more
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("n;x;y\n1;1.038;0,1\n2;2.050;0,2\n", [[1, 1038], [2, 2050]]),  # another column has a decimal comma
        ("n;x\n1;1.038,5\n2;2.050\n", [[1, 1038.5], [2, 2050]]),
        ("n;x;y\n1;1.038;4.5\n2;2.050;3\n", [[1, 1.038], [2, 2.05]]),
        ("n;x\n1;1,25\n2;1 038,5\n3;1.038.000\n", [[1, 1.25], [2, 1038.5], [3, 1038000]]),
        ("n;x\n1;1'038.5\n2;1’500.0\n", [[1, 1038.5], [2, 1500]]),
        ("n;x\n1;1\u202f038,5\n2;2\u00a0500,0\n", [[1, 1038.5], [2, 2500]]),
        ('n,x\n1,"1,038"\n2,"2,050"\n', [[1, 1038], [2, 2050]]),
        ("n\tx\n1\t1.038\n2\t2.050\n", [[1, 1.038], [2, 2.05]]),
        ("n|x\n1|10\n2|20\n", [[1, 10], [2, 20]]),
        ("n;x\n1;0,5 %\n2;12 %\n3;0\n", [[1, 0.5], [2, 12], [3, 0]]),
        ("n,x\n1,[N/A]\n2,20\n3,30\n4,-\n5,\n6,#DIV/0!\n7,[Not Supported]\n", [[2, 20], [3, 30]]),
        ("n;x\r\n1;2,5\r\n2;3,5\r\n".encode("utf-16"), [[1, 2.5], [2, 3.5]]),
        ("n;x\n1;2,5\n2;3,5\n".encode("utf-16-be"), [[1, 2.5], [2, 3.5]]),
        ("\ufeffn;x\n1;2,5\n2;3,5\n".encode(), [[1, 2.5], [2, 3.5]]),
        ("n;x;größe\n1;2,5;\n2;3,5;\n".encode("cp1252"), [[1, 2.5], [2, 3.5]]),
        ("sep=;\nn;x\n1;2,5\n2;3,5\n", [[1, 2.5], [2, 3.5]]),
        ('n,x,note\n1,10,"two\nlines"\n2,20,"# no comment\n\nafter an empty line"\n', [[1, 10], [2, 20]]),
        ("n,x\n1,10\n2,20\nn,x\n3,30\n", [[1, 10], [2, 20], [3, 30]]),  # the header again, where files were joined
        ("n,x\nstreams,\n", None),
        ("n,x,\n1,10,\n2,20,\n,,\n", [[1, 10], [2, 20]]),  # every line ends with what parts cells
        ("n,x\n,MiB\n1,10\n2,20\n", [[1, 10], [2, 20]]),
        ("n,x\n1,10\n2,20\nunit,[MiB]\n", [[1, 10], [2, 20]]),
        ("n,x [MiB]\n1,10 MiB\n2,20\n", [[1, 10], [2, 20]]),
        ("n,x,t,t\n1,10,a,b\n2,20,a,b\n", [[1, 10], [2, 20]]),  # a name that is there twice and is not asked for
        ("n,x\n1,1.5e3\n2,−0\n3,2E3\n", [[1, 1500], [2, 0], [3, 2000]]),
        ('"n, at once";n;x\n"1;2";1;10\n"3;4";2;20\n', [[1, 10], [2, 20]]),
    ],
)  # fmt: skip
def test_the_cells_are_the_numbers_that_were_meant(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str | bytes, points: list[list[float]] | None
) -> None:
    done = fitted(capsys, tmp_path, text)
    if points is None:
        assert done.code == Exit.USAGE
    else:
        assert done.json["points"] == points


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("n;x\n1;1.038\n2;2.050\n", ("line 2: x is '1.038'", "may be 1038 or 1.038", "--decimal")),
        ("n;x\n1;1,038\n2;2,050\n", ("line 2", "may be 1038 or 1.038")),
        ("n\tx\n1\t1,038\n2\t2,050\n", ("line 2", "may be 1038 or 1.038")),
        ("n;x\n1;1,5\n2;2.5\n", ("'1,5' in line 2", "'2.5' in line 3", "one way")),
        ("n;x;y;z\n1;1.038;0,1;0.1\n2;2.050;0,2;0.2\n", ("may be 1038 or 1.038",)),
        ("n,x\n1,²\n2,3\n", ("line 2: x is '²', which is not a number",)),
        ("n,x\n1,١٢\n2,3\n", ("line 2", "not a number")),
        ("n,x\n1,1e999\n2,3\n", ("line 2", "not a number")),
        ("n,x\n1,1.2.3\n2,3\n", ("line 2", "not a number")),
        ("n,x\n1,10 ms\n2,20 MiB\n", ("mixes units, ms in line 2 and MiB in line 3",)),
        ("n,x [MiB]\n1,10 GiB\n2,20\n", ("line 2: x is '10 GiB', and its column is in MiB",)),
        ('n,x\n1,"10\n2,20\n', ("no CSV file",)),
        ("n,x\n1,\n2,30,40\n", ("line 3: 3 cells under 2",)),
        ("n,x,x\n1,2,3\n", ("names the column 'x' twice",)),
        ("# only a comment\n\n", ("is empty",)),
        (b"", ("is empty",)),
        (b"\xff\xfe", ("is empty",)),
        (b"PK\x03\x04\0\0\x81", ("is not a text file",)),
        ("n,x\n1,\x00\n", ("is not a text file",)),
    ],
)
def test_what_cannot_be_told_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str | bytes, words: tuple[str, ...]
) -> None:
    done = fitted(capsys, tmp_path, text)
    assert done.code == Exit.USAGE
    for word in words:
        assert word in done.sentence()


def test_the_mark_that_is_asked_for_can_be_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = "n;x\n1;1.038\n2;2.050\n"
    assert fitted(capsys, tmp_path, text, "--decimal", "comma").json["points"] == [[1, 1038], [2, 2050]]
    assert fitted(capsys, tmp_path, text, "--decimal", "point").json["points"] == [[1, 1.038], [2, 2.05]]
    wrong = fitted(capsys, tmp_path, "n;x\n1;1,5\n2;2,5\n", "--decimal", "point")
    assert "is '1,5', which is no number with a decimal point" in wrong.sentence()
    assert "--unit says s, and x of" in fitted(capsys, tmp_path, "n,x\n1,3 ms\n2,4 ms\n", "--unit", "s").sentence()


def test_repeats_in_other_clothes_are_no_other_systems(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = "n;x;cpu;at;free\n1;1,5;0,5;2026-11-28 13:00;[N/A]\n1;1,7;0,6;2026-11-28 14:00;3 GiB\n2;3;1,2;;\n"
    assert fitted(capsys, tmp_path, text).json["points"] == [[1, 1.6], [2, 3]]


def imported(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str | bytes, maps: Sequence[str], *more: str
) -> Done:
    file = tmp_path / "rows.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    named = [part for entry in maps for part in ("--map", entry)]
    return whisper_ops(capsys, "import", str(file), "--history", str(tmp_path / "history.db"), *named, *more)


def polls(tmp_path: Path, server: str = "imported") -> list[Snapshot]:
    with History.reading(tmp_path / "history.db") as history:
        return list(history.polls.between(server, 0, 5e9))


NOON = 1795867200.0  # 2026-11-28T12:00:00Z


@pytest.mark.parametrize(
    ("cell", "at"),
    [
        ("1795867200", NOON),
        ("1795867200.25", NOON + 0.25),
        ("1795867200000", NOON),
        ("1795867200250", NOON + 0.25),
        ("1795867200250000", NOON + 0.25),
        ("1795867200250000000", NOON + 0.25),
        ("2026-11-28T12:00:00Z", NOON),
        ("2026-11-28T13:00:00+01:00", NOON),
        ("2026-11-28 07:30:00.25 -0430", NOON + 0.25),
        ("2026-11-28 12:00:00", NOON),
        ("2026-11-28 12:00 UTC", NOON),
        ("2026-11-28T12:00:00.250000000Z", NOON + 0.25),
        ("2026/11/28 12:00:00.250", NOON + 0.25),
        ("28.11.2026 12:00", NOON),
        ("28.11.2026 12:00:00,25", NOON + 0.25),
        ("28/11/2026 12:00", NOON),
        ("11/28/2026 12:00:00 PM", NOON),
        ("11/28/2026 12:00 AM", NOON - 43200),
        ("Sat, 28 Nov 2026 12:00:00 +0000", NOON),
        ("2026-11-28", NOON - 43200),
        ("20261128T120000Z", NOON),
        ("1795867200 s", NOON),
        ("1795867200000 ms", NOON),
        ("2026-11-28 12:00:00,250", NOON + 0.25),
    ],
)
def test_a_time_is_read_as_it_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, cell: str, at: float
) -> None:
    done = imported(capsys, tmp_path, f"t;calls\n{cell};3\n", ("at=t", "server.streams_active=calls"))
    assert done.code == 0, done.err
    assert polls(tmp_path)[0].at == pytest.approx(at, abs=1e-5)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["5000000000"], ("line 2: t is 5000000000", "2128-06-11 in seconds", "1970-02-27 in milliseconds", "at=t:s")),
        (["46354.5"], ("may be 46354.5 seconds or a spreadsheet's 2026-11-28", "at=t:excel")),
        (["20261128"], ("may be a date",)),
        (["03/04/2026 10:00", "04/05/2026 10:00"], ("line 2", "may be 2026-04-03 or 2026-03-04")),
        (["13/04/2026", "04/13/2026"], ("with the day in line 2 and with the month in line 3",)),
        (["1795867200", "1795867260000"], ("counts in s in line 2 and in ms in line 3",)),
        (["2026-11-28 12:00:00 CET"], ("line 2", "no time")),
        (["12:00:05"], ("line 2", "no time")),
        (["[N/A]"], ("line 2", "a row needs its time")),
        (["1795867200 MiB"], ("counts no time",)),
        (["-5"], ("no time from 1970 to 2100",)),
        (["2026-02-30 12:00"], ("no time",)),
        (["28/11/26"], ("no time",)),
    ],
)
def test_a_time_that_may_be_two_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, cells: list[str], words: tuple[str, ...]
) -> None:
    rows = "".join(f"{cell};3\n" for cell in cells)
    done = imported(capsys, tmp_path, f"t;calls\n{rows}", ("at=t", "server.streams_active=calls"))
    assert done.code == Exit.USAGE
    for word in words:
        assert word in done.sentence()
    assert not (tmp_path / "history.db").exists()


def test_what_numbers_of_time_count_can_be_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for cell, unit, at in (("46354.5", "excel", NOON), ("46354.5", "s", 46354.5), ("5000000000", "ms", 5e6)):
        done = imported(capsys, tmp_path, f"t;n\n{cell};3\n", (f"at=t:{unit}", "server.streams_active=n"))
        assert done.code == 0, done.err
        assert polls(tmp_path)[0].at == pytest.approx(at)
        (tmp_path / "history.db").unlink()
    wrong = imported(capsys, tmp_path, "t;n\n1795867200000;3\n", ("at=t:s", "server.streams_active=n"))
    assert "no time from 1970 to 2100" in wrong.sentence()  # and not the year 58878


NVIDIA_SMI = """\
timestamp, index, name, utilization.gpu [%], memory.used [MiB], memory.total [MiB], temperature.gpu, power.draw [W], \
clocks.sm [MHz], calls
2026/11/28 12:00:00.250, 0, NVIDIA L4, 12 %, 4096 MiB, 23034 MiB, 45, 33.10 W, 1410 MHz, 3
2026/11/28 12:00:00.250, 1, NVIDIA L4, [N/A], [Not Supported], 23034 MiB, [N/A], [GPU is lost], [N/A], 4
2026/11/28 12:00:01.250, 0, NVIDIA L4, 0 %, 4097 MiB, 23034 MiB, 46, [N/A], 210 MHz, 2
"""
SMI_MAPS = (
    "at=timestamp", "gpu.gpu_id=index", "gpu.streams_active=calls", "gpu.gpu_ratio=utilization.gpu",
    "gpu.memory_used_bytes=memory.used", "gpu.memory_total_bytes=memory.total [MiB]",
    "gpu.temperature_celsius=temperature.gpu", "gpu.power_watts=power.draw", "gpu.sm_clock_hertz=clocks.sm",
)  # fmt: skip


@pytest.mark.parametrize("bare", [False, True])
def test_nvidia_smi_is_read_with_its_units_and_its_unknowns(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bare: bool
) -> None:
    text = NVIDIA_SMI
    for unit in (" %", " MiB", " W", " MHz") if bare else ():  # --format=csv,nounits leaves them over the columns
        text = text.replace(f"{unit},", ",")
    assert imported(capsys, tmp_path, text, SMI_MAPS).code == 0
    first, second = polls(tmp_path)
    assert first.at == pytest.approx(NOON + 0.25)
    known, lost = first.gpus
    assert (known.gpu_ratio, known.memory_used_bytes, known.memory_total_bytes) == (0.12, 4096 * 2**20, 23034 * 2**20)
    assert (known.temperature_celsius, known.power_watts, known.sm_clock_hertz) == (45, 33.1, 1.41e9)
    assert (lost.gpu_id, lost.gpu_ratio, lost.memory_used_bytes, lost.power_watts) == (1, None, None, None)
    assert (lost.streams_active, first.figures.streams_active if first.figures else 0) == (4, 7)
    assert second.gpus[0].power_watts is None


@pytest.mark.parametrize(
    ("header", "cell", "source", "seconds"),
    [
        ("p95", "350 ms", "p95", 0.35),
        ("p95", "0.35", "p95", 0.35),
        ("p95 [ms]", "350", "p95", 0.35),
        ("p95 (ms)", "350", "p95 (ms)", 0.35),
        ("p95_ms", "350", "p95_ms", 0.35),
        ("p95_ms", "350", "p95_ms:ms", 0.35),
        ("p95", "350 ms", "p95:ms", 0.35),
        ("p95", "1,5 s", "p95", 1.5),
        ("p95", "350 µs", "p95", 350e-6),
    ],
)
def test_a_unit_in_a_cell_over_a_column_or_in_a_name_is_meant(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, header: str, cell: str, source: str, seconds: float
) -> None:
    text = f"t;calls;{header}\n1795867200;3;{cell}\n"
    maps = ("at=t", "server.streams_active=calls", f"server.lag_p95_seconds={source}")
    done = imported(capsys, tmp_path, text, maps)
    assert done.code == 0, done.err
    figures = polls(tmp_path)[0].figures
    assert figures is not None
    assert figures.lag_p95_seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("cells", "figure", "words"),
    [
        (["350 ms"], "server.lag_p95_seconds=v:s", ("line 2: v is 350 ms, and --map says s",)),
        (["350 ms", "400"], "server.lag_p95_seconds=v", ("line 3: v is 400 with no unit", "are in ms")),
        (["350 MiB"], "server.lag_p95_seconds=v", ("350 MiB", "is in seconds")),
        (["350"], "server.lag_p95_seconds=v:mib", ("'mib'", "is in seconds")),
        (["350 parsecs"], "server.lag_p95_seconds=v", ("'parsecs'", "is in seconds")),
        (["0.4", "45"], "gpu.busy_ratio=v", ("line 3: v is 45", "may be 45 % or 45 times", "gpu.busy_ratio=v:%")),
        (["145 %"], "gpu.busy_ratio=v", ("over 100 %",)),
        (["3 ms"], "server.slots=v", ("is a plain number",)),
        (["1e19"], "server.slots=v", ("line 2: v is 1e+19", "more than there can be")),
        (["1"], "server.lag_bucket_counts=v", ("no figure of the history",)),
        (["1"], "gpu.name=v", ("no figure of the history",)),
    ],
)
def test_a_unit_that_cannot_be_meant_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, cells: list[str], figure: str, words: tuple[str, ...]
) -> None:
    rows = "".join(f"{1795867200 + at},3,{cell}\n" for at, cell in enumerate(cells))
    done = imported(capsys, tmp_path, f"t,calls,v\n{rows}", ("at=t", "server.streams_active=calls", figure))
    assert done.code == Exit.USAGE
    for word in words:
        assert word in done.sentence()


def test_two_rows_of_one_moment_are_two_gpus_or_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    maps = ("at=t", "gpu.streams_active=calls")
    text = "t,gpu,calls\n1795867200,0,3\n1795867200,1,4\n"
    done = imported(capsys, tmp_path, text, maps)
    assert "lines 2 and 3 are imported at the same moment" in done.sentence()
    assert imported(capsys, tmp_path, text, (*maps, "gpu.gpu_id=gpu")).code == 0
    assert [gpu.streams_active for gpu in polls(tmp_path)[0].gpus] == [3, 4]
    twice = imported(capsys, tmp_path, text, (*maps, "at=gpu"))
    assert "--map names at twice" in twice.sentence()


def test_levels_with_units_in_their_cells(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = "clients;p95;dauer\n16;400 ms;2 min\n32;0,7 s;120 s\n48;1,5 s;2 min\n56;3100 ms;2 min\n"
    maps = ("level.streams=clients", "level.stable_p95_seconds=p95", "level.duration_seconds=dauer")
    assert imported(capsys, tmp_path, rows, maps, "--levels").code == 0
    plan = whisper_ops(capsys, "plan", "--history", str(tmp_path / "history.db"), "--json").json
    seen = [(level["streams"], level["stable_p95_seconds"], level["duration_seconds"]) for level in plan["levels"]]
    assert seen == [(16, 0.4, 120), (32, 0.7, 120), (48, 1.5, 120), (56, 3.1, 120)]
