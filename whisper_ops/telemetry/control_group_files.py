"""What the kernel's files about control groups say: where the groups of a process are, and their numbers."""

import errno
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

NO_LIMIT = 2**60
"""Version 1 writes 9223372036854771712 for a memory without limit; no machine has so much of anything."""
_PROCESSORS = 1 << 16
"""They are numbered below this; a list that names more was not written by a kernel."""


class GroupMembership(NamedTuple):
    """A group of a process, in one tree."""

    version: int
    controllers: frozenset[str]
    """Version 2 names none."""
    path: PurePosixPath


def memberships(text: str) -> Iterator[GroupMembership]:
    """The groups of a process, from the text of /proc/PID/cgroup."""
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, sign, path = rest.partition(":")
        if sign and path.startswith("/"):
            version = 2 if number == "0" and not controllers else 1
            yield GroupMembership(version, frozenset(controllers.split(",")), PurePosixPath(path))


class GroupMount(NamedTuple):
    """Where one tree of groups can be read."""

    version: int
    point: str
    top: PurePosixPath
    """The group that is mounted there: in a container often not the topmost."""
    controllers: frozenset[str]


def mounts_of(text: str) -> Iterator[GroupMount]:
    """Where control groups can be read, from the text of /proc/self/mountinfo."""
    for line in text.splitlines():
        before, sign, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if not sign or len(fields) < 5 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        yield GroupMount(
            version=2 if kind[0] == "cgroup2" else 1,
            point=_unescaped(fields[4]),
            top=PurePosixPath(_unescaped(fields[3])),
            controllers=frozenset(kind[-1].split(",")),
        )


def _unescaped(path: str) -> str:
    r"""The kernel writes a blank as \040."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def text_of(path: Path) -> str:
    """The text of a file; empty where there is none.

    Raises:
        OSError: no descriptor is left.
    """
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        return ""
    except ValueError:  # a path that cannot be one
        return ""


def amount_of(text: str) -> int | None:
    """A number that limits or counts something; None of `max`, -1, one that is no limit, and of what is no number."""
    text = text.strip()
    if not text.isdecimal() or len(text) > 20:
        return None
    return value if (value := int(text)) < NO_LIMIT else None


def numbers_of(text: str) -> frozenset[int]:
    """A list as `0-3,8`; empty where it is none."""
    found: set[int] = set()
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        first, last = amount_of(low), amount_of(high if dash else low)
        if first is None or last is None or not first <= last < _PROCESSORS:
            return frozenset()
        found.update(range(first, last + 1))
    return frozenset(found)
