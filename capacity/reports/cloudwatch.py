"""Amazon CloudWatch: the agent's configuration, and alarms with a plan's numbers.

The agent reads GPUs by its own section, and scrapes our /metrics with the file in deploy/cloudwatch; its EMF processor
makes metrics of what is selected here. It knows gauges and counters (as what was added since) and drops histograms, so
lag is the gauge of its 95th percentile. By the dimension `job` alone a metric has the samples of all servers and GPUs:
its maximum is the fullest one, and that is what an alarm can name without knowing any server.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from whisper_ops.exporters.catalogue import metric_of
from whisper_ops.known_software import WHISPER_OPS

JOB = "whisper-ops"
NAMESPACE = "WhisperOps"
SCRAPE_FILE = "/opt/aws/amazon-cloudwatch-agent/etc/whisper-ops-prometheus.yaml"
_SECONDS = 60
_NVIDIA = (
    "utilization_gpu", "utilization_memory", "memory_total", "memory_used", "memory_free", "temperature_gpu",
    "power_draw", "clocks_current_sm",
)  # fmt: skip
OF_SERVERS = ("slots", "slots_used", "connections_active", "connections_rejected_total", "host_front_cpu_ratio")
OF_GPUS = (
    "connections_active",
    "connections_max",
    "lag_p95_seconds",
    "busy_ratio",
    "memory_used_bytes",
    "restarts_total",
)
_UNITS = {"lag_p95_seconds": "Seconds", "memory_used_bytes": "Bytes"}


class AlarmLimits(NamedTuple):
    """Thresholds of the alarms, in streams on a GPU and seconds of lag."""

    safe: int
    """Connections of a GPU."""
    full: int
    """The most that ever passed."""
    lag_seconds: float


class _Alarm(NamedTuple):
    name: str
    metric: str
    threshold: float
    minutes: int
    statistic: str
    operator: str
    text: str
    missing: str = "missing"
    """What no sample means: nothing to compare, or `breaching`."""


def render(origin: Sequence[str], limits: AlarmLimits) -> str:
    """JSON. The agent reads what it knows and leaves `whisper_ops` be, which has the plan and the alarms."""
    whole: dict[str, Any] = {
        "whisper_ops": {"plan": list(origin), "alarms": [_written(alarm) for alarm in _alarms(limits)]},
        "agent": {"metrics_collection_interval": _SECONDS},
        "metrics": {
            "namespace": NAMESPACE,
            "append_dimensions": {"InstanceId": "${aws:InstanceId}", "InstanceType": "${aws:InstanceType}"},
            "metrics_collected": {
                "nvidia_gpu": {"measurement": list(_NVIDIA), "metrics_collection_interval": _SECONDS},
                "mem": {"measurement": ["mem_used_percent"]},
                "cpu": {"measurement": ["usage_active"], "totalcpu": True},
            },
        },
        "logs": {
            "metrics_collected": {
                "prometheus": {
                    "cluster_name": JOB,
                    "log_group_name": f"/{JOB}/metrics",
                    "prometheus_config_path": SCRAPE_FILE,
                    "emf_processor": {
                        "metric_declaration_dedup": True,
                        "metric_namespace": NAMESPACE,
                        "metric_unit": {f"whisper_ops_gpu_{name}": unit for name, unit in _UNITS.items()},
                        "metric_declaration": [
                            _declaration("whisper_ops_", OF_SERVERS, ["job", "instance"]),
                            _declaration("whisper_ops_gpu_", OF_GPUS, ["job", "instance", "gpu"]),
                        ],
                    },
                }
            }
        },
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _declaration(prefix: str, names: Sequence[str], each: list[str]) -> dict[str, Any]:
    return {
        "source_labels": ["job"],
        "label_matcher": f"^{JOB}$",
        "dimensions": [["job"], each],
        "metric_selectors": [f"^{prefix}({'|'.join(names)})$"],
    }


def _alarms(limits: AlarmLimits) -> Sequence[_Alarm]:
    streams, lag = (metric_of(WHISPER_OPS, "gpu", figure) for figure in ("streams_active", "lag_p95_seconds"))
    refused, slots = (metric_of(WHISPER_OPS, "server", figure) for figure in ("rejected_total", "slots"))
    over = "GreaterThanThreshold"
    return (
        _Alarm("over-safe-limit", streams, limits.safe, 2, "Maximum", over, f"a GPU holds over {limits.safe} streams"),
        _Alarm(
            "at-limit", streams, limits.full, 1, "Maximum", "GreaterThanOrEqualToThreshold",
            f"a GPU holds {limits.full} streams, the most that ever passed",
        ),
        _Alarm(
            "lag-over-objective", lag, limits.lag_seconds, 2, "Maximum", over,
            f"p95 lag of a GPU is over the objective of {limits.lag_seconds:g} s",
        ),
        _Alarm("rejecting", refused, 0, 5, "Sum", over, "servers refuse streams"),
        _Alarm(
            "silent", slots, 1, 3, "SampleCount", "LessThanThreshold", "no server gave any figures",
            "breaching",
        ),
    )  # fmt: skip


def _written(alarm: _Alarm) -> dict[str, Any]:
    """As `aws cloudwatch put-metric-alarm --cli-input-json` takes it."""
    return {
        "AlarmName": f"{JOB}-{alarm.name}",
        "AlarmDescription": alarm.text,
        "Namespace": NAMESPACE,
        "MetricName": alarm.metric,
        "Dimensions": [{"Name": "job", "Value": JOB}],
        "Statistic": alarm.statistic,
        "Period": _SECONDS,
        "EvaluationPeriods": alarm.minutes,
        "Threshold": alarm.threshold,
        "ComparisonOperator": alarm.operator,
        "TreatMissingData": alarm.missing,
    }
