"""This machine as a host profile: its readings, and what a connection of this product takes, to be mended by hand."""

from capacity.hosts.local_host import AUDIO_BYTES, FRAME_SECONDS, FRONT_BYTES, HostUse
from whisper_ops.snapshot import HostFigures


def written(host: HostFigures, use: HostUse, *, file_max: int | None = None, established: int | None = None) -> str:
    """The profile as TOML; what is not known is left out."""
    name = "".join(letter for letter in host.hostname or "" if letter.isalnum() or letter in "-._")[:60]
    said: list[tuple[str, object]] = [
        ("cores", host.cpu_count),
        ("memory_total_bytes", _whole(host.memory_total_bytes)),
        ("memory_free_bytes", _whole(host.memory_available_bytes)),
        ("connections_now", established),
        ("port_range", _range(host)),
        ("descriptors_soft", host.descriptors_soft_limit),
        ("descriptors_hard", host.descriptors_hard_limit),
        ("file_max", file_max),
        ("somaxconn", host.somaxconn),
        ("syn_backlog", host.syn_backlog),
        ("tasks_max", host.tasks_max),
        ("conntrack_max", host.conntrack_max),
    ]
    sockets = 2 if use.proxied else 1
    frames = 1 / use.chunk_seconds
    low, high = (100 * frames * seconds for seconds in FRAME_SECONDS)
    lines = [f'title = "{name}"'] if name else []
    lines += ["", "[host]", *(f"{key} = {value}" for key, value in said if value is not None)]
    lines += [
        "",
        "# What a connection takes of the server's front, as measured. What the model takes of the processor, where it",
        "# runs on one, is not among it: add a cause of it from a sweep. Without one the limits are the front's.",
        "[per_call]",
        f"descriptors = {sockets}",
        *(["ports = 1"] if use.proxied else []),
        "",
        "[per_call.memory]",
        f'"connection" = "{FRONT_BYTES / 1024:g} KiB"',
        f'"audio that waits for its text" = "0-{AUDIO_BYTES / 1e6:g} MB"',
        "",
        "[per_call.cpu]",
        f'"frames, {frames:g} a second" = "{low:.3g}-{high:.3g} %"',
    ]
    return "\n".join(lines).lstrip() + "\n"


def _range(host: HostFigures) -> str | None:
    low, high = host.port_range_low, host.port_range_high
    return None if low is None or high is None else f'"{low} {high}"'


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
