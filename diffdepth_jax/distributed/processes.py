"""Several processes that train one model: joining them, sharing work, agreeing."""

import contextlib
import json
import os
import socket
import sys
import time
import traceback

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from diffdepth_jax.distributed import sharding
from diffdepth_jax.distributed.preemption import EXIT_STATUS
from diffdepth_jax.errors import UserError

PATIENCE = 300  # seconds to wait for process 0 to start


def join(coordinator, num_processes, process_id):
    """Joins the run's other processes; before any other use of JAX.

    Args:
      coordinator: HOST:PORT of process 0; "auto": Cloud TPU, SLURM and Open MPI tell it, and the
        other two.
      num_processes, process_id: how many, and which this is; None with "auto".

    Raises:
      UserError: process 0 cannot be reached, or nothing tells where it is.
    """
    # JAX's own handling of SIGTERM would keep the signal from ours.
    jax.config.update("jax_enable_preemption_service", False)
    explicit = {
        "coordinator_address": coordinator,
        "num_processes": num_processes,
        "process_id": process_id,
    }
    try:
        if coordinator == "auto":
            jax.distributed.initialize()
        else:
            if process_id:
                _wait_for(coordinator)
            jax.distributed.initialize(**explicit)
    except (ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"--coordinator={coordinator}: the processes do not find each other ({reason}); give "
            "--coordinator=HOST:PORT of process 0, --num_processes and --process_id to each"
        ) from error


def _wait_for(address):
    """Until process 0 listens: JAX would end in a dump of the stack if it never does."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection((host, int(port)), timeout=PATIENCE).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@contextlib.contextmanager
def fail_together():
    """Of several processes one that fails ends at once: the others would wait for it in vain.

    What fails inside has said so when it raises SystemExit; an exit status that all processes have
    agreed on, 0 or that of a preempted run, passes.
    """
    try:
        yield
    except BaseException as error:
        agreed = isinstance(error, SystemExit) and error.code in (None, 0, EXIT_STATUS)
        if jax.process_count() == 1 or agreed:
            raise
        if not isinstance(error, SystemExit):
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(error.code if isinstance(error, SystemExit) else 1)


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


class Agreement:
    """Whether a flag is set in any process, the same answer in all at the same time.

    The answer is to the question before: the devices need not be waited for.
    """

    def __init__(self):
        self._several = jax.process_count() > 1
        mesh = sharding.create_mesh()
        self._split = sharding.split(mesh)
        self._any = jax.jit(jnp.any, out_shardings=sharding.replicated(mesh))
        self._asked = None

    def ask(self, flag: bool) -> bool:
        """All processes have to ask equally often."""
        if not self._several:
            return flag
        before, local = self._asked, np.full(jax.local_device_count(), flag)
        self._asked = self._any(jax.make_array_from_process_local_data(self._split, local))
        return before is not None and bool(before.addressable_data(0))


def is_first() -> bool:
    """Whether this is the process that writes."""
    return jax.process_index() == 0
