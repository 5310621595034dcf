"""Numbers in MATLAB files: as scipy writes them, and damaged."""

import contextlib
import struct
import zlib

import numpy as np
import pytest
import scipy.io

from diffdepth_jax.data.nyu_depth.matlab import read_numbers

ARRAYS = {
    "trainNdxs": np.arange(1, 800, dtype=np.uint16)[:, None],
    "testNdxs": np.array([[4.0, 5.0], [6.0, 7.0], [8.0, 9.5]]),
    "one": np.array([[3]], np.uint8),
    "single": np.array([[1.5]], np.float32),
    "negative": np.array([[-3, 7]], np.int64),
    "nothing": np.zeros((0, 0)),
}
OTHERS = {"text": "abc", "structure": {"x": [1, 2]}, "complex": np.array([[1j]])}


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_of_scipy_are_read(tmp_path, compressed):
    scipy.io.savemat(tmp_path / "a.mat", {**OTHERS, **ARRAYS}, do_compression=compressed)
    found = read_numbers((tmp_path / "a.mat").read_bytes(), [*ARRAYS, *OTHERS])
    assert found.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].shape == values.shape
    assert read_numbers((tmp_path / "a.mat").read_bytes(), ["one"]).keys() == {"one"}


def test_the_order_of_bytes_may_be_the_other():
    def element(kind, data):
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    parts = [(6, struct.pack(">II", 6, 0)), (5, struct.pack(">ii", 1, 2)), (1, b"a")]
    parts += [(9, struct.pack(">dd", 1.5, 2.5))]
    matrix = element(14, b"".join(element(*part) for part in parts))
    data = b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + matrix
    assert read_numbers(data, ["a"])["a"].tolist() == [[1.5, 2.5]]


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_files_are_refused_or_read(tmp_path, compressed):
    scipy.io.savemat(tmp_path / "a.mat", ARRAYS, do_compression=compressed)
    data, read = (tmp_path / "a.mat").read_bytes(), 0
    damaged = [data[:size] for size in range(0, len(data), 37)]
    for place in range(0, len(data), 5):
        damaged += [data[:place] + bytes([x]) + data[place + 1 :] for x in (0, 255)]
    for each in damaged:
        with contextlib.suppress(ValueError, struct.error, zlib.error):
            read += "one" in read_numbers(each, ["one"])
    assert 0 < read < len(damaged)


def test_what_unpacks_to_megabytes_is_refused():
    packed = zlib.compress(bytes(2**20 + 1))
    data = b"".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(packed)) + packed
    with pytest.raises(ValueError, match="more than 1 MiB"):
        read_numbers(data, ["a"])
