"""A plan with the fleet that was asked for, or with why there is none."""

import msgspec

from capacity.fleet.prices import Price
from capacity.fleet.sizing import Demand, calls_of, size
from whisper_ops.formatting import counted
from whisper_ops.plan.plan_document import Plan


def with_fleet(plan: Plan, demand: Demand, price: Price | None = None) -> Plan:
    """The plan of one GPU and the fleet for `demand`.

    Raises:
        UserError: nothing is asked for, or a number makes no sense.
    """
    limit = plan.max_connections_per_gpu
    if limit is None:
        calls = counted(calls_of(demand), "call")
        note = f"no fleet for {calls}: there is no limit of one {plan.key.carrier_noun} to size it by"
        return msgspec.structs.replace(plan, notes=(*plan.notes, note))
    more = f"the limit is a lower bound, so a {plan.key.carrier_noun} may carry more, and the fleet be smaller"
    notes = [f"{more}; measure higher levels first"] if plan.capacity.status == "lower_bound" else []
    return msgspec.structs.replace(plan, fleet=size(demand, limit, price), notes=(*plan.notes, *notes))
