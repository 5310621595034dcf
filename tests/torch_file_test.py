"""Samples that PyTorch wrote read back bit by bit; damaged and hostile files end by name.

tests/torch_files/make.py wrote the samples. The hostile files are made here, opcode by opcode where
`pickle` would not write them.
"""

import copyreg
import io
import os
import pathlib
import pickle
import re
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from diffdepth_jax.errors import UserError
from diffdepth_jax.torch_file import StoredTensor, read_torch_file

SAMPLES = pathlib.Path(__file__).parent / "torch_files"
GOLDEN = pathlib.Path(__file__).parents[2] / "shared" / "golden" / "end_to_end"
CHECKPOINTS = sorted(SAMPLES.glob("checkpoint_*.pt"))
MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True}


def assert_same_bits(tensor, expected):
    """The tensor, what it announces, and the array as expected; bfloat16 as its bits."""
    values = tensor.numpy()
    assert (values.shape, values.dtype) == (tensor.shape, tensor.dtype)
    if values.dtype == ml_dtypes.bfloat16:
        values = values.view(np.uint16)
    assert (values.shape, values.dtype) == (expected.shape, expected.dtype)
    assert values.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["tensors_zip.pt", "tensors_stream.pt", "tensors.safetensors"])
def test_every_dtype_and_every_view(name):
    tensors = read_torch_file(SAMPLES / name)
    expected = np.load(SAMPLES / "tensors.npz")
    assert set(tensors) == set(expected)
    for key in expected:
        assert_same_bits(tensors[key], expected[key])
    assert tensors["bfloat16"].dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize("name", ["cuda_zip.pt", "cuda_stream.pt"])
def test_tensors_of_a_gpu(name):
    tensors = read_torch_file(SAMPLES / name)
    expected = np.load(SAMPLES / "tensors.npz")
    assert_same_bits(tensors["cuda"], expected["sliced"])
    assert_same_bits(tensors["again"], expected["row_of_slice"])


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_training_checkpoint(path):
    checkpoint = read_torch_file(path)
    moments = {f"exp_avg/{k}": s["exp_avg"] for k, s in checkpoint["optimizer"]["state"].items()}
    tensors = checkpoint["net"] | moments
    expected = np.load(SAMPLES / "checkpoint.npz")
    assert list(tensors) == list(expected)
    for key in expected:
        assert_same_bits(tensors[key], expected[key])
    assert checkpoint["amp"] == {"loss_scaler0": {"loss_scale": 65536.0, "unskipped": 3}}
    assert checkpoint["scheduler"][0]["milestones"] == {1: 1, 5: 1}
    assert checkpoint["args"] == {
        "max_depth": 88.0,
        "betas": (0.9, 0.999),
        "pretrain": None,
        "name": "größe",
        "nested": {"depths": [2, 2, 18, 2]},
    }


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_other_objects_are_plain_data(path):
    inert = read_torch_file(path)["inert"]
    arrays = {key: inert.pop(key).numpy() for key in [k for k in inert if k.startswith("numpy_a")]}
    assert inert["numpy_scalars"] == [0.25, -3, True, 1.5]
    assert arrays["numpy_array"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert inert["numpy_fortran"].numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert inert["numpy_big_endian"].numpy().tolist() == [0, 1, 2]
    assert inert["numpy_text"].numpy().tolist() == ["a", "bcd"]
    assert inert["numpy_empty"].shape == (0, 2)
    rest = {key: value for key, value in inert.items() if not key.startswith("numpy")}
    assert rest == {
        "size": (2, 3),
        "dtype": "torch.bfloat16",
        "devices": ["cpu", "cuda:0"],
        "set": {1, 2},
        "frozenset": frozenset({"a"}),
        "bytes": [b"", b"\x00\xff"],
        "big": 2**70,
        "complex_keys": {(1, "a"): True, None: False},
    }
