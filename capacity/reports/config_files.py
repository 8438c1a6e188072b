"""Configuration that carries a plan's numbers, ready to be put where it belongs. Each says which plan it came from."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

from capacity.reports import cloudwatch
from capacity.reports.kubernetes import LEAST_REPLICAS, KubernetesFigures, scaled_object, server_patch
from capacity.reports.nginx import LISTEN, Proxy, render
from whisper_ops.addresses import parsed
from whisper_ops.errors import Exit, UserError
from whisper_ops.exporters.catalogue import metric_of
from whisper_ops.formatting import counted
from whisper_ops.known_software import WHISPER_OPS
from whisper_ops.objective import read_stored
from whisper_ops.plan.plan_document import Plan
from whisper_ops.server_names import canonical_name
from whisper_ops.untrusted_text import one_line

Target = Literal["server", "systemd", "sysctl", "prometheus-rules", "nginx", "kubernetes", "keda", "cloudwatch"]
_DESCRIPTORS = 65536
_BACKLOG = 4096
_DEFAULT_LAG_SECONDS = 2.0
_UNIT = "--host 0.0.0.0 --port 8000 --token-file %d/token --admin-token-file %d/admin-token --drain-timeout 5min"


class _Rule(NamedTuple):
    """An alert of Prometheus."""

    name: str
    expression: str
    hold: str
    severity: str
    summary: str

    def lines(self) -> list[str]:
        """Its YAML, as an item of `rules`."""
        return [
            f"      - alert: WhisperOps{self.name}",
            f"        expr: {self.expression}",
            f"        for: {self.hold}",
            f"        labels: {{severity: {self.severity}}}",
            "        annotations:",
            f'          summary: "{self.summary}"',
        ]


def emit(
    plan: Plan,
    target: Target,
    servers: Sequence[str] = (),
    mean_call_seconds: float | None = None,
    listen: str | None = None,
) -> str:
    """The configuration for one target.

    Args:
        plan: whose numbers it carries.
        target: what is configured.
        servers: host and port of each, where it names them.
        mean_call_seconds: how long a call lasts, where it says how long one may still speak on a server that goes.
        listen: host and port of its own, where it listens.

    Raises:
        UserError: the plan allows no connection at all, so there is nothing to configure (exit code 1).
    """
    if plan.max_connections_per_gpu is None:
        raise UserError("the plan allows not one connection, so there is no configuration to print", Exit.NO)
    if target == "cloudwatch":  # JSON, which has no comments
        full = plan.capacity.last_pass or plan.max_connections_per_gpu
        limits = cloudwatch.AlarmLimits(plan.max_connections_per_gpu, full, _objective(plan))
        return cloudwatch.render([one_line(line) for line in _origin(plan)], limits)
    makers: dict[Target, Callable[[Plan, int], str]] = {
        "server": _server,
        "systemd": _systemd,
        "sysctl": _sysctl,
        "prometheus-rules": _rules,
        "nginx": partial(_nginx, servers=servers, listen=listen or LISTEN),
        "kubernetes": lambda plan, limit: server_patch(_cluster(plan, limit, mean_call_seconds)).rstrip(),
        "keda": lambda plan, limit: scaled_object(_cluster(plan, limit)).rstrip(),
    }
    comment = "\n".join(f"# {one_line(line)}" for line in _origin(plan))
    return f"{comment}\n{makers[target](plan, plan.max_connections_per_gpu)}\n"


def _origin(plan: Plan) -> list[str]:
    marks = [word for word, holds in (("PROVISIONAL", plan.provisional), ("SIMULATED", plan.simulated)) if holds]
    warning = [f"{' and '.join(marks)}: do not take it to production"] if marks else []
    return [
        f"whisper-ops plan for {plan.key.title}",
        f"{counted(plan.max_connections_per_gpu, 'connection')} a GPU: {plan.reason}",
        *warning,
    ]


def _objective(plan: Plan) -> float:
    return read_stored(plan.objective).limit("stable_p95") or _DEFAULT_LAG_SECONDS


def _server(plan: Plan, limit: int) -> str:
    return f"whisper-ops serve --max-connections-per-gpu {limit} --lag-objective {_objective(plan):g}"


def _systemd(plan: Plan, limit: int) -> str:
    return "\n".join(
        [
            "# /etc/systemd/system/whisper-ops-serve.service.d/capacity.conf, then:",
            "#   systemctl daemon-reload && systemctl restart whisper-ops-serve",
            "[Service]",
            "# The command of the unit in deploy/systemd, with the limit; the empty line first takes the old one away.",
            "ExecStart=",
            f"ExecStart=/usr/local/bin/{_server(plan, limit)} {_UNIT}",
            f"LimitNOFILE={max(_DESCRIPTORS, _power(4 * limit * plan.key.gpus_a_server))}",
            "TasksMax=4096",
        ]
    )


def _sysctl(plan: Plan, limit: int) -> str:
    connections = limit * plan.key.gpus_a_server
    backlog = max(_BACKLOG, _power(2 * connections))
    return "\n".join(
        [
            "# /etc/sysctl.d/90-whisper-ops.conf, then: sysctl --system",
            f"net.core.somaxconn = {backlog}",
            f"net.ipv4.tcp_max_syn_backlog = {backlog}",
            "# only a proxy or a load generator on this machine needs more ports than the usual 28,232",
            "net.ipv4.ip_local_port_range = 1024 65535",
            f"net.netfilter.nf_conntrack_max = {max(262144, _power(8 * connections))}",
        ]
    )


def _rules(plan: Plan, limit: int) -> str:
    objective = _objective(plan)
    full = plan.capacity.last_pass or limit
    buckets, refused = (metric_of(WHISPER_OPS, "server", of) for of in ("lag_p95_seconds", "rejected_total"))
    streams = metric_of(WHISPER_OPS, "gpu", "streams_active")
    lag = f"histogram_quantile(0.95, sum by (instance, le) (rate({buckets}[1m])))"
    holder = "GPU {{ $labels.gpu }} of {{ $labels.instance }} holds {{ $value }} connections"
    server = "{{ $labels.instance }}"
    rejected = f"sum by (instance, reason) (rate({refused}[5m])) > 0"
    rules = (
        _Rule(
            "OverSafeLimit",
            f"{streams} > {limit}",
            "2m",
            "warn",
            f"{holder}; {limit} are safe",
        ),
        _Rule(
            "AtLimit",
            f"{streams} >= {full}",
            "1m",
            "page",
            f"{holder}; {full} is the most that ever passed",
        ),
        _Rule(
            "LagOverObjective",
            f"{lag} > {objective:g}",
            "2m",
            "page",
            f"p95 lag of {server} is {{{{ $value | humanizeDuration }}}}; {objective:g} s is the objective",
        ),
        _Rule("Rejecting", rejected, "5m", "warn", f"{server} refuses connections ({{{{ $labels.reason }}}})"),
    )
    head = ["groups:", "  - name: whisper-ops-capacity", "    rules:"]
    return "\n".join([*head, *(line for rule in rules for line in rule.lines())])


def _nginx(plan: Plan, limit: int, servers: Sequence[str], listen: str) -> str:
    known = servers or [_measured(plan)]
    more = (
        "" if servers else "# The server that was measured; name all of them with --upstream HOST:PORT, repeatable.\n"
    )
    return more + render(Proxy(servers=known, slots=limit * plan.key.gpus_a_server, listen=listen)).rstrip()


def _cluster(plan: Plan, limit: int, mean_call_seconds: float | None = None) -> KubernetesFigures:
    gpus, fleet = plan.key.gpus_a_server, plan.fleet
    return KubernetesFigures(
        slots=limit,
        gpus=gpus,
        lag_seconds=_objective(plan),
        mean_call_seconds=mean_call_seconds,
        model=None if plan.simulated else plan.key.model,
        least=max(LEAST_REPLICAS, 1 + (fleet.spare_machines if fleet is not None else 0)),
        most=None if fleet is None else math.ceil(fleet.gpus / gpus),
    )


def _measured(plan: Plan) -> str:
    """The host and port of the server that was measured; a name that is none would be settings of its own."""
    try:
        return parsed(f"http://{canonical_name(plan.server or '')}", ("http",)).netloc
    except ValueError as error:
        raise UserError("the plan names no address of a server; name them with --upstream HOST:PORT") from error


def _power(number: int) -> int:
    """The next power of two."""
    return 1 << math.ceil(math.log2(max(number, 1)))
