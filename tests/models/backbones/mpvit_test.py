"""Numbers of the public implementation, its names, sizes that do not divide, stochastic depth."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.models.backbones import mpvit
from diffdepth_jax.torch_import.rules_backbones import MPVIT_RULES
from tests.models.backbones.resnet_test import assert_bfloat16_is_close, assert_strides, normal
from tests.support import parity, tiny

# Parity

# vectors -> (module, the prefix that its names lack, the place of its leaves)
COMPONENTS = {
    "mpvit_dwc_patch_embed": (
        mpvit.PatchEmbedding(stride=2),
        "patch_embed_stages.0.patch_embeds.0.",
        "stage0/patch_embed0",
    ),
    "mpvit_resblock": (
        mpvit.InvertedResidual(),
        "mhca_stages.0.InvRes.",
        "stage0/inv_res",
    ),
    "mpvit_mhca_encoder_5x7": (
        mpvit.Encoder(drop_path_rates=(0.0, 0.0)),
        "mhca_stages.0.mhca_blks.0.",
        "stage0/encoder0",
    ),
}


@pytest.fixture(params=COMPONENTS)
def component(request):
    module, prefix, path = COMPONENTS[request.param]
    file = parity.GOLDEN / f"{request.param}.npz"
    return parity.Component(file, module, MPVIT_RULES, prefix, path)


@pytest.mark.parametrize("train", [False, True])
def test_components_equal_the_public_code(component, train):
    parity.assert_forward_parity(component, train, 3e-6)


@pytest.mark.parametrize("train", [False, True])
def test_gradients_of_components_equal_the_public_code(component, train):
    parity.assert_backward_parity(component, train)


def test_the_first_stage_equals_the_public_code():
    """The network has a second stage too, which is random."""
    component = parity.Component(
        parity.GOLDEN / "mpvit_first_stage_40x56.npz",
        mpvit.MPViT(channels=(16, 24), depths=(1, 1), num_paths=(2, 1)),
        MPVIT_RULES,
    )
    variables = tiny.init(component.module, *component.inputs)
    for collection, leaves in component.leaves("w").items():
        variables[collection] |= leaves
    outputs = jax.jit(component.module.apply)(variables, *component.inputs)
    parity.assert_maps_close(outputs[:1], component.maps("out"), 3e-6)


def small(drop_path_rate=0.0, depths=(1, 2, 2, 1), dtype=jnp.float32):
    return mpvit.MPViT(
        channels=(16, 24, 32, 40)[: len(depths)],
        depths=depths,
        num_paths=(2, 3, 3, 3)[: len(depths)],
        drop_path_rate=drop_path_rate,
        dtype=dtype,
    )


# Each layer draws twice which of the two images keep their residuals (1) or lose them (0). The
# vectors hold the second draw only. These first draws are the only ones that give the recorded
# outputs; in a layer that is not listed both images kept their residuals.
FIRST_DRAWS = {
    "stage1/encoder0/layer1": (0, 1),
    "stage1/encoder1/layer0": (1, 0),
    "stage1/encoder2/layer0": (0, 1),
    "stage1/encoder2/layer1": (0, 0),
    "stage2/encoder0/layer1": (0, 1),
    "stage3/encoder0/layer0": (0, 1),
    "stage3/encoder1/layer0": (1, 0),
    "stage3/encoder2/layer0": (1, 0),
}


def recorded_drop_path(vectors):
    """Intercepts stochastic depth to draw what PyTorch drew; checks the rates."""
    draws = {}

    def intercept(call, args, kwargs, context):
        if not isinstance(context.module, nn.Dropout) or kwargs["deterministic"]:
            return call(*args, **kwargs)
        stage, encoder, layer = context.module.path[:3]
        path = f"{stage}/{encoder}/{layer}"
        digits = (stage[-1], encoder[-1], layer[-1])
        key = "droppath/mhca_stages.{}.mhca_blks.{}.MHCA_layers.{}.drop_path".format(*digits)
        rate = float(vectors.get(f"{key}/prob", 0.0))
        assert context.module.rate == pytest.approx(rate)
        draws[path] = draws.get(path, 0) + 1
        if draws[path] == 1:
            keep = FIRST_DRAWS.get(path, (1, 1))
        else:
            keep = vectors.get(f"{key}/keep", (1, 1))
        return args[0] * (np.asarray(keep, np.float32) / (1 - rate))[:, None, None, None]

    return nn.intercept_methods(intercept)


@pytest.fixture(scope="module")
def whole():
    file = parity.ALL_GOLDEN / "components" / "mpvit_e16_40x56.npz"
    return parity.Component(file, small(drop_path_rate=0.3), MPVIT_RULES)


@parity.needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("train", [False, True])
def test_the_whole_equals_the_public_code(whole, train):
    with recorded_drop_path(whole.vectors):
        parity.assert_forward_parity(whole, train, 1e-4)
    with recorded_drop_path(whole.vectors):
        parity.assert_backward_parity(whole, train)


# The network


@pytest.mark.parametrize("size", [(33, 47), (1, 1), (16, 16), (5, 129)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_maps_have_strides_2_to_16_of_any_size(size, dtype):
    """Each map has the channels of the next stage, the last map those of the last stage."""
    assert_strides(small(depths=(1, 1, 1, 1), dtype=dtype), (24, 32, 40, 40), size)


def test_bfloat16_is_close_to_float32():
    full, half = (small(depths=(1,), dtype=dtype) for dtype in (jnp.float32, jnp.bfloat16))
    assert_bfloat16_is_close(full, half, 0.03)


def test_each_path_embeds_the_previous_paths_patches():
    """If the second path's patches are silenced, the third path's patches are blank."""
    stage, x = mpvit.Stage(features=8, num_paths=3, drop_path_rates=()), normal(1, 6, 6, 8)
    variables = jax.jit(stage.init)(jax.random.key(0), x)
    variables["params"]["patch_embed1"]["bn"]["scale"] *= 0
    _, state = stage.apply(variables, x, capture_intermediates=True)
    embedded = (state["intermediates"][f"patch_embed{path}"]["__call__"][0] for path in range(3))
    spreads = [float(patches.std((1, 2)).max()) for patches in embedded]
    assert spreads[0] > 0.1 and spreads[1:] == [0, 0]


# Stochastic depth


def test_drop_rates_rise_linearly_over_the_layers_of_all_stages():
    """They rise by 0.2 / 12 over 13 layers; the paths of a stage have equal rates."""
    rates = {}

    def record(call, args, kwargs, context):
        if isinstance(context.module, mpvit.Encoder):
            stage, encoder = context.module.path[-2:]
            rates.setdefault(encoder, {})[stage] = context.module.drop_path_rates
        return call(*args, **kwargs)

    module = mpvit.MPViT(**mpvit.VARIANTS["mpvit_small"])
    with nn.intercept_methods(record):
        jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3))))
    assert rates["encoder0"] == rates["encoder1"]
    np.testing.assert_allclose(sum(rates["encoder0"].values(), ()), np.linspace(0, 0.2, 13))


def test_each_image_keeps_its_whole_residual_or_loses_it_and_the_mean_stays():
    """1000 copies of one map through a layer whose MLP is silenced."""
    layer = mpvit.EncoderLayer(lambda v: v, drop_path_rate=0.25)
    x = np.broadcast_to(normal(1, 3, 3, 8), (1000, 3, 3, 8))
    variables = tiny.init(layer, x[:1])
    variables["params"]["fc2"] = jax.tree.map(jnp.zeros_like, variables["params"]["fc2"])
    expected = np.asarray(layer.apply(variables, x))
    key = jax.random.key(0)
    trained = np.asarray(layer.apply(variables, x, True, rngs={"drop_path": key}))
    kept = np.abs(trained - x).reshape(1000, -1).max(1) > 0
    assert kept.mean() == pytest.approx(0.75, abs=0.05)
    np.testing.assert_array_equal(trained[~kept], x[~kept])
    np.testing.assert_allclose(trained[kept], (x + (expected - x) / 0.75)[kept], atol=1e-5)
    residual = np.abs(expected - x).max()
    np.testing.assert_allclose(trained.mean(0), expected[0], atol=0.07 * residual)
