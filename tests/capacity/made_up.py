"""Histories made up by the thousand: servers of every kind, measured well and badly, quiet and beside neighbours."""

import random

import msgspec

from capacity.fleet.sizing import Demand
from capacity.planner.caps import Caps
from capacity.planner.evidence import Evidence
from capacity.planner.key import key_of
from capacity.planner.polls import PolledMean, PollEvidence
from tests.capacity.plan_history import level, sweep
from whisper_ops.history import LevelRecord
from whisper_ops.objective import DEFAULT, Objective, parse
from whisper_ops.objective.findings import AnyFinding, NotLive, OtherLoad, TooShort, encode, sentences
from whisper_ops.objective.judgement import Baseline, rejudged
from whisper_ops.snapshot import HostFigures

GB = 1e9
OBJECTIVES = (
    DEFAULT,
    DEFAULT,
    "stable_p95<=2s",
    "errors<=1%, stable_p95<=2s",
    "wer<=+1.5",
    "first_p95<=500ms",
    "lag_p95<=1s",
)


class Grows(msgspec.Struct, frozen=True):
    """How a figure really grows with streams, and how badly it is read."""

    base: float
    each: float
    noise: float
    most: float = float("inf")

    def read(self, load: float, dice: random.Random) -> float:
        value = self.base + self.each * load + dice.gauss(0, self.noise)
        if dice.random() < 0.03:  # a reading taken while a model was loading
            value *= dice.choice([0.2, 3.0])
        return min(max(value, 0.0), self.most)


class Server(msgspec.Struct, frozen=True):
    """The truth about a server."""

    knee: float
    gpus: int
    max_batch: int
    figures: dict[str, Grows]
    noise: float
    memory_bytes: float
    objective: Objective
    descriptors: int
    slots: int | None
    """Streams beyond them are refused; None: as many as come."""
    long_share: float
    """Of its levels; the others are too short to be sure of."""
    neighbour_share: float
    """Of its levels, at which other programs took much of the machine."""


def server(dice: random.Random) -> Server:
    knee = dice.choice([0.6, 1.5, 3, 8, 20, 60, 128, 300])
    share = dice.choice([0.3, 0.7, 1.0, 1.4]) / knee  # what each takes of itself at the knee
    idle = dice.choice([0.0, 0.02, 0.3, 0.95, 1.0])  # of a processor, before anything is connected
    noise = dice.choice([0.0, 0.01, 0.05, 0.15])

    def of(base: float, each: float, scale: float, most: float = float("inf")) -> Grows:
        sign = dice.choice([1, 1, 1, 1, 0, -0.3])
        return Grows(base, each * sign, noise * scale, most)

    memory = dice.choice([2.0, 12.0, 23.0, 70.0])
    total = dice.choice([memory + 1, memory * 1.5, 80.0]) * GB
    soft = dice.choice([64, 1024])
    return Server(
        knee=knee,
        gpus=dice.choice([1, 1, 1, 2, 4]),
        max_batch=dice.choice([1, 1, 16]),
        noise=noise,
        memory_bytes=total,
        objective=parse(dice.choice(OBJECTIVES)),
        descriptors=soft,
        slots=dice.choice([None, None, max(1, round(knee * dice.choice([0.5, 1, 2])))]),
        long_share=dice.choice([0.0, 0.7, 0.7, 1.0]),
        neighbour_share=dice.choice([0.0, 0.0, 0.0, 0.3, 1.0]),
        figures={
            "host_cpu_ratio": of(idle, share * dice.choice([0.001, 0.2, 1.0]), 1.0, 1.0),
            "front_cpu_ratio": of(0.02, share * dice.choice([0.05, 1.0]), 1.0, 1.3),
            "server_busy_ratio": of(dice.choice([0.0, 0.1]), share, 1.0, 1.0),
            "gpu_memory_used_bytes": of(memory * GB, dice.choice([0.0, 0.01, 0.2]) * GB, GB, total),
            "server_rss_bytes": of(0.4 * GB, dice.choice([0.0, 3e-5, 0.02]) * GB, 0.2 * GB),
            "server_descriptors": of(min(60, soft / 2), dice.choice([1.0, 2.0]), 4.0, soft),
            "ready_p50_seconds": of(0.05, 0.2 * share, 0.05),
            "server_batch_fill": Grows(1.0, 12 / knee, 0.2, 16.0),
            "server_compute_p95_seconds": Grows(0.01, 0.4 / knee, 0.005),
        },
    )


def measured(truth: Server, streams: int, dice: random.Random, started_at: float) -> LevelRecord:
    """One level as a sweep would have left it."""
    load = streams / truth.gpus
    lag = 0.3 + 0.2 * load / truth.knee
    if load > truth.knee:
        lag += dice.choice([1.9, 4.0, 20.0]) * (load / truth.knee - 1) + 0.3
    lag = max(0.05, lag * dice.gauss(1, truth.noise + 0.01))
    long = dice.random() < truth.long_share
    refused = 0 if truth.slots is None else max(0, streams - truth.slots * truth.gpus)
    audit = "valid" if long else "provisional"
    found: list[AnyFinding] = [] if long else [TooShort(20.0, 60.0)]
    failed = round(streams * dice.choice([0.0, 0.0, 0.0, 0.3]) * (load > truth.knee / 2))
    wer = dice.choice([0.02, 0.03]) + (0.2 if load > truth.knee * dice.choice([0.7, 9.0]) else 0.0)
    passed: bool | None = None
    if dice.random() < 0.06:
        audit, found = "invalid", [NotLive(streams * 0.6, streams)]
        passed = dice.choice([None, False])
    if audit != "invalid" and dice.random() < truth.neighbour_share:
        counts = dice.random() < 0.5
        audit, found = (audit if counts else "disturbed"), [*found, OtherLoad(dice.uniform(0.2, 0.95), counts)]
    left_out = {name for name in truth.figures if dice.random() < 0.1}
    read = {name: grows.read(load, dice) for name, grows in truth.figures.items() if name not in left_out}
    made = level(
        streams, passed, connected=streams - refused, refused=refused, failed=min(failed, streams - refused),
        wer_ratio=wer, server_lag_p95_seconds=lag * 0.8, audit=audit, stable_p95_seconds=lag,
        first_p95_seconds=lag / 2.5, started_at=started_at,
        duration_seconds=60.0 if long else 20.0, findings=encode(tuple(found)), reason=sentences(tuple(found)),
        streams_per_gpu=float(round(load + 0.49)), **read,
    )  # fmt: skip
    return made if audit in ("invalid", "disturbed") else rejudged(made, truth.objective, {}, Baseline({"wer": 0.02}))


def levels(truth: Server, dice: random.Random) -> tuple[LevelRecord, ...]:
    top = max(2, round(truth.knee * truth.gpus * dice.choice([0.3, 0.9, 1.3, 2.0])))
    count = dice.choice([1, 2, 3, 5, 8])
    asked = {1, *(max(1, round(top * (at + 1) / count)) for at in range(count))}
    if dice.random() < 0.2:
        asked.discard(1)
    found, at = [], 1000.0
    for streams in sorted(asked):
        for _ in range(dice.choice([1, 1, 1, 2, 3])):
            found.append(measured(truth, streams, dice, at))
            at += 70.0
    return tuple(found)


def polls(truth: Server, dice: random.Random) -> PollEvidence:
    peak = max(1.0, truth.knee * dice.choice([0.05, 0.5, 0.95]))
    readings: dict[str, list[PolledMean]] = {}
    for window in range(dice.choice([5, 40])):
        load = float(round(dice.uniform(0, peak)))
        for name in ("host_cpu_ratio", "front_cpu_ratio", "server_busy_ratio", "gpu_memory_used_bytes",
                     "server_rss_bytes", "server_descriptors"):  # fmt: skip
            readings.setdefault(name, []).append(PolledMean(60.0 * window, load, truth.figures[name].read(load, dice)))
        lag = 0.3 + 0.2 * load / truth.knee + (0.5 / max(1.02 - load / truth.knee, 0.02) - 0.5) * 0.3
        readings.setdefault("server_lag_p95_seconds", []).append(PolledMean(60.0 * window, load, max(lag, 0.01)))
    return PollEvidence(
        readings=readings, peak=peak, seconds=3600.0 * dice.choice([1, 50]), newest=dice.choice([900.0, 9e4])
    )


def history(seed: int) -> tuple[Evidence, Caps]:
    """The evidence of one key, and what there is of each resource."""
    dice = random.Random(seed)
    truth = server(dice)
    kind = dice.choice(["levels", "levels", "levels", "both", "polls"])
    slots = None if truth.slots is None else truth.slots * truth.gpus
    kinds = ["H100 80GB"] if truth.gpus == 1 else ["H100 80GB", "L4 + RTX 4090"]
    gpu = dice.choice([*kinds, None])
    key = key_of(sweep(gpus=truth.gpus, max_batch=truth.max_batch, objective=truth.objective.canonical, gpu_name=gpu))
    evidence = Evidence(
        key=key,
        levels=() if kind == "polls" else levels(truth, dice),
        settings=msgspec.json.encode({"slots": slots}).decode(),
        polled=PollEvidence() if kind == "levels" else polls(truth, dice),
    )
    limits = HostFigures(
        memory_total_bytes=dice.choice([None, 8 * GB, 64 * GB]),
        descriptors_soft_limit=dice.choice([None, truth.descriptors]),
        port_range_low=32768,
        port_range_high=60999,
        conntrack_max=dice.choice([None, 262_144]),
    )
    return evidence, Caps(gpu_memory_bytes=dice.choice([None, truth.memory_bytes]), host=limits)


def demand(seed: int) -> Demand:
    """What a fleet is to carry: calls, or calls that come and go, of which machines of one or more GPUs may be lost."""
    dice = random.Random(seed)
    target = dice.choice([1, 2, 17, 500, 2000])
    arrivals = dice.choice([None, None, 0.02, 3.0])
    return Demand(
        target=dice.choice([None, target]) if arrivals is not None else target,
        arrivals_per_second=arrivals,
        mean_length_seconds=None if arrivals is None else dice.choice([30.0, 360.0]),
        most_blocking=dice.choice([0.001, 0.05]),
        survive=dice.choice([0, 0, 1, 3]),
        gpus_per_machine=dice.choice([1, 2, 8]),
    )
