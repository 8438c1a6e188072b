"""Whether a server takes streams at all. One that takes none is said in a sentence; measuring it says nothing more."""

from capacity.loadtest.target import Target, needs_token, open_source, poll_once, reach
from whisper_ops.errors import Exit, UserError
from whisper_ops.snapshot import Snapshot

_ASKED_AGAIN = 4
"""Over connections of their own: a balancer sends them to one server after the other."""


async def reach_accepting(target: Target) -> Snapshot:
    """The first poll of a server that takes streams.

    Raises:
        UserError: it is not there, wants a token, or drains (exit 3).
    """
    snapshot = await reach(target)
    if snapshot.figures is not None and snapshot.figures.status == "draining":
        raise UserError(
            f"{target.name} is draining and admits no streams; cancel that with `DELETE /admin/drain`, or wait for the "
            "server that replaces it",
            Exit.UNREACHABLE,
        )
    return snapshot


async def slots_of(target: Target, first: Snapshot, asked: int) -> int | None:
    """How many streams an address takes at once; None where nobody says, or where several servers answer there.

    Args:
        target: the address.
        first: its first poll.
        asked: the most streams that are to come; a server with room for them is asked nothing more.
    """
    slots = first.figures.slots if first.figures is not None else None
    if slots is None or slots < 1 or asked <= slots:
        return slots or None
    for _ in range(_ASKED_AGAIN):
        async with open_source(target) as source:
            again = await poll_once(source)
        if again.server_id != first.server_id:
            return None  # a balancer, of whose servers each says only its own
    return slots


async def no_stream_admitted(target: Target, first_error: str | None, *, wants_token: bool) -> UserError:
    """What to say of a server that has admitted no stream, `first_error` being what the first was told (exit 3).

    Raises:
        UserError: the server itself says why.
    """
    await reach_accepting(target)
    if wants_token:
        return needs_token(target)
    return UserError(
        f"{target.name} admitted no stream: {first_error or 'it gave no reason'}; see its log, and whether it is full "
        f"or speaks another --protocol than {target.protocol}",
        Exit.UNREACHABLE,
    )
