"""Work in threads beside the caller's, handed back in order."""

import collections
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any, TypeVar

_Item = TypeVar("_Item")

THREADS = min(os.cpu_count() or 1, 4)  # each holds an item; more than one, as one writes for long


def in_background(
    work: Callable[[_Item], Any], items: Iterable[_Item], threads: int = THREADS
) -> Iterator[tuple[_Item, futures.Future]]:
    """Works on items in threads, while the next items are made.

    Threads run side by side where numpy, Pillow or the disk is at work, which is most of the time
    that it takes to write pictures.

    Args:
      work: is called once with each item.
      items: are made in the caller's thread, at most `threads` of them before one is yielded.
      threads: the number of threads.

    Yields:
      Each item in its order with its future, which is done: `result()` raises the error of `work`,
      if there was one. Who stops early, or fails to make an item, waits for what was begun.
    """
    with futures.ThreadPoolExecutor(threads) as pool:
        begun: collections.deque[tuple[_Item, futures.Future]] = collections.deque()
        for item in items:
            begun.append((item, pool.submit(work, item)))
            if len(begun) > threads:
                yield _first_done(begun)
        while begun:
            yield _first_done(begun)


def _first_done(
    begun: collections.deque[tuple[_Item, futures.Future]],
) -> tuple[_Item, futures.Future]:
    item, future = begun.popleft()
    futures.wait([future])
    return item, future
