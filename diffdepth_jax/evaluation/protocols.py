"""The usual evaluation protocols: which pixels are scored, the limits of depth, and the tables.

All protocols share one order of steps: combine the predictions of an image's views, resize to
the ground truth's size, clamp, mask, score each image, average over the images.
"""

import dataclasses

import numpy as np

from diffdepth_jax.datasets.samples import MaskMap
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import edges, metrics
from diffdepth_jax.media import preprocessing

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
_CROPS = {
    "full": _WHOLE,
    "nyu_eigen": Crop("Eigen crop", (45 / 480, 471 / 480, 41 / 640, 601 / 640)),
    "kitti_garg_kb": Crop("Garg crop of the 352x1216 crop", _GARG, of_kb_crop=True),
    "kitti_garg_full": Crop("Garg crop of the whole image", _GARG),
    "kitti_eigen": Crop(
        "Eigen crop of the whole image", (0.3324324, 0.91351351, 0.0359477, 0.96405229)
    ),
    "kitti_official": _WHOLE,
}
NAMES = tuple(_CROPS)
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
    """

    name: str
    crop: Crop
    truth: tuple[float, float]
    clamp: tuple[float, float]
    tables: tuple[tuple[str, ...], ...]

    def describe(self) -> str:
        """Describes the protocol in one line, to stand under a table."""
        low, high = self.truth
        capped = high < np.inf
        truth = f"strictly within {low:g} to {high:g} m" if capped else "of any depth"
        clamp = "{:.4g} to {:.4g} m".format(*self.clamp)
        return (
            f"protocol {self.name}: {self.crop.title}, ground truth {truth}, "
            f"predictions clamped to {clamp}, mean over images"
        )


def create_protocol(name: str, min_depth: float, max_depth: float) -> Protocol:
    """Creates the protocol of this name.

    In "kitti_official" all ground truth counts, and predictions are clamped to PNG_LIMITS, the
    range of a submission. In the others both limits are min_depth and max_depth, in metres. KITTI's
    protocols do not print SHAPE_TABLE, because KITTI's ground truth is sparse.

    Raises:
      UserError: the name is unknown.
    """
    if name not in _CROPS:
        raise UserError(f"evaluation.protocol {name!r}: must be one of {', '.join(NAMES)}")
    if name == "kitti_official":
        tables = (metrics.NAMES, metrics.KITTI_NAMES)
        return Protocol(name, _CROPS[name], (0.0, np.inf), PNG_LIMITS, tables)
    limits = (min_depth, max_depth)
    tables = (metrics.NAMES,) if name.startswith("kitti") else (metrics.NAMES, SHAPE_TABLE)
    return Protocol(name, _CROPS[name], limits, limits, tables)
