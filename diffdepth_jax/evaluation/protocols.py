"""The usual evaluation protocols: which pixels are scored, the limits of depth, and the tables.

All protocols share one order of steps: combine the predictions of an image's views, resize to
the ground truth's size, align if asked for, clamp, mask, score each image, average over the images.
"""

import dataclasses
from typing import Literal

import numpy as np

from diffdepth_jax.datasets.samples import MaskMap
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import edges, metrics
from diffdepth_jax.evaluation.alignment import ALIGNMENTS, check_alignment
from diffdepth_jax.media import preprocessing
from diffdepth_jax.media.preprocessing import Size

Resize = Literal["nearest", "bilinear", "bilinear_corners", "bilinear_disparity"]
# The metres that a 16-bit PNG of metres x 256 can hold. Its 0 means "no depth here".
PNG_LIMITS = (1 / 256, 65535 / 256)


@dataclasses.dataclass(frozen=True)
class Crop:
    """A rectangle in a frame, given by fractions of the frame's height and width.

    Attributes:
      title: the name for tables.
      fractions: (top, bottom, left, right). int() rounds them down to pixels; bottom and right are
        exclusive.
      of_kb_crop: whether the frame is KITTI's benchmark crop (`preprocessing.kb_offset`) instead
        of the whole image.
    """

    title: str
    fractions: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 1.0)
    of_kb_crop: bool = False

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Returns (top, bottom, left, right) in pixels for an image of this size.

        Raises:
          UserError: the image is smaller than KITTI's benchmark crop, and the crop lies in it.
        """
        row, column, rows, columns = 0, 0, height, width
        if self.of_kb_crop:
            rows, columns = preprocessing.KB_SIZE
            if height < rows or width < columns:
                raise UserError(
                    f"image {height} x {width} is smaller than the {rows} x {columns} crop in "
                    f"which {self.title} lies: set evaluation.protocol to another"
                )
            row, column = preprocessing.kb_offset(height, width)
        top, bottom, left, right = self.fractions
        return (
            row + int(top * rows),
            row + int(bottom * rows),
            column + int(left * columns),
            column + int(right * columns),
        )

    def mask(self, height: int, width: int) -> MaskMap:
        """Returns bool [H, W, 1], True inside the crop."""
        top, bottom, left, right = self.box(height, width)
        inside = np.zeros((height, width, 1), bool)
        inside[top:bottom, left:right] = True
        return inside


_WHOLE = Crop("whole image")
_GARG = (0.40810811, 0.99189189, 0.03594771, 0.96405229)
_EIGEN = (0.3324324, 0.91351351, 0.0359477, 0.96405229)
_NYU_EIGEN = Crop("Eigen crop", (45 / 480, 471 / 480, 41 / 640, 601 / 640))
_KITTI_GARG_KB = Crop("Garg crop of the 352x1216 crop", _GARG, of_kb_crop=True)
_KITTI_GARG_FULL = Crop("Garg crop of the whole image", _GARG)
# Protocols whose limits are the configuration's, frame.min_depth and frame.max_depth.
_CROPS = {
    "full": _WHOLE,
    "nyu_eigen": _NYU_EIGEN,
    "kitti_garg_kb": _KITTI_GARG_KB,
    "kitti_garg_full": _KITTI_GARG_FULL,
    "kitti_eigen": Crop("Eigen crop of the whole image", _EIGEN),
}
# The table of edges and of alignment, for ground truth that may be dense.
SHAPE_TABLE = (*edges.NAMES, "edge_images", *metrics.ALIGNED_NAMES)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A named protocol with its limits in metres.

    Attributes:
      name: one of NAMES.
      crop: the rectangle in which pixels are scored.
      truth: (low, high); a pixel counts if its ground truth lies strictly between the two.
      clamp: (low, high); predictions are clamped to them.
      tables: for each printed table the names of its metrics.
      alignment: a name in `alignment.ALIGNMENTS`.
      resize: how predictions come to the ground truth's size, see `scoring.resize_depth`.
      frames: the least and the greatest (height, width) of the frames that the protocol is for;
        None: of any size.
    """

    name: str
    crop: Crop
    truth: tuple[float, float]
    clamp: tuple[float, float]
    tables: tuple[tuple[str, ...], ...]
    alignment: str = "none"
    resize: Resize = "bilinear"
    frames: tuple[Size, Size] | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether the limits are the protocol's own, and not the configuration's."""
        return self.name in _FIXED

    def mask(self, height: int, width: int) -> MaskMap:
        """Returns bool [H, W, 1], True in the crop of a frame of this size.

        Raises:
          UserError: the protocol is for other frames.
        """
        if self.frames is not None:
            (low, left), (high, right) = self.frames
            if not (low <= height <= high and left <= width <= right):
                raise UserError(
                    f"image {height} x {width}: protocol {self.name} is for other data, of "
                    f"{low} x {left} to {high} x {right} pixels: set evaluation.protocol to another"
                )
        return self.crop.mask(height, width)

    def describe(self) -> str:
        """Describes the protocol in one line, to stand under a table."""
        low, high = self.truth
        capped = high < np.inf
        truth = f"strictly within {low:g} to {high:g} m" if capped else "of any depth"
        clamp = "{:.4g} to {:.4g} m".format(*self.clamp)
        resize = "" if self.resize == "bilinear" else f"resized {self.resize}, "
        aligned = f"ALIGNED to the ground truth ({ALIGNMENTS[self.alignment].title}), "
        return (
            f"protocol {self.name}: {self.crop.title}, ground truth {truth}, predictions {resize}"
            f"{aligned if self.alignment != 'none' else ''}clamped to {clamp}, mean over images"
        )


def _preset(
    name: str, crop: Crop, limits: tuple[float, float], resize: Resize, alignment: str = "none"
) -> Protocol:
    frames, tables = _NYU_FRAMES, (metrics.NAMES, SHAPE_TABLE)
    if "kitti" in name:
        frames, tables = _KITTI_FRAMES, (metrics.NAMES,)
    return Protocol(name, crop, limits, limits, tables, alignment, resize, frames)


_NYU_FRAMES = ((480, 640), (480, 640))
_KITTI_FRAMES = ((352, 1216), (376, 1242))
# Evaluations of other programs, with all that they fix. Each was read in the program's source:
#   Marigold (Ke et al. 2024): script/depth/eval.py with --alignment=least_square, and
#     config/dataset_depth/data_{nyu,kitti_eigen}_test.yaml.
#   ZoeDepth (Bhat et al. 2023): zoedepth/utils/misc.py, compute_metrics, and config.py beside it.
#   Monodepth2 (Godard et al. 2019): evaluate_depth.py with --eval_mono, split eigen.
_PRESETS = (
    _preset("marigold_nyu", _NYU_EIGEN, (1e-3, 10.0), "bilinear", "scale_shift"),
    _preset(
        "marigold_kitti",
        Crop("Eigen crop of the 352x1216 crop", _EIGEN, of_kb_crop=True),
        (1e-5, 80.0),
        "bilinear",
        "scale_shift",
    ),
    _preset("zoedepth_nyu", _NYU_EIGEN, (1e-3, 10.0), "bilinear_corners"),
    _preset("zoedepth_kitti", _KITTI_GARG_KB, (1e-3, 80.0), "bilinear_corners"),
    _preset("monodepth2_kitti", _KITTI_GARG_FULL, (1e-3, 80.0), "bilinear", "median"),
)
# All ground truth counts, and predictions are clamped to PNG_LIMITS, the range of a submission.
_OFFICIAL = Protocol(
    "kitti_official", _WHOLE, (0.0, np.inf), PNG_LIMITS, (metrics.NAMES, metrics.KITTI_NAMES)
)
_FIXED = {protocol.name: protocol for protocol in (_OFFICIAL, *_PRESETS)}
NAMES = (*_CROPS, *_FIXED)


def create_protocol(name: str, min_depth: float, max_depth: float, alignment: str = "") -> Protocol:
    """Creates the protocol of this name.

    Those of KITTI do not print SHAPE_TABLE, because KITTI's ground truth is sparse.

    Args:
      name: one of NAMES.
      min_depth, max_depth: metres, both limits of protocols that do not fix them.
      alignment: a name in `alignment.ALIGNMENTS`; "": the protocol's own.

    Raises:
      UserError: a name is unknown, or the protocol has another alignment.
    """
    if name not in NAMES:
        raise UserError(f"evaluation.protocol {name!r}: must be one of {', '.join(NAMES)}")
    check_alignment(alignment or "none")
    if name in _CROPS:
        limits = (min_depth, max_depth)
        tables = (metrics.NAMES,) if name.startswith("kitti") else (metrics.NAMES, SHAPE_TABLE)
        return Protocol(name, _CROPS[name], limits, limits, tables, alignment or "none")
    protocol = _FIXED[name]
    if alignment not in ("", protocol.alignment):
        raise UserError(
            f"evaluation.alignment {alignment!r}: protocol {name} has {protocol.alignment}: leave "
            "evaluation.alignment empty, or set evaluation.protocol to another"
        )
    return protocol
