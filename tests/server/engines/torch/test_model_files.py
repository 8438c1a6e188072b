"""Models' files are read as they are, and what cannot be used is refused in a sentence before anything starts."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engines.repetition import LONGEST_TEXT, token_cap
from server.engines.torch import model_choice, model_file, safetensors_file
from server.engines.torch.model_file import ModelFileError
from server.engines.torch.shapes import PUBLISHED
from tests.bench.operations import encoder_flop
from tests.server.engines.torch.files import Given, model_bin, safetensors
from whisper_ops.errors import UserError

TENSORS = {"encoder/conv1/weight": np.arange(24, dtype=np.float16).reshape(2, 4, 3), "n": np.array(3, np.int16)}
WHOLE = model_bin(Given(TENSORS, {"same": "encoder/conv1/weight"}))


def _written(folder: Path, data: bytes, name: str = "model.bin") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_every_tensor_is_found_where_it_stands(tmp_path: Path) -> None:
    path = _written(tmp_path, WHOLE)
    found = model_file.read_entries(path)
    assert found["same"] == found["encoder/conv1/weight"]
    assert found["n"].shape == ()
    entry = found["same"]
    assert (entry.shape, entry.type) == ((2, 4, 3), "float16")
    raw = path.read_bytes()[entry.offset : entry.offset + entry.size]
    assert np.array_equal(np.frombuffer(raw, np.float16).reshape(2, 4, 3), TENSORS["encoder/conv1/weight"])


@given(end=st.integers(0, len(WHOLE) - 1))
@settings(deadline=None)
def test_a_file_that_is_broken_off_anywhere_is_said_to_be(end: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ModelFileError, match=r"model\.bin"):
        model_file.read_entries(_written(tmp_path_factory.mktemp("m"), WHOLE[:end]))


@given(place=st.integers(0, len(WHOLE) - 1), value=st.integers(0, 255))
@settings(deadline=None)
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    place: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(WHOLE)
    data[place] = value
    with contextlib.suppress(ModelFileError):
        model_file.read_entries(_written(tmp_path_factory.mktemp("m"), bytes(data)))


def test_quantized_models_and_other_versions_are_named_with_the_way_out(tmp_path: Path) -> None:
    int8 = model_bin(Given({"decoder/embeddings/weight": np.zeros((4, 4), np.int8)}, {}))
    with pytest.raises(UserError, match=r"holds int8 weights.*--engine ctranslate2"):
        model_choice.check_folder(_written(tmp_path, int8).parent)
    old = model_bin(Given(TENSORS, {}), version=5)
    with pytest.raises(UserError, match=r"format 5.*convert the model again"):
        model_choice.check_folder(_written(tmp_path, old).parent)


def test_safetensors_are_read_and_broken_ones_refused(tmp_path: Path) -> None:
    data = safetensors({"a": np.ones((2, 3), np.float32), "b": np.zeros(4, np.float16)})
    found = safetensors_file.read_entries(_written(tmp_path, data, "model.safetensors"))
    assert {name: (e.shape, e.type) for name, e in found.items()} == {
        "a": ((2, 3), "float32"),
        "b": ((4,), "float16"),
    }
    for end in (0, 7, 12, 60, len(data) - 1):
        with pytest.raises(ModelFileError, match="no complete safetensors"):
            safetensors_file.read_entries(_written(tmp_path, data[:end], "model.safetensors"))
    with pytest.raises(ModelFileError, match="I8"):
        safetensors_file.read_entries(_written(tmp_path, safetensors({"a": np.zeros(3, np.int8)}), "x.safetensors"))


def test_a_folder_of_another_kind_or_with_a_file_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json is missing"):
        model_choice.check_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="type llama"):
        model_choice.check_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        model_choice.check_folder(tmp_path)
    index = {"weight_map": {"a": "../../etc/passwd"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="passwd is missing"):
        model_choice.check_folder(tmp_path)


def test_a_text_may_be_as_long_as_its_language_needs() -> None:
    assert token_cap(4.0, "en") == 32
    # Four seconds of Russian were cut off in the middle of their last word by what is enough for English.
    assert token_cap(4.0, "ru") == token_cap(4.0, None) == 84
    assert token_cap(30.0, "ru") == LONGEST_TEXT


def test_random_weights_have_a_published_models_shape_or_none() -> None:
    assert model_choice.random_shape("random:large-v3-turbo") == PUBLISHED["large-v3-turbo"]
    assert model_choice.random_shape("small") is None
    with pytest.raises(UserError, match="large-v3-turbo"):
        model_choice.random_shape("random:huge")


def test_an_encode_costs_what_the_design_counts_with() -> None:
    shape = PUBLISHED["large-v3-turbo"]
    counted = [round(encoder_flop(shape, s) / 1e9) for s in (4.0, 6.0, 8.0, 15.0, 30.0)]
    # The design leaves out what the decoder keeps of the window: two parts in a hundred.
    assert counted == pytest.approx([261, 396, 534, 1045, 2274], rel=0.025)
