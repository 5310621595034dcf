"""Wrote resizing.npz: random maps and pictures, and what PyTorch makes of them at other sizes.

python -m venv VENV && VENV/bin/pip install torch==2.13.0 numpy
VENV/bin/python tests/golden/make_resizing.py

Keys are KIND/HEIGHT_WIDTH. `map` [1, 5, 7, 2] is resized to `bilinear`, `corners`
(align_corners=True), `antialias` and `pooled` (adaptive_avg_pool2d), and `picture` [12, 16, 3],
uint8, to `levels`. `nearest/OLD_NEW` are the indices of mode="nearest-exact".
"""

import pathlib

import numpy as np
import torch
import torch.nn.functional as F

SIZES = [(10, 14), (9, 12), (3, 4), (1, 1)]
POOLED = [(4, 7), (5, 6), (4, 6)]
LEVELS = [(6, 5), (20, 31), (12, 7)]
LENGTHS = [(48, 24), (48, 90), (48, 7), (640, 480), (352, 240), (5, 13)]


def resized(x, size, **options):
    return F.interpolate(x, size, mode="bilinear", **options).permute(0, 2, 3, 1).numpy()


def main():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((1, 2, 5, 7), generator=generator)
    picture = torch.randint(0, 256, (1, 3, 12, 16), generator=generator, dtype=torch.uint8)
    vectors = {"map": x.permute(0, 2, 3, 1).numpy(), "picture": picture[0].permute(1, 2, 0).numpy()}
    for size in SIZES:
        key = f"{size[0]}_{size[1]}"
        vectors[f"bilinear/{key}"] = resized(x, size, align_corners=False)
        vectors[f"corners/{key}"] = resized(x, size, align_corners=True)
        vectors[f"antialias/{key}"] = resized(x, size, antialias=True)
    for size in POOLED:
        pooled = F.adaptive_avg_pool2d(x, size).permute(0, 2, 3, 1).numpy()
        vectors[f"pooled/{size[0]}_{size[1]}"] = pooled
    for size in LEVELS:
        vectors[f"levels/{size[0]}_{size[1]}"] = resized(picture, size, antialias=True)[0]
    for old, new in LENGTHS:
        indices = F.interpolate(torch.arange(old)[None, None].float(), new, mode="nearest-exact")
        vectors[f"nearest/{old}_{new}"] = indices[0, 0].numpy().astype(np.int16)
    np.savez_compressed(pathlib.Path(__file__).parent / "resizing.npz", **vectors)


if __name__ == "__main__":
    main()
