"""Chooses the size at which an image is predicted: few sizes, because each one is compiled.

Sizes are (height, width) in pixels.
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float32
from PIL import Image

from diffdepth_jax.media import preprocessing
from diffdepth_jax.media.preprocessing import Size
from diffdepth_jax.media.reading import RGB

# Width over height of the sizes to which photos are scaled, beside the model's aspect. A photo of a
# usual aspect leaves less than a fifth of the best of these sizes unused.
_ASPECTS = (0.65, 1.0, 1.6)
_MULTIPLE = 16


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where an image lies in the picture that the network sees: in the top left corner.

    Attributes:
      size: the image's size.
      content: the size to which the image is scaled.
      target: the size of the network's picture, to which the scaled image is padded.
    """

    size: Size
    content: Size
    target: Size

    @property
    def scale(self) -> float:
        """Pixels of the network's picture for one pixel of the image.

        This is the exact ratio. One side of `content` is rounded, by several percent of a very tall
        or wide image.
        """
        if self.content == self.size:
            return 1.0
        return min(self.target[0] / self.size[0], self.target[1] / self.size[1])


def bucket_size(height: int, width: int, size: Size) -> Size:
    """Returns the model's `size`, or one of three other sizes, whichever suits the image's aspect.

    The other sizes have about the area of `size`, and sides that are multiples of 16.
    """
    area, model_aspect = size[0] * size[1], size[1] / size[0]
    aspects = (model_aspect, *_ASPECTS)
    aspect = min(aspects, key=lambda a: abs(np.log(a) - np.log(width / height)))
    if aspect == model_aspect:
        return size
    return _multiple((area / aspect) ** 0.5), _multiple((area * aspect) ** 0.5)


def _multiple(side: float) -> int:
    return max(_MULTIPLE, round(side / _MULTIPLE) * _MULTIPLE)


def scaled(size: Size, model_size: Size) -> Placement:
    """Returns the placement of an image that is scaled to the model's size or one of its area."""
    target = bucket_size(*size, model_size)
    return Placement(size, preprocessing.letterbox_size(*size, target), target)


def native(size: Size, padded_sizes: Sequence[Size] = ()) -> Placement:
    """Returns the placement of an image that keeps its size.

    The image is padded to the smallest of `padded_sizes` that holds it, if there is one.
    """
    fitting = [padded for padded in padded_sizes if np.all(np.greater_equal(padded, size))]
    height, width = min(fitting, key=lambda padded: padded[0] * padded[1], default=size)
    return Placement(size, size, (height, width))


def shared_sizes(sizes: Sequence[Size], limit: int = 4) -> list[Size]:
    """Returns at most `limit` sizes, so that each of `sizes` fits into one with little padding.

    Two sizes are joined to one that holds both, until few enough are left. Each time it is the pair
    whose images need the fewest additional pixels.
    """
    counts = collections.Counter(sizes)
    while len(counts) > limit:
        pairs = itertools.combinations(counts, 2)
        pair = min(pairs, key=lambda pair: _added_pixels(*pair, counts))
        count = counts.pop(pair[0]) + counts.pop(pair[1])
        counts[_joint(*pair)] += count
    return sorted(counts)


def _joint(first: Size, second: Size) -> Size:
    """Returns the smallest size that holds both."""
    return max(first[0], second[0]), max(first[1], second[1])


def _added_pixels(first: Size, second: Size, counts: Mapping[Size, int]) -> int:
    """Returns how many pixels all images of both sizes have more at the joint size."""
    height, width = _joint(first, second)
    return sum(counts[size] * (height * width - size[0] * size[1]) for size in (first, second))


def batches(targets: Sequence[Size], batch_size: int) -> Iterator[list[int]]:
    """Yields lists of up to `batch_size` indices of equal targets, until each index came once."""
    for target in dict.fromkeys(targets):
        rows = [row for row, other in enumerate(targets) if other == target]
        for first in range(0, len(rows), batch_size):
            yield rows[first : first + batch_size]


def place(image: RGB, placement: Placement) -> RGB:
    """Scales an image, and repeats its last row and column up to the target size."""
    if placement.content != placement.size:
        image = preprocessing.resize_image(image, placement.content)
    rows, columns = np.subtract(placement.target, placement.content)
    return np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="edge")


def take_back(
    metres: Float32[np.ndarray, "rows columns"], placement: Placement
) -> Float32[np.ndarray, "height width"]:
    """Returns the metres of the network's picture at the size of the image, bilinear.

    Pillow resizes, because it compiles nothing for a new size.
    """
    height, width = placement.size
    metres = metres[: placement.content[0], : placement.content[1]]
    if placement.content == placement.size:
        return np.array(metres)
    resized = Image.fromarray(metres).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(resized)
