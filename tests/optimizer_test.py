"""The learning rate at its corners, and what one update does to which parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.optimizer import create_optimizer, create_schedule, decayed, in_backbone
from tests import tiny

RATE = 0.5
FIELDS = {"weight_decay": 0.0, "b2": 0.99, "clip_norm": 1e6, "backbone_multiplier": 1.0}


def _params(value=2.0):
    """One leaf of each sort, in the backbone and outside."""
    layer = {"kernel": jnp.full((2, 3), value), "bias": jnp.full(3, value)}
    table = {"relative_position_bias_table": jnp.full((4, 2), value)}
    return {"backbone": {"fc": layer, "attn": table}, "neck": {"conv": layer}}


def _update(gradient, params=None, **fields):
    """(update, optimizer state) of the first step."""
    params = params or _params()
    optimizer = create_optimizer(schedule=lambda _: RATE, **FIELDS | fields)
    return optimizer.update(gradient, optimizer.init(params), params)


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.0), (5, 1e-3), (10, 2e-3), (60, 1.01e-3), (110, 2e-5), (200, 2e-5)],
)
def test_rate_rises_from_0_to_the_peak_and_falls_to_a_hundredth(step, rate):
    """Half way down a cosine lies the mean of its ends."""
    schedule = create_schedule(learning_rate=2e-3, warmup_steps=10, num_steps=110)
    assert float(schedule(step)) == pytest.approx(rate, rel=1e-5, abs=1e-12)


def test_without_warmup_the_first_rate_is_the_peak():
    schedule = create_schedule(learning_rate=2e-3, warmup_steps=0, num_steps=10)
    assert float(schedule(0)) == pytest.approx(2e-3)


@pytest.mark.parametrize("warmup_steps", [-1, 10, 11])
def test_refuses_a_warmup_as_long_as_training(warmup_steps):
    with pytest.raises(UserError, match=f"warmup_steps {warmup_steps}: must be below .* 10"):
        create_schedule(learning_rate=1e-3, warmup_steps=warmup_steps, num_steps=10)


def test_without_gradient_only_kernels_decay():
    update, _ = _update(optax.tree.zeros_like(_params()), weight_decay=0.1)
    for path, leaf in jax.tree.leaves_with_path(update):
        expected = -RATE * 0.1 * 2.0 if path[-1].key == "kernel" else 0.0
        np.testing.assert_allclose(leaf, expected, rtol=1e-6)


def test_backbone_moves_at_its_own_rate_decay_included():
    update, _ = _update(_params(0.3), weight_decay=0.1, backbone_multiplier=0.25)
    for name in ("kernel", "bias"):
        ours, other = update["backbone"]["fc"][name], update["neck"]["conv"][name]
        np.testing.assert_allclose(ours, 0.25 * other, rtol=1e-6)
        assert (other < 0).all()


def test_long_gradients_are_cut_to_the_clip_norm_and_short_ones_are_not():
    """Adam's update hides the length of the gradient, its moments do not."""
    gradient = _params(3.0)
    norm = float(optax.tree.norm(gradient))
    for clip_norm, length in ((norm / 10, norm / 10), (norm * 10, norm)):
        _, state = _update(gradient, clip_norm=clip_norm)
        first, second = (optax.tree.get(state, name) for name in ("mu", "nu"))
        assert float(optax.tree.norm(first)) == pytest.approx(0.1 * length, rel=1e-5)
        share = (length / norm * 3.0) ** 2
        np.testing.assert_allclose(second["neck"]["conv"]["bias"], 0.01 * share, rtol=1e-4)


def test_masks_on_the_model():
    params = jax.eval_shape(lambda: tiny.init_model(tiny.model()))["params"]
    kernels = {"/".join(k.key for k in path) for path, on in jax.tree.leaves_with_path(
        decayed(params)) if on}  # fmt: skip
    assert kernels and all(name.endswith("/kernel") for name in kernels)
    flags = in_backbone(params)
    assert all(jax.tree.leaves(flags.pop("backbone")))
    assert not any(jax.tree.leaves(flags))
