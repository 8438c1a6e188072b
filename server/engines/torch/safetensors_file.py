"""A Hugging Face folder's `*.safetensors`, read without a package: eight bytes of length, JSON, the tensors."""

import json
import struct
from pathlib import Path

from server.engines.torch.model_file import ModelFileError, TensorEntry

_TYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_LONGEST_HEADER = 100_000_000


def files(folder: Path) -> list[Path]:
    """The weights' files of a folder: one, or the parts that its index names."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        parts = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        # Names from a file of others: only files of this very folder.
        return [folder / Path(part).name for part in parts]
    return [folder / "model.safetensors"]


def read_entries(path: Path) -> dict[str, TensorEntry]:
    """The tensors of one file, by name.

    Raises:
        ModelFileError: it is broken off, or holds types that are not served.
    """
    total = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(total, _LONGEST_HEADER):
                raise ValueError(length)  # noqa: TRY301  # one sentence for every way to be broken
            header = json.loads(file.read(length))
        found: dict[str, TensorEntry] = {}
        for name, told in header.items():
            if name == "__metadata__":
                continue
            begin, end = told["data_offsets"]
            offset = 8 + length + begin
            if not 0 <= begin <= end or offset + end - begin > total:
                raise ValueError(name)  # noqa: TRY301
            found[name] = TensorEntry(
                tuple(told["shape"]), _TYPES.get(told["dtype"], told["dtype"]), offset, end - begin
            )
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path.name} is no whole safetensors file; fetch it again") from error
    odd = sorted({entry.type for entry in found.values()} - set(_TYPES.values()))
    if odd:
        raise ModelFileError(f"{path.name} holds {odd[0]} weights; --engine torch reads F32, F16 and BF16")
    return found
