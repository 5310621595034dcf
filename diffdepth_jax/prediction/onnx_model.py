"""A model as an ONNX model that takes images of any size, in batches of any size.

The package's own converter writes it: see docs/onnx.md for the library that was tried.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx

from diffdepth_jax.arrays import Variables
from diffdepth_jax.errors import UserError
from diffdepth_jax.media.preprocessing import Size
from diffdepth_jax.method import diffusion
from diffdepth_jax.method.noise import normal_per_image
from diffdepth_jax.models.assembly import DepthNetwork
from diffdepth_jax.prediction.onnx_graph import Graph
from diffdepth_jax.prediction.onnx_lowering import lower
from diffdepth_jax.prediction.stablehlo import depth_from_noise, image_specification

IMAGES, DEPTH = "images", "depth"


def onnx_model(
    model: DepthNetwork,
    schedule: diffusion.NoiseSchedule,
    variables: Variables,
    sampler: Mapping[str, Any],
    target: Size,
    metres_per_unit: float = 1.0,
) -> onnx.ModelProto:
    """Returns the model (images uint8 [B, H, W, 3]) -> depth float32 [B, H, W], in metres.

    The start noise is inside: that of seed 0 in `DepthEstimator`. A feed-forward model has none.
    See `depth_function` for the arguments.

    Raises:
      UserError: the sampler draws noise at each step, or the model computes what ONNX cannot.
    """
    if sampler["eta"]:
        raise UserError("sampler.eta above 0 draws noise at each step: ONNX export needs 0")
    refine = depth_from_noise(model, schedule, sampler, target, metres_per_unit)
    key = jnp.broadcast_to(jax.random.key(0), (1,))
    noise = np.asarray(normal_per_image(key, model.latent_shape(*target)))

    def predict(images):
        batch = jnp.broadcast_to(noise, (images.shape[0], *noise.shape[1:]))
        return refine(variables, images, batch, None)

    return _model(jax.make_jaxpr(predict)(image_specification(target)))


def _model(closed: Any) -> onnx.ModelProto:
    """Of a jaxpr with images as its only input and depth as its only output."""
    (images,), (depth,) = closed.in_avals, closed.out_avals
    graph = Graph()
    graph.define_symbols(IMAGES, images.shape)
    (metres,) = lower(graph, closed, [IMAGES])
    graph.name(graph.full(metres, depth.shape), DEPTH)
    return graph.model([_described(IMAGES, images)], [_described(DEPTH, depth)])


def _described(name: str, array: Any) -> onnx.ValueInfoProto:
    dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(array.dtype))
    sizes = [size if isinstance(size, int) else str(size) for size in array.shape]
    return onnx.helper.make_tensor_value_info(name, dtype, sizes)
