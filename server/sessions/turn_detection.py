"""OpenAI's `server_vad`: where a client wants its utterances cut. Used by its realtime sessions and its file form."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from server import ipc
from server.request_parsing import UnreadableError


class ServerVad(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The parameters of voice activity. What is left out is the server's own."""

    type: Literal["server_vad"] = "server_vad"
    threshold: Annotated[float, Meta(ge=0.05, le=0.95)] | None = None
    prefix_padding_ms: Annotated[int, Meta(ge=0, le=900)] | None = None
    silence_duration_ms: Annotated[int, Meta(ge=100, le=10_000)] | None = None

    @classmethod
    def of_text(cls, fields: dict[str, str]) -> "ServerVad":
        """The same from the fields of a form.

        Raises:
            UnreadableError: it is none.
        """
        try:
            return msgspec.convert(fields, cls, strict=False)
        except msgspec.ValidationError as error:
            raise UnreadableError(str(error).replace("$.", "")) from error

    def turns(self) -> ipc.TurnSettings | None:
        """What a worker must know of it; None: nothing."""
        if self.threshold is self.prefix_padding_ms is self.silence_duration_ms is None:
            return None
        return ipc.TurnSettings(self.threshold, _seconds(self.prefix_padding_ms), _seconds(self.silence_duration_ms))


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
