"""Software that serves speech or exports figures: one id each, for every spelling.

Polls, sweeps and plans of a server meet by its id. So every spelling that was ever stored, or that a user may
write, is the same id wherever an identity is made: histories of before are read as if they had been written so.
"""

from functools import lru_cache
from typing import NamedTuple

WHISPER_OPS = "whisper-ops"
WHISPERLIVE = "whisperlive"
WHISPERLIVEKIT = "whisperlivekit"
VLLM = "vllm"
MOSHI = "moshi"
DCGM = "DCGM exporter"
NODE = "node exporter"
NGINX = "nginx proxy"
LOCAL = "local"


class Software(NamedTuple):
    id: str
    """As it is stored and compared."""
    name: str
    """As its makers write it, for people."""
    figures_elsewhere: bool = False
    """Its figures are at another port than its streams: both are one server."""


KNOWN: dict[str, Software] = {
    software.id: software
    for software in (
        Software(WHISPER_OPS, "whisper-ops"),
        Software(WHISPERLIVE, "WhisperLive", figures_elsewhere=True),
        Software(WHISPERLIVEKIT, "WhisperLiveKit"),
        Software(VLLM, "vLLM"),
        Software(MOSHI, "moshi-server"),
        Software(DCGM, "DCGM exporter", figures_elsewhere=True),
        Software(NODE, "node exporter", figures_elsewhere=True),
        Software(NGINX, "nginx proxy"),
        Software(LOCAL, "local"),
    )
}


def _folded(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


_BY_SPELLING = {_folded(spelling): one.id for one in KNOWN.values() for spelling in (one.id, one.name)}


@lru_cache(maxsize=256)
def software_id(spelling: str) -> str:
    """The id for any spelling of a known software; an unknown one keeps its name."""
    return _BY_SPELLING.get(_folded(spelling), spelling)


def software_name(software: str) -> str:
    """The name of an id for people."""
    known = KNOWN.get(software)
    return software if known is None else known.name
