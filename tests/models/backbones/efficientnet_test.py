"""Numbers of the published PyTorch network, its names, sizes that do not divide, frozen norms."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.models.backbones import efficientnet
from diffdepth_jax.models.backbones.efficientnet import EfficientNetLite, Stage
from diffdepth_jax.torch_import.rules_efficientnet import EFFICIENTNET_LITE
from tests.models.backbones.resnet_test import assert_bfloat16_is_close, normal
from tests.support import parity, tiny

# Parity


class Component(parity.Component):
    """The floating-point vectors are float32."""

    @functools.cached_property
    def vectors(self):
        arrays = np.load(self.file)
        return {k: v if v.dtype.kind == "i" else v.astype(np.float32) for k, v in arrays.items()}


def component(**fields):
    """Two stages with kernels of 3 and 5, with and without expansion, stride and shortcut."""
    module = EfficientNetLite(
        32, (Stage(1, 3, 1, 1, 8), Stage(2, 5, 2, 3, 16)), drop_path_rate=0.0, **fields
    )
    return Component(parity.GOLDEN / "efficientnet_lite.npz", module, EFFICIENTNET_LITE)


@pytest.mark.parametrize("train", [False, True])
def test_maps_equal_the_published_network(train):
    """In training, the running statistics are compared too."""
    parity.assert_forward_parity(component(), train, 3e-6)


def test_gradients_equal_the_published_network():
    ours, _ = parity.backward(component(), train=True)
    expected = component().leaves("grad_train")["params"]
    jax.tree.map(
        lambda a, b: np.testing.assert_array_less(
            np.linalg.norm(a - b), 1e-4 * np.linalg.norm(b) + 1e-4
        ),
        ours,
        expected,
    )


# The network


def small(drop_path_rate=0.0, **fields):
    stages = Stage(1, 3, 1, 1, 8), Stage(2, 5, 2, 2, 8), Stage(1, 3, 2, 2, 16)
    return EfficientNetLite(8, stages, drop_path_rate=drop_path_rate, **fields)


@pytest.mark.parametrize("size", [(33, 47), (1, 1), (16, 16), (50, 46), (5, 129)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_maps_have_strides_2_to_32_of_any_size(size, dtype):
    module = EfficientNetLite(**efficientnet.VARIANTS["efficientnet_lite0"], dtype=dtype)
    image = jnp.zeros((2, *size, 3))
    maps, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), image))
    for level, (x, channels) in enumerate(zip(maps, (16, 24, 40, 112, 320), strict=True)):
        assert x.shape == (2, *(-(-side // 2 ** (level + 1)) for side in size), channels)
        assert x.dtype == dtype
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_lite0_has_the_published_number_of_parameters():
    """4,652,008 with the head of 1280 channels, its norm and 1000 classes (package's network)."""
    module = EfficientNetLite(**efficientnet.VARIANTS["efficientnet_lite0"])
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    head = 320 * 1280 + 2 * 1280 + 1281 * 1000
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 4_652_008 - head


def test_bfloat16_is_close_to_float32():
    assert_bfloat16_is_close(small(), small(dtype=jnp.bfloat16), 0.03)


def test_frozen_statistics_are_used_and_kept_in_training():
    """And the norms' scales still learn."""
    module, image = small(frozen_statistics=True), normal(2, 17, 22, 3)
    variables = tiny.init(module, image)
    variables["batch_stats"] = jax.tree.map(np.abs, variables["batch_stats"])

    def loss(params):
        maps, state = module.apply(
            {**variables, "params": params}, image, True, mutable=["batch_stats"]
        )
        return sum(x.sum() for x in maps), (maps, state)

    gradient, (maps, state) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    jax.tree.map(np.testing.assert_array_equal, state["batch_stats"], variables["batch_stats"])
    expected = jax.jit(small().apply)(variables, image)
    parity.assert_maps_close(maps, [np.asarray(x) for x in expected], 1e-6)
    assert np.any(gradient["block1"]["expand_norm"]["scale"])


def test_drop_rates_rise_as_in_the_published_code():
    """To 0.2 * 15 / 16 at the last of 16 blocks; only blocks with a shortcut draw."""
    rates = {}

    def record(call, args, kwargs, context):
        if isinstance(context.module, nn.Dropout):
            rates[context.module.path[0]] = context.module.rate
        return call(*args, **kwargs)

    module = EfficientNetLite(**efficientnet.VARIANTS["efficientnet_lite0"])
    with nn.intercept_methods(record):
        jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))
    shortcuts = (2, 4, 6, 7, 9, 10, 12, 13, 14)
    assert rates == {f"block{i}": pytest.approx(0.2 * i / 16) for i in shortcuts}
