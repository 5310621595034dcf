"""Numbered checkpoints in a folder; the only module that knows orbax."""

import contextlib
import logging as python_logging
import os
import pathlib
import shutil
from collections.abc import Callable, Generator

import jax
import orbax.checkpoint as ocp
from absl import logging
from jaxtyping import PyTree
from orbax.checkpoint import checkpoint_managers

from diffdepth_jax.checkpoints.checksums import write_checksums
from diffdepth_jax.checkpoints.fitting import first_line
from diffdepth_jax.distributed.processes import in_first
from diffdepth_jax.errors import UserError


def read_step(folder: str | os.PathLike, abstract: Callable[[PyTree], PyTree]) -> PyTree:
    """The tree saved in a step's folder.

    `abstract` maps the shapes and types of the saved tree to the shapes, types and shardings that
    the tree is restored to.
    """
    _silence_orbax()
    with ocp.StandardCheckpointer() as checkpointer:
        path = pathlib.Path(folder).absolute()
        saved = checkpointer.metadata(path).item_metadata.tree
        return checkpointer.restore(path, abstract(saved))


def abstract_tree(tree: PyTree) -> PyTree:
    """The shapes, types and shardings of a tree, to which another tree can be restored."""
    return jax.tree.map(ocp.tree.to_shape_dtype_struct, tree)


class SavedSteps:
    """A folder of checkpoints, written in the background; the newest are kept.

    Args:
      directory: the folder.
      item: the name of the folder, within the folder of a step, that holds the tree.
      keep: the number of checkpoints that are kept.

    Raises:
      UserError: what orbax keeps beside the checkpoints is damaged.
    """

    def __init__(self, directory: str | os.PathLike, item: str, keep: int):
        self._directory, self._item = pathlib.Path(directory).absolute(), item
        self._saving: int | None = None
        manager_options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.LatestN(keep),
            cleanup_tmp_directories=True,  # left by a run that was killed
            async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
        )
        _silence_orbax()
        try:
            self._manager = ocp.CheckpointManager(self._directory, options=manager_options)
        except (ValueError, TypeError, ArithmeticError) as error:  # of damaged metadata
            raise UserError(
                f"{self._directory} cannot be read ({first_line(error)}): restore the folder from "
                "a backup, or give another --workdir"
            ) from error

    @property
    def newest(self) -> int | None:
        """The newest step, saved or being saved; None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, tree: PyTree) -> None:
        """Starts writing a step.

        The arrays may be donated at once: orbax keeps a copy, or on the CPU a reference, which
        keeps JAX from reusing their memory.

        Raises:
          UserError: this step cannot be written, or the one before could not.
        """
        self.finish()
        in_first(_check_space, self._directory, step, tree)
        self._saving = step
        args = ocp.args.Composite(**{self._item: ocp.args.StandardSave(tree)})
        with self._named_errors():
            self._manager.save(step, args=args)

    def close(self) -> None:
        """Waits until all is written; raises as `save` does."""
        try:
            self.finish()
        finally:
            self._manager.close()

    def _seal(self) -> None:
        """Called by orbax when all files are written, before the folder gets its name."""
        write_checksums(self._directory / f"{self._saving}{ocp.utils.TMP_DIR_SUFFIX}")

    def finish(self) -> None:
        """Waits until what was saved is written; raises as `save` does."""
        with self._named_errors():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _named_errors(self) -> Generator[None]:
        try:
            yield
        except Exception as error:  # orbax and tensorstore pass on an OSError in many classes
            path = self._directory / str(self._saving)
            raise unwritten(path, first_line(error)) from error


def _check_space(directory: pathlib.Path, step: int, tree: PyTree) -> None:
    """Refuses a tree that the disk cannot hold; orbax's report of a full disk is unreadable."""
    need = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    free = shutil.disk_usage(directory).free
    if need > free:
        reason = f"it needs {need / 2**20:.0f} MiB, {free / 2**20:.0f} MiB are free"
        raise unwritten(directory / str(step), reason)


def unwritten(path: pathlib.Path, reason: str) -> UserError:
    """The error for a checkpoint that a full disk or a missing right kept from being written."""
    return UserError(
        f"checkpoint {path} could not be written ({reason}): free space or give a writable "
        "directory, then run the same command again to resume"
    )


def _silence_orbax() -> None:
    """Drops orbax's log of a failure: it raises the failure too, and that becomes one line."""
    for logger in (logging.get_absl_logger(), python_logging.getLogger("asyncio")):
        logger.addFilter(_is_wanted)


def _is_wanted(record: python_logging.LogRecord) -> bool:
    orbax = "orbax" in pathlib.Path(record.pathname).parts or record.name == "asyncio"
    return logging.level_debug() or not orbax
