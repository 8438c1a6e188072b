"""One model from either kind of folder, in every type that is served."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the [torch] extra")

from server.engines.torch import memory_budget, weights  # noqa: E402
from server.engines.torch.model_file import ModelFileError  # noqa: E402
from server.engines.torch.shapes import PUBLISHED  # noqa: E402
from server.engines.torch.weights import Weights  # noqa: E402
from server.engines.torch.whisper_model import TorchWhisper  # noqa: E402
from tests.server.engines.torch.files import Given, hugging_face, model_bin, write_hugging_face  # noqa: E402
from tests.server.engines.torch.toy import SHAPE  # noqa: E402


def _arrays() -> dict[str, np.ndarray]:
    made = weights.at_random(SHAPE, "cpu", torch.float32).tensors
    arrays = {name: tensor.numpy() for name, tensor in made.items() if name != "decoder/projection/weight"}
    width = SHAPE.width
    for name, array in arrays.items():
        # Whisper's keys have no bias; CTranslate2 writes zeros.
        if name.endswith("self_attention/linear_0/bias"):
            array[width : 2 * width] = 0
        if name.endswith("/attention/linear_1/bias"):
            array[:width] = 0
    return arrays


def _ctranslate2(folder: Path, arrays: dict[str, np.ndarray], **config: Any) -> Path:
    heads = {f"{part}/num_heads": np.array(SHAPE.heads, np.int16) for part in ("encoder", "decoder")}
    given = Given({**arrays, **heads}, {"decoder/projection/weight": "decoder/embeddings/weight"})
    folder.mkdir()
    (folder / "model.bin").write_bytes(model_bin(given))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _encoded(found: Weights) -> np.ndarray:
    mel = torch.randn((2, SHAPE.mels, 400), generator=torch.Generator().manual_seed(3))
    model = TorchWhisper(found)
    with torch.inference_mode():
        encoded = model.encode(mel.to(model.dtype))
        cross = torch.zeros((2, 2, 2, SHAPE.heads, 200, SHAPE.head), dtype=model.dtype)
        model.write_cross(encoded, cross)
        logits = model.logits(model.prompt(torch.tensor([[1, 2, 3], [4, 5, 6]]), cross))
    return np.asarray(logits.numpy())


@pytest.mark.parametrize("parts", [1, 3])
def test_a_folder_of_either_kind_is_the_same_model(tmp_path: Path, parts: int) -> None:
    arrays = _arrays()
    one = weights.load(
        _ctranslate2(tmp_path / "ct2", arrays, suppress_ids=[1, 2], suppress_ids_begin=[3], alignment_heads=[[1, 0]]),
        "cpu",
        torch.float32,
    )
    folder = write_hugging_face(tmp_path / "hf", hugging_face(arrays, SHAPE.width), parts=parts)
    config = {"model_type": "whisper", "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2}
    (folder / "config.json").write_text(json.dumps(config))
    generation = {"suppress_tokens": [-1, 1, 2], "begin_suppress_tokens": [3], "alignment_heads": [[1, 0]]}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    other = weights.load(folder, "cpu", torch.float32)
    for found in (one, other):
        assert (found.shape, found.suppressed, found.suppressed_first) == (SHAPE, (1, 2), (3,))
        assert found.alignment_heads == ((1, 0),)
    assert set(one.tensors) == set(other.tensors)
    np.testing.assert_array_equal(_encoded(one), _encoded(other))


@pytest.mark.parametrize(("dtype", "near"), [(torch.bfloat16, 0.2), (torch.float16, 0.02)])
def test_a_smaller_type_says_nearly_the_same(tmp_path: Path, dtype: Any, near: float) -> None:
    folder = _ctranslate2(tmp_path / "m", _arrays())
    exact, rough = (_encoded(weights.load(folder, "cpu", kind)) for kind in (torch.float32, dtype))
    assert np.abs(exact - rough).max() < near * np.abs(exact).max()


def test_a_residual_that_outgrows_float16_makes_no_row_a_nan() -> None:
    made = weights.at_random(SHAPE, "cpu", torch.float16)
    made.tensors["encoder/layer_0/ffn/linear_1/bias"].fill_(60000)
    made.tensors["encoder/layer_0/self_attention/linear_1/bias"].fill_(60000)
    assert np.isfinite(_encoded(made)).all()


def test_a_folder_without_a_tensor_is_named(tmp_path: Path) -> None:
    arrays = _arrays()
    del arrays["encoder/conv1/weight"]
    with pytest.raises(ModelFileError, match="encoder/conv1/weight is missing"):
        weights.load(_ctranslate2(tmp_path / "m", arrays), "cpu", torch.float32)


def test_memory_is_planned_and_what_does_not_fit_is_refused_in_a_sentence() -> None:
    turbo = PUBLISHED["large-v3-turbo"]
    roomy = memory_budget.plan(turbo, 1.6e9, 2, 64, 1024, 139e9, "cuda:0")
    assert roomy.slots == 192
    assert roomy.total < 139e9
    tight = memory_budget.plan(turbo, 1.6e9, 2, 64, 1024, 19e9, "cuda:0")
    assert 64 <= tight.slots < 192
    assert tight.total <= 19e9
    assert "192 slots of 39.9 MB" in str(roomy)
    # Graphs and CUDA's libraries take memory of their own.
    assert memory_budget.plan(turbo, 1.6e9, 2, 64, 1024, 139e9, "cuda:0", 512).total - roomy.total > 0.5e9
    with pytest.raises(
        RuntimeError, match=r"batches of 64 need .* GB and cuda:0 has 14\.0 GB free; give --max-batch \d+"
    ) as no:
        memory_budget.plan(turbo, 1.6e9, 2, 64, 1024, 14e9, "cuda:0")
    # What it advises, it takes.
    advised = int(str(no.value).split("--max-batch ")[1].split(",")[0])
    assert memory_budget.plan(turbo, 1.6e9, 2, advised, 1024, 14e9, "cuda:0").slots >= advised
    with pytest.raises(RuntimeError, match=r"give a smaller model"):
        memory_budget.plan(turbo, 1.6e9, 2, 64, 1024, 2e9, "cuda:0")
