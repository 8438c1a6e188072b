"""Model folders as CTranslate2 and Hugging Face write them, of few and small tensors."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

CODES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


class Given(NamedTuple):
    """What a `model.bin` is written of."""

    tensors: Mapping[str, NDArray[Any]]
    aliases: dict[str, str]


def _name(text: str) -> bytes:
    raw = text.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def model_bin(given: Given, *, version: int = 6, spec: str = "WhisperSpec", revision: int = 3) -> bytes:
    parts = [struct.pack("<I", version), _name(spec), struct.pack("<II", revision, len(given.tensors))]
    for name, array in given.tensors.items():
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        body = array.tobytes()
        parts += [_name(name), shape, struct.pack("<BI", CODES[str(array.dtype)], len(body)), body]
    parts.append(struct.pack("<I", len(given.aliases)))
    parts += [_name(alias) + _name(name) for alias, name in given.aliases.items()]
    return b"".join(parts)


def safetensors(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    codes, header, body = {"float32": "F32", "float16": "F16", "int8": "I8"}, {}, b""
    for name, array in tensors.items():
        begin = len(body)
        body += array.tobytes()
        told = {"dtype": codes[str(array.dtype)], "shape": list(array.shape), "data_offsets": [begin, len(body)]}
        header[name] = told
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    return struct.pack("<Q", len(text)) + text + body


def hugging_face(tensors: Mapping[str, NDArray[Any]], width: int) -> dict[str, NDArray[Any]]:
    """CTranslate2's tensors under Hugging Face's names, queries, keys and values apart and keys without a bias."""
    out = {}
    for name, array in tensors.items():
        kind = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "encodings": "weight"}
        *path, last = name.split("/")
        at = ".".join(["model", path[0]])
        rest = path[1:]
        if rest[0].startswith("layer_") and rest[0] != "layer_norm":
            at += f".layers.{rest[0].removeprefix('layer_')}"
            rest = rest[1:]
        for target, part in _targets(rest, array, width):
            if not (target.endswith("k_proj") and last == "bias"):
                out[f"{at}.{target}.{kind[last]}"] = part
    return out


def _targets(rest: list[str], array: NDArray[Any], width: int) -> list[tuple[str, NDArray[Any]]]:
    single = {
        "conv1": "conv1",
        "conv2": "conv2",
        "layer_norm": "layer_norm",
        "position_encodings": "embed_positions",
        "embeddings": "embed_tokens",
        "ffn/linear_0": "fc1",
        "ffn/linear_1": "fc2",
        "ffn/layer_norm": "final_layer_norm",
        "self_attention/linear_1": "self_attn.out_proj",
        "self_attention/layer_norm": "self_attn_layer_norm",
        "attention/linear_0": "encoder_attn.q_proj",
        "attention/linear_2": "encoder_attn.out_proj",
        "attention/layer_norm": "encoder_attn_layer_norm",
    }
    joined = {"self_attention/linear_0": ("self_attn", "qkv"), "attention/linear_1": ("encoder_attn", "kv")}
    key = "/".join(rest)
    if key in joined:
        name, letters = joined[key]
        return [(f"{name}.{c}_proj", array[i * width : (i + 1) * width]) for i, c in enumerate(letters)]
    return [(single[key], array)]


def write_hugging_face(folder: Path, tensors: Mapping[str, NDArray[Any]], *, parts: int = 1) -> Path:
    """A folder of one file, or of several with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(tensors)
    if parts == 1:
        (folder / "model.safetensors").write_bytes(safetensors(tensors))
        return folder
    placed = {name: f"model-{i % parts}.safetensors" for i, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    for file in sorted(set(placed.values())):
        some = {name: tensors[name] for name in names if placed[name] == file}
        (folder / file).write_bytes(safetensors(some))
    return folder
