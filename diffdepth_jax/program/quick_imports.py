"""Imports large libraries in less time."""

import contextlib
import gc
from collections.abc import Generator


@contextlib.contextmanager
def quick_imports() -> Generator[None, None, None]:
    """Looks for no garbage while a program imports JAX in this context, nor in what is there after.

    What is imported stays. To search it for garbage again and again takes a sixth of the time. A
    process gains by it once; a second use has no effect.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
