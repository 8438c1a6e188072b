"""Sizing a fleet: GPUs for a number of concurrent calls, spread over machines of which some may be lost."""

import math

import msgspec

from capacity.fleet.erlang import blocking, slots_for
from capacity.fleet.prices import Price
from whisper_ops.errors import UserError
from whisper_ops.plan.plan_document import PlannedFleet


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be carried. `target` calls at once, or as many as `arrivals` of a mean length make."""

    target: int | None = None
    arrivals_per_second: float | None = None
    mean_length_seconds: float | None = None
    most_blocking: float = 0.001
    survive: int = 0
    """Machines that may be lost with the demand still carried."""
    gpus_per_machine: int = 1

    @property
    def offered(self) -> float | None:
        """Offered traffic in erlangs; None: no arrivals were given."""
        if self.arrivals_per_second is None or self.mean_length_seconds is None:
            return None
        return self.arrivals_per_second * self.mean_length_seconds


def size(demand: Demand, per_gpu: int, price: Price | None = None) -> PlannedFleet:
    """The smallest fleet for a demand, at `per_gpu` calls a GPU.

    Raises:
        UserError: nothing is asked for, or a number makes no sense.
    """
    calls = calls_of(demand)
    if per_gpu < 1:
        raise UserError("not one connection fits on a GPU, so no number of them carries the demand")
    each = price.gpus_per_machine if price is not None and price.gpus_per_machine else demand.gpus_per_machine
    needed = math.ceil(math.ceil(calls / per_gpu) / each)
    machines = needed + demand.survive
    gpus = machines * each
    slots, left = gpus * per_gpu, (machines - demand.survive) * each * per_gpu
    offered = demand.offered
    hour = None if price is None else price.per_gpu_hour * gpus
    carried = calls if offered is None else offered * (1 - blocking(offered, slots))
    return PlannedFleet(
        calls=calls,
        per_gpu=per_gpu,
        gpus=gpus,
        machines=machines,
        spare_machines=demand.survive,
        slots=slots,
        slots_after_loss=left,
        offered=offered,
        most_blocking=None if offered is None or calls == demand.target else demand.most_blocking,
        blocking=None if offered is None else blocking(offered, slots),
        blocking_after_loss=None if offered is None else blocking(offered, left),
        price_per_hour=hour,
        price_per_audio_hour=None if hour is None or carried <= 0 else hour / carried,
        currency=None if price is None else price.currency,
    )


def calls_of(demand: Demand) -> int:
    """Calls that must fit at once: the target, and what the arrivals need for their blocking."""
    wanted = [] if demand.target is None else [demand.target]
    if demand.offered is not None:
        wanted.append(slots_for(demand.offered, demand.most_blocking))
    if not wanted:
        raise UserError(
            "say what the fleet must carry: --target CALLS, or --peak-arrivals 40/min with --mean-length 6min"
        )
    return max(wanted)
