"""Which of a processor's instructions CTranslate2 computes with.

Left to itself it takes AVX2 on a processor of AMD's. Those with AVX-512 encode faster with that: tiny.en int8 on an
EPYC, one thread, 9.0 instead of 10.7 ms of processor time for 4 s and 19.8 instead of 24.1 ms for 8 s (medians of
three). A decoding step takes the same, as the matrix products in it choose for themselves.
"""

from collections.abc import MutableMapping

VARIABLE = "CT2_FORCE_CPU_ISA"
_NEEDED = {"avx512f", "avx512cd", "avx512dq", "avx512bw", "avx512vl"}


def choose_instructions(environment: MutableMapping[str, str], vendor: str, flags: frozenset[str]) -> None:
    """Set CTranslate2's variable, unless it is set, where the processor is AMD's and has AVX-512."""
    if vendor == "AuthenticAMD" and flags >= _NEEDED:
        environment.setdefault(VARIABLE, "AVX512")
