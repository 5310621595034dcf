"""The depth of transformers from converted directories; sizes, both kinds, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.checkpoints.model_directory import load_variables, read_config
from diffdepth_jax.configs import depth_anything_v2
from diffdepth_jax.configuration import groups
from diffdepth_jax.convert import convert_file
from diffdepth_jax.errors import UserError
from diffdepth_jax.method.refinement import predict
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.backbones import dinov2
from tests.support import parity, tiny
from tests.torch_import.conversion_test import save
from tests.torch_import.dinov3_test import file_of, vectors

VARIANTS = {"relative": "nano", "metric": "nano_indoor"}


@pytest.fixture
def small_table(monkeypatch):
    """A dinov2_nano for images of 70x70."""
    nano = {**dinov2.VARIANTS["dinov2_nano"], "table_side": 5}
    monkeypatch.setitem(dinov2.VARIANTS, "dinov2_nano", nano)


def config_of(kind):
    return groups.read(depth_anything_v2.get_config(VARIANTS[kind]))


@pytest.mark.parametrize("kind", VARIANTS)
def test_depth_equals_that_of_transformers(kind, tmp_path, small_table):
    """At the trained size, and at 3x7 patches, of which the image is not padded."""
    path = save(tmp_path / "model.safetensors", file_of(kind))
    messages = convert_file(path, config_of(kind), tmp_path / "converted")
    assert messages[0].endswith("Depth Anything, Hugging Face naming, 127 tensors")
    model = create_model(read_config(tmp_path / "converted").model)
    variables = load_variables(tmp_path / "converted")
    settings = {"schedule": tiny.schedule(), "num_steps": 1}
    apply = jax.jit(functools.partial(predict, model, **settings))
    for size in ((70, 70), (42, 98)):
        key = f"{kind}/in/{size[0]}x{size[1]}"
        image = parity.channels_last(vectors()[key].astype(np.float32))
        noise = jnp.zeros((1, *model.latent_shape(*size)))
        decoded = apply(variables, image, noise)
        expected = vectors()[key.replace("/in/", "/out/")]
        ours = decoded.inverse_depth if kind == "relative" else jnp.exp(decoded.log_depth)
        assert ours.shape == (1, *size, 1) and np.ptp(expected) > 0.1
        assert parity.relative_difference(ours[..., 0], expected) < 5e-6
        if kind == "relative":  # log depth stands for the inverse, and is finite at 0
            np.testing.assert_allclose(
                np.exp(-decoded.log_depth), np.maximum(ours, 1e-6), rtol=1e-5
            )


@pytest.mark.parametrize("size", [(1, 1), (15, 29), (28, 14)])
def test_any_size_has_a_depth(size):
    model = create_model(config_of("metric").model)
    shape = model.latent_shape(*size)
    assert shape == (8 * -(-size[0] // 14), 8 * -(-size[1] // 14), 4)
    batch = tiny.batch(1, *size)
    depth, _ = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), **batch))
    assert depth.shape[1] == 14 * -(-size[0] // 14)


# Of the authors' README: 24.8, 97.5 and 335.3 million. Counted with transformers' models, less the
# mask token and the unit of the coarsest map, which no output sees.
def test_sizes_are_those_of_the_authors():
    for size, millions in (("small", 24.8), ("base", 97.5), ("large", 335.3)):
        model = create_model(groups.read(depth_anything_v2.get_config(size)).model)
        shapes = jax.eval_shape(lambda m=model: tiny_init(m))
        count = sum(leaf.size for leaf in jax.tree.leaves(shapes)) / 1e6
        assert abs(count / millions - 1) < 0.01, size


def tiny_init(model):
    return model.init(jax.random.key(0), **tiny.batch(1, 14, 14))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"neck": "dpt"}, r"model\.neck 'dpt'"),
        ({"codec": "bounded", "max_depth": 0.0}, r"model\.neck 'depth_anything'"),
        ({"kind": "diffusion"}, r"model\.kind 'diffusion': must be feed_forward"),
        ({"detail_features": 4}, r"model\.detail_features 4: must be 0"),
        ({"laplace_scale": True}, r"model\.laplace_scale True: must be off"),
        ({"backbone": "swin_nano"}, "is for dinov2_nano, dinov2_small"),
        ({"backbone": "dinov2_small_registers"}, "is for dinov2_nano, dinov2_small"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(fields, message):
    config = depth_anything_v2.get_config("nano_indoor")
    config.model.update(fields)
    with pytest.raises(UserError, match=message):
        create_model(groups.read(config).model)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("evaluation.alignment", ""),
        ("evaluation.alignment", "none"),
        ("evaluation.alignment", "scale_shift"),
        ("evaluation.flip_average", True),
        ("loss.weights.silog", 1.0),
        ("loss.weights.scale_shift_invariant", 0.0),
        ("frame.canonical_focal_length", 500.0),
    ],
)
def test_a_relative_model_demands_an_alignment_and_losses_without_metres(field, value):
    config = depth_anything_v2.get_config("nano")
    groups.read(config)
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=field.replace(".", r"\.")):
        groups.read(config)


def test_a_metric_model_has_no_loss_of_relative_ones():
    config = depth_anything_v2.get_config("nano_indoor")
    config.loss.weights.scale_shift_invariant = 1.0
    with pytest.raises(UserError, match="and 0 for others"):
        groups.read(config)
