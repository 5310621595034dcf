"""Names of models: those that ship with the program, folders, and repositories of the hub."""

import os
import pathlib
import re

from diffdepth_jax.checkpoints import weights_file
from diffdepth_jax.checkpoints.calibration import FILE as CALIBRATION_FILE
from diffdepth_jax.checkpoints.model_directory import CARD_FILE
from diffdepth_jax.configuration.stored import CONFIG_FILE
from diffdepth_jax.errors import UserError, did_you_mean
from diffdepth_jax.program import shipped_models
from diffdepth_jax.program.shipped_models import shipped_names

_FILES = [CONFIG_FILE, weights_file.FILE, CALIBRATION_FILE, CARD_FILE]
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def find_model(name: str | os.PathLike) -> pathlib.Path:
    """The model directory of a name.

    Args:
      name: a path that exists; otherwise the name of a model that ships with the program; otherwise
        OWNER/REPOSITORY of the Hugging Face hub, which is downloaded once and kept where
        `huggingface_hub` keeps its files.

    Raises:
      UserError: it is none of these, or the download fails.
    """
    if os.path.exists(name):
        return pathlib.Path(name)
    name = os.fspath(name)
    if name in shipped_names():
        return shipped_models.FOLDER / name
    # The name of a missing folder beside others is a mistyped path, and goes to no server.
    if _REPOSITORY.fullmatch(name) and not os.path.exists(os.path.dirname(name)):
        return _from_hub(name)
    raise UserError(
        f"{name} does not exist. Give a model directory, the name of a model that ships "
        f"({', '.join(shipped_names())}), or OWNER/REPOSITORY of the Hugging Face hub"
        f"{did_you_mean(name, shipped_names())}"
    )


def _from_hub(name: str) -> pathlib.Path:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            f"{name} is no folder here, and no model that ships ({', '.join(shipped_names())}). "
            "To look for it on the Hugging Face hub: pip install huggingface_hub, or "
            "pip install '.[hub]' in the checkout"
        ) from error
    try:
        return pathlib.Path(huggingface_hub.snapshot_download(name, allow_patterns=_FILES))
    except (OSError, ValueError) as error:  # of the network, and of the hub
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{name} is no folder here, and the Hugging Face hub does not give it ({reason}): "
            "check the name and the network"
        ) from error
