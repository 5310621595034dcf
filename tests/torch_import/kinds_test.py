"""Each kind of Swin shifts its windows as its authors' code does."""

import dataclasses

import jax
import numpy as np
import pytest

from diffdepth_jax.convert import with_fields_of_code
from diffdepth_jax.models.backbones import dinov2
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
def test_conversion_sets_what_the_files_code_does(before):
    """The shift of windows, and how positions are interpolated."""
    config = small_run.config(model__window_shift=before)
    for kind in KINDS:
        after, messages = with_fields_of_code(config, kind)
        fields = {
            "window_shift": kind.window_shift or before,
            "position_interpolation": kind.position_interpolation or "size",
        }
        assert after.model == dataclasses.replace(config.model, **fields)
        assert after == dataclasses.replace(config, model=after.model)
        new = [name for name in fields if fields[name] != getattr(config.model, name)]
        assert [f"model.{name} becomes {fields[name]}" for name in new] == [
            text.split(" instead")[0] for text in messages
        ]
    assert {kind.window_shift for kind in KINDS} == {None, "always", "larger_axes", "larger_maps"}
    assert {kind.position_interpolation for kind in KINDS} == {None, *dinov2.INTERPOLATIONS}
