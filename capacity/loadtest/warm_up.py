"""How a warm-up went: streams that nobody measures, before the first level and after one that was missed.

The first seconds of a fresh server are no evidence (models load, kernels compile, pages come from disk), nor are those
in which it still works off a level that it missed.
"""

import msgspec


class WarmUpResult(msgspec.Struct, frozen=True):
    """How it went."""

    streams: int
    seconds: float
    """How long it took in all."""
    text_after_seconds: float | None
    """When the first text had come, to the second; None: none came."""
    in_time: bool
    """Whether the text came in time in the end."""
    let_in: bool = True
    """Whether the server took any of the streams."""
    error: str | None = None
    """What became of the streams, where it was not well."""
    wants_token: bool = False
    """Whether that was about the token."""

    def sentence(self, in_time: str, waited: str) -> str:
        """What it took, such as "warmed up in 5 s", or what kept the text from coming in time."""
        if self.in_time:
            return f"{in_time} {self.seconds:.0f} s"
        if not self.let_in:
            return f"the server admitted no stream: {self.error or 'it gave no answer'}"
        why = self.error or ("it is slow" if self.text_after_seconds else "no text came")
        return f"after {self.seconds:.0f} s {waited} text does not come in time yet: {why}"
