"""Variables as older versions wrote them: Orbax's checkpoints in `parameters/`."""

import json
import os
import pathlib

import jax
from jaxtyping import PyTree

from diffdepth_jax.arrays import Variables
from diffdepth_jax.checkpoints import checksums, saved_steps
from diffdepth_jax.checkpoints.fitting import check_leaves, explained
from diffdepth_jax.checkpoints.numbered_folders import steps
from diffdepth_jax.checkpoints.weights_file import check_values
from diffdepth_jax.errors import UserError

FOLDER = "parameters"


def load_parameters(directory: str | os.PathLike, abstract: Variables | None) -> Variables:
    """The newest variables below a directory's `parameters/`, see `load_variables`."""
    folder = _newest_whole(pathlib.Path(directory) / FOLDER, directory)

    def to_restore(saved: PyTree) -> PyTree:
        if abstract is not None:
            check_leaves(saved, abstract)
        return _on_one_device(saved)

    with explained(directory, f"{FOLDER}/{folder.name}"):
        variables = saved_steps.read_step(folder / "default", to_restore)
    check_values(folder, variables)
    return variables


def best_score(directory: str | os.PathLike) -> float | None:
    """The score of the newest variables; None if there are none, or damaged ones."""
    for step in reversed(steps(pathlib.Path(directory) / FOLDER)):
        folder = pathlib.Path(directory) / FOLDER / str(step)
        if checksums.find_damage(folder):
            return None
        try:
            return float(json.loads((folder / "metrics/metrics").read_text())["score"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
    return None


def _newest_whole(parameters: pathlib.Path, directory: str | os.PathLike) -> pathlib.Path:
    """The folder of the newest parameters, whose files are as they were written."""
    folder = _newest_folder(parameters, directory)
    if (folder / checksums.FILE).exists():  # even older versions wrote no checksums
        damage = checksums.find_damage(folder)
        if damage:
            raise UserError(f"{folder} is damaged ({damage}): restore it from a backup")
    return folder


def _newest_folder(parameters: pathlib.Path, directory: str | os.PathLike) -> pathlib.Path:
    saved = steps(parameters)
    if not saved:
        raise UserError(
            f"{directory} has no parameters yet: its training writes them when it evaluates; it "
            f"goes on with diffdepth train --workdir={directory}"
        )
    return parameters / str(saved[-1])


def _on_one_device(tree: PyTree) -> PyTree:
    """Shapes and types to restore to; without a device, orbax looks for the devices that saved."""
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), tree
    )
