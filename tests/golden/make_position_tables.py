"""Wrote position_tables.npz: random position-bias tables, and what PyTorch makes of them.

python -m venv VENV && VENV/bin/pip install torch==2.13.0
VENV/bin/python tests/golden/make_position_tables.py

`OLD_NEW/in` [(2 OLD - 1)^2, heads] is of windows of side OLD, `OLD_NEW/out` the same for side NEW.
"""

import pathlib

import numpy as np
import torch
import torch.nn.functional as F

HEADS = 2
WINDOWS = [(4, 7), (7, 4), (7, 12), (12, 7)]


def resized(table, old, new):
    """As Swin's authors load a table."""
    square = table.T.reshape(1, HEADS, 2 * old - 1, 2 * old - 1)
    sides = (2 * new - 1, 2 * new - 1)
    square = F.interpolate(square, size=sides, mode="bicubic", align_corners=False)
    return square.reshape(HEADS, -1).T


def main():
    generator = torch.Generator().manual_seed(0)
    vectors = {}
    for old, new in WINDOWS:
        table = torch.randn(((2 * old - 1) ** 2, HEADS), generator=generator).half().float()
        vectors[f"{old}_{new}/in"] = table.numpy().astype(np.float16)
        vectors[f"{old}_{new}/out"] = resized(table, old, new).numpy()
    np.savez_compressed(pathlib.Path(__file__).parent / "position_tables.npz", **vectors)


if __name__ == "__main__":
    main()
