"""How the camera of a sample moves with its pixels, and its focal length.

Pixel coordinates are those of pixel centres; the first centre is at 0. A geometric operation is an
affine map A of (column, row, 1). It turns the camera matrix K into A @ K, which projects each point
in front of the camera to its new pixel.
"""

import numpy as np
from jaxtyping import Float64

from diffdepth_jax.datasets.samples import Sample
from diffdepth_jax.media.preprocessing import Size

Affine = Float64[np.ndarray, "3 3"]


def moved(sample: Sample, move: Affine) -> Sample:
    """Returns a sample whose pixels were moved with its intrinsics moved; unknown stays unknown."""
    if "intrinsics" not in sample:
        return sample
    return {**sample, "intrinsics": move @ sample["intrinsics"]}


def focal_length(sample: Sample) -> float:
    """Returns the focal length in pixels, 0 if it is unknown.

    It is the geometric mean of both axes, which neither a mirror nor a rotation changes.
    """
    if "intrinsics" not in sample:
        return 0.0
    return float(np.sqrt(np.abs(np.linalg.det(sample["intrinsics"][:2, :2]))))


def scaling(old: Size, new: Size) -> Affine:
    """The corners of the picture stay its corners, so that the centres of corner pixels move."""
    rows, columns = new[0] / old[0], new[1] / old[1]
    return np.array([[columns, 0, (columns - 1) / 2], [0, rows, (rows - 1) / 2], [0, 0, 1]])


def cropping(top: int, left: int) -> Affine:
    """The pixel (top, left) becomes the first one."""
    return np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])


def mirroring(width: int) -> Affine:
    """Left becomes right."""
    return np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]])


def rotation(size: Size, degrees: float) -> Affine:
    """Counter-clockwise about the centre of the picture."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cosine, sine], [-sine, cosine]])  # rows of pixels run downwards
    centre = np.array([size[1] - 1, size[0] - 1]) / 2
    return np.vstack([np.column_stack([turn, centre - turn @ centre]), [0, 0, 1]])
