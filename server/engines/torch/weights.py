"""A model's weights as torch tensors, from a CTranslate2 folder, a Hugging Face folder, or at random.

Names are CTranslate2's, which keeps queries, keys and values of one attention in one matrix.
"""

import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from server.engines.torch import model_file, safetensors_file
from server.engines.torch.model_file import ModelFileError, TensorEntry
from server.engines.torch.shapes import AUDIO_POSITIONS, TEXT_POSITIONS, Shape

Tensors = dict[str, Any]
"""Name to `torch.Tensor`."""


@dataclass(frozen=True)
class Weights:
    """A model. `tensors` are float32, float16 or bfloat16, in the device's memory."""

    shape: Shape
    tensors: Tensors = field(repr=False)
    suppressed: tuple[int, ...] = ()
    """Tokens that are never generated."""
    suppressed_first: tuple[int, ...] = ()
    """Tokens that never begin a text."""
    alignment_heads: tuple[tuple[int, int], ...] = ()
    """(layer, head) of the cross-attention that follows the speech."""
    random: bool = False

    @property
    def size(self) -> int:
        """In bytes."""
        unique = {tensor.data_ptr(): tensor for tensor in self.tensors.values()}
        return sum(tensor.numel() * tensor.element_size() for tensor in unique.values())


def load(folder: Path, device: Any, dtype: Any) -> Weights:  # noqa: ANN401  # torch's
    """The weights of a folder of either format.

    Raises:
        ModelFileError: it holds no usable Whisper model.
    """
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        if (folder / "model.bin").is_file():
            return _from_ctranslate2(folder, config, device, dtype)
        return _from_hugging_face(folder, config, device, dtype)
    except KeyError as error:
        raise ModelFileError(f"{folder.name} is no complete Whisper model: {error.args[0]} is missing") from error


def shape_of(folder: Path) -> Shape:
    """A folder's shape, without reading its weights.

    Raises:
        ModelFileError: it holds no usable Whisper model.
    """
    try:
        if (folder / "model.bin").is_file():
            entries = model_file.read_entries(folder / "model.bin")
            return _shape(entries, int(_scalar(folder / "model.bin", entries["encoder/num_heads"])))
        config = json.loads((folder / "config.json").read_text("utf-8"))
        names = "num_mel_bins", "d_model", "encoder_attention_heads", "encoder_layers", "decoder_layers", "vocab_size"
        return Shape(*(config[name] for name in names))
    except KeyError as error:
        raise ModelFileError(f"{folder.name} is no complete Whisper model: {error.args[0]} is missing") from error


def _from_ctranslate2(folder: Path, config: dict[str, Any], device: Any, dtype: Any) -> Weights:  # noqa: ANN401  # torch
    path = folder / "model.bin"
    entries = model_file.read_entries(path)
    tensors = _read(path, {name: entry for name, entry in entries.items() if entry.shape}, device, dtype)
    heads = int(_scalar(path, entries["encoder/num_heads"]))
    shape = _shape(tensors, heads)
    return Weights(
        shape,
        tensors,
        tuple(config.get("suppress_ids", ())),
        tuple(config.get("suppress_ids_begin", ())),
        tuple((layer, head) for layer, head in config.get("alignment_heads", ())) or _likely_heads(shape),
    )


def _from_hugging_face(folder: Path, config: dict[str, Any], device: Any, dtype: Any) -> Weights:  # noqa: ANN401  # torch
    tensors_read: Tensors = {}
    for path in safetensors_file.files(folder):
        if not path.is_file():
            raise ModelFileError(f"{folder.name} is no complete Whisper model: {path.name} is missing")
        tensors_read |= _read(path, safetensors_file.read_entries(path), device, dtype)
    tensors = _renamed(tensors_read, config["encoder_layers"], config["decoder_layers"])
    shape = _shape(tensors, config["encoder_attention_heads"])
    generation_path = folder / "generation_config.json"
    generation = json.loads(generation_path.read_text("utf-8")) if generation_path.is_file() else config
    heads = generation.get("alignment_heads") or ()
    return Weights(
        shape,
        tensors,
        tuple(i for i in generation.get("suppress_tokens") or () if i >= 0),
        tuple(generation.get("begin_suppress_tokens") or ()),
        tuple((layer, head) for layer, head in heads) or _likely_heads(shape),
    )


def at_random(shape: Shape, device: Any, dtype: Any, seed: int = 0) -> Weights:  # noqa: ANN401  # torch's
    """Random weights: nonsense at a real model's speed."""
    generator = torch.Generator(device=device).manual_seed(seed)
    d, tensors = shape.width, {}

    def fresh(name: str, *sizes: int, scale: float = 0.02) -> None:
        made = torch.randn(sizes, device=device, generator=generator, dtype=torch.float32) * scale
        tensors[name] = made.to(dtype)

    def normal(name: str) -> None:
        tensors[f"{name}/gamma"] = torch.ones(d, device=device, dtype=dtype)
        tensors[f"{name}/beta"] = torch.zeros(d, device=device, dtype=dtype)

    def linear(name: str, rows: int, columns: int) -> None:
        fresh(f"{name}/weight", rows, columns)
        fresh(f"{name}/bias", rows)

    def rest_of_layer(name: str) -> None:
        linear(f"{name}/ffn/linear_0", 4 * d, d)
        linear(f"{name}/ffn/linear_1", d, 4 * d)
        linear(f"{name}/self_attention/linear_0", 3 * d, d)
        linear(f"{name}/self_attention/linear_1", d, d)
        normal(f"{name}/ffn/layer_norm")
        normal(f"{name}/self_attention/layer_norm")

    for part, layers, positions in (
        ("encoder", shape.encoder_layers, AUDIO_POSITIONS),
        ("decoder", shape.decoder_layers, TEXT_POSITIONS),
    ):
        fresh(f"{part}/position_encodings/encodings", positions, d)
        normal(f"{part}/layer_norm")
        for i in range(layers):
            rest_of_layer(f"{part}/layer_{i}")
    for i in range(shape.decoder_layers):
        linear(f"decoder/layer_{i}/attention/linear_0", d, d)
        linear(f"decoder/layer_{i}/attention/linear_1", 2 * d, d)
        linear(f"decoder/layer_{i}/attention/linear_2", d, d)
        normal(f"decoder/layer_{i}/attention/layer_norm")
    for i, inputs in (1, shape.mels), (2, d):
        fresh(f"encoder/conv{i}/weight", d, inputs, 3)
        fresh(f"encoder/conv{i}/bias", d)
    fresh("decoder/embeddings/weight", shape.vocabulary, d, scale=1.0)
    tensors["decoder/projection/weight"] = tensors["decoder/embeddings/weight"]
    return Weights(shape, tensors, alignment_heads=_likely_heads(shape), random=True)


def _likely_heads(shape: Shape) -> tuple[tuple[int, int], ...]:
    """The default alignment heads: all of the upper half of the layers, as in OpenAI's code."""
    return tuple((i, h) for i in range(shape.decoder_layers // 2, shape.decoder_layers) for h in range(shape.heads))


def _shape(tensors: Mapping[str, Any], heads: int) -> Shape:
    def layers(part: str) -> int:
        return len(
            {name.split("/")[1] for name in tensors if name.startswith(f"{part}/layer_") and name.count("/") > 2}
        )

    width, mels, _ = tensors["encoder/conv1/weight"].shape
    vocabulary = tensors["decoder/embeddings/weight"].shape[0]
    return Shape(mels, width, heads, layers("encoder"), layers("decoder"), vocabulary)


def _read(path: Path, entries: dict[str, TensorEntry], device: Any, dtype: Any) -> Tensors:  # noqa: ANN401  # torch's
    made: dict[int, Any] = {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as data:
        for entry in entries.values():
            if entry.offset not in made:
                # A copy of its own: the map ends with this block.
                raw = bytearray(data[entry.offset : entry.offset + entry.size])
                flat = torch.frombuffer(raw, dtype=getattr(torch, entry.type))
                made[entry.offset] = flat.reshape(entry.shape).to(device=device, dtype=dtype)
    return {name: made[entry.offset] for name, entry in entries.items()}


def _scalar(path: Path, entry: TensorEntry) -> int:
    with path.open("rb") as file:
        file.seek(entry.offset)
        return int.from_bytes(file.read(entry.size), "little")


def _renamed(tensors_read: Tensors, encoder_layers: int, decoder_layers: int) -> Tensors:
    """Hugging Face's names and matrices as CTranslate2's."""
    source = {name.removeprefix("model."): tensor for name, tensor in tensors_read.items()}
    tensors: Tensors = {}

    def normal(target: str, name: str) -> None:
        tensors[f"{target}/gamma"], tensors[f"{target}/beta"] = source[f"{name}.weight"], source[f"{name}.bias"]

    def linear(target: str, *names: str) -> None:
        tensors[f"{target}/weight"] = torch.cat([source[f"{name}.weight"] for name in names])
        # Whisper's keys have no bias.
        biases = [source.get(f"{name}.bias", torch.zeros_like(source[f"{name}.weight"][:, 0])) for name in names]
        tensors[f"{target}/bias"] = torch.cat(biases)

    for part, layers in ("encoder", encoder_layers), ("decoder", decoder_layers):
        tensors[f"{part}/position_encodings/encodings"] = source[f"{part}.embed_positions.weight"]
        normal(f"{part}/layer_norm", f"{part}.layer_norm")
        for i in range(layers):
            target, name = f"{part}/layer_{i}", f"{part}.layers.{i}"
            linear(f"{target}/self_attention/linear_0", *(f"{name}.self_attn.{kind}_proj" for kind in "qkv"))
            linear(f"{target}/self_attention/linear_1", f"{name}.self_attn.out_proj")
            normal(f"{target}/self_attention/layer_norm", f"{name}.self_attn_layer_norm")
            linear(f"{target}/ffn/linear_0", f"{name}.fc1")
            linear(f"{target}/ffn/linear_1", f"{name}.fc2")
            normal(f"{target}/ffn/layer_norm", f"{name}.final_layer_norm")
            if part == "decoder":
                linear(f"{target}/attention/linear_0", f"{name}.encoder_attn.q_proj")
                linear(f"{target}/attention/linear_1", *(f"{name}.encoder_attn.{kind}_proj" for kind in "kv"))
                linear(f"{target}/attention/linear_2", f"{name}.encoder_attn.out_proj")
                normal(f"{target}/attention/layer_norm", f"{name}.encoder_attn_layer_norm")
    for i in (1, 2):
        tensors[f"encoder/conv{i}/weight"] = source[f"encoder.conv{i}.weight"]
        tensors[f"encoder/conv{i}/bias"] = source[f"encoder.conv{i}.bias"]
    tensors["decoder/embeddings/weight"] = source["decoder.embed_tokens.weight"]
    tensors["decoder/projection/weight"] = source.get("proj_out.weight", source["decoder.embed_tokens.weight"])
    return tensors
