import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.models import swin

TINY = {"embed_dim": 8, "depths": (2, 2, 1, 1), "num_heads": (1, 2, 2, 4)}


def run(image, **fields):
    module = swin.SwinTransformer(**{**TINY, **fields})
    variables = module.init(jax.random.key(0), image)
    return module, variables, module.apply(variables, image)


@pytest.mark.parametrize("size", [(33, 47), (50, 46), (1, 1), (4, 64)])
@pytest.mark.parametrize("window", [3, 7])
def test_any_size_gives_maps_at_strides_4_to_32(size, window):
    image = jax.random.normal(jax.random.key(1), (2, *size, 3))
    features = run(image, window_size=window)[2]
    for level, x in enumerate(features):
        stride = 4 * 2**level
        assert x.shape == (2, -(-size[0] // stride), -(-size[1] // stride), 8 * 2**level)
        assert jnp.isfinite(x).all()


def test_every_stage_ends_in_a_layer_norm():
    image = jax.random.normal(jax.random.key(1), (1, 32, 32, 3))
    for x in run(image)[2]:
        np.testing.assert_allclose(x.mean(-1), 0, atol=1e-5)
        np.testing.assert_allclose(x.var(-1), 1, atol=1e-2)


def test_windows_round_trip():
    x = jnp.arange(2 * 6 * 9 * 2).reshape(2, 6, 9, 2)
    windows = swin.partition_windows(x, 3)
    assert windows.shape == (2, 6, 9, 2)
    np.testing.assert_array_equal(swin.merge_windows(windows, 3, 6, 9), x)


def test_shift_mask_separates_what_the_roll_brought_together():
    """Two tokens of a window may attend iff they were at most a window apart before the roll."""
    height, width, window, shift = 6, 9, 3, 1
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    rolled = np.roll(np.stack([rows, columns], -1), (-shift, -shift), (0, 1))
    tokens = swin.partition_windows(jnp.asarray(rolled)[None], window)[0]
    apart = np.abs(np.asarray(tokens)[:, :, None] - np.asarray(tokens)[:, None, :]).max(-1)
    mask = swin.shift_mask(height, width, window, shift)
    np.testing.assert_array_equal(mask == 0, apart < window)


def test_relative_position_index_by_brute_force():
    window, index = 3, swin.relative_position_index(3)
    for a in range(9):
        for b in range(9):
            dy, dx = a // 3 - b // 3, a % 3 - b % 3
            assert index[a, b] == (dy + window - 1) * (2 * window - 1) + dx + window - 1


def test_stochastic_depth_acts_in_training_only():
    image = jax.random.normal(jax.random.key(1), (4, 32, 32, 3))
    module, variables, evaluated = run(image, drop_path_rate=0.9)
    again = module.apply(variables, image)
    trained = module.apply(variables, image, train=True, rngs={"drop_path": jax.random.key(2)})
    np.testing.assert_array_equal(evaluated[-1], again[-1])
    assert not np.allclose(evaluated[-1], trained[-1], atol=1e-3)


def test_position_embedding_tells_rows_apart():
    image = jnp.ones((1, 64, 64, 3))
    interior = np.s_[0, 4:-4, 8]
    with_it = run(image, position_embedding=True, depths=(1, 1, 1, 1))[2][0][interior]
    without = run(image, position_embedding=False, depths=(1, 1, 1, 1), window_size=4)[2][0]
    assert np.ptp(with_it, axis=0).max() > 1e-2
    assert np.ptp(without[interior], axis=0).max() < 1e-4


def test_bfloat16_computes_near_float32_on_float32_parameters():
    image = jax.random.normal(jax.random.key(1), (1, 32, 32, 3))
    _, variables, exact = run(image)
    rough = swin.SwinTransformer(**TINY, dtype=jnp.bfloat16).apply(variables, image)
    assert rough[0].dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert jnp.abs(rough[0].astype(jnp.float32) - exact[0]).mean() < 0.05


@pytest.mark.parametrize(
    ("name", "classifier_parameters"),
    # Swin-T, S and B of the paper's table 1, in millions, ImageNet-1K head included.
    [("swin_tiny", 28.3e6), ("swin_small", 49.6e6), ("swin_base", 87.8e6), ("swin_large", 196.5e6)],
)
def test_published_sizes(name, classifier_parameters):
    module = swin.SwinTransformer(**swin.VARIANTS[name])
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: module.init(jax.random.key(0), x), image)
    count = sum(x.size for x in jax.tree.leaves(shapes))
    channels = 8 * swin.VARIANTS[name]["embed_dim"]
    head, stage_norms = channels * 1000 + 1000, 2 * (channels // 8 + channels // 4 + channels // 2)
    assert abs(count - stage_norms + head - classifier_parameters) < 0.1e6
