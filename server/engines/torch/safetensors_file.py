"""A Hugging Face folder's `*.safetensors`, read without a package: eight bytes of length, JSON, the tensors."""

import json
import struct
from pathlib import Path

from server.engines.torch.model_file import ModelFileError, TensorEntry

_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_LONGEST_HEADER = 100_000_000


def files(folder: Path) -> list[Path]:
    """The weight files of a folder: one, or the parts in its index."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        parts = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        # The index is untrusted: only files in this folder.
        return [folder / Path(part).name for part in parts]
    return [folder / "model.safetensors"]


def read_entries(path: Path) -> dict[str, TensorEntry]:
    """The tensors of one file, by name.

    Raises:
        ModelFileError: incomplete, or of unsupported types.
    """
    total = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(total, _LONGEST_HEADER):
                raise ValueError(length)  # noqa: TRY301  # one message for every kind of damage
            header = json.loads(file.read(length))
        entries: dict[str, TensorEntry] = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            offset = 8 + length + begin
            if not 0 <= begin <= end or offset + end - begin > total:
                raise ValueError(name)  # noqa: TRY301
            entries[name] = TensorEntry(
                tuple(entry["shape"]), _TYPES.get(entry["dtype"], entry["dtype"]), offset, end - begin
            )
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path.name} is no complete safetensors file; fetch it again") from error
    unsupported = sorted({entry.type for entry in entries.values()} - set(_TYPES.values()))
    if unsupported:
        raise ModelFileError(f"{path.name} holds {unsupported[0]} weights; --engine torch reads F32, F16 and BF16")
    return entries
