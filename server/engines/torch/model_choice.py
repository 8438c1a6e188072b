"""Checks `--model` and `--compute-type` of this engine before a worker starts. Imports no torch."""

import importlib.util
import json
from pathlib import Path

from server.engines.torch import model_file, safetensors_file
from server.engines.torch.model_file import ModelFileError
from server.engines.torch.shapes import PUBLISHED, Shape
from whisper_ops.errors import UserError

RANDOM = "random:"
COMPUTE_TYPES = ("default", "float32", "bfloat16", "float16")


def random_shape(model: str) -> Shape | None:
    """The shape of `random:large-v3-turbo`; None for other models.

    Raises:
        UserError: no published model has that name.
    """
    if not model.startswith(RANDOM):
        return None
    name = model.removeprefix(RANDOM)
    if name not in PUBLISHED:
        raise UserError(f"--model {model}: random weights are made in the shapes of {', '.join(PUBLISHED)}")
    return PUBLISHED[name]


def check(compute_type: str) -> None:
    """Check that the engine can run.

    Raises:
        UserError: torch is missing, or the compute type is unknown.
    """
    if importlib.util.find_spec("torch") is None:
        raise UserError("--engine torch needs torch, which is not installed; install whisper-ops[torch]")
    if compute_type not in COMPUTE_TYPES:
        raise UserError(f"--compute-type {compute_type}: --engine torch takes {', '.join(COMPUTE_TYPES)}")


def check_folder(folder: Path) -> None:
    """Check that a folder holds a usable model.

    Raises:
        UserError: it does not.
    """
    try:
        _check_folder(folder)
    except ModelFileError as error:
        raise UserError(str(error)) from error
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise UserError(
            f"the model folder {folder} cannot be read ({error}); fetch it again or name another"
        ) from error


def _check_folder(folder: Path) -> None:
    if (folder / "model.bin").is_file():
        model_file.read_entries(folder / "model.bin")
        return
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise ModelFileError(f"{folder} is no complete Whisper model: {name} is missing; name another folder")
    kind = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
    if kind != "whisper":
        raise ModelFileError(f"{folder} holds a model of type {kind}; name the folder of a Whisper model")
    for path in safetensors_file.files(folder):
        if not path.is_file():
            raise ModelFileError(f"{folder} is no complete Whisper model: {path.name} is missing; fetch it again")
        safetensors_file.read_entries(path)
