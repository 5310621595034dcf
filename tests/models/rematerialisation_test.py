"""Recomputing the backbone's blocks changes memory and time only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.flops import count_multiply_adds
from diffdepth_jax.models.assembly import with_rematerialised_backbone
from diffdepth_jax.models.backbones import dinov2, efficientnet, mpvit, resnet
from tests.support import tiny

BACKBONES = {
    "swin": tiny.backbone(drop_path_rate=0.5, depths=(2, 1)),
    "resnet": resnet.ResNet(depths=(1, 2), channels=(4, 8)),
    "mpvit": mpvit.MPViT(channels=(8, 8), depths=(1, 2), num_paths=(2, 1), drop_path_rate=0.5),
    "dinov2": dinov2.DINOv2(8, 2, 2, (1, 2), drop_path_rate=0.5, table_side=2),
    "efficientnet": efficientnet.EfficientNetLite(
        4, (efficientnet.Stage(2, 3, 1, 2, 4), efficientnet.Stage(1, 5, 2, 2, 8))
    ),
}
IMAGE = np.random.default_rng(0).normal(size=(3, 21, 30, 3)).astype(np.float32)


def loss(module, variables, image):
    """In training: drawn stochastic depth, batch statistics updated."""
    maps, updated = module.apply(
        variables, image, True, rngs={"drop_path": jax.random.key(7)}, mutable=["batch_stats"]
    )
    return sum(jnp.mean(jnp.sin(x)) for x in maps), (maps, updated)


def gradients(module, variables):
    def by(params, image):
        return loss(module, {**variables, "params": params}, image)

    return jax.value_and_grad(by, (0, 1), has_aux=True)


SLOW = {"mpvit"}


@pytest.fixture(params=[pytest.param(x, marks=[pytest.mark.slow] * (x in SLOW)) for x in BACKBONES])
def backbone(request):
    module = BACKBONES[request.param]
    return module, tiny.init(module, IMAGE)


def test_neither_parameters_nor_their_start_depend_on_it(backbone):
    plain, remat = (
        jax.jit(module.init)(jax.random.key(0), IMAGE)
        for module in (backbone[0], backbone[0].clone(remat=True))
    )
    jax.tree.map(np.testing.assert_array_equal, plain, remat)


def test_outputs_gradients_and_statistics_do_not_depend_on_it(backbone):
    module, variables = backbone
    plain, remat = (
        jax.jit(gradients(each, variables))(variables["params"], IMAGE)
        for each in (module, module.clone(remat=True))
    )
    tiny.assert_trees_close(remat, plain, 1e-5)


def test_the_blocks_are_computed_twice(backbone):
    """Recomputing adds products, at most as many as the forward pass has."""
    module, variables = backbone
    forward = count_multiply_adds(lambda image: module.apply(variables, image), IMAGE)
    plain, remat = (
        count_multiply_adds(gradients(each, variables), variables["params"], IMAGE)
        for each in (module, module.clone(remat=True))
    )
    assert 0.3 * forward < remat - plain <= forward


def test_a_model_gets_it_in_its_backbone_alone():
    model = tiny.model()
    changed = with_rematerialised_backbone(model)
    assert changed.backbone.remat and not model.backbone.remat
    assert changed.clone(backbone=model.backbone) == model
