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


def run(program: str, argument: str) -> int:
    command = [sys.executable, "-c", program, argument]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of Linux")
def test_freed_memory_is_used_again_without_page_faults():
    assert run(FAULTS, "kept") < 100
    # Without it they come each time: 16384 of 4 kB, or fewer large ones.
    assert run(FAULTS, "plain") > 10


# After a block of 512 MB is freed, asks for 400 pieces of 1 MB, and for the block again; prints
# by how many megabytes the block has moved.
PLACES = (
    FAULTS[: FAULTS.index("for _ in")]
    + """
def place():
    block = libc.malloc(2**29)
    libc.free(block)
    return block

before, _ = place(), [libc.malloc(2**20) for _ in range(400)]
print(abs(place() - before) >> 20)
"""
)


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of Linux")
def test_what_stays_is_not_cut_out_of_a_large_freed_block():
    assert run(PLACES, "kept") == 0


# Writes to 64 MB, frees them, gives all back; prints the megabytes that the process lost.
GIVEN_BACK = (
    FAULTS[: FAULTS.index("for _ in")]
    + """
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 2**20

block = libc.malloc(2**26)
ctypes.memset(block, 1, 2**26)
libc.free(block)
before = resident()
heap.give_back_freed_memory()
print(before - resident())
"""
)


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of Linux")
def test_freed_memory_is_given_back():
    assert run(GIVEN_BACK, "kept") >= 60


def test_other_systems_keep_their_allocator(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not heap.keep_freed_memory()
    heap.give_back_freed_memory()
