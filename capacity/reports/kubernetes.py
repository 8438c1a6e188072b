"""Kubernetes: what a plan changes in deploy/kubernetes, as a patch of the server's pods and as KEDA's ScaledObject.

The load that replicas are counted by is (streams + refused + headroom) / slots of a replica. What cannot be known must
not look like no load, so the query says nothing where Prometheus has no target, and takes a server that it cannot read
for a full one.
"""

import math
import re
from typing import NamedTuple

from whisper_ops.exporters.catalogue import metric_of
from whisper_ops.known_software import WHISPER_OPS
from whisper_ops.scaling_rule import HEADROOM, KUBERNETES_TOLERANCE

DRAIN_SECONDS = 1800
"""Where the length of calls is not known."""
_CALLS_LEFT = 5
"""Times the mean length of a call: of lengths that are spread exponentially 0.7 % last longer."""
_SHORTEST_SECONDS, _LONGEST_SECONDS = 60, 6 * 3600
PRE_STOP_SECONDS = 5
_BEYOND_SECONDS = 10
LEAST_REPLICAS = 2
_SPARE = 2
"""Replicas beyond a fleet's size that was asked for: demand that grew, and pods that are being replaced."""
_MOST_REPLICAS = 10
_REMEMBERED = "1h"
"""A server that cannot be scraped counts as full when it could be so lately. One that never could is still on its way:
to count it would ask for another pod for each that starts, until there are as many as may be."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")
_JOB = 'namespace="whisper-ops",job="whisper-ops-{}"'


class KubernetesFigures(NamedTuple):
    """What a plan says of a fleet in a cluster. A replica is one server in one pod."""

    slots: int
    """Of one GPU."""
    gpus: int
    """Of a replica."""
    lag_seconds: float
    mean_call_seconds: float | None = None
    """None: not known."""
    model: str | None = None
    """What was measured."""
    least: int = LEAST_REPLICAS
    most: int | None = None
    """Replicas that the demand needs; None: the demand is not known."""

    @property
    def slots_a_replica(self) -> int:
        """Streams that one pod carries."""
        return self.slots * self.gpus

    @property
    def drain_seconds(self) -> int:
        """How long streams of a pod that goes have to end."""
        if self.mean_call_seconds is None:
            return DRAIN_SECONDS
        return min(max(math.ceil(_CALLS_LEFT * self.mean_call_seconds), _SHORTEST_SECONDS), _LONGEST_SECONDS)


def server_patch(cluster: KubernetesFigures) -> str:
    """A patch of deploy/kubernetes/base: slots, drain and grace period of the server's pods.

    It says no number of replicas, which is the autoscaler's: applied again it would undo what was scaled.
    """
    drain = cluster.drain_seconds
    return _PATCH.format(
        drain_reason=_drain_reason(cluster),
        model=_model(cluster.model),
        grace=PRE_STOP_SECONDS + drain + _BEYOND_SECONDS,
        slots=cluster.slots,
        lag=f"{cluster.lag_seconds:g}",
        drain=drain,
        gpus=cluster.gpus,
    )


def _model(name: str | None) -> str:
    """The line that names it; a name that could be more than one stays the base's."""
    if name is None or _NAME.fullmatch(name) is None:
        return ""
    return f'            - {{name: MODEL, value: "{name}"}}\n'


def _drain_reason(cluster: KubernetesFigures) -> str:
    mean, drain = cluster.mean_call_seconds, cluster.drain_seconds
    if mean is None:
        return f"The length of calls is not known (--mean-length 6min): they get {drain} s to end."
    if drain == math.ceil(_CALLS_LEFT * mean):
        return f"Calls of {mean:g} s have {_CALLS_LEFT} times that to end: by then fewer than 1 % still speak."
    return f"Calls of {mean:g} s have {drain} s to end, which is as short or as long as is sensible."


def load_query(slots: int) -> str:
    """PromQL: streams that must have room, as KEDA asks Prometheus for it; no answer where there is none."""
    servers, brokers = _JOB.format("server"), _JOB.format("broker")
    active = metric_of(WHISPER_OPS, "server", "streams_active")
    refused = metric_of(WHISPER_OPS, "server", "rejected_total")
    factor = round((1 + HEADROOM) * (1 + KUBERNETES_TOLERANCE), 4)
    return "\n".join(
        [
            f"{factor} * (",
            f"  sum({active}{{{servers}}})",
            f'  + sum(increase({refused}{{{servers},reason=~"no_capacity|lagging"}}[1m]))',
            f'  + (sum(increase(whisper_ops_broker_refused_total{{{brokers},reason="no_capacity"}}[1m])) or vector(0))',
            f") + {slots} * sum((1 - up{{{servers}}}) * max_over_time(up{{{servers}}}[{_REMEMBERED}]))",
        ]
    )


def scaled_object(cluster: KubernetesFigures) -> str:
    """The ScaledObject of the servers."""
    most = cluster.most if cluster.most is not None else max(_MOST_REPLICAS, cluster.least)
    said = (
        "What the demand needs, and a few more." if cluster.most is not None else "The demand is not known (--target)."
    )
    query = load_query(cluster.slots_a_replica).replace("\n", "\n" + " " * 10)
    return _SCALED_OBJECT.format(
        slots=cluster.slots_a_replica,
        each=cluster.slots,
        gpus=cluster.gpus,
        headroom=f"{HEADROOM:.0%}".replace("%", " %"),
        tolerance=f"{KUBERNETES_TOLERANCE:.0%}".replace("%", " %"),
        least=cluster.least,
        most=most + (_SPARE if cluster.most is not None else 0),
        most_reason=said,
        query=query,
    )


_PATCH = """\
# A patch of deploy/kubernetes/base. In your overlay: patches: [{{path: plan.yaml}}]
apiVersion: apps/v1
kind: Deployment
metadata:
  name: whisper-ops-server
spec:
  template:
    spec:
      # {drain_reason}
      terminationGracePeriodSeconds: {grace}
      containers:
        - name: server
          # The arguments of the base name these.
          env:
{model}            - {{name: SLOTS, value: "{slots}"}}
            - {{name: LAG_SECONDS, value: "{lag}"}}
            - {{name: DRAIN_SECONDS, value: "{drain}"}}
          resources:
            requests: {{nvidia.com/gpu: {gpus}}}
            limits: {{nvidia.com/gpu: {gpus}}}
"""

_SCALED_OBJECT = """\
# For a KEDA whose fallback can hold what there is (spec.fallback.behavior); components/monitoring gives the figures.
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: whisper-ops-server
  # Where the query looks, too.
  namespace: whisper-ops
spec:
  scaleTargetRef:
    name: whisper-ops-server
  minReplicaCount: {least}
  # {most_reason}
  maxReplicaCount: {most}
  pollingInterval: 15
  # Without an answer nothing is scaled; after a minute of that what there is stays, and never fewer than these.
  fallback:
    failureThreshold: 4
    replicas: {least}
    behavior: currentReplicasIfHigher
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp:
          stabilizationWindowSeconds: 0
          policies:
            - {{type: Percent, value: 100, periodSeconds: 60}}
            - {{type: Pods, value: 2, periodSeconds: 60}}
          selectPolicy: Max
        scaleDown:
          # One pod at a time, so that a broker can say before each which one is the emptiest.
          stabilizationWindowSeconds: 600
          policies:
            - {{type: Pods, value: 1, periodSeconds: 120}}
  triggers:
    - type: prometheus
      # Streams per replica, not a utilisation.
      metricType: AverageValue
      metadata:
        serverAddress: http://prometheus-operated.monitoring.svc:9090
        # {slots} slots a replica: {each} of each of {gpus} GPU(s), as planned.
        threshold: "{slots}"
        # Null is not 0: a Prometheus without figures is an error, and an error scales nothing down.
        ignoreNullValues: "false"
        # Streams, and those refused in the last minute; {headroom} headroom, {tolerance} that the autoscaler overlooks.
        # A server that can be scraped no more counts as full: what it carries is not known.
        query: |-
          {query}
"""
