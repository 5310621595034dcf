"""A model as a StableHLO function that any JAX can run."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import preprocessing
from diffdepth_jax.method import diffusion, refinement

PLATFORMS = ("cpu", "cuda", "tpu")
_MULTIPLE = 32  # of the coarsest map: other sizes need shapes that symbols cannot prove equal
_LONGEST = 16384  # pixels of a side: products of two sides stay within int32
_HALF = 0.5 + 1e-4  # of a level: means of pixels often end in .5, in float32 or a hair below


def parse_size(text, inference_size):
    """(H, W) that the network sees, or None for the image's own."""
    if text == "native":
        return None
    if text == "model":
        return tuple(inference_size)
    sides = text.lower().split("x")
    size = tuple(int(side) for side in sides if side.isdecimal())
    if len(sides) != 2 or len(size) != 2 or not all(0 < side <= _LONGEST for side in size):
        raise UserError(
            f"network_size {text!r}: must be model, native or HEIGHTxWIDTH, such as 480x640"
        )
    return size


def resize_weights(rows, columns, size, original):
    """Float32 [rows, columns]: the bilinear filter that takes `original` samples to `size`.

    Pillow's, which is wider where it shrinks. What of `columns` is beyond `original` has no weight;
    what of `rows` is beyond `size` repeats its last row. All numbers may be traced or symbolic;
    positions are exact, in integers.
    """
    row = jnp.minimum(jnp.arange(rows), size - 1)[:, None]
    column = jnp.arange(columns)
    distance = jnp.abs((2 * column + 1) * size - (2 * row + 1) * original)
    reach = 2 * jnp.maximum(size, original)
    weights = jnp.maximum(0, 1 - distance / reach) * (column < original)
    return weights / weights.sum(1, keepdims=True)


def _resample(x, weights, equation):
    """By float32 products on every platform: GPU and TPU would round the pixels."""
    return jnp.einsum(equation, weights, x, precision="highest")


def content_size(height, width, target):
    """`transforms.letterbox_size` of numbers that are traced."""
    height, width = jnp.asarray(height), jnp.asarray(width)
    rows = (2 * height * target[1] + width) // (2 * width)
    columns = (2 * width * target[0] + height) // (2 * height)
    is_tall = height * target[1] >= width * target[0]
    return (
        jnp.where(is_tall, target[0], jnp.maximum(rows, 1)),
        jnp.where(is_tall, jnp.maximum(columns, 1), target[1]),
    )


def letterbox(image, content, target):
    """uint8 [B, H, W, 3] -> float32 [B, *target, 3] in 0 to 255, as Pillow and pad_to make it."""
    height, width = image.shape[1:3]
    x = image.astype(jnp.float32)
    for size, original, length, equation in (
        (content[1], width, target[1], "nw,bhwc->bhnc"),
        (content[0], height, target[0], "nh,bhwc->bnwc"),
    ):
        weights = resize_weights(length, original, size, original)
        x = jnp.floor(_resample(x, weights, equation) + _HALF)  # Pillow's are uint8 in between too
    return x


def restore_size(depth, content, height, width):
    """Metres [B, *target] -> [B, height, width] of the content."""
    for size, original, length, equation in (
        (height, content[0], depth.shape[1], "nh,bhw->bnw"),
        (width, content[1], depth.shape[2], "nw,bhw->bhn"),
    ):
        weights = resize_weights(size, length, size, original)
        depth = _resample(depth, weights, equation)
    return depth


def depth_function(model, schedule, sampler, target):
    """(variables, images uint8 [B, H, W, 3], seed uint32 []) -> metres float32 [B, H, W].

    target: (H, W) that the network sees, or None for the images' own.
    """

    def predict(variables, image, seed):
        batch, height, width, _ = image.shape
        content = None if target is None else content_size(height, width, target)
        x = image.astype(jnp.float32) if target is None else letterbox(image, content, target)
        x = (x / 255 - preprocessing.IMAGENET_MEAN) / preprocessing.IMAGENET_STD
        keys = jnp.broadcast_to(jax.random.key(seed), (batch,))
        noise = diffusion.normal_per_image(keys, model.latent_shape(*x.shape[1:3]))
        depth = refinement.predict_depth(
            model, variables, x, noise, schedule=schedule, keys=keys, **sampler
        )[..., 0]
        return depth if target is None else restore_size(depth, content, height, width)

    return predict


def image_specification(target):
    """Shape and type of the images; the batch and both sides are symbols."""
    if target is None:
        shape = f"batch, {_MULTIPLE}*rows, {_MULTIPLE}*columns, 3"
        return jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape), jnp.uint8)
    limits = [f"{side} <= {_LONGEST}" for side in ("height", "width")]
    shape = jax.export.symbolic_shape("batch, height, width, 3", constraints=limits)
    return jax.ShapeDtypeStruct(shape, jnp.uint8)


def flatten(variables):
    """Nested dicts of arrays -> {"a/b/c": array}, and a function that nests such a dict again."""
    paths, structure = jax.tree.flatten_with_path(variables)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]
    arrays = {name: np.asarray(leaf) for name, (_, leaf) in zip(names, paths, strict=True)}
    return arrays, lambda flat: structure.unflatten([flat[name] for name in names])


def export_depth(predict, variables, target, inside):
    """The `jax.export.Exported`, and the arrays to keep beside it: {} if they are inside."""
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
