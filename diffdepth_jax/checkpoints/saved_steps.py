"""Numbered checkpoints in a folder, whole or not at all: the only place that knows orbax."""

import contextlib
import logging as python_logging
import pathlib
import shutil

import jax
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint import checkpoint_managers

from diffdepth_jax.checkpoints.checksums import find_damage, write_checksums
from diffdepth_jax.distributed import processes
from diffdepth_jax.errors import UserError

# What orbax and tensorstore raise on files that are not of the form or the shapes asked for.
RESTORE_ERRORS = (ValueError, KeyError, TypeError, AttributeError, FileNotFoundError)


def first_line(error):
    return str(error).strip().split("\n")[0][:800] or type(error).__name__


def steps(directory):
    """The steps saved in a folder, rising."""
    folder = pathlib.Path(directory)
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())


def find_damaged(directory):
    """({step: what is wrong with it} newest first, the newest whole step or None)."""
    damaged = {}
    for step in reversed(steps(directory)):
        damage = find_damage(pathlib.Path(directory) / str(step))
        if damage is None:
            return damaged, step
        damaged[step] = damage
    return damaged, None


def in_first_process(function, *args):
    """Calls what judges or changes a shared directory; that it fails is raised in all processes."""
    message = None
    if processes.is_first():
        try:
            function(*args)
        except (UserError, OSError) as error:
            if jax.process_count() == 1:
                raise
            message = str(error)
    message = processes.gather([message])[0]
    if message is not None:
        raise UserError(message)


def read_step(folder, abstract):
    """The tree saved in a step's folder; `abstract` makes of it, as saved, what to restore to."""
    _silence_orbax()
    with ocp.StandardCheckpointer() as checkpointer:
        path = pathlib.Path(folder).absolute()
        saved = checkpointer.metadata(path).item_metadata.tree
        return checkpointer.restore(path, abstract(saved))


def abstract_tree(tree):
    """Shapes, types and shardings: restores to them, whatever those were that were saved."""
    return jax.tree.map(ocp.tree.to_shape_dtype_struct, tree)


class SavedSteps:
    """A folder of checkpoints that are written in the background, of which the newest are kept."""

    def __init__(self, directory, item, keep, **options):
        """`item` is the tree's folder within that of a step; options are orbax's."""
        self._directory, self._item = pathlib.Path(directory).absolute(), item
        self._saving = None
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.LatestN(keep),
            cleanup_tmp_directories=True,  # what a kill left
            async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
            # Two folders may be written at once: processes must not meet at the other's barrier.
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                barrier_sync_key_prefix=self._directory.name
            ),
            **options,
        )
        _silence_orbax()
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    @property
    def newest(self):
        """The newest step, saved or being saved; None if there is none."""
        return self._manager.latest_step()

    def score(self, step):
        return self._manager.metrics(step)["score"]

    def delete(self, step):
        self._finish()
        self._manager.delete(step)

    def save(self, step, tree, **kwargs):
        """Starts writing a step.

        The arrays may be donated at once: orbax keeps a copy, or on the CPU a reference, because of
        which JAX does not reuse their memory.

        Raises:
          UserError: this step cannot be written, or the one before could not.
        """
        self._finish()
        in_first_process(_check_space, self._directory, step, tree)
        self._saving = step
        args = ocp.args.Composite(**{self._item: ocp.args.StandardSave(tree)})
        with self._named_errors():
            self._manager.save(step, args=args, **kwargs)

    def close(self):
        """Waits until all is written; raises as `save` does."""
        try:
            self._finish()
        finally:
            self._manager.close()

    def _seal(self):
        """Called by orbax when all files are written, before the folder gets its name."""
        write_checksums(self._directory / f"{self._saving}{ocp.utils.TMP_DIR_SUFFIX}")

    def _finish(self):
        with self._named_errors():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _named_errors(self):
        try:
            yield
        except Exception as error:  # orbax and tensorstore pass on an OSError in many classes
            raise _unwritten(self._directory, self._saving, first_line(error)) from error


def _check_space(directory, step, tree):
    """Refuses what a disk cannot hold before orbax starts: its own report of that is unreadable."""
    need = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    free = shutil.disk_usage(directory).free
    if need > free:
        reason = f"it needs {need / 2**20:.0f} MiB, {free / 2**20:.0f} MiB are free"
        raise _unwritten(directory, step, reason)


def _unwritten(directory, step, reason):
    return UserError(
        f"checkpoint {directory}/{step} could not be written ({reason}): free space or give a "
        "writable directory, then run the same command again to resume"
    )


def _silence_orbax():
    """What it logs as it fails it raises too, and that becomes one line."""
    for logger in (logging.get_absl_logger(), python_logging.getLogger("asyncio")):
        logger.addFilter(_is_wanted)


def _is_wanted(record):
    orbax = "orbax" in pathlib.Path(record.pathname).parts or record.name == "asyncio"
    return logging.level_debug() or not orbax
