"""Write deploy/grafana/whisper-ops.json, the Grafana dashboard; `--check` only says whether it is current."""

import sys
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard, gauge, heatmap, timeseries
from grafana_foundation_sdk.builders import prometheus as query
from grafana_foundation_sdk.builders.common import StackingConfig
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import StackingMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

FILE = Path(__file__).parents[1] / "deploy/grafana/whisper-ops.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
CHOSEN = '{instance=~"$instance"}'
BY_GPU = "{{instance}} GPU {{gpu}}"


def make() -> str:
    """The dashboard as JSON."""
    made = (
        dashboard.Dashboard("whisper-ops")
        .uid("whisper-ops")
        .tags(["whisper-ops", "speech-to-text"])
        .refresh("10s")
        .time("now-1h", "now")
        .editable()
        .with_variable(dashboard.DatasourceVariable("source").type("prometheus").label("Prometheus"))
        .with_variable(
            dashboard.QueryVariable("instance")
            .query("label_values(whisper_ops_slots, instance)")
            .datasource(SOURCE)
            .multi(multi=True)
            .include_all(include_all=True)
            .refresh(2)
            .label("Server")
        )
    )
    for panel in _panels():
        made = made.with_panel(panel.datasource(SOURCE).height(8).span(12))
    return JSONEncoder(sort_keys=True, indent=1).encode(made.build()) + "\n"


def _panels() -> list[Any]:
    return [
        timeseries.Panel()
        .title("Connections by GPU, and its slots")
        .unit("short")
        .min(0)
        .with_target(_ask(f"whisper_ops_gpu_connections_active{CHOSEN}", BY_GPU))
        .with_target(_ask(f"whisper_ops_gpu_connections_max{CHOSEN}", f"slots of {BY_GPU}", "B")),
        timeseries.Panel()
        .title("Memory by GPU")
        .unit("decbytes")
        .min(0)
        .fill_opacity(40)
        .stacking(StackingConfig().mode(StackingMode.NORMAL))
        .with_target(_ask(f"whisper_ops_gpu_memory_used_bytes{CHOSEN}", BY_GPU)),
        heatmap.Panel()
        .title("Set-up time")
        .unit("s")
        .with_target(
            _ask(
                f"sum by (le) (increase(whisper_ops_setup_seconds_bucket{CHOSEN}[$__rate_interval]))", "{{le}}"
            ).format(PromQueryFormat.HEATMAP)
        ),
        gauge.Panel()
        .title("Capacity in use")
        .unit("percent")
        .min(0)
        .max(100)
        .thresholds(_steps(("green", None), ("orange", 70), ("red", 90)))
        .with_target(
            _ask(f"100 * sum(whisper_ops_slots_used{CHOSEN}) / (sum(whisper_ops_slots{CHOSEN}) > 0)", "slots in use")
        ),
        timeseries.Panel()
        .title("Lag, p95, against the default objective of 1 s")
        .unit("s")
        .min(0)
        .thresholds(_steps(("green", None), ("red", 1)))
        .with_target(
            _ask(
                "histogram_quantile(0.95, sum by (instance, le) "
                f"(rate(whisper_ops_lag_seconds_bucket{CHOSEN}[$__rate_interval])))",
                "{{instance}}",
            )
        ),
        timeseries.Panel()
        .title("Streams turned away, a second")
        .unit("short")
        .min(0)
        .with_target(
            _ask(
                f"sum by (instance, reason) (rate(whisper_ops_connections_rejected_total{CHOSEN}[$__rate_interval]))",
                "{{instance}} {{reason}}",
            )
        ),
    ]


def _ask(promql: str, legend: str, name: str = "A") -> query.Dataquery:
    return query.Dataquery().expr(promql).legend_format(legend).ref_id(name)


def _steps(*steps: tuple[str, float | None]) -> dashboard.ThresholdsConfig:
    made = [Threshold(value=value, color=color) for color, value in steps]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)


if __name__ == "__main__":
    if "--check" not in sys.argv:
        FILE.write_text(make(), "utf-8")
    elif FILE.read_text("utf-8") != make():
        sys.exit("deploy/grafana/whisper-ops.json is out of date: run `make docs`")
