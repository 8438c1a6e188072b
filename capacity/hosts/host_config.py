"""Configuration that a host on paper needs for its calls, ready to be put where it belongs."""

from capacity.hosts.host_limits import PORTS, SOFT_DESCRIPTORS, SOMAXCONN, SYN_BACKLOG, TASKS
from capacity.hosts.paper_host import Analysis
from capacity.hosts.paper_limits import SYSCTL, wanted
from whisper_ops.errors import Exit, UserError
from whisper_ops.untrusted_text import one_line

TARGETS = ("systemd", "sysctl")


def emit(analysis: Analysis, target: str) -> str:
    """The configuration for one target.

    Raises:
        UserError: a host on paper has nothing to say to it, or allows no call at all (exit code 1).
    """
    if target not in TARGETS:
        raise UserError(
            f"--emit {target} cannot be honoured together with --host-profile: it carries the limit of a GPU or an "
            "objective, which only a measured plan has; a host on paper gives --emit systemd or --emit sysctl"
        )
    if analysis.reach < 1:
        raise UserError("the host allows not one call, so there is no configuration to print", Exit.NO)
    lines = _systemd(analysis) if target == "systemd" else _sysctl(analysis)
    name = analysis.profile.title
    first = f"# whisper-ops plan --host-profile{f' of {name}' if name else ''}, for up to {analysis.reach:,} calls"
    # A title that breaks into a second line would be a setting of its own.
    return "\n".join([one_line(first), *lines]) + "\n"


def _systemd(analysis: Analysis) -> list[str]:
    profile, reach = analysis.profile, analysis.reach
    hard = profile.descriptors_hard
    descriptors = int(hard) if hard is not None else wanted(SOFT_DESCRIPTORS, profile, reach)
    return [
        "# a drop-in of the server's unit: /etc/systemd/system/whisper-ops-serve.service.d/capacity.conf, then:",
        "#   systemctl daemon-reload && systemctl restart whisper-ops-serve",
        "[Service]",
        f"LimitNOFILE={descriptors}",
        f"TasksMax={wanted(TASKS, profile, reach)}",
    ]


def _sysctl(analysis: Analysis) -> list[str]:
    """Every setting that the profile speaks of, at what it is or at what is needed; and the backlogs in any case."""
    profile, reach = analysis.profile, analysis.reach
    known = {limit.name for limit in analysis.host.limits} | {SOMAXCONN, SYN_BACKLOG}
    lines = ["# /etc/sysctl.d/90-whisper-ops.conf, then: sysctl --system"]
    lines += [f"{key} = {wanted(name, profile, reach)}" for name, key in SYSCTL.items() if name in known]
    standing = {verdict.name: verdict.standing for verdict in analysis.verdicts}
    if standing.get(PORTS, "not limiting") != "not limiting":
        lines.append("net.ipv4.ip_local_port_range = 1024 65535")
    return lines
