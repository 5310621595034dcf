"""At which size an image is predicted: few sizes for images of many, because each is compiled.

Sizes are (height, width) in pixels.
"""

import dataclasses
import itertools

import numpy as np
from PIL import Image

from diffdepth_jax.media import preprocessing

# Width over height of the sizes that photos are brought to, beside the model's own. An image of a
# usual aspect leaves less than a fifth of one of them unused.
_ASPECTS = (0.65, 1.0, 1.6)
_MULTIPLE = 16


@dataclasses.dataclass(frozen=True)
class Placement:
    """An image at the size `content` in the top left corner of what the network sees.

    Attributes:
      size: of the image.
      content: that the image is scaled to.
      target: that it is then padded to.
    """

    size: tuple[int, int]
    content: tuple[int, int]
    target: tuple[int, int]

    @property
    def scale(self):
        """Pixels of the network's image for one of the image's."""
        return self.content[1] / self.size[1]


def bucket_size(height, width, size):
    """The inference size `size`, or one of three others of its area, by the image's aspect.

    Sides of the others are multiples of 16.
    """
    area, own = size[0] * size[1], size[1] / size[0]
    aspect = min((own, *_ASPECTS), key=lambda a: abs(np.log(a) - np.log(width / height)))
    if aspect == own:
        return tuple(size)
    sides = ((area / aspect) ** 0.5, (area * aspect) ** 0.5)
    return tuple(max(_MULTIPLE, round(side / _MULTIPLE) * _MULTIPLE) for side in sides)


def scaled(size, inference_size):
    """The placement of an image of this size at the inference size, or one of its area."""
    target = bucket_size(*size, inference_size)
    return Placement(size, preprocessing.letterbox_size(*size, target), target)


def native(size, padded_sizes=()):
    """The placement of an image at its own size, in the smallest of these sizes that holds it."""
    fitting = [padded for padded in padded_sizes if np.all(np.greater_equal(padded, size))]
    target = min(fitting, key=lambda padded: padded[0] * padded[1], default=size)
    return Placement(size, size, tuple(target))


def shared_sizes(sizes, limit=4):
    """At most `limit` sizes, one of which holds each of `sizes`, with little padding.

    Sizes are joined two by two, whichever needs the fewest pixels more.
    """
    groups = {size: [size] for size in sizes}
    weights = {size: sizes.count(size) for size in groups}
    while len(groups) > limit:

        def added(pair):
            joint = np.max(pair, axis=0).prod()
            return sum(
                weights[size] * (joint - np.prod(own)) for own in pair for size in groups[own]
            )

        pair = min(itertools.combinations(groups, 2), key=added)
        members = groups.pop(pair[0]) + groups.pop(pair[1])
        joint = tuple(int(side) for side in np.max(pair, axis=0))
        groups[joint] = groups.get(joint, []) + members
    return sorted(groups)


def place(image, placement):
    """uint8 [H, W, 3] scaled, its last row and column repeated up to the target size."""
    if placement.content != placement.size:
        image = preprocessing.resize_image(image, placement.content)
    rows, columns = np.subtract(placement.target, placement.content)
    return np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="edge")


def take_back(metres, placement):
    """Metres float32 of the network's image, [H', W'], at the image's size, bilinear.

    By Pillow, which compiles nothing for a new size.
    """
    height, width = placement.size
    metres = metres[: placement.content[0], : placement.content[1]]
    if placement.content == placement.size:
        return np.array(metres)
    resized = Image.fromarray(metres).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(resized)
