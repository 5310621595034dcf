"""The arrays of the method by name, with the shapes that the tests check at run time.

`[batch, height, width, channels]` throughout. An axis has one size wherever its name stands in one
function's signature. Compute may be in bfloat16, so that `Float` is any floating-point type.
"""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Key

Array = jax.Array | np.ndarray  # callers may pass numpy arrays
Size = int | Any  # of an axis: an int, or a symbolic size under `jax.export`

Image = Float[Array, "batch height width 3"]  # normalised as the backbones expect
Depth = Float[Array, "batch height width 1"]  # metres along the optical axis
Mask = Bool[Array, "batch height width 1"]  # True where there is ground truth
LogDepth = Float[Array, "batch height width 1"]  # natural log of metres
Features = Float[Array, "batch _ _ _"]  # a feature map; a pyramid is a tuple, finest first
FeatureMap = Float[Array, "batch height width channels"]  # Features where a layer keeps the shape
Latent = Float[Array, "batch rows columns channels"]  # depth in the latent space
LatentMask = Bool[Array, "batch rows columns 1"]  # True in cells with ground truth
DecodedLogDepth = Float[Array, "batch 2*rows 2*columns 1"]  # the LogDepth of a Latent, uncropped
Condition = Float[Array, "batch rows columns features"]  # image features that guide the denoiser
Details = tuple[Features, ...]  # of the image, at strides 1 to 32
Timestep = Int[Array, " batch"]  # of the diffusion, 0 the least noisy
ImageKeys = Key[Array, " batch"]  # one random key for each image

Scalar = Float[Array, ""] | Int[Array, ""] | np.number | float | int
Term = tuple[Scalar, Scalar]  # (sum, count) of a loss: added over devices, divided once
Variables = Mapping[str, Any]  # Flax collections: "params", and "batch_stats" if there are any


class Batch(TypedDict):
    """What one training step sees.

    Only models with validity need `surface`, True where it is known that there is a depth, and
    `hole`, where it is known that there is none. `features` are the backbone's maps of the image,
    where they are kept on disk.
    """

    image: Image
    depth: Depth
    mask: Mask
    surface: NotRequired[Mask]
    hole: NotRequired[Mask]
    features: NotRequired[tuple[Features, ...]]
