"""Models and training runs on disk.

A model is a directory: `config.json` and `parameters/`. A run's directory is one too, of its best
parameters by evaluation, and holds `checkpoints/` beside them, from which the run resumes, and
`damaged/`, to which checkpoints are moved that are not what was written.
"""

import contextlib
import json
import pathlib
import shutil

import jax
from ml_collections import ConfigDict

from diffdepth_jax.checkpoints import checksums, saved_steps
from diffdepth_jax.checkpoints.saved_steps import SavedSteps, in_first_process
from diffdepth_jax.errors import UserError

CONFIG_FILE = "config.json"
_GROUPS = {"model", "diffusion", "sampler", "inference"}  # what using a model needs
# What may change when a run is resumed: how it is watched, and spread over a machine.
_FREE = {"log_level", "data.root", "data.data_dir", "sampler.remat"} | {
    f"train.{name}"
    for name in (
        "accumulate",
        "checkpoint_every",
        "evaluate_every",
        "log_every",
        "max_skipped",
        "num_panels",
        "num_threads",
        "parallel",
        "profile_steps",
        "remat_backbone",
    )
}


def _plain(config):
    """The configuration as JSON reads it back, tuples as lists."""
    return json.loads(config.to_json())


def _differences(ours, theirs, prefix=""):
    """Dotted names of the fields in which two nested dicts differ."""
    names = []
    for key in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(key), theirs.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            names += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            names.append(f"{prefix}{key}")
    return names


def check_directory(workdir, config, groups=None):
    """Raises unless `workdir` is the directory of a run of `config`, or of these groups of it.

    Of a group what the function computes matters, not what its training started from.
    """
    names = _differences(_plain(config), _plain(read_config(workdir)))
    names = [name for name in names if name not in _FREE]
    if groups is not None:
        names = [name for name in names if name.split(".")[0] in groups]
        names = [name for name in names if name != "model.backbone_weights"]
    if names:
        raise UserError(
            f"{workdir} holds a run of another configuration ({', '.join(names[:6])} differ): "
            "give another --workdir, or the same configuration"
        )


def claim_directory(workdir, config):
    """Makes `workdir` the directory of a run of `config`, or checks that it already is one.

    One in which nothing was saved yet, such as after a mistyped field, is taken over.
    """
    in_first_process(_claim, workdir, config)


def _claim(workdir, config):
    path = pathlib.Path(workdir) / CONFIG_FILE
    if path.exists() and holds_steps(workdir):
        return check_directory(workdir, config)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(config.to_json(indent=1) + "\n")
    unfinished.replace(path)


def holds_steps(workdir):
    """Whether something was saved there, to resume from or to predict with."""
    folders = (pathlib.Path(workdir) / name for name in ("checkpoints", "parameters"))
    return any(saved_steps.steps(folder) for folder in folders)


def read_config(directory) -> ConfigDict:
    """The locked configuration of a model directory."""
    path = pathlib.Path(directory) / CONFIG_FILE
    if not path.is_file():
        raise UserError(
            f"{directory} is no model directory: it has no {CONFIG_FILE}; give the --workdir of a "
            "training run, or the output of a conversion"
        )
    try:
        fields = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): restore it from a backup") from error
    if not isinstance(fields, dict) or not fields.keys() >= _GROUPS:
        raise UserError(f"{path} is no configuration of a model: restore it from a backup")
    return ConfigDict(fields, convert_dict=True).lock()


def save_model(directory, config, variables):
    """Writes a model directory, whole or not at all; it must not exist or be empty."""
    directory = pathlib.Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory} exists and is not empty: give another, or delete it")
    directory.parent.mkdir(parents=True, exist_ok=True)
    unfinished = directory.with_name(f"{directory.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        claim_directory(unfinished, config)
        folder = unfinished / "parameters"
        with contextlib.closing(SavedSteps(folder, "default", keep=1)) as parameters:
            parameters.save(0, variables)
        unfinished.replace(directory)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def load_variables(directory, abstract=None):
    """A model directory's variables, float32, on this process's first device.

    They have to have the leaves and shapes of `abstract`; without it whatever is there will do,
    such as the backbone that a conversion wrote.
    """
    parameters = pathlib.Path(directory) / "parameters"
    if not parameters.is_dir():
        raise UserError(f"{directory} has no parameters yet: its training has to evaluate once")
    steps = saved_steps.steps(parameters)
    if not steps:
        raise UserError(f"{parameters} is empty: its training has to evaluate once")
    folder = parameters / str(steps[-1])
    if (folder / checksums.FILE).exists():  # older versions wrote none
        damage = checksums.find_damage(folder)
        if damage:
            raise UserError(f"{folder} is damaged ({damage}): restore it from a backup")

    def to_restore(saved):
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


def _on_one_device(tree):
    """Shapes and types to restore to: orbax would look for the devices that saved."""
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), tree
    )


def check_leaves(saved, abstract):
    """ValueError unless both trees have the same leaves of the same shapes."""
    theirs, ours = (
        {
            jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
            for path, leaf in jax.tree.leaves_with_path(tree)
        }
        for tree in (saved, abstract)
    )
    if all("/backbone/" in path for path in theirs) and ours != theirs:
        raise ValueError("it holds a backbone alone, for model.backbone_weights")
    differing = sorted(path for path in ours | theirs if ours.get(path) != theirs.get(path))
    if differing:
        path = differing[0]
        raise ValueError(
            f"{len(differing)} leaves differ; {path}: saved {theirs.get(path, 'not')}, "
            f"the model has {ours.get(path, 'none')}"
        )
