"""A pyramid from maps of one size: each cell shows what lies at its place in the image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.models.necks.dpt import DPT, STRIDES, Reassemble
from tests.support import tiny


@pytest.mark.parametrize("size", [(56, 84), (50, 75)])
def test_each_cell_keeps_its_place_in_the_image(size):
    """Maps at stride 14 hold the column of their centre, and so does every map of the pyramid."""
    rows, columns = (-(-side // 14) for side in size)
    centres = jnp.broadcast_to((jnp.arange(columns) + 0.5) * 14, (rows, columns))
    maps = [centres[None, ..., None]] * 4
    module = Reassemble(1, 14)
    ones = jax.tree.map(jnp.ones_like, module.init(jax.random.key(0), maps, *size))
    for x, stride in zip(module.apply(ones, maps, *size), STRIDES, strict=True):
        assert x.shape == (1, -(-size[0] // stride), -(-size[1] // stride), 1)
        inner = slice(14 // stride + 1, -(14 // stride + 2))  # the borders repeat the last cell
        expected = 1 + (np.arange(x.shape[2]) + 0.5) * stride  # 1 is the bias
        np.testing.assert_allclose(x[0, 0, inner, 0], expected[inner], rtol=1e-5)


def test_every_level_sees_the_coarser_ones_and_none_the_finer():
    maps = [jnp.ones((1, 8 >> level, 8 >> level, 2 + level)) for level in range(4)]
    module = DPT(6)
    variables = tiny.init(module, maps)

    def energy(maps, level):
        return (module.apply(variables, maps)[level] ** 2).sum()

    for level in range(4):
        gradients = jax.grad(energy)(maps, level)
        reached = [bool(jnp.abs(gradient).max() > 0) for gradient in gradients]
        assert reached == [other >= level for other in range(4)]
    assert [x.shape for x in module.apply(variables, maps)] == [
        (1, 8 >> level, 8 >> level, 6) for level in range(4)
    ]
