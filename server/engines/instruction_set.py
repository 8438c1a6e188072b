"""Which of a processor's instructions CTranslate2 computes with.

Left to itself it takes AVX2. Processors with AVX-512 encode faster with that; tiny.en int8, one thread, medians of
processor time for 4 s of sound and for 6 or 8: an EPYC 9.0 instead of 10.7 ms and 19.8 instead of 24.1 (8 s), a Xeon of
2023 14.1 instead of 16.1 and 23.4 instead of 27.4 (6 s). A decoding step takes the same or a little less, as the matrix
products in it choose for themselves. Intel's first processors with AVX-512 slow down for it; those with VNNI do not.
"""

from collections.abc import MutableMapping

VARIABLE = "CT2_FORCE_CPU_ISA"
_AVX512 = frozenset({"avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl"})
_NEEDED = {"AuthenticAMD": _AVX512, "GenuineIntel": _AVX512 | {"avx512_vnni"}}
"""By vendor, as the system names them."""


def choose_instructions(environment: MutableMapping[str, str], vendor: str, flags: frozenset[str]) -> None:
    """Set CTranslate2's variable, unless it is set, where the processor computes faster with AVX-512."""
    if vendor in _NEEDED and flags >= _NEEDED[vendor]:
        environment.setdefault(VARIABLE, "AVX512")
