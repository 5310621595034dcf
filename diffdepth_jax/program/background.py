"""Work in threads beside the caller's, handed back in order."""

import collections
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from diffdepth_jax.program.cores import usable_cores

_Item = TypeVar("_Item")
_Done = TypeVar("_Done")

# Several, as it may take longer to write an image's results than to predict the next.
THREADS = min(usable_cores(), 4)


def in_background(
    work: Callable[[_Item], _Done], items: Iterable[_Item], threads: int = THREADS
) -> Generator[tuple[_Item, Future[_Done]]]:
    """Works on items in threads, while the caller's thread makes the next ones.

    The threads run in parallel where numpy, Pillow or a file releases the interpreter's lock.

    Args:
      work: is called once with each item.
      items: at most one more than `threads` are made before one is yielded.
      threads: the number of threads.

    Yields:
      Each item in its order with its future, whose `result()` waits, and raises the error of
      `work`. Whoever closes it early waits for what has begun; the rest is not worked on.
    """
    pool = ThreadPoolExecutor(threads)
    begun: collections.deque[tuple[_Item, Future[_Done]]] = collections.deque()
    try:
        for item in items:
            begun.append((item, pool.submit(work, item)))
            if len(begun) > threads:
                yield begun.popleft()
        yield from begun
    finally:
        pool.shutdown(cancel_futures=True)
