"""Writes the samples beside it, with PyTorch 2.13.0, which the project itself never needs.

    python3 -m venv /tmp/torch && /tmp/torch/bin/pip install torch==2.13.0 numpy safetensors
    /tmp/torch/bin/python tests/torch_files/make.py

The values to expect are those of torch's own `.numpy()`; bfloat16 as the bits of uint16.
"""

import argparse
import collections
import pathlib

import numpy as np
import safetensors.torch
import torch

FOLDER = pathlib.Path(__file__).parent
FLOATS = ["float64", "float32", "float16", "bfloat16"]
DTYPES = [*FLOATS, "int64", "int32", "int16", "int8", "uint8", "bool"]


def tensors():
    """Every dtype, and every way to view a storage."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn((4, 5, 6), generator=generator)
    views = {
        "base": base,
        "transposed": base.transpose(0, 2),
        "permuted": base.permute(2, 0, 1),
        "sliced": base[1:3, ::2, 5],
        "row_of_slice": base[3, 1:],
        "expanded": base[0, :, :1].expand(5, 7),
        "expanded_scalar": torch.tensor(3.5).expand(2, 3),
        "scalar": torch.tensor(-1.25),
        "scalar_of_base": base[2, 3, 4],
        "empty": torch.zeros(0),
        "empty_rows": torch.zeros(0, 3),
        "empty_slice": base[4:, :2],
        "parameter": torch.nn.Parameter(base[:, 0].clone()),
        "frozen_parameter": torch.nn.Parameter(base[:, 1].clone(), requires_grad=False),
        "large": torch.arange(3000, dtype=torch.int16),
    }
    for name in DTYPES:
        values = 100 * torch.randn((3, 4), generator=generator)
        views[name] = values.to(getattr(torch, name))
        views[f"{name}_transposed"] = views[name].T
    views["special"] = torch.tensor([np.nan, np.inf, -np.inf, -0.0, 1e-45])
    return views


def training_checkpoint():
    """The layout of the released checkpoints, with what else a training may have saved."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, amsgrad=True)
    steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 5])
    warm_up = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0)
    net(torch.randn(2, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    steps.step()
    return {
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": [steps.state_dict(), warm_up.state_dict()],
        "amp": collections.OrderedDict(loss_scaler0={"loss_scale": 65536.0, "unskipped": 3}),
        "args": argparse.Namespace(
            max_depth=88.0,
            betas=(0.9, 0.999),
            pretrain=None,
            name="größe",
            nested=argparse.Namespace(depths=[2, 2, 18, 2]),
        ),
        "inert": {
            "size": torch.Size([2, 3]),
            "dtype": torch.bfloat16,
            "devices": [torch.device("cpu"), torch.device("cuda", 0)],
            "set": {1, 2},
            "frozenset": frozenset({"a"}),
            "bytes": [b"", b"\x00\xff"],
            "big": 2**70,
            "complex_keys": {(1, "a"): True, None: False},
            "numpy_scalars": [np.float64(0.25), np.int64(-3), np.bool_(True), np.float32(1.5)],
            "numpy_array": np.arange(6, dtype=np.int32).reshape(2, 3),
            "numpy_fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            "numpy_big_endian": np.arange(3, dtype=">u2"),
            "numpy_text": np.array(["a", "bcd"]),
            "numpy_empty": np.zeros((0, 2)),
        },
    }


def numpy_of(tensor):
    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def save_expected(name, named_tensors):
    np.savez_compressed(FOLDER / name, **{k: numpy_of(t) for k, t in named_tensors.items()})


def main():
    views, checkpoint = tensors(), training_checkpoint()
    for kind, is_zip in (("zip", True), ("stream", False)):
        options = {"_use_new_zipfile_serialization": is_zip}
        torch.save(views, FOLDER / f"tensors_{kind}.pt", **options)
        torch.save(checkpoint, FOLDER / f"checkpoint_{kind}.pt", **options)
        torch.save(
            checkpoint, FOLDER / f"checkpoint_{kind}_protocol4.pt", pickle_protocol=4, **options
        )
    save_expected("tensors.npz", views)
    moments = {f"exp_avg/{k}": s["exp_avg"] for k, s in checkpoint["optimizer"]["state"].items()}
    save_expected("checkpoint.npz", {**checkpoint["net"], **moments})

    separate = {name: tensor.detach().clone().contiguous() for name, tensor in views.items()}
    safetensors.torch.save_file(separate, FOLDER / "tensors.safetensors", {"format": "pt"})

    # Storages say where they lived; there is no GPU here, so the CPU's are tagged as its.
    torch.serialization.register_package(0, lambda storage: "cuda:0", lambda *_: None)
    for kind, is_zip in (("zip", True), ("stream", False)):
        small = {"cuda": views["sliced"], "again": views["row_of_slice"]}
        path = FOLDER / f"cuda_{kind}.pt"
        torch.save(small, path, _use_new_zipfile_serialization=is_zip)
        assert b"cuda:0" in path.read_bytes()


if __name__ == "__main__":
    main()
