"""The learning rate at its corners, and what one update does to which parameter."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffdepth_jax.configs import default, released_swin
from diffdepth_jax.configs.frozen_samples import samples_around
from diffdepth_jax.configuration import groups
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.backbones.dinov2 import DINOv2
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.training import configured
from diffdepth_jax.training.optimizer import (
    create_optimizer,
    create_schedule,
    decayed,
    frozen,
    rate_factors,
    stop_frozen,
)
from tests.support import small_run, tiny

RATE = 0.5
FIELDS = {
    "name": "adamw",
    "weight_decay": 0.0,
    "b1": 0.9,
    "b2": 0.99,
    "eps": 1e-8,
    "momentum": 0.9,
    "clip_norm": 0.0,
    "backbone_multiplier": 1.0,
    "layer_decay": 1.0,
    "freeze": "",
}
SCHEDULE = {
    "schedule": "cosine",
    "learning_rate": 2e-3,
    "warmup_steps": 10,
    "num_steps": 110,
    "end_fraction": 0.01,
    "power": 2.0,
    "starts": (55, 100),
    "factors": (0.2, 0.04),
}


def _params(value=2.0):
    """One leaf of each sort, in the backbone and outside."""
    layer = {"kernel": jnp.full((2, 3), value), "bias": jnp.full(3, value)}
    table = {"relative_position_bias_table": jnp.full((4, 2), value)}
    return {"backbone": {"fc": layer, "attn": table}, "neck": {"conv": layer}}


def _optimizer(**fields):
    return create_optimizer(rate=lambda _: RATE, **FIELDS | fields)


def _update(gradient, params=None, **fields):
    """(update, optimizer state) of the first step."""
    params, optimizer = params or _params(), _optimizer(**fields)
    return optimizer.update(gradient, optimizer.init(params), params)


def _two_updates(gradients, **fields):
    """The second update of a kernel that is 2 in all its entries, under these two gradients."""
    optimizer = _optimizer(**fields)
    params = {"neck": {"kernel": jnp.full(3, 2.0)}}
    state = optimizer.init(params)
    for gradient in gradients:
        tree = {"neck": {"kernel": jnp.full(3, gradient)}}
        update, state = optimizer.update(tree, state, params)
    return np.asarray(update["neck"]["kernel"])


# The learning rate


@pytest.mark.parametrize(
    ("fields", "rates"),
    [
        ({}, {0: 0.0, 5: 1e-3, 10: 2e-3, 60: 1.01e-3, 110: 2e-5, 200: 2e-5}),
        ({"end_fraction": 0.5}, {10: 2e-3, 60: 1.5e-3, 110: 1e-3}),
        ({"end_fraction": 0.0}, {60: 1e-3, 110: 0.0}),
        ({"warmup_steps": 0}, {0: 2e-3, 55: 1.01e-3, 110: 2e-5}),
        # a quarter of what is above the end, 2e-5, is left half way
        ({"schedule": "polynomial"}, {5: 1e-3, 10: 2e-3, 60: 5.15e-4, 110: 2e-5, 200: 2e-5}),
        ({"schedule": "polynomial", "power": 1.0}, {10: 2e-3, 60: 1.01e-3, 110: 2e-5}),
        (
            {"schedule": "steps"},
            {5: 1e-3, 10: 2e-3, 54: 2e-3, 55: 4e-4, 99: 4e-4, 100: 8e-5, 200: 8e-5},
        ),
        ({"schedule": "steps", "warmup_steps": 0}, {0: 2e-3, 54: 2e-3, 55: 4e-4, 100: 8e-5}),
        ({"schedule": "steps", "starts": (), "factors": ()}, {10: 2e-3, 110: 2e-3}),
        ({"schedule": "constant"}, {0: 0.0, 5: 1e-3, 10: 2e-3, 60: 2e-3, 110: 2e-3}),
        ({"schedule": "constant", "warmup_steps": 0}, {0: 2e-3, 110: 2e-3}),
    ],
)
def test_rates_at_the_corners_of_each_schedule(fields, rates):
    """Half way down a cosine lies the mean of its ends."""
    rate = create_schedule(**SCHEDULE | fields)
    found = {step: float(jax.jit(rate)(jnp.int32(step))) for step in rates}
    assert found == pytest.approx(rates, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_a_run_too_short_for_its_fractions_has_a_rate(num_steps):
    overrides = {"schedule": "steps", "warmup_steps": 0, "learning_rate": 2e-3}
    fields = {f"optimizer__{name}": value for name, value in overrides.items()}
    rate, _ = configured.configured_optimizer(small_run.config(num_steps=num_steps, **fields))
    assert 0 < float(rate(num_steps - 1)) <= 2e-3


# The update, by hand


@pytest.mark.parametrize("name", ["adamw", "adam"])
def test_adam_against_its_formula(name):
    """Gradients 3, then 1, with eps large enough to see where it is added."""
    first, second = 0.9 * 0.1 * 3 + 0.1 * 1, 0.99 * 0.01 * 9 + 0.01 * 1
    first, second = first / (1 - 0.9**2), second / (1 - 0.99**2)
    expected = -RATE * first / (math.sqrt(second) + 0.1)
    found = _two_updates((3.0, 1.0), name=name, eps=0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_betas_of_adam_are_the_configured():
    first = (0.5 * 0.5 * 3 + 0.5 * 1) / (1 - 0.25)
    second = (0.8 * 0.2 * 9 + 0.2 * 1) / (1 - 0.64)
    found = _two_updates((3.0, 1.0), b1=0.5, b2=0.8)
    np.testing.assert_allclose(found, -RATE * first / math.sqrt(second), rtol=1e-5)


def test_sgd_against_its_formula():
    """PyTorch's momentum: the velocity is not scaled by 1 - momentum."""
    found = _two_updates((3.0, 1.0), name="sgd", momentum=0.8)
    np.testing.assert_allclose(found, -RATE * (0.8 * 3 + 1), rtol=1e-6)
    found = _two_updates((3.0, 1.0), name="sgd", momentum=0.0)
    np.testing.assert_allclose(found, -RATE * 1, rtol=1e-6)


def test_decay_is_decoupled_in_adamw_and_part_of_the_gradient_in_the_others():
    """The kernel is 2, so a decay of 0.1 is a gradient of 0.2."""
    fields = {"weight_decay": 0.1, "eps": 0.1}
    adam = -RATE * 3 / (3 + 0.1)
    np.testing.assert_allclose(_two_updates((3.0,), **fields), adam - RATE * 0.2, rtol=1e-5)
    found = _two_updates((3.0,), name="adam", **fields)
    np.testing.assert_allclose(found, -RATE * 3.2 / (3.2 + 0.1), rtol=1e-5)
    np.testing.assert_allclose(_two_updates((3.0,), name="sgd", **fields), -RATE * 3.2, rtol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_without_gradient_only_kernels_decay(name):
    update, _ = _update(optax.tree.zeros_like(_params()), weight_decay=0.1, name=name)
    expected = -RATE if name == "adam" else -RATE * 0.1 * 2.0  # Adam hides the length
    for path, leaf in jax.tree.leaves_with_path(update):
        np.testing.assert_allclose(leaf, expected if path[-1].key == "kernel" else 0.0, rtol=1e-5)


def test_long_gradients_are_cut_to_the_clip_norm_and_short_ones_are_not():
    gradient = _params(3.0)
    norm = float(optax.tree.norm(gradient))
    for clip_norm, share in ((norm / 10, 0.1), (norm * 10, 1.0), (0.0, 1.0)):
        update, _ = _update(gradient, clip_norm=clip_norm, name="sgd")
        for leaf in jax.tree.leaves(update):
            np.testing.assert_allclose(leaf, -RATE * share * 3.0, rtol=1e-5)


# Rates by layer


def test_backbone_moves_at_its_own_rate_decay_included():
    update, _ = _update(_params(0.3), weight_decay=0.1, backbone_multiplier=0.25)
    for name in ("kernel", "bias"):
        ours, other = update["backbone"]["fc"][name], update["neck"]["conv"][name]
        np.testing.assert_allclose(ours, 0.25 * other, rtol=1e-6)
        assert (other < 0).all()


def _factors(depths=(2, 1), **fields):
    """{part of the backbone: its factor}, and those of all other parts."""
    model = tiny.model()
    model = model.clone(backbone=tiny.backbone(depths=depths).clone(position_embedding=True))
    params = jax.eval_shape(lambda: tiny.init_model(model))["params"]
    factors = rate_factors(params, **fields)
    parts = {name: set(jax.tree.leaves(part)) for name, part in factors.pop("backbone").items()}
    return parts, set(jax.tree.leaves(factors))


def test_layers_of_a_swin_learn_slower_the_earlier_they_are():
    """Three blocks, in stages of two and one; powers of a half are exact."""
    parts, others = _factors(backbone_multiplier=0.25, layer_decay=0.5)
    powers = {
        "patch_embed": 4,
        "patch_embed_norm": 4,
        "position": 4,
        "stage0_block0": 3,
        "stage0_block1": 2,
        "downsample1": 2,
        "norm0": 0,
        "stage1_block0": 1,
        "norm1": 0,
    }
    assert parts == {name: {0.25 * 0.5**power} for name, power in powers.items()}
    assert others == {1.0}


def test_tokens_and_positions_of_a_dinov2_learn_as_its_patch_embedding():
    model = DINOv2(8, 2, 2, (2,), num_registers=1, table_side=2)
    params = jax.eval_shape(lambda: tiny.init(model, jnp.zeros((1, 14, 14, 3))))["params"]
    factors = rate_factors({"backbone": params}, backbone_multiplier=1.0, layer_decay=0.5)
    embedding = ("patch_embed", "class_token", "register_tokens", "position_table")
    expected = dict.fromkeys(embedding, 1 / 8) | {"block0": 1 / 4, "block1": 1 / 2, "norm": 1.0}
    found = {name: set(jax.tree.leaves(part)) for name, part in factors["backbone"].items()}
    assert found == {name: {factor} for name, factor in expected.items()}


def test_blocks_are_counted_as_numbers():
    parts, _ = _factors((11, 1), backbone_multiplier=1.0, layer_decay=0.5)
    assert parts["stage0_block10"] == parts["downsample1"] == {0.25}
    assert parts["stage0_block2"] == {0.5**10}


def test_without_layer_decay_the_whole_backbone_has_one_factor():
    parts, others = _factors(backbone_multiplier=0.25, layer_decay=1.0)
    assert set.union(*parts.values()) == {0.25} and others == {1.0}


def test_layer_decay_reaches_the_update():
    params = {
        "backbone": {"patch_embed": {"bias": jnp.ones(2)}, "stage0_block0": {"bias": jnp.ones(2)}},
        "neck": {"bias": jnp.ones(2)},
    }
    update, _ = _update(params, params, name="sgd", layer_decay=0.5)
    found = [float(leaf[0]) for leaf in jax.tree.leaves(update)]
    assert found == [-RATE / 4, -RATE / 2, -RATE]


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_lite0"])
def test_layer_decay_is_refused_where_there_are_no_such_layers(backbone):
    fields = released_swin.get_config()
    fields.model.update(backbone=backbone, neck="released")
    params = abstract_variables(create_model(groups.read(fields).model))["params"]
    with pytest.raises(UserError, match=r"optimizer\.layer_decay: for Swin and DINOv2 "):
        jax.eval_shape(_optimizer(layer_decay=0.8).init, params)
    jax.eval_shape(_optimizer().init, params)


# Frozen parameters


def test_frozen_parameters_have_no_update_and_no_state():
    params = _params()
    update, state = _update(params, freeze="backbone/.*", weight_decay=0.1)
    for leaf in jax.tree.leaves(update["backbone"]):
        np.testing.assert_array_equal(leaf, 0.0)
    for leaf in jax.tree.leaves(update["neck"]):
        assert (leaf < 0).all()
    after = optax.apply_updates(params, update)["backbone"]
    jax.tree.map(np.testing.assert_array_equal, after, params["backbone"])
    held = sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim)
    assert held == 2 * sum(leaf.size for leaf in jax.tree.leaves(params["neck"]))


def test_frozen_parameters_and_layer_decay_and_the_backbones_rate_together():
    """A block that learns, between others that do not, keeps its place among the layers."""
    params = {
        "backbone": {
            name: {"bias": jnp.ones(2)}
            for name in ("patch_embed", "stage0_block0", "stage1_block0")
        },
        "neck": {"bias": jnp.ones(2)},
    }
    fields = {"name": "sgd", "layer_decay": 0.5, "backbone_multiplier": 0.5}
    update, _ = _update(params, params, freeze="backbone/(patch_embed|stage1.*)/.*", **fields)
    found = [float(leaf[0]) for leaf in jax.tree.leaves(update)]
    assert found == [0.0, -RATE / 8, 0.0, -RATE]


def test_the_clip_norm_counts_trained_parameters_only():
    gradient = _params(3.0)
    norm = float(optax.tree.norm(gradient["neck"]))
    for clip_norm, share in ((norm * 1.01, 1.0), (norm / 2, 0.5)):
        update, _ = _update(gradient, name="sgd", freeze="backbone/.*", clip_norm=clip_norm)
        for leaf in jax.tree.leaves(update["neck"]):
            np.testing.assert_allclose(leaf, -RATE * share * 3.0, rtol=1e-5)


def test_frozen_parameters_have_no_gradient():
    def length(params, pattern):
        return optax.tree.norm(stop_frozen(params, pattern))

    params = _params()
    assert length(params, "neck/.*") == length(params, "")
    gradient = jax.grad(length)(params, "backbone/fc/.*")
    for path, leaf in jax.tree.leaves_with_path(gradient):
        assert (leaf != 0).all() == ("fc" not in [key.key for key in path])


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("neck/.*", ["neck/conv/bias", "neck/conv/kernel"]),
        (".*/bias", ["backbone/fc/bias", "neck/conv/bias"]),
        (
            "neck/conv/bias|backbone/attn/.*",
            ["backbone/attn/relative_position_bias_table", "neck/conv/bias"],
        ),
    ],
)
def test_a_pattern_freezes_whole_paths(pattern, names):
    flags = jax.tree.leaves_with_path(frozen(_params(), pattern))
    found = ["/".join(key.key for key in path) for path, on in flags if on]
    assert found == names


def test_samples_around_a_model_train_its_denoiser_alone():
    config = groups.read(samples_around(small_run.fields()))
    params = abstract_variables(create_model(config.model))["params"]
    for path, fixed in jax.tree.leaves_with_path(frozen(params, config.optimizer.freeze)):
        assert fixed == (path[0].key != "denoiser")
    objective = configured.configured_objective(config, create_model(config.model), tiny.schedule())
    start, temperature = (objective.sampler[name] for name in ("start", "temperature"))
    assert config.sampler.start == "middle" and (start, temperature) == ("noise", 1.0)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("backbone", "matches no parameter"),
        ("encoder/.*", "matches no parameter"),
        (".*", "must be less than all parameters"),
    ],
)
def test_refuses_a_pattern_by_name(pattern, words):
    with pytest.raises(UserError) as error:
        _optimizer(freeze=pattern).init(_params())
    assert str(error.value).startswith(f"optimizer.freeze {pattern!r}: {words}")


# Configurations


def test_only_kernels_of_the_model_are_decayed():
    params = jax.eval_shape(lambda: tiny.init_model(tiny.model()))["params"]
    kernels = {
        "/".join(k.key for k in path)
        for path, on in jax.tree.leaves_with_path(decayed(params))
        if on
    }
    assert kernels and all(name.endswith("/kernel") for name in kernels)


# A value other than the default's, and what has to be on for it to count.
OTHERS = {
    "name": ("sgd", {}),
    "schedule": ("constant", {}),
    "learning_rate": (2e-4, {}),
    "warmup_steps": (10, {}),
    "end_fraction": (0.5, {}),
    "power": (3.0, {"schedule": "polynomial"}),
    "boundaries": ((0.1, 0.2), {"schedule": "steps"}),
    "factors": ((0.3, 0.1), {"schedule": "steps"}),
    "weight_decay": (0.5, {}),
    "b1": (0.5, {}),
    "b2": (0.5, {}),
    "eps": (0.5, {}),
    "momentum": (0.5, {"name": "sgd"}),
    "clip_norm": (0.1, {"name": "sgd"}),
    "backbone_multiplier": (0.5, {}),
    "layer_decay": (0.5, {}),
    "freeze": ("neck/.*", {}),
}


def _three_steps(**fields):
    """[rates early and late, parameters after three steps] of a run of 1000."""
    overrides = default.get_config()
    overrides.train.num_steps = 1000
    overrides.optimizer.update({"warmup_steps": 1, "clip_norm": 100.0, **fields})
    rate, optimizer = configured.configured_optimizer(groups.read(overrides))
    parts = {name: {"kernel": jnp.ones(2)} for name in ("patch_embed", "stage0_block0")}
    params = {"backbone": parts, "neck": {"kernel": jnp.ones(2)}}
    state = optimizer.init(params)
    for length in (1.0, 2.0, -1.0):
        gradient = jax.tree.map(functools.partial(jnp.full_like, fill_value=length), params)
        update, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, update)
    return [float(rate(step)) for step in (5, 600)] + np.stack(jax.tree.leaves(params)).tolist()


@pytest.mark.parametrize("field", default.get_config().optimizer)
def test_every_field_counts(field):
    value, others = OTHERS[field]
    assert _three_steps(**others) != _three_steps(**{**others, field: value})


def test_the_released_recipe():
    """Adam at 1e-3, one epoch of warm-up, x0.2 from epoch 10 and x0.04 from 15 of 20."""
    config = groups.read(released_swin.get_config())
    rate, optimizer = configured.configured_optimizer(config)
    epoch = config.train.num_steps // 20
    factors = {0: 0.0, 1: 1.0, 9.99: 1.0, 10: 0.2, 14.99: 0.2, 15: 0.04, 20: 0.04}
    for epochs, factor in factors.items():
        assert float(rate(int(epochs * epoch))) == pytest.approx(1e-3 * factor, abs=1e-9)
    params, zero = _params(), optax.tree.zeros_like(_params())
    update, _ = optimizer.update(zero, optimizer.init(params), params)
    assert not any(leaf.any() for leaf in jax.tree.leaves(update))
