"""Several processes that train one model: joining them, sharing work, agreeing."""

import json

import jax
import numpy as np
from jax.experimental import multihost_utils

from diffdepth_jax.errors import UserError


def join(coordinator, num_processes, process_id):
    """Joins the run's other processes; before any other use of JAX.

    Args:
      coordinator: HOST:PORT of process 0; "auto": Cloud TPU, SLURM and Open MPI tell it, and the
        other two.
      num_processes, process_id: how many, and which this is; None with "auto".

    Raises:
      UserError: the others cannot be found.
    """
    explicit = {"coordinator_address": coordinator, "num_processes": num_processes,
                "process_id": process_id}  # fmt: skip
    try:
        jax.distributed.initialize(**({} if coordinator == "auto" else explicit))
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"--coordinator={coordinator}: the processes do not find each other ({reason}); give "
            "--coordinator=HOST:PORT of process 0, --num_processes and --process_id to each"
        ) from error


def share(length: int) -> range:
    """Which of `length` items are this process's: neighbours, in the order of processes."""
    index, count = jax.process_index(), jax.process_count()
    return range(-(-length * index // count), -(-length * (index + 1) // count))


def gather(rows: list) -> list:
    """The rows, plain data, of all processes in their order."""
    if jax.process_count() == 1:
        return rows
    encoded = np.frombuffer(json.dumps(rows).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.array(len(encoded)))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(encoded)] = encoded
    parts = multihost_utils.process_allgather(padded)
    return [
        row
        for part, size in zip(parts, sizes, strict=True)
        for row in json.loads(part[:size].tobytes())
    ]


def any_of(flag: bool) -> bool:
    """Whether it is set in any process; all have to ask."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def is_first() -> bool:
    """Whether this is the process that writes."""
    return jax.process_index() == 0
