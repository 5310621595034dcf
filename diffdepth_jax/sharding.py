"""Data parallelism: one mesh axis over all devices, parameters replicated, batches split."""

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from diffdepth_jax.errors import UserError


def create_mesh():
    return jax.make_mesh((jax.device_count(),), ("batch",), axis_types=(AxisType.Auto,))


def replicated(mesh):
    return NamedSharding(mesh, PartitionSpec())


def split(mesh):
    return NamedSharding(mesh, PartitionSpec("batch"))


def local_batch_size(batch_size: int) -> int:
    """This process's share of a global batch, which must divide over the devices."""
    if batch_size % jax.device_count():
        raise UserError(
            f"train.batch_size {batch_size}: must be a multiple of the {jax.device_count()} devices"
        )
    return batch_size // jax.process_count()


def shard_batch(batch, mesh):
    """This process's numpy arrays [B / processes, ...] -> global arrays [B, ...] over the mesh."""
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(split(mesh), np.asarray(x)), batch
    )
