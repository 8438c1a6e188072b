"""Polls from a Prometheus-compatible server: range queries, put together by instance and moment."""

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec

from capacity.importing.figures import Moment
from whisper_ops import trust
from whisper_ops.addresses import parsed, shown
from whisper_ops.answers import fetch_now
from whisper_ops.errors import Exit, UserError
from whisper_ops.identity import Identity
from whisper_ops.snapshot import Snapshot
from whisper_ops.units import whole

_POINTS = 10_000
"""Prometheus answers at most 11,000 points a series."""
_TIMEOUT_SECONDS = 60.0
_ANSWER_BYTES = 32 * 1024 * 1024
"""Of one query over one window: a thousand series of a thousand points."""


class Query(msgspec.Struct, frozen=True):
    """A figure as PromQL, the factor to base units, and the label that numbers GPUs."""

    promql: str
    factor: float = 1.0
    gpu_label: str | None = None


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """How a kind of server names what the history wants to know."""

    queries: dict[str, Query]
    software: str
    info: str | None = None
    """A metric whose labels are the identity."""


def _p95(buckets: str) -> Query:
    return Query(f"histogram_quantile(0.95, sum by (instance, le) (rate({buckets}[5m])))")


def _gpu(metric: str, factor: float = 1.0) -> Query:
    return Query(metric, factor, "gpu")


def _device(metric: str, factor: float = 1.0) -> Query:
    """A figure of a whole GPU, which the exporter repeats for each pod and each instance on it."""
    return _gpu(f"max by (instance, gpu) ({metric})", factor)


_DCGM = {
    "gpu.gpu_ratio": _device("DCGM_FI_DEV_GPU_UTIL", 0.01),
    # Pods of one instance (MIG) share its memory; the instances of a GPU each have their own.
    "gpu.memory_used_bytes": _gpu(
        "sum by (instance, gpu) (max by (instance, gpu, GPU_I_ID) (DCGM_FI_DEV_FB_USED))", 2.0**20
    ),
    "gpu.temperature_celsius": _device("DCGM_FI_DEV_GPU_TEMP"),
    "gpu.power_watts": _device("DCGM_FI_DEV_POWER_USAGE"),
    "gpu.sm_clock_hertz": _device("DCGM_FI_DEV_SM_CLOCK", 1e6),
}
MAPPINGS: dict[str, Mapping] = {
    "whisper-ops": Mapping(
        software="whisper-ops",
        info="whisper_ops_build_info",
        queries={
            "server.streams_active": Query("whisper_ops_connections_active"),
            "server.slots": Query("whisper_ops_slots"),
            "server.slots_used": Query("whisper_ops_slots_used"),
            "server.rejected_total": Query("sum by (instance) (whisper_ops_connections_rejected_total)"),
            "server.lag_p95_seconds": _p95("whisper_ops_lag_seconds_bucket"),
            "gpu.streams_active": _gpu("whisper_ops_gpu_connections_active"),
            "gpu.memory_used_bytes": _gpu("whisper_ops_gpu_memory_used_bytes"),
            "gpu.memory_total_bytes": _gpu("whisper_ops_gpu_memory_total_bytes"),
            "gpu.busy_ratio": _gpu("whisper_ops_gpu_busy_ratio"),
            "gpu.gpu_ratio": _gpu("whisper_ops_gpu_utilization_ratio"),
            "gpu.lag_p95_seconds": _gpu("whisper_ops_gpu_lag_p95_seconds"),
            "host.cpu_ratio": Query("whisper_ops_host_cpu_ratio"),
            "host.front_cpu_ratio": Query("whisper_ops_host_front_cpu_ratio"),
            "host.process_rss_bytes": Query("whisper_ops_host_process_rss_bytes"),
            "host.open_descriptors": Query("whisper_ops_host_open_descriptors"),
            "host.descriptors_soft_limit": Query("whisper_ops_host_descriptors_soft_limit"),
            "host.memory_total_bytes": Query("whisper_ops_host_memory_total_bytes"),
        },
    ),
    "whisperlive": Mapping(
        software="WhisperLive",
        queries={
            "server.streams_active": Query("whisperlive_connections_active"),
            "server.accepted_total": Query("whisperlive_connections_total"),
            "server.rejected_total": Query("sum by (instance) (whisperlive_connections_rejected_total)"),
            "server.lag_p95_seconds": _p95("whisperlive_transcription_latency_seconds_bucket"),
        },
    ),
    "vllm": Mapping(
        software="vLLM",
        queries={
            "server.streams_active": Query("sum by (instance) (vllm:num_requests_running)"),
            "server.lag_p95_seconds": _p95("vllm:e2e_request_latency_seconds_bucket"),
        },
    ),
    "dcgm": Mapping(software="DCGM exporter", queries=_DCGM),
}


class Range(msgspec.Struct, frozen=True):
    """From when to when, and how far apart, in seconds."""

    since: float
    until: float
    step: float


def snapshots(
    url: str, mappings: list[Mapping], wanted: Range, identity: Identity, token: str | None
) -> Iterator[Snapshot]:
    """Everything the mapped metrics say, as polls in the order of time, a window of moments at a time.

    Raises:
        UserError: the server cannot be reached (exit code 3) or refuses, or has no load to plan from (exit code 4).
    """
    try:
        parsed(url, ("http", "https"))
    except ValueError as error:
        raise UserError(
            f"{shown(url)!r} is no address of a Prometheus ({error}); give one like http://127.0.0.1:9090"
        ) from error
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(
        base_url=url.rstrip("/"), timeout=_TIMEOUT_SECONDS, headers=headers, verify=trust.context()
    ) as client:
        known = [_with_identity(client, mapping, identity, wanted.until) for mapping in mappings]
        since, found = wanted.since, False
        while since < wanted.until:
            until = min(since + _POINTS * wanted.step, wanted.until)
            moments = _moments(client, mappings, Range(since, until, wanted.step))
            for (name, at), moment in sorted(moments.items(), key=lambda item: item[0][1]):
                found = found or "streams_active" in moment.server or bool(moment.gpus)
                yield moment.snapshot(name, at, known[0].get(name, identity))
            since = until + wanted.step
    if not found:
        names = ", ".join(sorted({query.promql for mapping in mappings for query in mapping.queries.values()})[:3])
        raise UserError(
            f"{url} knows none of the metrics that were asked for ({names}, …); try another --mapping", Exit.EVIDENCE
        )


def _moments(client: httpx.Client, mappings: list[Mapping], window: Range) -> dict[tuple[str, float], Moment]:
    """Figures by (instance, time)."""
    moments: dict[tuple[str, float], Moment] = {}
    for mapping in mappings:
        for figure, query in mapping.queries.items():
            for series in _ask(client, query.promql, window):
                labels = series["metric"]
                gpu = _number(labels.get(query.gpu_label or "", "0"))
                name = _server_name(labels, moments)
                for at, text in series["values"]:
                    value = float(text) * query.factor
                    if value == value and abs(value) != float("inf"):  # noqa: PLR0124  # NaN is what does not equal itself
                        moments.setdefault((name, float(at)), Moment.empty()).put(figure, value, gpu)
    return moments


def _server_name(labels: dict[str, str], moments: dict[tuple[str, float], Moment]) -> str:
    """The instance; an exporter on the same machine as a known server belongs to that server."""
    instance = labels.get("instance", "server")
    names = {name for name, _ in moments}
    host = instance.rsplit(":", 1)[0]
    return instance if instance in names else next((name for name in names if name.rsplit(":", 1)[0] == host), instance)


def _with_identity(client: httpx.Client, mapping: Mapping, given: Identity, at: float) -> dict[str, Identity]:
    """What each instance runs, from the info metric where there is one; what the user gave goes first."""
    base = msgspec.structs.replace(given, software=given.software or mapping.software)
    found: dict[str, Identity] = _Default(base)
    if mapping.info is None:
        return found
    for series in _get(client, "/api/v1/query", {"query": f"last_over_time({mapping.info}[30d])", "time": at}):
        labels = series["metric"]
        found[labels.get("instance", "server")] = msgspec.structs.replace(
            base,
            version=base.version or labels.get("version"),
            engine=base.engine or labels.get("engine"),
            model=base.model or labels.get("model"),
            compute_type=base.compute_type or labels.get("compute_type") or None,
            simulated=base.simulated or labels.get("simulated") == "true",
        )
    return found


class _Default(dict[str, Identity]):
    """A dict whose `get` falls back to one identity."""

    def __init__(self, base: Identity) -> None:
        super().__init__()
        self._base = base

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401, ARG002  # dict's own signature
        return self[key] if key in self else self._base  # noqa: SIM401  # the way round that does not recurse


def _ask(client: httpx.Client, promql: str, window: Range) -> list[dict[str, Any]]:
    asked = {"query": promql, "start": window.since, "end": window.until, "step": window.step}
    return _get(client, "/api/v1/query_range", asked)


def _get(client: httpx.Client, path: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        answer = fetch_now(client, path, asked, limit=_ANSWER_BYTES)
        body: Any = msgspec.json.decode(answer.body)
    except httpx.HTTPError as error:
        said = trust.untrusted(str(client.base_url), error)
        raise UserError(said or f"cannot reach Prometheus at {client.base_url}: {error}", Exit.UNREACHABLE) from error
    except ValueError as error:
        raise UserError(
            f"{client.base_url} does not answer like Prometheus; name its address without a path"
        ) from error
    if not isinstance(body, dict) or body.get("status") != "success":
        why = body.get("error", answer.status) if isinstance(body, dict) else answer.status
        raise UserError(f"Prometheus at {client.base_url} refused the query {asked['query']!r}: {why}")
    found: list[dict[str, Any]] = body["data"]["result"]
    return found


def _number(text: str) -> int:
    return whole(text) or 0
