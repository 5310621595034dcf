"""Windows by brute force, sizes that do not divide, and numbers of the public implementation.

golden/swin.npz holds blocks of the public PyTorch implementation (duanyiqun/DiffusionDepth, commit
e1ca9d5) with random weights; their largest difference may be 3e-5 of the array's maximum.
"""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.models.backbones import swin
from tests.support import tiny
from tests.support.paths import GOLDEN

VECTORS = np.load(GOLDEN / "swin.npz")


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def shapes_of(module, *args):
    return jax.eval_shape(functools.partial(module.init_with_output, jax.random.key(0)), *args)


# Parity


def golden(case, name):
    return VECTORS[f"{case}/{name}"]


def golden_dense(case, name):
    """PyTorch's Linear keeps [out, in]."""
    parameters = {"kernel": golden(case, f"w/{name}.weight").T}
    if f"{case}/w/{name}.bias" in VECTORS:
        parameters["bias"] = golden(case, f"w/{name}.bias")
    return parameters


def golden_norm(case, name):
    return {"scale": golden(case, f"w/{name}.weight"), "bias": golden(case, f"w/{name}.bias")}


def golden_attention(case, prefix=""):
    table = golden(case, f"w/{prefix}relative_position_bias_table")
    return {
        "qkv": golden_dense(case, f"{prefix}qkv"),
        "proj": golden_dense(case, f"{prefix}proj"),
        "relative_position_bias_table": table,
    }


def assert_parity(ours, theirs):
    ours = np.asarray(ours).reshape(theirs.shape)
    assert np.abs(ours - theirs).max() <= 3e-5 * np.abs(theirs).max()


def test_window_attention_equals_the_public_code():
    case = "window_msa_7x7"
    module = swin.WindowAttention(num_heads=3, window_size=7)
    x = golden(case, "in/x").reshape(4, 7, 7, 12)  # four maps of one window
    assert_parity(module.apply({"params": golden_attention(case)}, x), golden(case, "out/0"))


def test_the_shifted_block_equals_the_public_code():
    """On 9x10 with windows of 7: padded, shifted and masked."""
    case = "swin_block_shift_9x10"
    module = swin.SwinBlock(num_heads=3, window_size=7, shift=3, drop_path_rate=0.0)
    parameters = {
        "norm1": golden_norm(case, "norm1"),
        "attn": golden_attention(case, "attn.w_msa."),
        "norm2": golden_norm(case, "norm2"),
        "fc1": golden_dense(case, "ffn.layers.0.0"),
        "fc2": golden_dense(case, "ffn.layers.1"),
    }
    x = golden(case, "in/x").reshape(4, 9, 10, 12)
    assert_parity(module.apply({"params": parameters}, x), golden(case, "out/0"))


def test_patch_embedding_equals_the_public_code():
    case = "patch_embed_16x12"
    module = swin.SwinTransformer(embed_dim=8, depths=(0,), num_heads=(1,))
    parameters = {
        "patch_embed": {
            "kernel": golden(case, "w/projection.weight").transpose(2, 3, 1, 0),  # from OIHW
            "bias": golden(case, "w/projection.bias"),
        },
        "patch_embed_norm": golden_norm(case, "norm"),
        "norm0": {"scale": np.ones(8), "bias": np.zeros(8)},
    }
    image = golden(case, "in/x").transpose(0, 2, 3, 1)
    _, state = module.apply({"params": parameters}, image, capture_intermediates=True)
    embedded = state["intermediates"]["patch_embed_norm"]["__call__"][0]
    assert_parity(embedded, golden(case, "out/0"))


@pytest.mark.parametrize(("height", "width"), [(8, 6), (7, 6)])
def test_patch_merging_equals_the_public_code(height, width):
    """The public code orders the channels (c, dy, dx), this package (dx, dy, c)."""
    case = f"patch_merging_{height}x{width}"
    order = [c * 4 + dy * 2 + dx for dx in (0, 1) for dy in (0, 1) for c in range(6)]
    parameters = {
        "norm": {name: leaf[order] for name, leaf in golden_norm(case, "norm").items()},
        "reduction": {"kernel": golden_dense(case, "reduction")["kernel"][order]},
    }
    x = golden(case, "in/x").reshape(2, height, width, 6)
    ours = swin.PatchMerging().apply({"params": parameters}, x)
    assert ours.shape == (2, 4, 3, 12)
    assert_parity(ours, golden(case, "out/0"))


# Windows


@pytest.mark.parametrize("window", [2, 3, 7])
def test_relative_positions_by_brute_force(window):
    index = swin.relative_position_index(window)
    tokens = list(itertools.product(range(window), repeat=2))
    for (i, (y, x)), (j, (other_y, other_x)) in itertools.product(enumerate(tokens), repeat=2):
        row = (y - other_y + window - 1) * (2 * window - 1) + (x - other_x + window - 1)
        assert index[i, j] == row


def test_relative_positions_equal_the_public_code():
    theirs = golden("window_msa_7x7", "w/relative_position_index")
    np.testing.assert_array_equal(swin.relative_position_index(7), theirs)


def test_windows_are_squares_of_the_map_in_reading_order():
    x = np.arange(4 * 6).reshape(1, 4, 6, 1)
    windows = swin.partition_windows(x, 2)
    assert windows.shape == (1, 6, 4, 1)
    np.testing.assert_array_equal(windows[0, 1, :, 0], [2, 3, 8, 9])
    np.testing.assert_array_equal(windows[0, 3, :, 0], [12, 13, 18, 19])


@pytest.mark.parametrize(("window", "height", "width"), [(2, 4, 6), (3, 9, 3), (7, 7, 14)])
def test_merging_windows_undoes_the_partition(window, height, width):
    x = normal(0, 2, height, width, 5)
    merged = swin.merge_windows(swin.partition_windows(x, window), window, height, width)
    np.testing.assert_array_equal(merged, x)


@pytest.mark.parametrize(
    ("height", "width", "window", "shift"),
    [(4, 6, 2, 1), (6, 3, 3, 1), (7, 7, 7, 3), (14, 7, 7, 3), (12, 24, 12, 6)],
)
def test_tokens_attend_iff_the_shift_did_not_bring_them_together(height, width, window, shift):
    """Their distance on the map equals their distance in the window, in both directions."""
    mask = np.asarray(swin.shift_mask(height, width, window, (shift, shift)))
    rolled = list(itertools.product(range(height), range(width)))
    rolled = np.array(rolled).reshape(1, height, width, 2)
    original = (rolled + shift) % [height, width]
    rolled, original = (
        np.asarray(swin.partition_windows(a, window))[0] for a in (rolled, original)
    )
    distance = rolled[:, :, None] - rolled[:, None]
    together = np.all(original[:, :, None] - original[:, None] == distance, axis=-1)
    np.testing.assert_array_equal(mask == 0, together)
    assert np.all(mask[~together] == -100)


@pytest.mark.parametrize(
    ("size", "axes", "maps"),
    [((7, 7), (0, 0), (0, 0)), ((7, 8), (0, 3), (0, 0)), ((8, 5), (3, 0), (0, 0))],
)
def test_windows_that_cover_an_axis_are_shifted_or_not(size, axes, maps):
    assert swin.window_shifts(*size, 7, 3, "always") == (3, 3)
    assert swin.window_shifts(*size, 7, 3, "larger_axes") == axes
    assert swin.window_shifts(*size, 7, 3, "larger_maps") == maps
    for rule in ("always", "larger_axes", "larger_maps"):
        assert swin.window_shifts(8, 15, 7, 3, rule) == (3, 3)


@pytest.mark.parametrize("rule", ["larger_axes", "larger_maps"])
def test_the_shift_of_a_map_of_any_size_is_decided_when_it_is_known(rule):
    """As in an exported model, which takes photos of their own sizes."""
    module = swin.WindowAttention(2, window_size=4, shift=2, window_shift=rule)
    image = normal(0, 1, 4, 8, 4)
    variables = tiny.init(module, image)
    program = jax.jit(functools.partial(module.apply, variables))
    shape = jax.export.symbolic_shape("1, 4*rows, 4*columns, 4")
    exported = jax.export.export(program)(jax.ShapeDtypeStruct(shape, image.dtype))
    for x in (image, np.concatenate([image, -image], axis=1)):
        np.testing.assert_allclose(exported.call(x), program(x), atol=1e-6)


@pytest.mark.parametrize("shift", [0, 1])
def test_a_pixel_sees_its_window_and_nothing_else(shift):
    """Windows of 3 on 6x5, padded to 6x6; shifted, they begin at row and column 1."""
    module = swin.SwinBlock(num_heads=2, window_size=3, shift=shift, drop_path_rate=0.0)
    x = normal(0, 1, 6, 5, 4)
    variables = tiny.init(module, x)

    @jax.jit
    def influence(x):
        output = lambda x: module.apply(variables, x)[0].sum(-1)  # noqa: E731
        return jnp.abs(jax.jacobian(output)(x)[:, :, 0]).sum(-1)  # [6, 5, 6, 5]

    row, column = (np.arange(6) - shift) // 3, (np.arange(5) - shift) // 3
    same = (row[:, None] == row)[:, None, :, None] & (column[:, None] == column)[None, :, None]
    np.testing.assert_array_equal(np.asarray(influence(x)) > 1e-9, same)


def test_without_shifts_features_move_with_the_image_by_whole_windows():
    module = swin.SwinTransformer(8, (1,), (2,), window_size=3)
    image = normal(0, 1, 24, 36, 3)
    variables = tiny.init(module, image)
    features, moved = (
        module.apply(variables, x)[0] for x in (image, np.roll(image, (12, 24), (1, 2)))
    )
    np.testing.assert_allclose(moved, np.roll(features, (3, 6), (1, 2)), atol=1e-5)


# The transformer


@pytest.mark.parametrize("size", [(33, 47), (1, 1), (4, 4), (50, 46), (5, 129)])
@pytest.mark.parametrize("window_size", [3, 7, 12])
def test_maps_have_strides_4_to_32_of_any_size(size, window_size):
    module = tiny.backbone(window_size=window_size)
    features, _ = shapes_of(module, jnp.zeros((2, *size, 3)))
    for level, feature in enumerate(features):
        stride = 4 * 2**level
        expected = (2, -(-size[0] // stride), -(-size[1] // stride), 8 * 2**level)
        assert feature.shape == expected


@pytest.fixture(scope="module")
def features_at_init():
    """Features of an initialised module for an odd size, in float32 and in bfloat16."""
    image, module = normal(0, 2, 33, 47, 3), tiny.backbone(depths=(2, 1))
    variables = jax.jit(module.init)(jax.random.key(0), image)
    half = tiny.backbone(depths=(2, 1), dtype=jnp.bfloat16)
    return jax.jit(module.apply)(variables, image), jax.jit(half.apply)(variables, image)


def test_features_are_normalised_at_init(features_at_init):
    for feature in features_at_init[0]:
        np.testing.assert_allclose(feature.mean(-1), np.zeros(feature.shape[:-1]), atol=1e-5)
        np.testing.assert_allclose(feature.var(-1), np.ones(feature.shape[:-1]), atol=2e-3)


def test_bfloat16_is_close_to_float32(features_at_init):
    for full, half in zip(*features_at_init, strict=True):
        assert (full.dtype, half.dtype) == (jnp.float32, jnp.bfloat16)
        difference = np.asarray(full) - np.asarray(half, np.float32)
        assert 0 < np.sqrt(np.mean(difference**2)) < 0.05


def test_parameters_are_float32_whatever_the_compute_dtype():
    _, variables = shapes_of(tiny.backbone(dtype=jnp.bfloat16), jnp.zeros((1, 8, 8, 3)))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


# As printed for the ImageNet-1k classifiers with windows of 7 (timm; 28, 50, 88 and 197 M).
PUBLISHED = {
    "swin_tiny": 28_288_354,
    "swin_small": 49_606_258,
    "swin_base": 87_768_224,
    "swin_large": 196_532_476,
}


def count_parameters(**attributes):
    _, variables = shapes_of(swin.SwinTransformer(**attributes), jnp.zeros((1, 32, 32, 3)))
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize("variant", PUBLISHED)
def test_variants_have_the_published_numbers_of_parameters(variant):
    """The published numbers include a classification head and no norms of the three finer maps."""
    width = swin.VARIANTS[variant]["embed_dim"]
    head, norms = 1000 * (8 * width + 1), 2 * (width + 2 * width + 4 * width)
    assert count_parameters(**swin.VARIANTS[variant]) == PUBLISHED[variant] - head + norms


def test_windows_of_12_have_larger_tables_and_nothing_else():
    """(2 * 12 - 1)^2 rows instead of (2 * 7 - 1)^2, for each head of each block."""
    heads = 2 * 4 + 2 * 8 + 18 * 16 + 2 * 32
    base = swin.VARIANTS["swin_base"]
    added = count_parameters(**base, window_size=12) - count_parameters(**base)
    assert added == (23**2 - 13**2) * heads


def test_only_the_position_embedding_tells_places_of_an_even_image_apart():
    image = np.full((1, 24, 24, 3), 0.5, np.float32)
    spreads = []
    for position_embedding in (False, True):
        module = swin.SwinTransformer(
            8, (2,), (2,), window_size=3, position_embedding=position_embedding
        )
        feature = jax.jit(module.apply)(tiny.init(module, image), image)[0]
        spreads.append(float(feature.std((1, 2)).max()))
    assert spreads[0] < 1e-5 and spreads[1] > 0.1


def test_coordinates_are_those_of_patch_centres_at_any_size():
    features = np.asarray(swin.coordinate_features(2, 4))
    assert features.shape == (2, 4, 14)
    np.testing.assert_allclose(features[1, 0, :2], [0.5, -0.75])
    # The middle of the image: coordinates and sines 0, cosines 1.
    np.testing.assert_allclose(
        swin.coordinate_features(3, 3)[1, 1], [0, 0] + [0, 0, 1, 1] * 3, atol=1e-6
    )
    assert len(np.unique(features.reshape(8, 14).round(4), axis=0)) == 8


# Stochastic depth


def test_drop_rates_rise_linearly_over_all_blocks():
    rates = []

    def record(call, args, kwargs, context):
        if isinstance(context.module, swin.SwinBlock) and context.method_name == "__call__":
            rates.append(context.module.drop_path_rate)
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        module = tiny.backbone(drop_path_rate=0.3, depths=(2, 1, 3, 1))
        shapes_of(module, jnp.zeros((1, 8, 8, 3)))
    np.testing.assert_allclose(rates, [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3], atol=1e-9)


def test_stochastic_depth_is_off_unless_training():
    module, image = tiny.backbone(drop_path_rate=0.9, depths=(1, 1)), normal(0, 2, 9, 9, 3)
    variables = tiny.init(module, image)
    without = tiny.backbone(drop_path_rate=0.0, depths=(1, 1))
    ours, theirs = (jax.jit(m.apply)(variables, image) for m in (module, without))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.fixture(scope="module")
def dropped():
    """1000 copies of a map through a block with a silenced MLP: (x, x + residual, in training)."""
    block = swin.SwinBlock(num_heads=1, window_size=3, shift=0, drop_path_rate=0.25)
    x = np.broadcast_to(normal(0, 1, 3, 3, 4), (1000, 3, 3, 4))
    variables = tiny.init(block, x[:1])
    variables["params"]["fc2"] = jax.tree.map(jnp.zeros_like, variables["params"]["fc2"])
    key = jax.random.key(0)
    return x, block.apply(variables, x), block.apply(variables, x, True, rngs={"drop_path": key})


def test_each_image_keeps_its_whole_residual_or_loses_it(dropped):
    x, expected, trained = (np.asarray(array) for array in dropped)
    kept = np.abs(trained - x).reshape(1000, -1).max(1) > 0
    np.testing.assert_array_equal(trained[~kept], x[~kept])
    whole = x + (expected - x) / 0.75
    np.testing.assert_allclose(trained[kept], whole[kept], atol=1e-5)


def test_the_rate_is_that_of_images_dropped_and_the_mean_is_kept(dropped):
    x, expected, trained = (np.asarray(array) for array in dropped)
    kept = np.abs(trained - x).reshape(1000, -1).max(1) > 0
    assert kept.mean() == pytest.approx(0.75, abs=0.05)
    residual = np.abs(expected[0] - x[0]).max()
    np.testing.assert_allclose(trained.mean(0), expected[0], atol=0.07 * residual)


def test_both_residuals_of_a_block_draw_apart():
    block = swin.SwinBlock(num_heads=1, window_size=3, shift=0, drop_path_rate=0.5)
    x = np.broadcast_to(normal(0, 1, 3, 3, 4), (64, 3, 3, 4))
    y = block.apply(tiny.init(block, x[:1]), x, True, rngs={"drop_path": jax.random.key(0)})
    assert len(np.unique(np.asarray(y)[:, 0, 0, 0].round(4))) == 4
