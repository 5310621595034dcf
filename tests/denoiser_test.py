import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.models.denoiser import Denoiser, pool_cells, timestep_embedding
from diffdepth_jax.models.fpn import FPN

SIZE = (37, 45)


def pyramid():
    shapes = [(10, 12), (5, 6), (3, 3), (2, 2)]
    return tuple(jax.random.normal(jax.random.key(i), (1, *s, 8)) for i, s in enumerate(shapes))


def build(**fields):
    module = Denoiser(**{"latent_channels": 4, "features": 8, "num_heads": 2, **fields})
    image = jax.random.normal(jax.random.key(5), (1, *SIZE, 3))

    def both(module, latent):
        condition = module.project(pyramid(), image)
        return condition, module(latent, jnp.zeros(1, jnp.int32), condition)

    latent = jax.random.normal(jax.random.key(6), (1, 19, 23, 4))
    variables = module.init(jax.random.key(7), latent, method=both)
    # The head starts near zero: give it a size, so that what reaches it can be seen.
    variables["params"]["out"]["kernel"] = variables["params"]["out"]["kernel"] * 1000
    variables["params"]["latent_in"]["kernel"] = variables["params"]["latent_in"]["kernel"] * 50
    return module, variables, image, latent


def test_condition_has_the_latents_size_and_the_output_is_signed_float32():
    module, variables, image, latent = build(dtype=jnp.bfloat16)
    condition = module.apply(variables, pyramid(), image, method="project")
    assert condition.shape == (1, 19, 23, 8)
    out = module.apply(variables, latent, jnp.array([3]), condition)
    assert out.shape == latent.shape and out.dtype == jnp.float32
    assert (out < 0).any() and (out > 0).any()


@pytest.mark.parametrize("levels", [1, 4])
def test_condition_levels_seen(levels):
    module, variables, image, _ = build(condition_levels=levels)
    gradients = jax.grad(
        lambda maps: (module.apply(variables, maps, image, method="project") ** 2).sum()
    )(pyramid())
    assert [bool((g != 0).any()) for g in gradients] == [i < levels for i in range(4)]


@pytest.mark.parametrize("attention", [True, False])
def test_self_attention_joins_far_cells(attention):
    module, variables, image, latent = build(self_attention=attention)
    condition = module.apply(variables, pyramid(), image, method="project")

    def corner(latent):
        return module.apply(variables, latent, jnp.array([3]), condition)[0, 0, 0].sum()

    far = jax.grad(corner)(latent)[0, -1, -1]
    assert bool((far != 0).any()) == attention


def test_the_timestep_matters():
    module, variables, image, latent = build()
    condition = module.apply(variables, pyramid(), image, method="project")
    early, late = (
        module.apply(variables, latent, jnp.array([t]), condition) for t in (10, 900)
    )
    assert jnp.abs(early - late).max() > 1e-3


def test_timestep_embedding_known_values():
    embedding = timestep_embedding(jnp.array([0, 1]), 4)
    np.testing.assert_allclose(embedding[0], [1, 1, 0, 0])
    np.testing.assert_allclose(
        embedding[1], [np.cos(1), np.cos(0.01), np.sin(1), np.sin(0.01)], atol=1e-6
    )


def test_border_cells_average_what_they_have():
    x = jnp.arange(15.0).reshape(1, 3, 5, 1)
    pooled = pool_cells(x, 2)[0, :, :, 0]
    np.testing.assert_allclose(pooled, [[3, 5, 6.5], [10.5, 12.5, 14]])


def test_fpn_keeps_sizes_and_passes_coarse_to_fine_only():
    neck = FPN(6)
    variables = neck.init(jax.random.key(0), pyramid())
    assert [x.shape for x in neck.apply(variables, pyramid())] == [
        (*x.shape[:3], 6) for x in pyramid()
    ]

    def seen_from(level):
        gradients = jax.grad(lambda maps: (neck.apply(variables, maps)[level] ** 2).sum())
        return [bool((g != 0).any()) for g in gradients(pyramid())]

    assert seen_from(0) == [True] * 4
    assert seen_from(3) == [False, False, False, True]
