"""Model directories: `config.json`, `model.safetensors` and a model card, `README.md`.

A model directory may also hold a calibration, see `calibration`. Directories of older versions hold
`parameters/` in the place of `model.safetensors`.

The directory of a training run is a model directory too, of its best parameters by evaluation. It
also holds `checkpoints/`, from which the run resumes, and `damaged/`, to which files are moved that
have changed since they were written.
"""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from absl import logging

from diffdepth_jax.arrays import Variables
from diffdepth_jax.checkpoints import fitting, numbered_folders, weights_file
from diffdepth_jax.checkpoints.weights_file import Header
from diffdepth_jax.configuration.groups import Configuration, ModelConfiguration, read_model
from diffdepth_jax.configuration.renamed import in_all_data, in_parts, with_new_names
from diffdepth_jax.configuration.stored import CONFIG_FILE, read_fields, read_file
from diffdepth_jax.distributed.processes import in_first
from diffdepth_jax.errors import UserError
from diffdepth_jax.program.compilation_cache import own_directory
from diffdepth_jax.program.default_model import FOLDER
from diffdepth_jax.whole_files import whole_file, whole_folder

CARD_FILE = "README.md"
# A resumed run may change these fields: none of them says what an update computes.
_FREE = {
    "log_level",
    "data.folder.root",
    "data.records.data_dir",
    "evaluation.num_panels",
    "model.sharpen",
    "sampler.remat",
    "train.accumulate",
    "train.checkpoint_every",
    "train.evaluate_every",
    "train.features_dir",
    "train.log_every",
    "train.max_skipped",
    "train.max_unreadable",
    "train.num_threads",
    "train.parallel",
    "train.profile_steps",
    "train.remat_backbone",
}
# Fields that say where something lies on the machine of a training.
_PATHS = (
    "data.folder.root",
    "data.folder.list_file",
    "data.folder.eval_list_file",
    "data.folder.depth_list_file",
    "data.folder.eval_depth_list_file",
    "data.folder.depth_root",
    "data.records.data_dir",
    "model.backbone_weights",
    "train.features_dir",
    "train.initial_weights",
)


def _plain(config: Configuration) -> dict[str, Any]:
    """The configuration as JSON reads it back, with tuples as lists."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def _differences(ours: dict[str, Any], theirs: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted names of the fields in which two nested dicts differ."""
    for key in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(key), theirs.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key}"


def check_directory(
    workdir: str | os.PathLike, config: Configuration, groups: Sequence[str] = ()
) -> None:
    """Raises a UserError unless `workdir` is the directory of a run of this configuration.

    With `groups`, only these groups or fields have to be equal, and in a group only what the
    network computes with: where its training started from does not matter.
    """
    differences = _differences(_plain(config), read_fields(workdir))
    names = [name for name in differences if name in groups or in_all_data(name) not in _FREE]
    if groups:
        names = [name for name in names if name in groups or name.split(".")[0] in groups]
        names = [name for name in names if name != "model.backbone_weights"]
    if names:
        raise UserError(
            f"{workdir} holds a run of another configuration ({', '.join(names[:6])} differ): "
            "give another --workdir, or the same configuration"
        )


def claim_directory(workdir: str | os.PathLike, config: Configuration) -> None:
    """Makes `workdir` the directory of a run of `config`, or checks that it is one already.

    Fields that a run which goes on may change are those of the last call.
    A directory in which nothing was saved yet, such as after a mistyped field, is taken over.
    """
    in_first(_claim, workdir, config)


def _claim(workdir: str | os.PathLike, config: Configuration) -> None:
    path = pathlib.Path(workdir) / CONFIG_FILE
    if path.exists() and holds_steps(workdir):
        _tell_added_fields(path)
        check_directory(workdir, config)
    elif path.exists() and not _is_ours(path):
        raise UserError(
            f"{path} was not written by this program: move it away, or give another --workdir"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(dataclasses.asdict(config), indent=1) + "\n")


def _is_ours(path: pathlib.Path) -> bool:
    """Whether a file holds the groups of a configuration, as one of a run does."""
    try:
        fields = json.loads(path.read_text())
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and {"model", "data", "train"} <= fields.keys()


def _tell_added_fields(path: pathlib.Path) -> None:
    """A line for whoever resumes a run of an older version; it comes before any refusal."""
    _, added = read_file(path)
    if added:
        values = ", ".join(f"{name}={value!r}" for name, value in added.items())
        logging.info("%s is older than some fields; the run was trained as with %s", path, values)


def holds_steps(workdir: str | os.PathLike) -> bool:
    """Whether something was saved there, to resume from or to predict with."""
    folders = (pathlib.Path(workdir) / name for name in ("checkpoints", "parameters"))
    return holds_weights(workdir) or any(numbered_folders.steps(folder) for folder in folders)


def holds_weights(directory: str | os.PathLike) -> bool:
    """Whether there is a `model.safetensors`."""
    return (pathlib.Path(directory) / weights_file.FILE).exists()


def read_config(directory: str | os.PathLike) -> ModelConfiguration:
    """The part of a model directory's configuration that using the model needs.

    Raises:
      UserError: the directory has no configuration, or not one of a model of this version.
    """
    fields = read_fields(directory)
    try:
        return read_model(fields)
    except UserError as error:
        raise UserError(
            f"{directory}/{CONFIG_FILE} does not describe a model of this version ({error}): "
            "convert or train it anew, or restore the file from a backup"
        ) from error


def check_absent(directory: str | os.PathLike) -> None:
    """Raises a UserError unless a directory is absent or empty."""
    directory = pathlib.Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory} exists and is not empty: give another, or delete it")


def save_model(directory: str | os.PathLike, config: Configuration, variables: Variables) -> None:
    """Writes a model directory, whole or not at all; see `check_absent`."""
    check_absent(directory)
    with whole_folder(directory) as unfinished:
        claim_directory(unfinished, config)
        write_variables(unfinished, variables)


def copy_configuration(directory: str | os.PathLike, output: str | os.PathLike) -> None:
    """Writes a directory's configuration into another one, without paths of this machine."""
    fields = read_fields(directory)
    for dotted in [each for name in _PATHS for each in (name, *in_parts(name, fields))]:
        *groups, name = dotted.split(".")
        group = functools.reduce(lambda found, key: found.get(key, {}), groups, fields)
        if name in group:
            group[name] = ""
    with whole_file(pathlib.Path(output) / CONFIG_FILE) as unfinished:
        unfinished.write_text(json.dumps(fields, indent=1) + "\n")


def write_variables(
    directory: str | os.PathLike,
    variables: Variables,
    *,
    step: int | None = None,
    score: float | None = None,
    half: bool = False,
) -> None:
    """Writes whole arrays as the variables of a directory, for the model of its configuration.

    `step` and `score` are those of a run, see `Header`. With `half` the file is of float16.
    """
    claimed = (pathlib.Path(directory) / CONFIG_FILE).exists()
    whole = claimed and not fitting.is_backbone_alone(variables)
    model = read_fields(directory)["model"] if whole else None
    weights_file.write_weights(directory, variables, Header(model, step, score), half=half)


def load_variables(
    directory: str | os.PathLike, abstract: Callable[[], Variables] | None = None
) -> Variables:
    """A model directory's variables, float32, on this process's first device.

    Args:
      directory: of the model.
      abstract: makes the leaves and shapes that the model of the directory's configuration has. It
        is called unless such weights fitted before, see `fitting.check_fit`, were written for this
        very configuration and nothing is kept, or ship with the program: to call it takes a second.
        Without it any variables will do, such as the backbone that a conversion wrote.

    Raises:
      UserError: the files are missing or damaged, or hold another model.
    """
    if not holds_weights(directory):
        # Here, because Orbax takes .4 s to import.
        from diffdepth_jax.checkpoints.older_parameters import load_parameters

        return load_parameters(directory, None if abstract is None else abstract())
    variables, header = weights_file.read_weights(directory)
    if abstract is not None and not _fits(header, directory):
        claimed = (pathlib.Path(directory) / CONFIG_FILE).exists()
        identity = repr(read_fields(directory)["model"]) if claimed else None
        with fitting.explained(directory, weights_file.FILE):
            fitting.check_fit(variables, abstract, identity)
    return jax.device_put(variables, jax.local_devices()[0])


def _fits(header: Header, directory: str | os.PathLike) -> bool:
    """Whether the weights need no comparison with the model; see `load_variables`."""
    if pathlib.Path(directory).parent == FOLDER:
        return header.checked
    return own_directory() is None and _written_for(header, directory)


def _written_for(header: Header, directory: str | os.PathLike) -> bool:
    """Whether weights were written for the model that the configuration describes."""
    if header.model is None or not header.checked:
        return False
    fields = read_fields(directory)
    return fields == with_new_names({**fields, "model": header.model})
