"""The memory that a program frees stays in the process, in large pages, until it is given back."""

import ctypes
import os
import sys

# From glibc's malloc.h and Linux' mman.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_MADV_HUGEPAGE = 14
_HUGE_PAGE, _PIECE = 2**21, 2**26  # bytes
_SHARE = 7 / 8  # of the memory; Linux refuses a request for more than all memory and swap


def keep_freed_memory() -> bool:
    """Makes malloc keep what is freed, and asks Linux for pages of 2 MB.

    On CPU, XLA asks for the temporary memory of a program at each call and frees it after. By
    default the C library gives it back to the system, and the next call pays for fresh, zeroed
    pages of 4 kB: a sixth of the time of the quick start's training. What is asked for here
    reserves addresses only: a page takes memory once it is written to.

    Call it once, at the start of a program.

    Returns:
      Whether it took effect; elsewhere than on Linux with the GNU C library nothing is changed.
    """
    libc = _gnu_libc()
    if libc is None:
        return False
    options = {_M_ARENA_MAX: 1, _M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1}
    kept = all(libc.mallopt(option, value) for option, value in options.items())
    _reserve(libc, int(_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")))
    return kept


def give_back_freed_memory() -> None:
    """Gives the system what is free now, once: what a compilation needed is not needed again."""
    libc = _gnu_libc()
    if libc is not None:
        libc.malloc_trim(ctypes.c_size_t(0))


def _gnu_libc() -> ctypes.CDLL | None:
    """The GNU C library of this process on Linux; elsewhere None."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "gnu_get_libc_version") else None


def _reserve(libc: ctypes.CDLL, size: int) -> None:
    """Grows the heap to `size` more bytes, in large pages; without effect if there is a limit.

    A quarter of it becomes pieces for what is small and stays: malloc takes the smallest free piece
    that is large enough. Without them what stays would be cut out of the temporary memory of the
    last call, which is then too small for the next one. A training step of Depth Anything V2 came
    to hold its 1.5 GB three times.
    """
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    start = libc.malloc(size)
    if not start:
        return
    libc.free(start)
    pieces = [libc.malloc(_PIECE) for _ in range(size // (4 * _PIECE))]
    rest = -(-(pieces[-1] + _PIECE) // _HUGE_PAGE) * _HUGE_PAGE
    libc.madvise(rest, start + size - rest, _MADV_HUGEPAGE)
    for piece in pieces[-2::-2]:  # the others, which are never written to, keep them apart
        libc.free(piece)
