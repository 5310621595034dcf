"""Numbers of transformers at two sizes, the published numbers of parameters, and rotations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.models.backbones import dinov2, dinov3, vit
from diffdepth_jax.torch_import.conversion import convert
from diffdepth_jax.torch_import.state_dicts import read_state_dict
from tests.support import parity, tiny
from tests.torch_import.conversion_test import abstract_of, save
from tests.torch_import.dinov3_test import TINY, file_of, vectors

LAST = {**TINY, "layers": (2,)}
MODELS = {
    "dinov3": dinov3.DINOv3(**LAST),
    "dinov3_plus": dinov3.DINOv3(**LAST, gated=24),
    "dinov2_giant": dinov2.DINOv2(**LAST, gated=48, table_side=5),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_last_states_equal_those_of_transformers(name, tmp_path):
    """At the size of the configuration and at odd numbers of patches."""
    module = MODELS[name]
    tensors, kind = read_state_dict(save(tmp_path / "a.safetensors", file_of(name)))
    variables, messages = convert(tensors, kind, abstract_of(module))
    assert all("mask_token" in message for message in messages)
    variables = {"params": variables["params"]["backbone"]}
    sizes = [key.split("/")[2] for key in vectors() if key.startswith(f"{name}/in/")]
    assert len(sizes) == 2
    for size in sizes:
        image = parity.channels_last(vectors()[f"{name}/in/{size}"].astype(np.float32))
        (states,) = jax.jit(module.apply)(variables, image)
        expected = vectors()[f"{name}/out/{size}"]
        assert parity.relative_difference(states.reshape(expected.shape), expected) < 5e-6


# Of transformers' DINOv3ViTModel, less the mask token, which no output sees.
PUBLISHED = {
    "dinov3_small": 21_596_544 - 384,
    "dinov3_small_plus": 28_692_864 - 384,
    "dinov3_base": 85_660_416 - 768,
    "dinov3_large": 303_129_600 - 1024,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_variants_have_the_published_numbers_of_parameters(name):
    module = dinov3.create(name, layers=(), drop_path_rate=0.0, dtype=jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == PUBLISHED[name]


def test_rotations_keep_lengths_and_depend_on_differences_of_places():
    """Of patches in one grid: a query and a key, equally far apart, have the same product."""
    cosine, sine = dinov3.rotation_of(3, 4, 8)
    x = np.random.default_rng(0).normal(size=(2, 1, 1, 8)).astype(np.float32)
    query, key = (
        np.asarray(vit.rotated(np.tile(y, (1, 12, 1, 1)), (cosine, sine))) for y in x[:, None]
    )
    np.testing.assert_allclose((query**2).sum(-1), (x[0] ** 2).sum(), rtol=1e-5)
    products = np.einsum("bqhc,bkhc->qk", query, key)
    np.testing.assert_allclose(products[0, 5], products[1, 6], rtol=1e-4)
    assert abs(products[0, 5] - products[0, 6]) > 1e-3


@pytest.mark.parametrize("size", [(33, 47), (1, 1)])
def test_maps_have_stride_16_of_any_size(size):
    module, image = dinov3.DINOv3(**TINY), jnp.zeros((2, *size, 3))
    maps, _ = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), image))
    rows, columns = (-(-side // 16) for side in size)
    assert [x.shape for x in maps] == [(2, rows, columns, 16)] * 2


def test_recomputed_blocks_have_the_same_gradients():
    image = np.random.default_rng(0).normal(size=(1, 32, 48, 3)).astype(np.float32)
    plain = dinov3.DINOv3(**TINY)
    variables = tiny.init(plain, image)

    def gradients(module):
        return jax.jit(jax.grad(lambda v: sum((x**2).sum() for x in module.apply(v, image))))(
            variables
        )

    pair = gradients(plain), gradients(plain.clone(remat=True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *pair)


def test_layers_that_do_not_exist_are_refused():
    with pytest.raises(UserError, match="must rise within 1 to 4 for dinov3_nano"):
        dinov3.create("dinov3_nano", layers=(5,), drop_path_rate=0.0, dtype=jnp.float32)
