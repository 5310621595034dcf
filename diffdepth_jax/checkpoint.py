"""Models and training runs on disk: the only place that knows orbax.

A model is a directory: `config.json` and `parameters/`. A run's directory is one too, of its best
parameters by evaluation, and holds `checkpoints/` beside them, from which the run resumes.
"""

import json
import pathlib
import shutil

import jax
import orbax.checkpoint as ocp
from ml_collections import ConfigDict
from orbax.checkpoint import checkpoint_managers

from diffdepth_jax.errors import UserError

CONFIG_FILE = "config.json"
_GROUPS = {"model", "diffusion", "sampler", "inference"}  # what using a model needs
_WATCHING = {"log_level", "train.profile_steps", "train.max_skipped"}


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

    Of a group what the function computes matters, not what its training started from. How a run is
    watched may change when it is resumed.
    """
    names = _differences(_plain(config), _plain(read_config(workdir)))
    names = [name for name in names if name not in _WATCHING]
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
    return any(path.name.isdigit() for folder in folders for path in folder.glob("*"))


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
        with _manager(
            unfinished / "parameters", checkpoint_managers.LatestN(1), create=True
        ) as manager:
            _save(manager, 0, variables, ocp.args.StandardSave(variables))
        unfinished.replace(directory)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _check_space(directory, tree):
    """Refuses what a disk cannot hold before orbax starts: its own report of that is unreadable."""
    need = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    free = shutil.disk_usage(directory).free
    if need > free:
        raise OSError(f"it needs {need / 2**20:.0f} MiB, {free / 2**20:.0f} MiB are free")


def _save(manager, step, tree, args, **kwargs):
    try:
        _check_space(manager.directory, tree)
        manager.save(step, args=args, **kwargs)
    except Exception as error:  # orbax and tensorstore pass on an OSError in many classes
        raise UserError(
            f"checkpoint {manager.directory}/{step} could not be written "
            f"({_first_line(error)}): free space or give a writable directory, then run the "
            "same command again to resume"
        ) from error


def _manager(directory, policy, *, create, item_handlers=None, **kwargs):
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policy, create=create, enable_async_checkpointing=False, **kwargs
    )
    return ocp.CheckpointManager(
        pathlib.Path(directory).absolute(), options=options, item_handlers=item_handlers
    )


def _first_line(error):
    return str(error).strip().split("\n")[0][:300] or type(error).__name__


def load_variables(directory, abstract=None):
    """A model directory's variables, float32, on this process's first device.

    They have to have the leaves and shapes of `abstract`; without it whatever is there will do,
    such as the backbone that a conversion wrote.
    """
    parameters = pathlib.Path(directory) / "parameters"
    if not parameters.is_dir():
        raise UserError(f"{directory} has no parameters yet: its training has to evaluate once")
    with _manager(
        parameters,
        checkpoint_managers.LatestN(None),
        create=False,
        item_handlers=ocp.StandardCheckpointHandler(),
    ) as manager:
        step = manager.latest_step()
        if step is None:
            raise UserError(f"{parameters} is empty: its training has to evaluate once")
        try:
            saved = manager.item_metadata(step).tree
            if abstract is not None:
                _check_leaves(saved, abstract)
            return manager.restore(step, args=ocp.args.StandardRestore(_on_one_device(saved)))
        except (ValueError, KeyError, TypeError, AttributeError, FileNotFoundError) as error:
            raise UserError(
                f"{parameters}/{step} does not fit the model of {directory}/{CONFIG_FILE} "
                f"({_first_line(error)}): use a checkpoint together with its own configuration"
            ) from error


def _on_one_device(tree):
    """Shapes and types to restore to: orbax would look for the devices that saved."""
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), tree
    )


def _check_leaves(saved, abstract):
    """ValueError unless both trees have the same leaves of the same shapes."""
    theirs, ours = (
        {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
         for path, leaf in jax.tree.leaves_with_path(tree)}
        for tree in (saved, abstract)
    )  # fmt: skip
    if all("/backbone/" in path for path in theirs) and ours != theirs:
        raise ValueError("it holds a backbone alone, for model.backbone_weights")
    differing = sorted(path for path in ours | theirs if ours.get(path) != theirs.get(path))
    if differing:
        path = differing[0]
        raise ValueError(
            f"{len(differing)} leaves differ; {path}: saved {theirs.get(path, 'not')}, "
            f"the model has {ours.get(path, 'none')}"
        )


class RunCheckpoints:
    """The checkpoints of one training run, for saving and resuming; a context manager."""

    def __init__(self, workdir):
        directory = pathlib.Path(workdir)
        self._latest = _manager(
            directory / "checkpoints", checkpoint_managers.LatestN(2), create=True
        )
        # The newest is the best: a save happens only if the score is better than all before.
        self._best = _manager(
            directory / "parameters",
            checkpoint_managers.LatestN(1),
            create=True,
            best_fn=lambda metrics: metrics["score"],
            best_mode="min",
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._latest.close()
        self._best.close()

    @property
    def empty(self):
        """Whether there is nothing to resume from."""
        return self._latest.latest_step() is None

    def restore(self, state):
        """The newest saved state, or the given one if nothing was saved."""
        step = self._latest.latest_step()
        if step is None:
            return state
        abstract = jax.tree.map(ocp.tree.to_shape_dtype_struct, state)
        try:
            args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
            return self._latest.restore(step, args=args)["state"]
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            raise UserError(
                f"{self._latest.directory}/{step} cannot be restored ({_first_line(error)}): "
                "delete that folder to go on from the one before, or give another --workdir"
            ) from error

    def save(self, step, state):
        """Saves what resuming needs; a second save of one step does nothing."""
        if step != self._latest.latest_step():
            args = ocp.args.Composite(state=ocp.args.StandardSave(state))
            _save(self._latest, step, state, args)

    def save_best(self, step, variables, score):
        """Keeps these variables if their score, lower is better, is the best so far."""
        best = self._best.latest_step()
        if best is None or score < self._best.metrics(best)["score"]:
            if best is not None and step <= best:  # orbax only saves steps that rise
                self._best.delete(best)
            args = ocp.args.StandardSave(variables)
            _save(self._best, step, variables, args, metrics={"score": float(score)})
