"""`/metrics` of a fleet: the families of a server, and the broker's own."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from server.broker.fleet import Fleet
from server.metrics.openmetrics import PREFIX, MetricFamilies, latency_histogram
from whisper_ops.wire import MemberState

_STATES: tuple[MemberState, ...] = ("live", "starting", "draining", "silent")
REASONS = ("draining", "no_answer", "no_capacity")


def with_broker_families(families: MetricFamilies, fleet: Fleet) -> MetricFamilies:
    return MetricFamilies([*families.collect(), *_broker_families(fleet)])


def _broker_families(fleet: Fleet) -> Iterator[Metric]:
    members = GaugeMetricFamily(f"{PREFIX}broker_members", "Members of the fleet, by state.", labels=["state"])
    states = [member.state for member in fleet.members.values()]
    for state in _STATES:
        members.add_metric([state], states.count(state))
    yield members
    by_name = GaugeMetricFamily(f"{PREFIX}broker_member_free_slots", "Slots to give out there.", labels=["member"])
    for member in fleet.distinct_members():
        by_name.add_metric([member.name], member.free)
    yield by_name
    yield CounterMetricFamily(f"{PREFIX}broker_connects", "Addresses handed out.", fleet.handed_out)
    refused = CounterMetricFamily(f"{PREFIX}broker_refused", "Clients that got no address.", labels=["reason"])
    for reason, count in sorted((dict.fromkeys(REASONS, 0) | fleet.refused).items()):
        refused.add_metric([reason], count)
    yield refused
    yield CounterMetricFamily(f"{PREFIX}broker_retries", "Members that refused, or did not answer.", fleet.retries)
    waits = fleet.connect_seconds
    yield latency_histogram("broker_connect", "Request to address.", waits.counts, waits.sum_seconds)
