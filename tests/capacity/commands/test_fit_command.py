"""`whisper-ops fit` on published tables and on bad ones: its JSON, its status words, its sentences."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.capacity.planner_cli import Done, whisper_ops
from whisper_ops.errors import Exit

DATA = Path(__file__).parents[2] / "data"
MYSQL = DATA / "usl-mysql5627-schwartz.csv"
STREAMS = DATA / "nemotron-5090-streams-by-maxbatch.csv"


def fit(capsys: pytest.CaptureFixture[str], file: Path, load: str, metric: str, kind: str, *more: str) -> Done:
    return whisper_ops(capsys, "fit", str(file), "--load", load, "--metric", metric, "--kind", kind, *more)


def table(path: Path, rows: Sequence[tuple[object, ...]], header: str = "n,x") -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def test_the_json_holds_model_scores_predictions_and_capacity(capsys: pytest.CaptureFixture[str]) -> None:
    done = fit(capsys, MYSQL, "clients", "qps", "throughput", "--predict", "64,512", "--json")
    assert done.code == 0
    body = done.json
    assert body["schema"] == "whisper-ops/fit/1"
    assert {"last value", "USL", "Amdahl", "soft minimum", "linear"} < set(body["scores"])
    assert body["model"] in body["scores"]
    inside, beyond = body["predictions"]
    assert inside["load"] == 64
    assert inside["value"] == pytest.approx(125526, rel=0.02)  # it was measured there
    assert beyond["low"] < beyond["value"] < beyond["high"]
    assert set(body["capacity"]) == {"last_pass", "first_fail", "estimate", "low", "high", "status", "reason"}
    # Eight hardware threads: from 8 clients on nothing is gained.
    assert body["capacity"]["status"] == "identified"
    assert 6 <= body["capacity"]["estimate"] <= 16


def test_from_half_of_a_table_the_rest_is_predicted_better_than_by_the_last_value(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = (DATA / "usl-cisco-mysql-schwartz.csv").read_text().splitlines()
    half = tmp_path / "half.csv"
    half.write_text("\n".join(lines[:18]) + "\n")
    truth = {float(n): float(x) for n, x in (line.split(",") for line in lines[18:])}
    loads = ",".join(f"{n:g}" for n in truth)
    body = fit(capsys, half, "concurrency", "throughput", "throughput", "--predict", loads, "--json").json
    errors = [abs(p["value"] / truth[p["load"]] - 1) for p in body["predictions"]]
    last = [abs(9897.24 / value - 1) for value in truth.values()]
    assert np.median(errors) < 0.05 < np.median(last)


def test_a_cliff_is_bracketed_by_its_last_pass_and_first_fail(capsys: pytest.CaptureFixture[str]) -> None:
    done = fit(
        capsys, STREAMS, "streams", "lag_p95_ms", "latency", "--objective", "lag_p95_ms<=500ms", "--unit", "ms",
        "--by", "max_batch", "--predict", "44", "--json",
    )  # fmt: skip
    groups = {group["key"]["max_batch"]: group for group in done.json["groups"]}
    assert {name: (g["capacity"]["last_pass"], g["capacity"]["first_fail"]) for name, g in groups.items()} == {
        "4": (40, 48), "8": (48, 52), "16": (56, 60), "32": (56, 58),
    }  # fmt: skip
    for group in groups.values():
        capacity = group["capacity"]
        assert capacity["status"] == "identified"
        assert capacity["last_pass"] <= capacity["low"] <= capacity["estimate"] <= capacity["high"]
        assert capacity["high"] <= capacity["first_fail"]


def test_low_levels_already_say_roughly_where_the_cliff_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = table(tmp_path / "low.csv", [(16, 85), (24, 169)])
    capacity = fit(capsys, file, "n", "x", "latency", "--objective", "x<=500", "--json").json["capacity"]
    assert capacity["status"] == "lower_bound"
    assert capacity["low"] < 60  # published: [40, 60)
    assert capacity["high"] >= 40
    assert capacity["high"] <= 2 * capacity["low"]


def test_the_benchmark_that_never_held_its_load_is_refused_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    file = DATA / "nim-h100-parakeet-ctc-1.1b-streaming-50req.csv"
    done = fit(capsys, file, "concurrency", "p90_ms", "latency", "--json")
    assert done.code == Exit.EVIDENCE
    assert "at concurrency 256 only 20.4 were live at once" in done.sentence()
    assert "Little's law" in done.err
    assert done.json["capacity"]["status"] == "not_identifiable"
    assert done.json["predictions"] == []


def test_the_same_is_seen_from_throughput_times_latency(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [(n, min(n, 10) / 2.0, 2000) for n in (4, 8, 64, 128, 256)]
    file = table(tmp_path / "few.csv", rows, "clients,req_s,mean_ms")
    done = fit(capsys, file, "clients", "mean_ms", "latency")
    assert done.code == Exit.EVIDENCE
    assert "only 10 were live" in done.sentence()


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_straight_line_is_a_lower_bound(capsys: pytest.CaptureFixture[str], tmp_path: Path, noise: float) -> None:
    wobble = np.random.default_rng(1).normal(1, noise, 7)
    rows = [(n, n * 12.0 * w) for n, w in zip((1, 2, 4, 8, 16, 32, 64), wobble, strict=True)]
    body = fit(capsys, table(tmp_path / "line.csv", rows), "n", "x", "throughput", "--predict", "128", "--json").json
    assert body["capacity"]["status"] == "lower_bound"
    assert body["capacity"]["high"] is None
    assert body["predictions"][0]["value"] > 64 * 12 * 0.9


@pytest.mark.parametrize("kind", ["latency", "throughput"])
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4, 7])  # 5 happens to fall from level to level, and 6 to end with a cliff
def test_five_levels_of_noise_are_not_identifiable(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, seed: int, kind: str
) -> None:
    noise = np.random.default_rng(seed).uniform(50, 150, 5)
    file = table(tmp_path / "noise.csv", list(zip((4, 8, 16, 32, 64), noise.round(1), strict=True)))
    body = fit(capsys, file, "n", "x", kind, "--objective", "x<=500", "--predict", "80", "--json").json
    assert body["capacity"]["status"] == "not_identifiable"
    assert body["predictions"]  # they are always answered from three levels up


def test_no_level_that_passes_is_an_upper_bound(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = table(tmp_path / "late.csv", [(8, 600), (16, 900), (32, 2000)])
    capacity = fit(capsys, file, "n", "x", "latency", "--objective", "x<=500", "--json").json["capacity"]
    assert (capacity["status"], capacity["first_fail"]) == ("upper_bound", 8)


def test_a_memory_line_meets_its_cap_where_it_should(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    # The published L4: 17.68 + 0.1736 N GiB, residuals of at most 0.015.
    wobble = (0.01, -0.012, 0.004, 0.015, -0.009)
    rows = [(n, round(17.68 + 0.1736 * n + w, 4)) for n, w in zip((4, 8, 12, 16, 20), wobble, strict=True)]
    file = table(tmp_path / "memory.csv", rows, "streams,gib")
    body = fit(capsys, file, "streams", "gib", "memory", "--objective", "gib<=22.5", "--predict", "24", "--json").json
    assert body["capacity"]["estimate"] == pytest.approx((22.5 - 17.68) / 0.1736, rel=0.02)
    assert body["predictions"][0]["value"] == pytest.approx(21.846, abs=0.05)
    assert body["model"] == "line"


def test_repeats_that_disagree_count_as_failed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [(48, 19), (56, 23), (64, 304), (64, 531), (72, 2540)]  # the published L40S
    file = table(tmp_path / "l40s.csv", rows)
    capacity = fit(capsys, file, "n", "x", "latency", "--objective", "x<=500", "--json").json["capacity"]
    assert (capacity["last_pass"], capacity["first_fail"]) == (56, 64)


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        ("n,y\n1,2\n", 2, "has no column 'x'; it has n, y"),
        ("n,x\n1,10\n2,many\n", 2, "line 3: x is 'many', which is not a number"),
        ("n,x\n4,10\n", 4, "one load level (4)"),
        ("n,x\n", 4, "no row"),
        ("", 2, "is empty"),
        ("n,x\n-4,10\n8,20\n16,30\n", 2, "line 2: n is -4, which cannot be below 0"),
        ("n,x\n4,10\n8,-20\n16,30\n", 2, "line 3: x is -20"),
        ("n,x\n4,38ms\n8,0.2s\n16,3\n", 2, "mixes units, ms in line 2 and s in line 3"),
        ("n,x\n4,38\n8,53\n16,0.0987\n", 2, "write all of it in one unit"),
        ("n,x\n4,38,9\n", 2, "3 cells under 2 column names"),
        ("n,x,x\n4,38,9\n", 2, "names the column 'x' twice"),
        ("n,x\n4,inf\n8,2\n", 2, "which is not a number"),
        ("n,x,gpu\n4,1,L4\n8,2,L4\n4,9,H100\n", 2, "--by gpu"),
    ],
)
def test_bad_input_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, code: int, sentence: str
) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    done = fit(capsys, file, "n", "x", "latency", "--objective", "x<=500")
    assert done.code == code
    assert sentence in done.sentence()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--objective", "x is small"], "write COLUMN<=NUMBER"),
        (["--objective", "x<=0.5s", "--unit", "ms"], "is in s and the table in ms"),
        (["--objective", "z<=5"], "has no column 'z'"),
        (["--predict", "64,more"], "'more' is not a number"),
        (["--predict", "-3"], "above 0"),
        (["--by", "gpu"], "has no column 'gpu'"),
    ],
)
def test_a_bad_question_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, more: list[str], sentence: str
) -> None:
    file = table(tmp_path / "good.csv", [(4, 10), (8, 20), (16, 40)])
    done = fit(capsys, file, "n", "x", "latency", *more)
    assert done.code == Exit.USAGE
    assert sentence in done.sentence()


def test_no_file_and_a_binary_file_are_sentences(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "No such file" in fit(capsys, tmp_path / "none.csv", "n", "x", "cpu").sentence()
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\xff\x00\xfe")
    assert "is not a text file" in fit(capsys, tmp_path / "picture.csv", "n", "x", "cpu").sentence()


def test_the_report_says_the_capacity_first(capsys: pytest.CaptureFixture[str]) -> None:
    done = fit(
        capsys, STREAMS, "streams", "lag_p95_ms", "latency", "--objective", "lag_p95_ms<=500", "--by", "max_batch"
    )
    assert done.out.startswith("max_batch 4\nCapacity: about 4")
    assert "met at 40 and missed at 48" in done.out
    assert "Held-out error:" in done.out


def test_tables_of_other_programs_are_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plain = table(tmp_path / "plain.csv", [(1, 900), (8, 1053.25), (16, 1200.5), (32, 3500)])
    wanted = fit(capsys, plain, "n", "x", "latency", "--objective", "x<=2000", "--json").json["capacity"]
    for text in (
        "\ufeffn;x\r\n1;900\r\n32;3.500,0\r\n8;1 053,25\r\n16;1200,5\r\n",  # semicolons, decimal commas, any order
        'n\tx\n  # a note\n1\t900\n8\t"1,053.25"\n\n16\t"1,200.5"\n32\t"3,500"\n64\tNaN\n',
    ):
        other = tmp_path / "other.csv"
        other.write_bytes(text.encode())
        assert fit(capsys, other, "n", "x", "latency", "--objective", "x<=2000", "--json").json["capacity"] == wanted


def test_a_comma_that_may_be_either_mark_is_asked_about(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "either.csv"
    file.write_text("n;x\n1;1,038\n8;1,053\n16;1,200\n")
    assert "may be 1038 or 1.038" in fit(capsys, file, "n", "x", "latency").sentence()


def test_a_floor_holds_from_the_load_that_reaches_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rises = [(1, 20), (8, 150), (16, 300), (32, 580), (64, 900)]
    falls_later = [*rises, (128, 700), (256, 90)]

    def capacity(rows: list[tuple[int, int]], objective: str) -> dict[str, object]:
        file = table(tmp_path / "floor.csv", rows)
        found: dict[str, object] = fit(capsys, file, "n", "x", "throughput", "--objective", objective, "--json").json[
            "capacity"
        ]
        return found

    up = capacity(rises, "x>=100")
    assert (up["status"], up["last_pass"], up["low"]) == ("lower_bound", 64, 64)
    assert "loads under 8 are too low to reach it" in str(up["reason"])
    ends = capacity(falls_later, "x>=100")
    assert (ends["status"], ends["last_pass"], ends["first_fail"]) == ("identified", 128, 256)
    assert "no load reaches x ≥ 2000: the most is 900, at 64" in str(capacity(rises, "x>=2000")["reason"])


def test_what_falls_with_load_is_held_above_its_bound(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = table(tmp_path / "accuracy.csv", [(1, 99), (2, 98), (4, 95), (8, 80), (16, 60)])
    for kind in ("latency", "throughput"):
        capacity = fit(capsys, file, "n", "x", kind, "--objective", "x>=90", "--json").json["capacity"]
        assert (capacity["status"], capacity["last_pass"], capacity["first_fail"]) == ("identified", 4, 8)
        assert 4 <= capacity["low"] <= capacity["estimate"] <= capacity["high"] <= 8


def test_every_table_of_the_gauntlet_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("latency", "memory"):
        by = ("--by", "kind,curve,metric", "--predict", "1000", "--json")
        groups = fit(capsys, DATA / "gauntlet.csv", "load", "value", kind, *by).json["groups"]
        assert len(groups) > 60
        for group in groups:
            assert group["capacity"]["reason"]
            for row in group["predictions"]:
                assert row["low"] <= row["value"] <= row["high"]


def test_the_unit_of_the_cells_is_the_unit_of_the_answer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = table(tmp_path / "cpu.csv", [(1, "5%"), (2, "9 %"), (4, "18%"), (8, "37%")])
    body = fit(capsys, file, "n", "x", "cpu", "--objective", "x<=90%", "--predict", "16", "--json").json
    assert body["unit"] == "%"
    assert body["capacity"]["estimate"] == pytest.approx(19.6, rel=0.02)
