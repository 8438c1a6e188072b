"""The load test that measures more of what was measured, as a line to paste, and how long it takes."""

import shlex

from capacity.loadgen.arrivals import level_seconds
from capacity.loadtest.time_estimates import BASELINE_SECONDS, BETWEEN_SECONDS, WARM_UP_SECONDS
from capacity.next_levels import MINUTE, NextLevels
from whisper_ops.objective import DEFAULT, parse, read_stored
from whisper_ops.plan_key import PlanKey

_DEFAULTS = {"protocol": "native", "chunk_seconds": 0.1, "duty_cycle": 1.0, "arrivals": "spread"}


def sweep_command(key: PlanKey, advice: NextLevels, address: str | None = None) -> str:
    """`whisper-ops sweep URL --levels …`, with what its levels need to have the same key.

    `address`: where the server is reached, where its name does not say it all, as behind TLS.
    """
    option = "--soak" if advice.soak else "--duration"
    lasting = f" {option} {_length(advice.seconds)}" if advice.soak or advice.seconds != MINUTE else ""
    chosen = ",".join(map(str, advice.levels * advice.times))
    return f"whisper-ops sweep {address or key.server} --levels {chosen}{lasting}{_conditions(key)}"


def sweep_seconds(key: PlanKey, advice: NextLevels) -> float:
    """Seconds that the sweep takes, about, with warm-up, baseline and pauses."""
    if not advice.levels:
        return 0.0
    levels = [(streams, advice.seconds) for streams in advice.levels * advice.times]
    if read_stored(key.objective).needs_baseline and 1 not in advice.levels:
        levels.append((1, min(advice.seconds, BASELINE_SECONDS)))
    arrivals = key.arrivals or _DEFAULTS["arrivals"]
    measuring = sum(level_seconds(streams, each, str(arrivals)) + BETWEEN_SECONDS for streams, each in levels)
    return WARM_UP_SECONDS + measuring


def _conditions(key: PlanKey) -> str:
    """Options that differ from what a sweep does by itself; of ordinary polls they are not known."""
    options = []
    if key.protocol not in (None, _DEFAULTS["protocol"]):
        options.append(f"--protocol {key.protocol}")
    if key.chunk_seconds not in (None, _DEFAULTS["chunk_seconds"]):
        options.append(f"--chunk {(key.chunk_seconds or 0) * 1e3:g}ms")
    if key.duty_cycle not in (None, _DEFAULTS["duty_cycle"]):
        options.append(f"--duty-cycle {key.duty_cycle:g}")
    if key.arrivals not in (None, _DEFAULTS["arrivals"]):
        options.append(f"--arrivals {key.arrivals}")
    objective = read_stored(key.objective)
    if objective.terms and objective.canonical != parse(DEFAULT).canonical:
        options.append(f"--objective {shlex.quote(str(objective))}")
    return "".join(f" {option}" for option in options)


def _length(seconds: float) -> str:
    return f"{seconds / 60:g}m" if seconds % 60 == 0 else f"{seconds:g}s"
