"""A host described in a file, for a machine that is only on paper: what it has, and what one call takes.

TOML or JSON. Numbers may carry units: `memory_free = "53 GB"`, `cpu = "5 %"`. GB and MB are 10**9 and 10**6 bytes, GiB
and MiB powers of two; a bare number of memory is in bytes, and a bare number of `cpu` in cores.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from capacity.hosts.limits import Host, Limit, descriptor_lines, share_of
from whisper_ops.errors import UserError

_UNITS = {
    "": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
    "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40, "%": 0.01, "percent": 0.01,
}  # fmt: skip
_FIGURE = re.compile(r"^\s*(?P<number>[\d_,]*\.?\d+)\s*(?P<unit>[a-zA-Z%]*)\s*$")
_PER_CALL = ("per_call", "per_connection", "call", "connection", "each")
_NAMES = {
    "cores": ("cores", "cpu_count", "cpus", "cpu_cores"),
    "memory_free": ("memory_free", "memory_free_bytes", "free_memory", "ram_free", "memory_available", "ram", "memory"),
    "ports": ("ports", "ephemeral_ports", "port_range"),
    "descriptors_soft": ("descriptors_soft", "descriptors_soft_limit", "nofile_soft", "soft_nofile", "soft"),
    "descriptors_hard": ("descriptors_hard", "descriptors_hard_limit", "nofile_hard", "hard_nofile", "hard"),
}
_CALL_NAMES = {
    "memory": ("memory", "memory_bytes", "ram"),
    "cpu": ("cpu", "cpu_cores", "cores", "core", "cpu_ratio"),
    "ports": ("ports",),
    "descriptors": ("descriptors", "nofile", "files"),
}
_SUFFIXES = {"_gb": 1e9, "_mb": 1e6, "_gib": 2.0**30, "_mib": 2.0**20, "_percent": 0.01, "_bytes": 1.0}


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A host and one call, in base units; None: not said, and so not a limit."""

    cores: float | None = None
    memory_free: float | None = None
    ports: float | None = None
    descriptors_soft: float | None = None
    descriptors_hard: float | None = None
    call_memory: float | None = None
    call_cpu: float | None = None
    call_ports: float | None = None
    call_descriptors: float | None = None


def read_profile(path: Path) -> Profile:
    """Read a profile.

    Raises:
        UserError: the file cannot be read, is neither TOML nor JSON, names something unknown, or a number is none.
    """
    said = _load(path)
    call: dict[str, Any] = next((said.pop(name) for name in _PER_CALL if isinstance(said.get(name), dict)), {})
    host = said.pop("host", {})
    if not isinstance(host, dict):
        raise UserError(f"{path}: host is {host!r}; make it a section that holds cores, memory_free and so on")
    flat = {**said, **host}
    found = {**dict(_fields(path, flat, _NAMES, "")), **dict(_fields(path, call, _CALL_NAMES, "call_"))}
    if not call or not any(name in found for name in ("cores", "memory_free", "ports", "descriptors_soft")):
        raise UserError(
            f"{path} needs what the host has (cores, memory_free, ports, descriptors_soft, descriptors_hard) and a "
            "section [per_call] with what one call takes (memory, cpu, ports, descriptors)"
        )
    return Profile(**found)


def host_of(profile: Profile) -> Host:
    """The limits that follow from a profile."""
    limits = [
        *_limit("RAM", profile.memory_free, profile.call_memory, _bytes, "free"),
        *_limit("CPU", profile.cores, profile.call_cpu, _cores, "cores"),
        *_limit("ports", profile.ports, profile.call_ports, _count, "ephemeral ports"),
        *_limit("descriptors (hard limit)", profile.descriptors_hard, profile.call_descriptors, _count, "hard"),
    ]
    soft, each = profile.descriptors_soft, profile.call_descriptors
    if soft is not None and each is not None:
        raised = profile.descriptors_hard if profile.descriptors_hard is not None else max(65536.0, soft)
        limits.append(
            Limit(
                name="descriptors (soft limit)",
                have=f"{soft:,.0f} soft",
                each=f"{each:g}",
                allows=share_of(soft, each),
                configured=True,
                fix=descriptor_lines(int(raised)) if raised > soft else (),
            )
        )
    return Host(limits=tuple(limits))


def _limit(name: str, have: float | None, each: float | None, words: Any, what: str) -> Iterator[Limit]:  # noqa: ANN401  # a formatter
    if have is None or each is None:
        return
    if each <= 0:
        raise UserError(f"a call that takes {each:g} of {name} takes nothing; leave it out of [per_call]")
    yield Limit(name=name, have=f"{words(have)} {what}", each=_each(name, each), allows=share_of(have, each))


def _each(name: str, each: float) -> str:
    if name == "RAM":
        return _bytes(each)
    return f"{each:.3g} of a core" if name == "CPU" and each != int(each) else f"{each:g}"


def _bytes(value: float) -> str:
    return f"{value / 1e9:,.4g} GB" if value >= 1e9 else f"{value / 1e6:,.4g} MB"


def _cores(value: float) -> str:
    return f"{value:g}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _load(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file; a host profile is TOML or JSON") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        said = msgspec.json.decode(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (msgspec.DecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} is neither TOML nor JSON: {error}") from error
    if not isinstance(said, dict):
        raise UserError(f"{path} holds no host profile")
    return said


def _fields(
    path: Path, said: dict[str, Any], names: dict[str, tuple[str, ...]], prefix: str
) -> Iterator[tuple[str, float]]:
    """Every figure that was said, under the one name it has here, in base units."""
    for key, value in said.items():
        plain, factor = key.lower().replace("-", "_"), 1.0
        for suffix, size in _SUFFIXES.items():
            if plain.endswith(suffix) and plain not in {alias for aliases in names.values() for alias in aliases}:
                plain, factor = plain.removesuffix(suffix), size
        field = next((field for field, aliases in names.items() if plain in aliases), None)
        if field is None:
            if key in ("name", "title", "comment"):
                continue
            known = ", ".join(names)
            raise UserError(f"{path}: {key!r} is not known here; what can be said is {known}")
        yield prefix + field, _figure(path, key, value) * factor


def _figure(path: Path, key: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    else:
        match = _FIGURE.match(str(value))
        if match is None or match["unit"].lower() not in _UNITS:
            raise UserError(f"{path}: {key} is {value!r}, which is not a number with a unit such as GB, MiB or %")
        number = float(match["number"].replace(",", "").replace("_", "")) * _UNITS[match["unit"].lower()]
    if number < 0:
        raise UserError(f"{path}: {key} is {value!r}, which cannot be below 0")
    return number
