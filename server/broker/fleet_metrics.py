"""`/metrics` of a fleet: those of one server, and what is the broker's own."""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from server.broker.fleet import Fleet
from server.metrics.openmetrics import PREFIX, MetricFamilies
from whisper_ops.histogram import LATENCY_BOUNDS_SECONDS
from whisper_ops.wire import MemberState

_STATES: tuple[MemberState, ...] = ("live", "starting", "draining", "silent")
REASONS = ("draining", "no_answer", "no_capacity")


def with_brokers(families: MetricFamilies, fleet: Fleet) -> MetricFamilies:
    """The same page with the broker's families."""
    return MetricFamilies([*families.collect(), *_own(fleet)])


def _own(fleet: Fleet) -> Iterator[Metric]:
    members = GaugeMetricFamily(f"{PREFIX}broker_members", "Members of the fleet, by state.", labels=["state"])
    states = [member.state for member in fleet.members.values()]
    for state in _STATES:
        members.add_metric([state], states.count(state))
    yield members
    by_name = GaugeMetricFamily(f"{PREFIX}broker_member_free_slots", "Slots to give out there.", labels=["member"])
    for member in fleet.counted():
        by_name.add_metric([member.name], member.free)
    yield by_name
    yield CounterMetricFamily(f"{PREFIX}broker_connects", "Addresses handed out.", fleet.handed_out)
    refused = CounterMetricFamily(f"{PREFIX}broker_refused", "Clients that got no address.", labels=["reason"])
    for reason, count in sorted((dict.fromkeys(REASONS, 0) | fleet.refused).items()):
        refused.add_metric([reason], count)
    yield refused
    yield CounterMetricFamily(f"{PREFIX}broker_retries", "Members that refused, or did not answer.", fleet.retries)
    waits = HistogramMetricFamily(f"{PREFIX}broker_connect_seconds", "Question to address.", labels=[])
    bounds = [*map(str, LATENCY_BOUNDS_SECONDS), "+Inf"]
    waits.add_metric([], list(zip(bounds, accumulate(fleet.seconds.counts), strict=True)), fleet.seconds.sum_seconds)
    yield waits
