"""A model as a StableHLO function that any JAX can run.

The function resizes images as Pillow does, but by matrix products, because Pillow cannot be traced.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, UInt8

from diffdepth_jax.arrays import Array, Variables
from diffdepth_jax.errors import UserError
from diffdepth_jax.media import preprocessing
from diffdepth_jax.media.preprocessing import Size
from diffdepth_jax.method import diffusion, refinement
from diffdepth_jax.method.noise import normal_per_image, settings_for
from diffdepth_jax.models.assembly import DepthNetwork

PLATFORMS = ("cpu", "cuda", "tpu")
_MULTIPLE = 32  # pixels of the coarsest map's cells; JAX cannot prove other sizes' shapes equal
LONGEST = 16384  # pixels of a side: products of two sides stay within int32
_HALF = 0.5 + 1e-4  # of a level: means of pixels often end in .5, in float32 or a hair below

Side = int | Any  # a height or width in pixels: an int, traced, or symbolic under `jax.export`
Predict = Callable[[Variables, Array, Array], jax.Array]  # (variables, images, seed) -> metres


def parse_size(text: str, model_size: Size) -> Size | None:
    """Returns the (height, width) that the network sees; None stands for each image's size.

    `text` is "model", "native" or HEIGHTxWIDTH; anything else raises a UserError.
    """
    if text == "native":
        return None
    if text == "model":
        return model_size
    sides = [int(side) if side.isdecimal() else 0 for side in text.lower().split("x")]
    if len(sides) != 2 or not all(0 < side <= LONGEST for side in sides):
        raise UserError(
            f"network_size {text!r}: must be model, native or HEIGHTxWIDTH, such as 480x640"
        )
    return sides[0], sides[1]


def resize_weights(
    rows: Side, columns: Side, size: Side, original: Side
) -> Float32[Array, "rows columns"]:
    """Returns the bilinear filter that takes `original` samples to `size` samples.

    It is Pillow's filter, which is wider where it shrinks. Columns from `original` on have no
    weight. Rows from `size` on repeat the last row before them. All arguments may be traced or
    symbolic. Positions are exact, because they are integers.
    """
    row = jnp.minimum(jnp.arange(rows), size - 1)[:, None]
    column = jnp.arange(columns)
    distance = jnp.abs((2 * column + 1) * size - (2 * row + 1) * original)
    reach = 2 * jnp.maximum(size, original)
    weights = jnp.maximum(0, 1 - distance / reach) * (column < original)
    return weights / weights.sum(1, keepdims=True)


def _resample(
    x: Float[Array, "batch _ _ *channels"], weights: Float[Array, "_ _"], equation: str
) -> jax.Array:
    """Multiplies in float32 on every platform: by default GPU and TPU would round the pixels."""
    return jnp.einsum(equation, weights, x, precision="highest")


def content_size(height: Side, width: Side, target: Size) -> tuple[jax.Array, jax.Array]:
    """Computes `preprocessing.letterbox_size` of sides that may be traced."""
    height, width = jnp.asarray(height), jnp.asarray(width)
    rows = (2 * height * target[1] + width) // (2 * width)
    columns = (2 * width * target[0] + height) // (2 * height)
    is_tall = height * target[1] >= width * target[0]
    return (
        jnp.where(is_tall, target[0], jnp.maximum(rows, 1)),
        jnp.where(is_tall, jnp.maximum(columns, 1), target[1]),
    )


def letterbox(
    image: UInt8[Array, "batch height width 3"], content: tuple[Side, Side], target: Size
) -> Float32[Array, "batch rows columns 3"]:
    """Scales images to `content` as Pillow does and repeats the edge up to the target size.

    The result has levels from 0 to 255.
    """
    height, width = image.shape[1:3]
    x = image.astype(jnp.float32)
    for size, original, length, equation in (
        (content[1], width, target[1], "nw,bhwc->bhnc"),
        (content[0], height, target[0], "nh,bhwc->bnwc"),
    ):
        weights = resize_weights(length, original, size, original)
        # Pillow rounds to whole levels after each of the two passes.
        x = jnp.floor(_resample(x, weights, equation) + _HALF)
    return x


def restore_size(
    depth: Float32[Array, "batch rows columns"],
    content: tuple[Side, Side],
    height: Side,
    width: Side,
) -> Float32[Array, "batch height width"]:
    """Scales the metres of the content to the size of the images."""
    for size, original, length, equation in (
        (height, content[0], depth.shape[1], "nh,bhw->bnw"),
        (width, content[1], depth.shape[2], "nw,bhw->bhn"),
    ):
        weights = resize_weights(size, length, size, original)
        depth = _resample(depth, weights, equation)
    return depth


def depth_function(
    model: DepthNetwork,
    schedule: diffusion.NoiseSchedule,
    sampler: Mapping[str, Any],
    target: Size | None,
    metres_per_unit: float = 1.0,
) -> Predict:
    """Creates (variables, images uint8 [B, H, W, 3], seed uint32 []) -> metres float32 [B, H, W].

    Of a relative model it is the inverse depth without unit.

    Args:
      model, schedule: to predict with.
      sampler: see `diffusion.ddim_sample`.
      target: (height, width) that the network sees, or None for the size of the images.
      metres_per_unit: of what the model says, see `CanonicalCamera`.
    """
    refine = depth_from_noise(model, schedule, sampler, target, metres_per_unit)

    def predict(variables, image, seed):
        keys = jnp.broadcast_to(jax.random.key(seed), (image.shape[0],))
        noise = normal_per_image(keys, model.latent_shape(*(target or image.shape[1:3])))
        return refine(variables, image, noise, keys)

    return predict


def depth_from_noise(
    model: DepthNetwork,
    schedule: diffusion.NoiseSchedule,
    sampler: Mapping[str, Any],
    target: Size | None,
    metres_per_unit: float = 1.0,
) -> Callable[..., jax.Array]:
    """Creates (variables, images, start noise [B, h, w, d], keys or None) -> metres [B, H, W].

    The keys are for the noise of a sampler with `eta` > 0. The rest is as in `depth_function`.
    """
    settings = {"schedule": schedule, **settings_for(1, sampler)}

    def at_network_size(variables, levels, noise, keys):
        x = (levels / 255 - preprocessing.IMAGENET_MEAN) / preprocessing.IMAGENET_STD
        decoded = refinement.predict(model, variables, x, noise, keys=keys, **settings)
        if decoded.inverse_depth is not None:
            return decoded.inverse_depth[..., 0]
        return metres_per_unit * jnp.exp(decoded.log_depth[..., 0])

    def predict(variables, image, noise, keys):
        if target is None:
            return at_network_size(variables, image.astype(jnp.float32), noise, keys)
        height, width = image.shape[1:3]
        content = content_size(height, width, target)
        depth = at_network_size(variables, letterbox(image, content, target), noise, keys)
        return restore_size(depth, content, height, width)

    return predict


def image_specification(target: Size | None) -> jax.ShapeDtypeStruct:
    """Returns the shape and type of the images; the batch and both sides are symbols from 1 on."""
    if target is None:
        shape = f"batch, {_MULTIPLE}*rows, {_MULTIPLE}*columns, 3"
        return jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape), jnp.uint8)
    limits = [f"{side} <= {LONGEST}" for side in ("height", "width")]
    shape = jax.export.symbolic_shape("batch, height, width, 3", constraints=limits)
    return jax.ShapeDtypeStruct(shape, jnp.uint8)


def flatten(
    variables: Variables,
) -> tuple[dict[str, np.ndarray], Callable[[Mapping[str, Array]], Variables]]:
    """Returns nested variables as {"a/b/c": array}, and a function that nests them again."""
    paths, structure = jax.tree.flatten_with_path(variables)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]
    arrays = {name: np.asarray(leaf) for name, (_, leaf) in zip(names, paths, strict=True)}
    return arrays, lambda flat: structure.unflatten([flat[name] for name in names])


def export_depth(
    predict: Predict, variables: Variables, target: Size | None, inside: bool
) -> tuple[jax.export.Exported, dict[str, np.ndarray]]:
    """Exports `depth_function` for all platforms.

    With `inside` the exported function holds the variables, and the returned dict is empty.
    Otherwise the dict holds them by name, and is the first argument of the exported function.
    """
    arguments = (image_specification(target), jax.ShapeDtypeStruct((), jnp.uint32))
    if inside:
        arrays = {}

        def depth(image, seed):
            return predict(variables, image, seed)
    else:
        arrays, nest = flatten(variables)
        arguments = (jax.eval_shape(lambda: arrays), *arguments)

        def depth(parameters, image, seed):
            return predict(nest(parameters), image, seed)

    return jax.export.export(jax.jit(depth), platforms=PLATFORMS)(*arguments), arrays
