"""A host described in a file, for a machine that is only on paper: what it has, and what one call takes.

TOML or JSON; docs/planner.md has the example. Amounts may carry units and be ranges; those of a call may be told apart
by cause. GB and MB are 10**9 and 10**6 bytes, GiB and MiB powers of two; bare memory is in bytes, bare `cpu` in cores.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from capacity.hosts.amounts import CORES, COUNT, CPU, EFFICIENCY, MEMORY, SHARE, AmountKind, AmountRange, is_span, span
from whisper_ops.errors import UserError
from whisper_ops.user_files import read_text

_SUFFIXES = {
    "_gb": 1e9, "_mb": 1e6, "_kb": 1e3, "_gib": 2.0**30, "_mib": 2.0**20, "_kib": 2.0**10, "_percent": 0.01,
    "_bytes": 1.0, "_cores": 1.0,
}  # fmt: skip
_MOST_NAME = 60


class ProfileField(NamedTuple):
    """A key of a profile: every name it may have, the one it is documented by first, and what it is measured in."""

    names: tuple[str, ...]
    measure: AmountKind


HOST = {
    "cores": ProfileField(("cores", "cpu_count", "cpus", "cpu_cores"), CORES),
    "memory_total": ProfileField(("memory_total", "total_memory", "ram_total"), MEMORY),
    "memory_free": ProfileField(("memory_free", "free_memory", "ram_free", "memory_available"), MEMORY),
    "memory": ProfileField(("memory", "ram"), MEMORY),
    "connections_now": ProfileField(
        ("connections_now", "connections_today", "connections", "calls_now", "calls_today"), COUNT
    ),
    "ports": ProfileField(("ports", "ephemeral_ports"), COUNT),
    "port_range": ProfileField(("port_range", "ip_local_port_range"), COUNT),
    "descriptors_soft": ProfileField(("descriptors_soft", "descriptors_soft_limit", "nofile_soft", "soft"), COUNT),
    "descriptors_hard": ProfileField(("descriptors_hard", "descriptors_hard_limit", "nofile_hard", "hard"), COUNT),
    "file_max": ProfileField(("file_max", "fs_file_max"), COUNT),
    "somaxconn": ProfileField(("somaxconn", "net_core_somaxconn"), COUNT),
    "syn_backlog": ProfileField(("syn_backlog", "tcp_max_syn_backlog"), COUNT),
    "tasks_max": ProfileField(("tasks_max", "tasksmax", "threads_max", "pids_max"), COUNT),
    "conntrack_max": ProfileField(("conntrack_max", "nf_conntrack_max"), COUNT),
    "efficiency": ProfileField(("efficiency", "cpu_efficiency"), EFFICIENCY),
}
CALL = {
    "memory": ProfileField(("memory", "ram"), MEMORY),
    "cpu": ProfileField(("cpu", "cores", "core", "cpu_ratio"), CPU),
    "descriptors": ProfileField(("descriptors", "nofile", "files"), COUNT),
    "ports": ProfileField(("ports",), COUNT),
    "tasks": ProfileField(("tasks", "threads"), COUNT),
    "duty": ProfileField(("duty", "duty_cycle", "duty_factor"), SHARE),
}
_PER_CALL = ("per_call", "per_connection", "call", "connection", "each")
_TITLES = ("name", "title", "comment")
_LIMITING = ("cores", "memory_free", "ports", "descriptors_soft", "descriptors_hard")


class Cause(msgspec.Struct, frozen=True):
    """One reason why a call takes something, and how much."""

    name: str
    takes: AmountRange


class CallCost(msgspec.Struct, frozen=True):
    """What one call takes of one thing, cause by cause; one cause without a name where none was said."""

    causes: tuple[Cause, ...]
    count: bool = False

    @property
    def total(self) -> AmountRange:
        """The sum over all causes."""
        found = sum((cause.takes for cause in self.causes), AmountRange(0.0, 0.0, 0.0))
        return found.whole() if self.count else found


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A host and one call, in base units; None: not said, and so not a limit."""

    title: str | None = None
    cores: float | None = None
    memory_total: float | None = None
    memory_free: float | None = None
    connections_now: float | None = None
    ports: float | None = None
    descriptors_soft: float | None = None
    descriptors_hard: float | None = None
    file_max: float | None = None
    somaxconn: float | None = None
    syn_backlog: float | None = None
    tasks_max: float | None = None
    conntrack_max: float | None = None
    efficiency: float = 1.0
    """The share of the cores' time in which they do work for calls."""
    duty: AmountRange | None = None
    """The share of a call in which it needs its processor time; the rest of the call it waits."""
    takes: dict[str, CallCost] = {}


def read_profile(path: Path) -> Profile:
    """Read a profile.

    Raises:
        UserError: the file cannot be read, is neither TOML nor JSON, names something unknown, or an amount is none.
    """
    said = _load(path)
    call = _section(path, said, _PER_CALL)
    host = _section(path, said, ("host",))
    title = next((str(part[key]) for part in (said, host) for key in _TITLES if key in part), None)
    found = _host(path, {**said, **host})
    takes, duty = _takes(path, call)
    if not takes or not any(name in found for name in _LIMITING):
        raise UserError(
            f"{path} needs what the host has ({', '.join(_LIMITING)} and their like) and a section [per_call] with "
            f"what one call takes ({', '.join(name for name in CALL if name != 'duty')})"
        )
    if title is not None:
        _check_name(path, title)
    return Profile(title=title, takes=takes, duty=duty, **found)


def _host(path: Path, said: Mapping[str, Any]) -> dict[str, float]:
    """What the host has, by the names of `Profile`."""
    found: dict[str, float] = {}
    for field, where, value, measure, factor in _fields(path, said, HOST):
        if field == "port_range":
            found.setdefault("ports", _ports(where, value))
        else:
            found[field] = _exact(where, span(where, value, measure, factor))
    _settle_memory(path, found)
    return found


def _takes(path: Path, call: Mapping[str, Any]) -> tuple[dict[str, CallCost], AmountRange | None]:
    takes: dict[str, CallCost] = {}
    duty = None
    for field, where, value, measure, factor in _fields(path, call, CALL):
        if field == "duty":
            duty = span(where, value, measure, factor)
            if duty.low <= 0:
                raise UserError(f"{where} is {value!r}, and a call that never works takes no processor; leave it out")
            continue
        causes = {"": value} if not isinstance(value, Mapping) or is_span(value) else value
        for name in causes:
            _check_name(path, str(name))
        read = tuple(
            Cause(str(name), span(f"{where}.{name}" if name else where, said, measure, factor))
            for name, said in causes.items()
        )
        takes[field] = CallCost(read, count=measure is COUNT)
        if takes[field].total.low <= 0:
            raise UserError(f"{where}: a call that takes 0 of it takes nothing; leave it out of [per_call]")
    return {field: takes[field] for field in CALL if field in takes}, duty


def _settle_memory(path: Path, found: dict[str, float]) -> None:
    """`memory` alone is what is free; with `memory_free` it is all there is."""
    said = found.pop("memory", None)
    if said is not None:
        found.setdefault("memory_total" if "memory_free" in found else "memory_free", said)
    total, free = found.get("memory_total"), found.get("memory_free")
    if total is not None and free is not None and free > total:
        raise UserError(f"{path}: memory_free is more than memory_total; {free / 1e9:g} GB of {total / 1e9:g} GB")
    if total is not None and free is None:
        raise UserError(f"{path} says memory_total and not memory_free; calls can only have what is free")


def _section(path: Path, said: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Take a section out of what was said; empty where there is none."""
    there = [name for name in names if isinstance(said.get(name), dict)]
    if len(there) > 1:
        raise UserError(f"{path} says what one call takes twice, in [{there[0]}] and in [{there[1]}]; keep one")
    if there:
        section: dict[str, Any] = said.pop(there[0])
        return section
    if names[0] in said:
        raise UserError(f"{path}: {names[0]} is {said[names[0]]!r}; make it a section [{names[0]}]")
    return {}


def _fields(
    path: Path, said: Mapping[str, Any], fields: dict[str, ProfileField]
) -> Iterator[tuple[str, str, Any, AmountKind, float]]:
    """Every key that was said: the field it means, where it stands, its value, its measure, the factor of its unit."""
    seen: dict[str, str] = {}
    known = {alias: field for field, (aliases, _) in fields.items() for alias in aliases}
    for key, value in said.items():
        if key in _TITLES:
            continue
        plain, factor = key.lower().replace("-", "_").replace(".", "_").removeprefix("net_ipv4_"), 1.0
        for suffix, size in _SUFFIXES.items():
            if plain not in known and plain.endswith(suffix):
                plain, factor = plain.removesuffix(suffix), size
        field = known.get(plain)
        if field is None:
            raise UserError(f"{path}: {key!r} is not known here; what can be said is {', '.join(fields)}")
        if field in seen:
            raise UserError(f"{path} says {field} twice, as {seen[field]} and as {key}; keep one")
        seen[field] = key
        yield field, f"{path}: {key}", value, fields[field].measure, factor


def _exact(where: str, value: AmountRange) -> float:
    if not value.is_exact:
        raise UserError(f"{where} is a range, and what a host has is one amount; say the least")
    return value.low


def _ports(where: str, value: object) -> float:
    """`"32768 60999"` or `[32768, 60999]` as a number of ports."""
    parts = value.replace("-", " ").split() if isinstance(value, str) else value
    if not isinstance(parts, list) or len(parts) != 2:
        raise UserError(f'{where} is {value!r}; write the lowest and the highest port, as in "32768 60999"')
    low, high = (_exact(where, span(where, part, COUNT)) for part in parts)
    if not 0 < low < high < 65536:
        raise UserError(f"{where} is {value!r}, which is no range of ports from 1 to 65535")
    return high - low + 1


def _check_name(path: Path, name: str) -> None:
    if len(name) > _MOST_NAME or not name.isprintable():
        raise UserError(f"{path}: {name[:_MOST_NAME]!r} is no name; use up to {_MOST_NAME} plain characters")


def _load(path: Path) -> dict[str, Any]:
    text = read_text(path, "the host profile ")
    try:
        said = msgspec.json.decode(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except RecursionError as error:
        raise UserError(f"{path} is nested too deep for a host profile") from error
    except (ValueError, msgspec.DecodeError) as error:
        raise UserError(f"{path} is neither TOML nor JSON: {error}") from error
    if not isinstance(said, dict):
        raise UserError(f"{path} holds no host profile")
    return said
