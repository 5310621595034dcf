import subprocess
import sys

import pytest

from diffdepth_jax.program import heap

# Writes to 64 MB that it asks for and frees, twice; prints the page faults of the second time.
FAULTS = """
import ctypes, resource, sys
from diffdepth_jax.program import heap

if sys.argv[1] == "kept":
    assert heap.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(2**26)
    ctypes.memset(block, 1, 2**26)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*arguments: str) -> int:
    command = [sys.executable, "-c", FAULTS, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of Linux")
def test_freed_memory_is_used_again_without_page_faults():
    assert page_faults("kept") < 100
    # Without it they come each time: 16384 of 4 kB, or fewer large ones.
    assert page_faults("plain") > 10


def test_other_systems_keep_their_allocator(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not heap.keep_freed_memory()
