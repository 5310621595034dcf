"""Which of the backbone's maps reaches which of the pyramid's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.models.necks.fpn import FPN
from tests.support import tiny

ODD = [(9, 12), (5, 6), (3, 3), (2, 2)]


def features_of(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(
        rng.normal(size=(2, *size, 4 * 2**level)).astype(np.float32)
        for level, size in enumerate(sizes)
    )


@pytest.fixture(scope="module")
def fpn():
    module, features = FPN(6), features_of(ODD)
    variables = tiny.init(module, features)
    return functools.partial(module.apply, variables), features


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    "sizes", [ODD, [(8, 16), (4, 8), (2, 4), (1, 2)], [(1, 1)] * 4, [(3, 1), (2, 1)], [(5, 4)]]
)
def test_the_pyramid_has_the_sizes_of_the_features(sizes, dtype):
    module = FPN(6, dtype=dtype)
    init = module.init_with_output
    pyramid, variables = jax.eval_shape(init, jax.random.key(0), features_of(sizes))
    assert isinstance(pyramid, tuple)
    assert [level.shape for level in pyramid] == [(2, *size, 6) for size in sizes]
    assert {level.dtype for level in pyramid} == {jnp.dtype(dtype)}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("output", range(4))
def test_a_level_sees_itself_and_the_coarser_ones(fpn, output):
    apply, features = fpn
    gradient = jax.grad(lambda maps: jnp.sum(jnp.sin(apply(maps)[output])))
    gradients = jax.jit(gradient)(features)
    seen = [bool(jnp.any(gradient != 0)) for gradient in gradients]
    assert seen == [level >= output for level in range(4)]


def test_images_of_a_batch_do_not_see_each_other(fpn):
    apply, features = fpn
    apply = jax.jit(apply)
    reverse = apply(tuple(feature[::-1] for feature in features))
    for ours, expected in zip(reverse, apply(features), strict=True):
        np.testing.assert_allclose(ours[::-1], expected, atol=1e-5)
