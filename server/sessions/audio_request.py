"""What a client asks for: the audio that it sends, and what it wants of the text."""

from dataclasses import dataclass

from server import ipc, languages


@dataclass(frozen=True)
class AudioRequest:
    """`language` may be given as any client writes it: it becomes Whisper's code here, for every protocol.

    Raises:
        LanguageError: there is no such language.
    """

    sample_rate: int = 16000
    encoding: str = "pcm_s16le"
    language: str | None = None
    words: bool = False
    turns: ipc.TurnSettings | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "language", languages.read(self.language))
