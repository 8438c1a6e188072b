"""One vocabulary for sorting and filtering: names, states, how much is used and how late the words are."""

from collections.abc import Iterable

from dashboard import figure_text as f
from dashboard.tui.pages.server_states import gpu_state, server_state
from dashboard.world import ServerView, World
from whisper_ops.snapshot import GpuFigures

Fact = float | str | None

FACTS: dict[str, str] = {
    "server": "the name of the server",
    "state": "silent, critical, late, degraded, overfull, stale, draining, starting, healthy, answers",
    "slots": "connections now",
    "free": "slots that are free",
    "speaking": "streams with speech now",
    "lag": "lag p95, in seconds",
    "rejects": "refusals a minute",
    "busy": "busy share of the busiest GPU, in percent",
    "memory": "memory of the fullest GPU (of a CPU: the machine's), in percent",
    "temp": "the hottest GPU, in °C",
    "gpu": "names of the GPUs",
    "model": "the model",
    "version": "the server's version",
    "age": "seconds since the last answer",
    "alerts": "active alerts",
}
"""The words that `/` and `:sort` know."""
_OTHER_NAMES = {"vram": "memory", "mem": "memory", "connections": "slots"}


def fact_named(word: str) -> str:
    """The fact that a word means, under whatever of its names."""
    return _OTHER_NAMES.get(word, word)


def largest(values: Iterable[float | None]) -> float | None:
    """The largest known value: a server is as hot as its hottest GPU."""
    return max((value for value in values if value is not None), default=None)


def facts(server: ServerView, world: World) -> dict[str, Fact]:
    """What is known of a server. The figures of a silent one are old, and so are not facts any more."""
    state = server_state(server, world)
    answer = server.answer
    known: dict[str, Fact] = dict.fromkeys(FACTS)
    known |= {"server": server.name, "state": state.word, "alerts": float(len(server.alerts))}
    if answer is None:
        return known
    known["age"] = world.now - answer.at
    if answer.identity is not None:
        known |= {"model": answer.identity.model, "version": answer.identity.version, "gpu": answer.identity.gpu_name}
    if server.silent or answer.figures is None:
        return known
    figures, gpus = answer.figures, answer.gpus
    free = None if figures.slots is None or figures.slots_used is None else figures.slots - figures.slots_used
    return known | {
        "slots": figures.streams_active,
        "free": free,
        "speaking": figures.streams_speaking,
        "lag": figures.lag_p95_seconds,
        "rejects": server.rejects_per_minute,
        "busy": _percent(largest(gpu.busy_ratio for gpu in gpus)),
        "memory": _percent(largest(memory_share(gpu) for gpu in gpus)),
        "temp": largest(gpu.temperature_celsius for gpu in gpus),
    }


def gpu_facts(gpu: GpuFigures, server: ServerView, world: World) -> dict[str, Fact]:
    """What is known of one GPU, in the same words; of its server where the word is about servers."""
    free = None if gpu.slots is None or gpu.streams_active is None else gpu.slots - gpu.streams_active
    return facts(server, world) | {
        "state": gpu_state(gpu, server, world).word,
        "slots": gpu.streams_active,
        "free": free,
        "speaking": gpu.streams_speaking,
        "lag": gpu.lag_p95_seconds,
        "busy": _percent(gpu.busy_ratio),
        "memory": _percent(memory_share(gpu)),
        "temp": gpu.temperature_celsius,
        "gpu": gpu.name,
    }


def memory_share(gpu: GpuFigures) -> float | None:
    """Memory used over memory there."""
    return f.share(gpu.memory_used_bytes, gpu.memory_total_bytes)


def ordered(world: World, sort: str) -> list[ServerView]:
    """Servers sorted by a fact: figures fall, words rise, the worst state comes first, what is unknown last."""

    def key(server: ServerView) -> tuple[bool, float | str, str]:
        if sort == "state":
            return (False, float(server_state(server, world).rank), server.name)
        fact = facts(server, world).get(sort)
        if isinstance(fact, str):
            return (False, fact, server.name)
        return (fact is None, -(fact or 0.0), server.name)

    return sorted(world.servers, key=key)


def _percent(ratio: float | None) -> float | None:
    return None if ratio is None else ratio * 100
