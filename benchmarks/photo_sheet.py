"""Draws the depth of a folder's photos by the model that ships, one below the other.

python -m benchmarks.photo_sheet FOLDER OUTPUT.png
"""

import pathlib
import sys

import numpy as np
from PIL import Image

from diffdepth_jax import DepthEstimator
from diffdepth_jax.media import drawing
from diffdepth_jax.media.reading import read_photo

WIDTH, GAP = 900, 6  # pixels


def sheet(folder: pathlib.Path, estimator: DepthEstimator) -> drawing.Picture:
    """Returns each photo beside its depth with a scale, [H, WIDTH, 3]."""
    rows = []
    for path in sorted(folder.glob("*.jpg")):
        photo = read_photo(path)
        depth = estimator(photo.image).depth
        row = Image.fromarray(
            drawing.depth_picture(depth, drawing.depth_limits(depth), photo.image)
        )
        picture = np.asarray(row.resize((WIDTH, round(row.height * WIDTH / row.width))))
        rows.append(np.pad(picture, ((0, GAP), (0, 0), (0, 0)), constant_values=255))
    return drawing.stack_panels(rows)


def main(folder: str, output: str) -> None:
    estimator = DepthEstimator.from_pretrained("indoor_small")
    drawing.write_png(output, sheet(pathlib.Path(folder), estimator))


if __name__ == "__main__":
    main(*sys.argv[1:])
