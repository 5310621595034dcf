"""Model directories: `config.json` and `parameters/`.

A model directory may also hold a calibration, see `calibration`.

The directory of a training run is a model directory too, of its best parameters by evaluation. It
also holds `checkpoints/`, from which the run resumes, and `damaged/`, to which checkpoints are
moved whose files have changed.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from absl import logging
from jaxtyping import PyTree

from diffdepth_jax.arrays import Variables
from diffdepth_jax.checkpoints import checksums, saved_steps
from diffdepth_jax.checkpoints.saved_steps import SavedSteps
from diffdepth_jax.configuration.groups import Configuration, ModelConfiguration, read_model
from diffdepth_jax.configuration.renamed import added_to, with_new_names
from diffdepth_jax.distributed.processes import in_first
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.variables import leaf_difference
from diffdepth_jax.whole_files import whole_file, whole_folder

CONFIG_FILE = "config.json"
# A resumed run may change these fields: none of them says what an update computes.
_FREE = {
    "log_level",
    "data.folder.root",
    "data.records.data_dir",
    "evaluation.num_panels",
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

    With `groups`, only these groups or fields have to be equal, and in them only what the network
    computes with: where its training started from does not matter.
    """
    differences = _differences(_plain(config), _read_fields(workdir))
    names = [name for name in differences if name not in _FREE]
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

    A directory in which nothing was saved yet, such as after a mistyped field, is taken over.
    """
    in_first(_claim, workdir, config)


def _claim(workdir: str | os.PathLike, config: Configuration) -> None:
    path = pathlib.Path(workdir) / CONFIG_FILE
    if path.exists() and holds_steps(workdir):
        _tell_added_fields(path)
        return check_directory(workdir, config)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(dataclasses.asdict(config), indent=1) + "\n")


def _tell_added_fields(path: pathlib.Path) -> None:
    """A line for whoever resumes a run of an older version; it comes before any refusal."""
    _, added = _read(path)
    if added:
        values = ", ".join(f"{name}={value!r}" for name, value in added.items())
        logging.info("%s is older than some fields; the run was trained as with %s", path, values)


def holds_steps(workdir: str | os.PathLike) -> bool:
    """Whether something was saved there, to resume from or to predict with."""
    folders = (pathlib.Path(workdir) / name for name in ("checkpoints", "parameters"))
    return any(saved_steps.steps(folder) for folder in folders)


def read_config(directory: str | os.PathLike) -> ModelConfiguration:
    """The part of a model directory's configuration that using the model needs.

    Raises:
      UserError: the directory has no configuration, or not one of a model of this version.
    """
    fields = _read_fields(directory)
    try:
        return read_model(fields)
    except UserError as error:
        raise UserError(
            f"{directory}/{CONFIG_FILE} does not describe a model of this version ({error}): "
            "convert or train it anew, or restore the file from a backup"
        ) from error


def _read_fields(directory: str | os.PathLike) -> dict[str, Any]:
    """The nested fields of a directory's configuration, under the names of this version."""
    path = pathlib.Path(directory) / CONFIG_FILE
    if not path.is_file():
        raise UserError(
            f"{directory} is no model directory: it has no {CONFIG_FILE}; give the --workdir of a "
            "training run, or the output of a conversion"
        )
    return _read(path)[0]


def _read(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The nested fields of a file, and {dotted name: value} of those that it is too old to have."""
    try:
        fields = json.loads(path.read_text())
        if isinstance(fields, dict):
            return with_new_names(fields), added_to(fields)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): restore it from a backup") from error
    raise UserError(f"{path} is no configuration of a model: restore it from a backup")


def save_model(directory: str | os.PathLike, config: Configuration, variables: Variables) -> None:
    """Writes a model directory, whole or not at all; it must be absent or empty."""
    directory = pathlib.Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory} exists and is not empty: give another, or delete it")
    with whole_folder(directory) as unfinished:
        claim_directory(unfinished, config)
        folder = unfinished / "parameters"
        with contextlib.closing(SavedSteps(folder, "default", keep=1)) as parameters:
            parameters.save(0, variables)


def load_variables(directory: str | os.PathLike, abstract: Variables | None = None) -> Variables:
    """A model directory's variables, float32, on this process's first device.

    Args:
      directory: of the model.
      abstract: the leaves and shapes that the variables must have. Without it any variables will
        do, such as the backbone that a conversion wrote.

    Raises:
      UserError: the files are missing or damaged, or hold another model.
    """
    folder = _newest_parameters(pathlib.Path(directory) / "parameters", directory)

    def to_restore(saved: PyTree) -> PyTree:
        if abstract is not None:
            check_leaves(saved, abstract)
        return _on_one_device(saved)

    try:
        return saved_steps.read_step(folder / "default", to_restore)
    except saved_steps.RESTORE_ERRORS as error:
        raise UserError(
            f"{folder} does not fit the model of {directory}/{CONFIG_FILE} "
            f"({saved_steps.first_line(error)}): use a checkpoint together with its own "
            "configuration"
        ) from error


def _newest_parameters(parameters: pathlib.Path, directory: str | os.PathLike) -> pathlib.Path:
    """The folder of the newest parameters, whose files are as they were written."""
    folder = _newest_folder(parameters, directory)
    if (folder / checksums.FILE).exists():  # older versions wrote no checksums
        damage = checksums.find_damage(folder)
        if damage:
            raise UserError(f"{folder} is damaged ({damage}): restore it from a backup")
    return folder


def _newest_folder(parameters: pathlib.Path, directory: str | os.PathLike) -> pathlib.Path:
    if not parameters.is_dir():
        raise UserError(f"{directory} has no parameters yet: its training has to evaluate once")
    steps = saved_steps.steps(parameters)
    if not steps:
        raise UserError(f"{parameters} is empty: its training has to evaluate once")
    return parameters / str(steps[-1])


def _on_one_device(tree: PyTree) -> PyTree:
    """Shapes and types to restore to; without a device, orbax looks for the devices that saved."""
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), tree
    )


def check_leaves(saved: PyTree, expected: PyTree) -> None:
    """Raises a ValueError unless both trees have the same leaves of the same shapes."""
    difference = leaf_difference(saved, expected)
    if difference is None:
        return
    if isinstance(saved, dict) and all(set(tree) == {"backbone"} for tree in saved.values()):
        raise ValueError("it holds a backbone alone, for model.backbone_weights")
    raise ValueError(difference)
