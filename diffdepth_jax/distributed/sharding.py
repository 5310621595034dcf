"""Lays out state and batches on the devices, and compiles steps for this layout."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Key

from diffdepth_jax.arrays import Array
from diffdepth_jax.distributed.collectives import AXIS, Tree
from diffdepth_jax.errors import UserError
from diffdepth_jax.program import compiler_options

MODES = ("jit", "pmap", "fsdp")
MIN_SPLIT = 2**12  # elements; to gather smaller leaves costs more than their split saves

Leaf = Array | jax.ShapeDtypeStruct  # of a state
Batch = Any  # a pytree of arrays [B, ...]
Step = Callable[[Tree, Batch, Key[jax.Array, ""]], tuple[Tree, Any]]  # (state, batch, key)


def create_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Creates a mesh of one axis over these devices, by default over those of all processes."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), (AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of an array that each device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """The sharding of an array that is cut along one axis, a part for each device."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def local_batch_size(batch_size: int, accumulate: int = 1) -> int:
    """Returns how many images of a global batch this process reads.

    Raises:
      UserError: the batch does not divide over the devices and `accumulate` micro-batches.
    """
    parts = jax.device_count() * accumulate
    if batch_size % parts:
        raise UserError(
            f"train.batch_size {batch_size}: must be a multiple of {parts}, "
            f"the {jax.device_count()} devices times train.accumulate {accumulate}"
        )
    return batch_size // jax.process_count()


def divisible(batch_size: int, mesh: Mesh) -> int:
    """Returns the batch size, rounded up so that it divides over the devices of the mesh."""
    return -(-batch_size // mesh.size) * mesh.size


class Layout:
    """Places state and batches on the devices of a mesh, and compiles steps for them.

    In all modes the batch is split over the devices.

    Args:
      mode: "jit": each device holds the whole state, and the compiler partitions the step.
        "pmap": each device holds the whole state, and `jax.pmap` maps the step over the devices.
        "fsdp": as "jit", but each device holds only its part of the state's large leaves, and the
        step gathers the parameters for use.
      mesh: all devices of all processes, see `create_mesh`.
    """

    def __init__(self, mode: str, mesh: Mesh) -> None:
        if mode not in MODES:
            raise UserError(f"train.parallel {mode!r}: must be one of {', '.join(MODES)}")
        self.mode, self.mesh = mode, mesh

    def compile(self, step: Step[Tree], state: Tree) -> Step[Tree]:
        """Compiles a step (state, batch, key) -> (state, terms); it reuses the old state's memory.

        `state` may hold shapes instead of arrays, see `abstract`.
        """
        if self.mode == "pmap":
            return self._map(step)
        states, whole = self.state_shardings(state), replicated(self.mesh)
        return jax.jit(
            step,
            in_shardings=(states, split(self.mesh), whole),
            out_shardings=(states, whole),
            donate_argnums=0,
        )

    def _map(self, step: Step[Tree]) -> Step[Tree]:
        """Maps a step by `jax.pmap`; the state's arrays stay those of all processes' devices."""
        mapped = jax.pmap(
            step,
            AXIS,
            in_axes=(None, 0, None),
            out_axes=(None, None),
            donate_argnums=0,
            devices=list(self.mesh.devices.flat),
        )

        def of_all_processes(x: jax.Array) -> jax.Array:
            shards = [shard.data for shard in x.addressable_shards]
            return jax.make_array_from_single_device_arrays(x.shape, replicated(self.mesh), shards)

        def mapped_step(state: Tree, batch: Batch, key: jax.Array) -> tuple[Tree, Any]:
            state, terms = mapped(state, batch, key)
            return jax.tree.map(of_all_processes, state), terms

        return mapped if jax.process_count() == 1 else mapped_step

    def state_shardings(self, state: Any) -> Any:
        """Returns the sharding of each leaf of a state, in the state's structure."""
        return jax.tree.map(self._sharding, state)

    def _sharding(self, leaf: Leaf) -> NamedSharding:
        axis = self.split_axis(leaf)
        return replicated(self.mesh) if axis is None else split(self.mesh, axis)

    def split_axis(self, leaf: Leaf) -> int | None:
        """Returns the axis along which a leaf is split; None if each device holds the whole leaf.

        It is the longest axis whose size is a multiple of the number of devices.
        """
        axes = [axis for axis, size in enumerate(leaf.shape) if size % self.mesh.size == 0]
        if self.mode != "fsdp" or leaf.size < MIN_SPLIT or not axes:
            return None
        return max(axes, key=lambda axis: leaf.shape[axis])

    def place(self, state: Tree) -> Tree:
        """Puts a state, which must be equal in all processes, on the devices."""
        return jax.device_put(state, self.state_shardings(state))

    def abstract(self, create: Callable[[], Any]) -> Any:
        """Returns the state that `create()` would create, as shapes, types and shardings only."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=self._sharding(leaf)
            ),
            jax.eval_shape(create),
        )

    def create(self, create: Callable[[], Tree], abstract: Tree) -> Tree:
        """Returns the state that `create()` creates; each device computes only its part of it.

        `abstract` is what `self.abstract(create)` returned.
        """
        compiled = jax.jit(
            create,
            out_shardings=jax.tree.map(lambda leaf: leaf.sharding, abstract),
            compiler_options=compiler_options.of_what_runs_once(),
        )
        return compiled()

    def gather(self, params: Tree) -> Tree:
        """Within a step: gathers parameters for use. XLA gathers each just before its use."""
        if self.mode != "fsdp":
            return params
        return jax.lax.with_sharding_constraint(params, replicated(self.mesh))

    def scatter(self, gradients: Tree) -> Tree:
        """Within a step: splits gradients over the devices as the state is split."""
        if self.mode != "fsdp":
            return gradients
        return jax.lax.with_sharding_constraint(gradients, self.state_shardings(gradients))

    def shard_batch(self, batch: Batch) -> Batch:
        """Builds the global batch on the devices from each process's numpy [B / processes, ...].

        In the mode "pmap" the result are numpy arrays [devices, B / devices, ...] of this process.
        """
        if self.mode == "pmap":
            local = self.mesh.local_mesh.size
            return jax.tree.map(lambda x: x.reshape(local, -1, *x.shape[1:]), batch)
        sharding = split(self.mesh)
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch
        )

    @functools.cached_property
    def _whole(self) -> Callable[[Tree], Tree]:
        return jax.jit(lambda x: x, out_shardings=replicated(self.mesh))

    def local(self, tree: Tree) -> Tree:
        """Gathers arrays of the state, whole, on this process's first device."""
        return jax.tree.map(lambda x: x.addressable_data(0), self._whole(tree))
