"""The neck of released checkpoints beside the public code's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.models.necks.hahi import HAHI
from diffdepth_jax.torch_import.rules import HAHI_RULES
from tests.support import parity, tiny

SHARED_FILE = parity.ALL_GOLDEN / "components" / "hahi_c4_noatt.npz"


def component(file):
    def neck(module, *features_and_train):
        *features, train = features_and_train
        return module(features, train)

    return parity.Component(file, HAHI(32), HAHI_RULES, method=neck)


def test_two_levels_equal_the_public_code():
    """The two levels are joined in different orders."""
    two_levels = component(parity.GOLDEN / "hahi_two_levels.npz")
    parity.assert_forward_parity(two_levels, tolerance=3e-6)


@parity.needs_shared
@pytest.mark.parametrize("train", [False, True])
def test_four_levels_and_their_gradients_equal_the_public_code(train):
    """In training, the running statistics are compared too."""
    four_levels = component(SHARED_FILE)
    parity.assert_forward_parity(four_levels, train, 5e-6)
    parity.assert_backward_parity(four_levels, train)


def features_of(sizes):
    rng = np.random.default_rng(0)
    return tuple(
        rng.normal(size=(2, *size, 8 + level)).astype(np.float32)
        for level, size in enumerate(sizes)
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_sizes_and_channels_stay(dtype):
    features = features_of([(5, 7), (3, 4), (2, 2), (1, 1)])
    init = HAHI(4, dtype).init_with_output
    outputs, variables = jax.eval_shape(init, jax.random.key(0), features)
    assert [x.shape for x in outputs] == [x.shape for x in features]
    assert {x.dtype for x in outputs} == {jnp.dtype(dtype)}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_a_level_sees_itself_alone():
    module, features = HAHI(4), features_of([(4, 6), (2, 3)])
    variables = tiny.init(module, features)
    before = module.apply(variables, features)
    after = module.apply(variables, (features[0], features[1] + 1))
    np.testing.assert_array_equal(before[0], after[0])
    assert np.abs(before[1] - after[1]).max() > 1e-3
