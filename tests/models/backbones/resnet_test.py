"""Numbers of the public implementation, its names, and sizes that do not divide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.models.backbones import resnet
from diffdepth_jax.torch_import.rules_backbones import RESNET_RULES
from tests.support import parity

# Parity


@pytest.mark.parametrize("train", [False, True])
def test_two_stages_equal_the_public_code(train):
    """In training, the running statistics are compared too."""
    module = resnet.ResNet(depths=(1, 2), channels=(16, 32))
    file = parity.GOLDEN / "resnet_two_stages_32x48.npz"
    parity.assert_forward_parity(parity.Component(file, module, RESNET_RULES), train, 3e-6)


@parity.needs_shared
@pytest.mark.parametrize("train", [False, True])
def test_four_stages_and_their_gradients_equal_the_public_code(train):
    module = resnet.ResNet(depths=(1, 2, 1, 2), channels=(16, 32, 48, 64))
    file = parity.ALL_GOLDEN / "components" / "resnet_Basic_32x48.npz"
    component = parity.Component(file, module, RESNET_RULES)
    parity.assert_forward_parity(component, train)
    parity.assert_backward_parity(component, train)


# The network


def small(dtype=jnp.float32):
    return resnet.ResNet(depths=(1, 2, 1, 1), channels=(8, 8, 16, 16), dtype=dtype)


def assert_strides(module, channels, size):
    """The maps have strides 2 to 16 and the compute dtype; the variables are float32."""
    image = jnp.zeros((2, *size, 3))
    maps, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), image))
    for level, (feature, features) in enumerate(zip(maps, channels, strict=True)):
        height, width = (-(-side // 2 ** (level + 1)) for side in size)
        assert feature.shape == (2, height, width, features)
        assert feature.dtype == module.dtype
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("size", [(33, 47), (1, 1), (16, 16), (50, 46), (5, 129)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_maps_have_strides_2_to_16_of_any_size(size, dtype):
    assert_strides(small(dtype), (8, 8, 16, 16), size)


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def assert_bfloat16_is_close(full, half, bound):
    """Compares the root mean square difference with the root mean square of the map."""
    image = normal(2, 33, 47, 3)
    variables = jax.jit(full.init)(jax.random.key(0), image)
    for a, b in zip(*(jax.jit(m.apply)(variables, image) for m in (full, half)), strict=True):
        difference = np.asarray(a) - np.asarray(b, np.float32)
        assert 0 < np.sqrt(np.mean(difference**2) / np.mean(np.asarray(a) ** 2)) < bound


def test_bfloat16_is_close_to_float32():
    assert_bfloat16_is_close(small(), small(jnp.bfloat16), 0.02)
