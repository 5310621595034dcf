"""A map over a pool of processes that keeps the order and never runs far ahead of its reader."""

import collections
import concurrent.futures
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from diffdepth_jax.errors import UserError

_AHEAD = 4  # tasks of each worker that may be running, or finished and not yet read

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], num_workers: int
) -> Generator[Result]:
    """Yields function(item) for each item in order; with one worker, in this process.

    Raises:
      UserError: a worker process died.
    """
    if num_workers == 1:
        yield from map(function, items)
        return
    # The parent has threads of the record writer, and a process with threads must not be forked.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(num_workers, context, _end_with_parent)
    items = iter(items)
    try:
        first = itertools.islice(items, _AHEAD * num_workers)
        pending = collections.deque(pool.submit(function, item) for item in first)
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in itertools.islice(items, 1))
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process died, most likely for want of memory: give fewer --num_workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """In a worker: leaves Ctrl-C to the parent, and ends when the parent was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None  # a worker has one

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
