"""Devices: how state and batches lie on them, and how a step over them is compiled."""

import functools

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from diffdepth_jax.distributed.collectives import AXIS
from diffdepth_jax.errors import UserError

MODES = ("jit", "pmap", "fsdp")
MIN_SPLIT = 2**12  # elements: smaller leaves cost more to gather than they save


def create_mesh(devices=None):
    """All devices of all processes, or these, in one axis."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), (AxisType.Auto,), devices=devices)


def replicated(mesh):
    return NamedSharding(mesh, PartitionSpec())


def split(mesh, axis=0):
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def local_batch_size(batch_size: int, accumulate: int = 1) -> int:
    """This process's share of a global batch, which must divide over devices and micro-batches."""
    parts = jax.device_count() * accumulate
    if batch_size % parts:
        raise UserError(
            f"train.batch_size {batch_size}: must be a multiple of {parts}, "
            f"the {jax.device_count()} devices times train.accumulate {accumulate}"
        )
    return batch_size // jax.process_count()


class Layout:
    """State and batches on the devices of a mesh, and steps compiled for them.

    Args:
      mode: "jit": the state is on every device, batches are split, the compiler partitions the
        step. "pmap": the same step, mapped over the devices by `jax.pmap`. "fsdp": as jit, but of
        the state's large leaves each device keeps its part only, and gathers parameters for use.
      mesh: of all devices.
    """

    def __init__(self, mode, mesh):
        if mode not in MODES:
            raise UserError(f"train.parallel {mode!r}: must be one of {', '.join(MODES)}")
        self.mode, self.mesh = mode, mesh

    def compile(self, step, state):
        """(state, batch, key) -> (state, terms), compiled; the state's memory is given away."""
        if self.mode == "pmap":
            return self._map(step)
        states, whole = self.state_shardings(state), replicated(self.mesh)
        return jax.jit(
            step,
            in_shardings=(states, split(self.mesh), whole),
            out_shardings=(states, whole),
            donate_argnums=0,
        )

    def _map(self, step):
        """A step mapped by `jax.pmap`, its state kept as one array over all processes' devices."""
        mapped = jax.pmap(
            step,
            AXIS,
            in_axes=(None, 0, None),
            out_axes=(None, None),
            donate_argnums=0,
            devices=list(self.mesh.devices.flat),
        )

        def of_all_processes(x):
            shards = [shard.data for shard in x.addressable_shards]
            return jax.make_array_from_single_device_arrays(x.shape, replicated(self.mesh), shards)

        def mapped_step(state, batch, key):
            state, terms = mapped(state, batch, key)
            return jax.tree.map(of_all_processes, state), terms

        return mapped if jax.process_count() == 1 else mapped_step

    def state_shardings(self, state):
        """The sharding of each leaf of a state."""
        return jax.tree.map(self._sharding, state)

    def _sharding(self, leaf):
        axis = self.split_axis(leaf)
        return replicated(self.mesh) if axis is None else split(self.mesh, axis)

    def split_axis(self, leaf):
        """The longest axis that the devices divide; None: the leaf is whole on every device."""
        axes = [axis for axis, size in enumerate(leaf.shape) if size % self.mesh.size == 0]
        if self.mode != "fsdp" or leaf.size < MIN_SPLIT or not axes:
            return None
        return max(axes, key=lambda axis: leaf.shape[axis])

    def place(self, state):
        """The state, the same on all processes, on the devices."""
        return jax.device_put(state, self.state_shardings(state))

    def abstract(self, create):
        """Shapes, types and shardings of the state that a function without arguments creates."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=self._sharding(leaf)
            ),
            jax.eval_shape(create),
        )

    def create(self, create):
        """That state, on no device more of it than belongs there."""
        return jax.jit(create, out_shardings=self.state_shardings(jax.eval_shape(create)))()

    def gather(self, params):
        """Within a step: parameters to compute with. XLA places each gathering before its use."""
        if self.mode != "fsdp":
            return params
        return jax.lax.with_sharding_constraint(params, replicated(self.mesh))

    def scatter(self, gradients):
        """Within a step: gradients, of which each device keeps what its part of the state needs."""
        if self.mode != "fsdp":
            return gradients
        return jax.lax.with_sharding_constraint(gradients, self.state_shardings(gradients))

    def shard_batch(self, batch):
        """This process's numpy arrays [B / processes, ...] -> the global batch on the devices."""
        if self.mode == "pmap":
            local = self.mesh.local_mesh.size
            return jax.tree.map(lambda x: x.reshape(local, -1, *x.shape[1:]), batch)
        sharding = split(self.mesh)
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch
        )

    @functools.cached_property
    def _whole(self):
        return jax.jit(lambda x: x, out_shardings=replicated(self.mesh))

    def local(self, tree):
        """Arrays of the state, whole, on this process's first device."""
        return jax.tree.map(lambda x: x.addressable_data(0), self._whole(tree))
