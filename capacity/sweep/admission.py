"""Whether a server takes streams at all. One that takes none is said in a sentence; measuring it says nothing more."""

from capacity.sweep.target import Target, needs_token, reach
from whisper_ops.errors import Exit, UserError
from whisper_ops.snapshot import Snapshot


async def reach_open(target: Target) -> Snapshot:
    """The first poll of a server that takes streams.

    Raises:
        UserError: it is not there, wants a token, or drains (exit 3).
    """
    snapshot = await reach(target)
    if snapshot.figures is not None and snapshot.figures.status == "draining":
        raise UserError(
            f"{target.name} is draining and takes no streams; call it off with `DELETE /admin/drain`, or wait for the "
            "server that follows it",
            Exit.UNREACHABLE,
        )
    return snapshot


async def nobody_let_in(target: Target, said: str | None, *, wants_token: bool) -> UserError:
    """What to say of a server that has let in not one stream, `said` being what the first was told (exit 3).

    Raises:
        UserError: the server itself says why.
    """
    await reach_open(target)
    if wants_token:
        return needs_token(target)
    return UserError(
        f"{target.name} let in not one stream: {said or 'no reason was given'}; see its log, and whether it is full or "
        f"speaks another --protocol than {target.protocol}",
        Exit.UNREACHABLE,
    )
