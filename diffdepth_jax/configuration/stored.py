"""The configuration that the directory of a run or of a model holds, `config.json`."""

import json
import os
import pathlib
from typing import Any

from diffdepth_jax.configuration.renamed import added_to, with_new_names
from diffdepth_jax.errors import UserError

CONFIG_FILE = "config.json"
_LONGEST = 2**20  # characters


def read_fields(directory: str | os.PathLike) -> dict[str, Any]:
    """The nested fields of a directory's configuration, under the names of this version.

    Raises:
      UserError: there is no such file, or it is damaged.
    """
    path = pathlib.Path(directory) / CONFIG_FILE
    if not path.is_file():
        raise UserError(
            f"{directory} is no model directory: it has no {CONFIG_FILE}; give the --workdir of a "
            "training run, or the output of a conversion"
        )
    return read_file(path)[0]


def read_file(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The nested fields of a file, and {dotted name: value} of those that it is too old to have."""
    try:
        with path.open() as file:
            text = file.read(_LONGEST + 1)
        if len(text) > _LONGEST:
            raise ValueError("it is much longer than any configuration")
        fields = json.loads(text)
        if isinstance(fields, dict):
            return with_new_names(fields), added_to(fields)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it from a backup") from error
    raise UserError(f"{path} is no configuration of a model: restore it from a backup")
