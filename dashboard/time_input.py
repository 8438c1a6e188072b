"""Moments as people write them: `yesterday 14:00`, `tuesday 14:03`, `1 h ago`, `2026-11-20 14:00`."""

import re
from datetime import UTC, datetime, timedelta, tzinfo

from whisper_ops.errors import UserError
from whisper_ops.units import seconds

_TIME = re.compile(r"^(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?$")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

EXAMPLES = "yesterday 14:00, tuesday 14:03, 14:03, 1 h ago, or 2026-11-20 14:00"


def parse(text: str, now: float, zone: tzinfo | None = None) -> float:
    """A moment of the past, UTC epoch seconds; times of day are those of `zone`, else of this machine.

    A time alone is the last such time before now; a weekday is the last such day before today.

    Raises:
        UserError: it cannot be read, or lies in the future.
    """
    asked = " ".join(text.lower().split())
    ago = _ago(asked)
    moment = _calendar(asked, now, zone) if ago is None else now - ago
    if moment is None:
        raise UserError(f"{text!r} is no moment that can be read; write {EXAMPLES}")
    if moment > now:
        raise UserError(f"{text!r} lies in the future; replay shows the past")
    return moment


def length(text: str) -> float:
    """A length of time such as `10 s` or `5 min`, in seconds.

    Raises:
        UserError: it cannot be read.
    """
    found = seconds(text)
    if found is None:
        raise UserError(f"{text!r} is no length of time; write 10 s, 5 min or 2 h")
    return found


def _ago(text: str) -> float | None:
    """`1 h ago`, `-1 h` or `1 h` in seconds; None for a bare number, which is no length that was meant."""
    words = text.removesuffix("ago").removeprefix("-")
    return seconds(words) if any(letter.isalpha() for letter in words) else None


def _calendar(text: str, now: float, zone: tzinfo | None) -> float | None:
    here = datetime.fromtimestamp(now, UTC).astimezone(zone)
    iso = _iso(text, here)
    if iso is not None:
        return iso
    words = text.removeprefix("last ").replace(" at ", " ").split()
    if not words or len(words) > 2:
        return None
    day = _day(words[0], here)
    time = words[-1] if day is None or len(words) == 2 else "00:00"
    if day is None and len(words) == 2:
        return None
    found = _TIME.match(time)
    if found is None:
        return None
    hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    moment = (day or here).replace(hour=hour, minute=minute, second=second, microsecond=0)
    if day is None and moment > here:
        moment -= timedelta(days=1)
    return moment.timestamp()


def _iso(text: str, here: datetime) -> float | None:
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=here.tzinfo)).timestamp()


def _day(word: str, here: datetime) -> datetime | None:
    if word in {"today", "yesterday"}:
        return here - timedelta(days=word == "yesterday")
    matching = [number for number, name in enumerate(_DAYS) if len(word) >= 3 and name.startswith(word)]
    if not matching:
        return None
    return here - timedelta(days=(here.weekday() - matching[0] - 1) % 7 + 1)
