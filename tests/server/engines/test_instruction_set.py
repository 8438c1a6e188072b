"""AVX-512 where a processor has all that makes it faster, and nobody said otherwise."""

from pathlib import Path

import pytest

from server.engines.instruction_set import VARIABLE, choose_instructions
from whisper_ops.telemetry.host import processor

_FLAGS = "fpu avx2 avx512f avx512cd avx512dq avx512bw avx512vl"


@pytest.mark.parametrize(
    ("vendor", "flags", "given", "expected"),
    [
        ("AuthenticAMD", _FLAGS, {}, {VARIABLE: "AVX512"}),
        ("AuthenticAMD", _FLAGS, {VARIABLE: "AVX2"}, {VARIABLE: "AVX2"}),
        ("AuthenticAMD", "fpu avx2 avx512f", {}, {}),
        ("GenuineIntel", _FLAGS, {}, {}),
        ("GenuineIntel", f"{_FLAGS} avx512_vnni", {}, {VARIABLE: "AVX512"}),
        ("CentaurHauls", f"{_FLAGS} avx512_vnni", {}, {}),
    ],
)
def test_only_where_the_processor_has_it(
    tmp_path: Path, vendor: str, flags: str, given: dict[str, str], expected: dict[str, str]
) -> None:
    description = tmp_path / "cpuinfo"
    description.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    environment = dict(given)
    choose_instructions(environment, *processor(description))
    assert environment == expected


def test_a_system_without_a_description_is_left_alone(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    choose_instructions(environment, *processor(tmp_path / "none"))
    assert environment == {}
