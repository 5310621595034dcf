"""Each kind of Swin shifts its windows as its authors' code does."""

import dataclasses

import jax
import numpy as np
import pytest

from diffdepth_jax.convert import with_window_shift
from diffdepth_jax.models.backbones.swin import SwinTransformer
from diffdepth_jax.torch_import.conversion import convert
from diffdepth_jax.torch_import.kinds import KINDS
from diffdepth_jax.torch_import.state_dicts import read_state_dict
from tests.support import parity, small_run
from tests.torch_import.conversion_test import abstract_of, save

VECTORS = np.load(parity.GOLDEN / "small_maps.npz")


def last_map(variables, window_shift):
    """The last map ahead of its norm, which is the identity here up to mean and deviation."""
    module = SwinTransformer(
        4, (1, 1, 1, 2), (1, 1, 1, 2), window_size=2, window_shift=window_shift, drop_path_rate=0.0
    )
    image = VECTORS["image"].astype(np.float32) / 64 - 2
    return np.asarray(jax.jit(module.apply)(variables, image)[-1])


def normalized(x):
    x = parity.channels_last(x)
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


@pytest.mark.parametrize("origin", ["timm", "hugging_face"])
def test_maps_as_small_as_a_window_are_those_of_the_authors_code(tmp_path, origin):
    """On 2x4 with windows of 2, timm shifts the columns, and a SwinModel nothing."""
    prefix = f"{origin}/w/"
    named = {k.removeprefix(prefix): VECTORS[k] for k in VECTORS if k.startswith(prefix)}
    tensors, kind = read_state_dict(save(tmp_path / "a.safetensors", named))
    module = SwinTransformer(4, (1, 1, 1, 2), (1, 1, 1, 2), window_size=2)
    variables, _ = convert(tensors, kind, abstract_of(module))
    variables = {"params": variables["params"]["backbone"]}
    expected = normalized(VECTORS[f"{origin}/out/3"])
    assert parity.relative_difference(last_map(variables, kind.window_shift), expected) < 1e-5
    for rule in {"always", "larger_axes", "larger_maps"} - {kind.window_shift}:
        assert parity.relative_difference(last_map(variables, rule), expected) > 1e-2


@pytest.mark.parametrize("before", ["always", "larger_maps"])
def test_conversion_sets_the_shift_of_the_files_code(before):
    config = small_run.config(model__window_shift=before)
    for kind in KINDS:
        after, messages = with_window_shift(config, kind)
        rule = kind.window_shift or before
        assert after.model == dataclasses.replace(config.model, window_shift=rule)
        assert after == dataclasses.replace(config, model=after.model)
        assert bool(messages) == (rule != before) and all(rule in text for text in messages)
    assert {kind.window_shift for kind in KINDS} == {None, "always", "larger_axes", "larger_maps"}
