"""Models are assembled from a configuration's fields, or refused by the field's name."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.backbone_choice import create_backbone
from tests.support import small_run


def fields(**overrides):
    return small_run.config(**{f"model__{k}": v for k, v in overrides.items()}).model


def test_an_efficientnet_has_all_maps_in_the_pyramid():
    chosen = {"freeze_statistics": True, "drop_path_rate": 0.3}
    model = create_model(fields(backbone="efficientnet_lite0", **chosen))
    assert model.backbone.frozen_statistics and model.backbone.drop_path_rate == 0.3
    image = jnp.zeros((1, 33, 47, 3))
    depth = jnp.ones((1, 33, 47, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), image, depth, depth > 0)
    assert {f"lateral{level}" for level in range(5)} <= variables["params"]["neck"].keys()


def test_a_dinov2_takes_its_layers_and_its_interpolation():
    chosen = {"position_interpolation": "scale_offset", "drop_path_rate": 0.0, "dtype": "bfloat16"}
    layers = (2, 4, 6, 8)
    module = create_backbone(fields(backbone="dinov2_small", backbone_layers=layers, **chosen))
    assert module.layers == layers and module.position_interpolation == "scale_offset"
    assert module.dtype == jnp.bfloat16
    image = np.ones((1, 20, 30, 3), np.float32)
    maps, _ = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), image))
    assert [x.shape for x in maps] == [(1, 2, 3, 384)] * 4
    registers = create_backbone(fields(backbone="dinov2_base_registers"))
    assert registers.num_registers == 4 and registers.layers == (3, 6, 9, 12)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"backbone": "swin_huge"}, "model.backbone 'swin_huge': must be one of swin_nano.*dinov2"),
        ({"freeze_statistics": True}, "model.freeze_statistics: for EfficientNets only; set it"),
        ({"backbone": "dinov2_nano", "backbone_layers": (5,)}, r"model.backbone_layers \(5,\)"),
        ({"backbone": "dinov2_nano", "backbone_layers": (2, 4)}, "must be 4 for the neck"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides, words):
    with pytest.raises(UserError, match=words):
        create_model(fields(**overrides))


@pytest.mark.parametrize("neck", ["fpn", "dpt"])
@pytest.mark.parametrize("kind", ["diffusion", "feed_forward"])
def test_the_maps_of_a_dinov2_become_a_pyramid(kind, neck):
    """31 x 43 pixels are 3 x 4 patches, the last of them padded."""
    chosen = fields(backbone="dinov2_nano", neck=neck)
    model = create_model(dataclasses.replace(chosen, kind=kind))
    image, mask = jnp.zeros((1, 31, 43, 3)), jnp.ones((1, 31, 43, 1), bool)
    inputs = jax.random.key(0), image, mask * 2.0, mask
    depth, variables = jax.eval_shape(model.init_with_output, *inputs)
    assert depth.shape == (1, 32, 44, 1)

    def features(variables):
        def compute(model, image):
            return model.refined_maps(model.backbone_maps(image), image, train=False)

        return model.apply(variables, image, method=compute)

    maps = jax.eval_shape(features, variables)
    assert [x.shape[1:3] for x in maps] == [(8, 11), (4, 6), (2, 3), (1, 2)]
