"""Several processes train one model: they join, share the work, and agree when to stop."""

import contextlib
import functools
import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Generator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from diffdepth_jax.distributed import sharding
from diffdepth_jax.distributed.preemption import EXIT_STATUS
from diffdepth_jax.errors import UserError

PATIENCE = 300  # seconds to wait for process 0 to start


def join(coordinator: str, num_processes: int | None, process_id: int | None) -> None:
    """Joins the run's other processes. Call it before any other use of JAX.

    Args:
      coordinator: HOST:PORT of process 0. With "auto" JAX learns all three arguments from Cloud
        TPU, SLURM or Open MPI.
      num_processes: the number of the run's processes; None with "auto".
      process_id: this process's number, from 0; None with "auto".

    Raises:
      UserError: process 0 cannot be reached, or "auto" does not find it.
    """
    # JAX's handler of SIGTERM would keep the signal from `Preemption`.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        if coordinator == "auto":
            jax.distributed.initialize()
        else:
            if process_id:
                _wait_for(coordinator)
            jax.distributed.initialize(coordinator, num_processes, process_id)
    except (ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"--coordinator={coordinator}: the processes do not find each other ({reason}); give "
            "--coordinator=HOST:PORT of process 0, --num_processes and --process_id to each"
        ) from error


def _wait_for(address: str) -> None:
    """Waits until process 0 listens. Where it never does, JAX itself would end in a stack dump."""
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
def fail_together() -> Generator[None, None, None]:
    """Ends this process at once if it fails and is one of several.

    JAX would otherwise wait for the others at exit, and they for this one. SystemExit with status
    0 or EXIT_STATUS passes, for all processes end with it at the same step. With another status it
    fails without a traceback, because an error message has already been printed.
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
        status = error.code if isinstance(error, SystemExit) else 1
        os._exit(status if isinstance(status, int) else 1)


def share(length: int) -> range:
    """Returns which of `length` items this process works on: a run of neighbours.

    Put together in the order of the processes, the shares are range(length).
    """
    index, count = jax.process_index(), jax.process_count()
    return range(-(-length * index // count), -(-length * (index + 1) // count))


def gather(rows: list[Any]) -> list[Any]:
    """Collects rows of JSON data from all processes, in the order of the processes."""
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
    """Tells all processes at the same time whether any of them has set a flag.

    With several processes the answer concerns the flags of the call before, so that no call waits
    for the devices.
    """

    def __init__(self) -> None:
        self._several = jax.process_count() > 1
        mesh = sharding.create_mesh()
        self._split = sharding.split(mesh)
        self._any = jax.jit(jnp.any, out_shardings=sharding.replicated(mesh))
        self._asked: jax.Array | None = None

    def ask(self, flag: bool) -> bool:
        """Sets this process's flag, returns the answer; all processes must call equally often."""
        if not self._several:
            return flag
        before, local = self._asked, np.full(jax.local_device_count(), flag)
        self._asked = self._any(jax.make_array_from_process_local_data(self._split, local))
        return before is not None and bool(before.addressable_data(0))


def is_first() -> bool:
    """Whether this is process 0, which prints and writes for all."""
    return jax.process_index() == 0


def only_in_first(function: Callable[..., None]) -> Callable[..., None]:
    """Decorates a function that only process 0 runs; in the others it does nothing."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        if is_first():
            function(*args, **kwargs)

    return wrapped


def in_first(function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    """Calls a function in process 0, and raises its failure in all processes.

    For functions that check or change what all processes share, such as a directory.
    """
    message = None
    if is_first():
        try:
            function(*args, **kwargs)
        except (UserError, OSError) as error:
            if jax.process_count() == 1:
                raise
            message = str(error)
    message = gather([message])[0]
    if message is not None:
        raise UserError(message)
