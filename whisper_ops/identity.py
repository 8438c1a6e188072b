"""What a server runs: the one type by which a server, a poll, a sweep, a level and a plan are told to belong together.

A sweep's row, a plan's row and a plan's key are each an `Identity` with more fields, so that their columns and their
JSON stay flat, and a new field of what runs is written here once.
"""

from collections.abc import Collection
from typing import ClassVar

import msgspec

from whisper_ops import untrusted_text
from whisper_ops.known_software import software_id, software_name


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a server runs. None: not known, which differs from every known value."""

    software: str | None = None
    version: str | None = None
    engine: str | None = None
    model: str | None = None
    compute_type: str | None = None
    max_batch: int | None = None
    gpu_name: str | None = None
    simulated: bool = False

    TEXT_LIMIT: ClassVar[int | None] = untrusted_text.NAME_LIMIT
    """Characters of each text; a row that holds sentences too sets none."""

    def __post_init__(self) -> None:
        """Names come from outside: this is the border. Each software has one id from here on."""
        untrusted_text.cleaned(self, self.TEXT_LIMIT)
        if self.software is not None:
            msgspec.structs.force_setattr(self, "software", software_id(self.software))

    @property
    def identity(self) -> "Identity":
        """What runs, without what else is known of it."""
        return Identity(**{name: getattr(self, name) for name in IDENTITY_FIELDS})

    @property
    def software_title(self) -> str:
        """Software and version."""
        return _words(self.software and software_name(self.software), self.version)

    @property
    def model_title(self) -> str:
        """Model and precision."""
        return _words(self.model, self.compute_type)


IDENTITY_FIELDS = Identity.__struct_fields__


def differing(one: Identity, other: Identity, not_yet: Collection[str] = ()) -> tuple[str, ...]:
    """The names of what differs between two servers, polls, sweeps or plans; empty: they may be put together.

    `not_yet`: what is not known yet, such as the precision before a model is loaded, and so is not compared.
    """
    compared = [name for name in IDENTITY_FIELDS if name not in not_yet]
    return tuple(name for name in compared if getattr(one, name) != getattr(other, name))


def _words(*parts: str | None) -> str:
    return " ".join(dict.fromkeys(part for part in parts if part))
