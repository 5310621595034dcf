"""A model as one file of StableHLO, which a program that has only jax can run.

python -m diffdepth_jax.export --checkpoint=DIR --output=FILE

The function in the file takes uint8 RGB images [B, H, W, 3] and a seed, uint32 [], and returns
metres, float32 [B, H, W]: equal images have equal depth, as everywhere in this package. The batch
and the size of the images are symbolic, so one file serves all, on CPU, CUDA and TPU.
docs/load_exported.py runs it.
"""

import os
import pathlib

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from absl import flags

from diffdepth_jax.datasets import transforms
from diffdepth_jax.errors import UserError
from diffdepth_jax.method import diffusion, refinement
from diffdepth_jax.prediction.estimator import load_model
from diffdepth_jax.program.entry import start

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Model directory, such as runs/synthetic.", allow_override=True
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "File to write; with --parameters=beside also FILE.npz.", allow_override=True
)
_NETWORK_SIZE = flags.DEFINE_string(
    "network_size", "model",
    "What images are resized to inside, and depth back: model (its inference size) or HEIGHTxWIDTH;"
    " native: not resized, their sides have to be multiples of 32.",
    allow_override=True,
)  # fmt: skip
_NUM_STEPS = flags.DEFINE_integer(
    "num_steps", None, "Sampler steps; default: the model's.", allow_override=True
)
_DTYPE = flags.DEFINE_enum(
    "dtype", None, ["float32", "bfloat16"], "To compute in; default: the model's."
)
_PARAMETERS = flags.DEFINE_enum(
    "parameters", "inside", ["inside", "beside"],
    "inside the file, or in FILE.npz beside it: then they are the first argument of the function.",
)  # fmt: skip

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
        x = (x / 255 - transforms.IMAGENET_MEAN) / transforms.IMAGENET_STD
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


def check_output(path):
    """Refuses what cannot be written before minutes are spent on it."""
    if path.is_dir():
        raise UserError(f"output {path} is a folder: give the name of a file")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"output {path}: {path.parent} is no folder that can be written to")


def write_whole(path, write):
    """Writes a file whole or not at all; `write` takes it open."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with open(unfinished, "wb") as file:
            write(file)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def run():
    output = pathlib.Path(_OUTPUT.value)
    check_output(output)
    replaced = {} if _DTYPE.value is None else {"dtype": _DTYPE.value}
    model, schedule, variables, config = load_model(_CHECKPOINT.value, **replaced)
    target = parse_size(_NETWORK_SIZE.value, config.inference.size)
    sampler = dict(config.sampler)
    if _NUM_STEPS.value is not None:
        sampler["num_steps"] = _NUM_STEPS.value
    predict = depth_function(model, schedule, sampler, target)
    exported, arrays = export_depth(predict, variables, target, _PARAMETERS.value == "inside")
    write_whole(output, lambda file: file.write(exported.serialize()))
    if arrays:
        write_whole(pathlib.Path(f"{output}.npz"), lambda file: np.savez(file, **arrays))
    _describe(output, exported, arrays, sampler, target)


def _describe(output, exported, arrays, sampler, target):
    shape = ", ".join(map(str, exported.in_avals[-2].shape))
    first = f"parameters of {output}.npz, " if arrays else ""
    size = "at their own size" if target is None else f"seen at {target[0]} x {target[1]}"
    print(
        f"{output}: ({first}images uint8 [{shape}], seed uint32 []) -> metres float32; images "
        f"{size}, {sampler['num_steps']} steps; {', '.join(exported.platforms)}; "
        f"{output.stat().st_size / 2**20:.1f} MiB; python docs/load_exported.py runs it"
    )


def main():
    start(run, required=["checkpoint", "output"])


if __name__ == "__main__":
    main()
