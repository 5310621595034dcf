"""Codec, denoiser, sampler and losses of the released code, and the whole of it, beside ours."""

import dataclasses
import functools
import gzip
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.configs import released_swin
from diffdepth_jax.configuration import groups
from diffdepth_jax.method import diffusion, losses, objective
from diffdepth_jax.method.pixel_objective import total_loss
from diffdepth_jax.method.refinement import decode_log_depth, refine
from diffdepth_jax.models.assembly import DiffusionDepth
from diffdepth_jax.models.backbones import mpvit, resnet, swin
from diffdepth_jax.models.codec import MAX_LOG_DEPTH
from diffdepth_jax.models.necks.fpn import FPN
from diffdepth_jax.models.necks.hahi import HAHI
from diffdepth_jax.models.released import ReleasedCodec, ReleasedDenoiser
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.torch_import.conversion import convert
from diffdepth_jax.torch_import.rules import CODEC_RULES, DENOISER_RULES
from diffdepth_jax.torch_import.state_dicts import read_state_dict
from tests.support import parity, tiny
from tests.support.parity import channels_last

SCHEDULE = diffusion.create_schedule("linear", 1000, 1e-4, 0.02, "epsilon")
SAMPLER = {"schedule": SCHEDULE, "num_steps": 5, "spacing": "leading"}
END_TO_END = parity.ALL_GOLDEN / "end_to_end"

# Codec


def encode_and_decode(codec, depth, latent, train):
    """The released code encodes all of the depth map, zeros where nothing was measured."""
    encoded, _ = codec.encode(depth, jnp.ones_like(depth, bool), train)
    return encoded, jnp.exp(codec.decode(latent, train).log_depth)


@pytest.fixture(scope="module")
def codec():
    file = parity.GOLDEN / "released_codec_16x24.npz"
    return parity.Component(file, ReleasedCodec(16), CODEC_RULES, method=encode_and_decode)


@pytest.mark.parametrize("train", [False, True])
def test_the_codec_equals_the_public_code(codec, train):
    """Training, also the running statistics."""
    parity.assert_forward_parity(codec, train, 3e-6)


@pytest.mark.parametrize("train", [False, True])
def test_gradients_of_the_codec_equal_the_public_code(codec, train):
    parity.assert_backward_parity(codec, train)


def test_a_saturated_decoder_equals_the_public_code_in_log_depth(codec):
    """Every sigmoid is below the clamp: 999,999 metres."""
    variables = codec.leaves("w")
    variables["params"]["decoder"]["head"]["bias"] = np.float32([-40])
    latent = codec.maps("in")[1]
    ours = codec.module.apply(variables, latent, method="decode").log_depth
    theirs = np.log(codec.tensors("out")["inv_t_saturated"])
    np.testing.assert_allclose(ours[..., 0], theirs[:, 0], rtol=1e-6)
    assert float(ours.max()) == pytest.approx(MAX_LOG_DEPTH)


@pytest.mark.parametrize("size", [(1, 1), (5, 8), (7, 9)])
def test_the_codec_takes_any_size(size):
    """And returns the rows of the last cell, as the released code does; `inference` crops them."""
    module, depth = ReleasedCodec(4), jnp.ones((1, *size, 1))

    def both(codec):
        latent, _ = codec.encode(depth, depth > 0)
        return latent, codec.decode(latent).log_depth

    (latent, decoded), _ = jax.eval_shape(
        lambda: module.init_with_output(jax.random.key(0), method=both)
    )
    assert latent.shape[1:] == module.latent_shape(*size)
    assert decoded.shape[1:3] == tuple(size + size % 2 for size in size)


def test_what_has_no_ground_truth_enters_as_zero_metres():
    module, batch = ReleasedCodec(4), tiny.batch()
    zeros = np.where(batch["mask"], batch["depth"], 0)
    variables = tiny.init(module, zeros, batch["mask"], method="encode")
    holes = np.where(batch["mask"], batch["depth"], np.nan)
    encode = functools.partial(module.apply, variables, method="encode")
    latent, mask = encode(holes, batch["mask"])
    np.testing.assert_array_equal(latent, encode(zeros, np.ones_like(batch["mask"]))[0])
    assert 0 < mask.mean() < 1


# Denoiser


def denoise(module, noisy, timestep, feature, train):
    batch, height, width, _ = noisy.shape
    image = jnp.zeros((batch, 2 * height, 2 * width, 3))
    return module(noisy, timestep, module.project((feature,), image))


def denoiser(file, fuse):
    module = ReleasedDenoiser(16, features=32, fuse=fuse)
    return parity.Component(file, module, DENOISER_RULES, method=denoise)


@parity.needs_shared
@pytest.mark.parametrize(
    ("name", "fuse"), [("unet_add_upsample_t_batch", True), ("unet_res_t_batch", False)]
)
def test_the_denoiser_and_its_gradients_equal_the_public_code(name, fuse):
    component = denoiser(parity.ALL_GOLDEN / "components" / f"{name}.npz", fuse)
    parity.assert_forward_parity(component, tolerance=3e-6)
    parity.assert_backward_parity(component)


# Scheduler and losses


@functools.cache
def shared_vectors(name):
    return np.load(parity.ALL_GOLDEN / "components" / f"{name}.npz")


@parity.needs_shared
@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("eta", [0.0, 0.5])
@pytest.mark.parametrize("clip", [0, 1])
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_sampler_steps_equal_the_public_code(steps, eta, clip, prediction_type):
    """Where the noise is that of the clipped sample and the last step ends at alpha_bar = 1."""
    vectors = shared_vectors("ddim_scheduler")
    case = f"step/1000_{steps}_eta{eta}_{prediction_type}_clip{clip}_useclipped1_one1"
    alpha_bar = SCHEDULE.alpha_bar[diffusion.sampling_timesteps(1000, steps, "leading")]
    step = jax.jit(
        functools.partial(
            diffusion.ddim_step, prediction_type=prediction_type, eta=eta, clip=float(clip)
        )
    )
    latent = vectors["step/x"]
    for index, following in enumerate([*alpha_bar[1:], np.float32(1)]):
        prediction = vectors["step/model_outputs"][index]
        noise = vectors["step/variance_noise"][index]
        latent, x0 = step(latent, prediction, alpha_bar[index], following, noise=noise)
        theirs = [vectors[f"{case}/{name}"][index] for name in ("prev", "x0")]
        parity.assert_maps_close((latent, x0), theirs, 3e-5)


@parity.needs_shared
@pytest.mark.parametrize("max_depth", [88.0, 10.0])
@pytest.mark.parametrize("truth", ["gt", "gt_one_empty"])
@pytest.mark.parametrize(("name", "weight", "loss"), [("L1", 2.5, "l1"), ("L2", 0.5, "l2")])
def test_clamped_losses_equal_the_public_code(max_depth, truth, name, weight, loss):
    vectors = shared_vectors("loss_metric")
    prediction, target = (channels_last(vectors[f"in/{key}"]) for key in ("pred", truth))

    def total(prediction):
        clamped = (jnp.clip(x, 0, max_depth) for x in (prediction, target))
        return weight * getattr(losses, loss)(*clamped, target > 1e-4)[0]

    value, gradient = jax.value_and_grad(total)(prediction)
    case = f"loss/{weight}*{name}/max{max_depth}/{truth}"
    assert float(value) == pytest.approx(vectors[f"{case}/sum"].item(), rel=1e-6)
    # On a bound itself PyTorch's clamp passes the gradient, ours half of it.
    inside = ~np.isin(prediction, [0, max_depth])
    theirs = channels_last(vectors[f"{case}/grad_pred"])[inside]
    np.testing.assert_allclose(gradient[inside], theirs, atol=1e-6 * np.abs(theirs).max())


# The whole


def _count(tensors, pattern):
    return 1 + max(int(found[1]) for name in tensors if (found := re.match(pattern, name)))


def build_backbone(name, tensors):
    if "mpvit" in name:
        return mpvit.MPViT((16, 24, 32, 40), (1, 2, 2, 1), (2, 3, 3, 3))
    if "res" in name:
        return resnet.ResNet((1, 2, 2, 1), (16, 32, 48, 64))
    blocks = [rf"depth_backbone\.stages\.{stage}\.blocks\.(\d+)\." for stage in range(4)]
    table = "depth_backbone.stages.{}.blocks.0.attn.w_msa.relative_position_bias_table"
    heads = [tensors[table.format(stage)].shape[1] for stage in range(4)]
    depths = [_count(tensors, pattern) for pattern in blocks]
    return swin.SwinTransformer(24, tuple(depths), tuple(heads), drop_path_rate=0.0)


def load(name, path):
    """(the reduced model, its variables, the rules that gave them)."""
    tensors, kind = read_state_dict(path)
    model = DiffusionDepth(
        backbone=build_backbone(name, tensors),
        hahi=HAHI(32) if "hahi" in name else None,
        neck=FPN(32, batch_norm=True),
        codec=ReleasedCodec(16),
        denoiser=ReleasedDenoiser(16, 32, fuse="res" not in name),
    )
    variables, messages = convert(tensors, kind, abstract_variables(model))
    assert not messages
    return model, variables, kind.rules


def everything(model, variables, vectors):
    """What the model computes on the way to depth, by the names of the vectors."""
    image = channels_last(vectors["in/rgb"])
    noise = channels_last(vectors["noise/latent"])

    def features(model):
        fp = model.backbone(image, False)
        necks = model.hahi(fp, False) if model.hahi else ()
        return fp, necks, model.neck(necks or fp, False)[0]

    fp, necks, condition = model.apply(variables, method=features)
    refinement = refine(model, variables, image, noise, **SAMPLER)
    log_depth, _ = decode_log_depth(model, variables, refinement.latent, *image.shape[1:3])
    depth = channels_last(vectors["in/gt"])
    return {
        **{f"fp/{level}": feature for level, feature in enumerate(fp)},
        **{f"neck/{level}": feature for level, feature in enumerate(necks)},
        "fpn/cond": condition,
        "sample/latents": refinement.latents,
        "sample/x0": refinement.x0s,
        "refined_latent": refinement.latent,
        "out/pred": jnp.exp(log_depth),
        "out/gt_map_t": model.apply(variables, depth, depth > 0, method="encode_depth")[0],
    }


def assert_end_to_end_parity(name, path, vectors, tolerance):
    model, variables, _ = load(name, path)
    ours = jax.jit(lambda variables: everything(model, variables, vectors))(variables)
    assert {"fpn/cond", "refined_latent", "out/pred"} <= ours.keys() & set(vectors)
    for key in ours.keys() & set(vectors):
        array, theirs = np.asarray(ours[key]), vectors[key]
        if theirs.ndim == 4:
            array, theirs = array[None], theirs[None]  # otherwise the axis of steps leads
        channels = slice(None, None, array.shape[-1] // theirs.shape[2])  # some are stored
        for step, expected in zip(array, theirs, strict=True):
            difference = parity.relative_difference(step[..., channels], channels_last(expected))
            assert difference <= tolerance, key


@pytest.fixture(scope="module")
def small_checkpoint(tmp_path_factory):
    """A released checkpoint's layout: {"net": ..., "args": Namespace}."""
    path = tmp_path_factory.mktemp("checkpoints") / "tiny_res_basic.pt"
    path.write_bytes(gzip.decompress((parity.GOLDEN / "tiny_res_basic.pt.gz").read_bytes()))
    return path


def test_a_whole_model_equals_the_public_code(small_checkpoint):
    vectors = np.load(parity.GOLDEN / "tiny_res_basic.npz")
    assert_end_to_end_parity("tiny_res_basic", small_checkpoint, vectors, 3e-6)


@parity.needs_shared
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("tiny_res_basic", 3e-6),
        ("tiny_swin_add", 3e-6),
        ("tiny_swin_hahi", 5e-6),
        pytest.param("tiny_mpvit_hahi", 1e-5, marks=pytest.mark.slow),
    ],
)
def test_whole_models_equal_the_public_code(name, tolerance):
    """Backbone, neck, condition, latent and its estimate after every step, depth."""
    vectors = np.load(END_TO_END / f"{name}_eval_64x96_s5.npz")
    assert_end_to_end_parity(name, END_TO_END / f"{name}.pt", vectors, tolerance)


def training_step(model, variables, vectors):
    """((loss as PyTorch has it, variables after it), gradients)."""
    depth = channels_last(vectors["in/gt"])
    batch = {"image": channels_last(vectors["in/rgb"]), "depth": depth, "mask": depth > 1e-4}
    draws = objective.Draws(
        start=channels_last(vectors["noise/latent"])[:, None],
        timestep=vectors["noise/timesteps"].astype(np.int32)[:, None],
        noise=channels_last(vectors["noise/ddim"])[:, None],
        sampler_keys=None,
    )
    loss_fields = groups.read(released_swin.get_config()).loss
    weights = {"l1": 1.0, "l2": 1.0, "ddim": 1 / len(depth)}
    used = {name for name, weight in vars(loss_fields.weights).items() if weight}
    assert weights.keys() == used
    released = tiny.objective(model, target=loss_fields.target, clamp_depth=loss_fields.clamp_depth)
    sampler = {name: value for name, value in SAMPLER.items() if name != "schedule"}
    released = dataclasses.replace(released, schedule=SAMPLER["schedule"], sampler=sampler)

    def loss(params):
        terms, updated = released.terms({**variables, "params": params}, batch, draws, None)
        return total_loss(terms, weights), updated

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])


@pytest.fixture(scope="module")
def trained():
    """(vectors, our step, {name of a tensor: (our leaf's path, transform)})."""
    if not parity.ALL_GOLDEN.exists():
        pytest.skip(f"all vectors: {parity.ALL_GOLDEN} is absent")
    vectors = np.load(END_TO_END / "tiny_swin_hahi_train_64x96_s5_nodp.npz")
    model, variables, rules = load("tiny_swin_hahi", END_TO_END / "tiny_swin_hahi.pt")
    return vectors, training_step(model, variables, vectors), rules


def used(vectors, group, rules):
    """(key, our leaf's path, transform) of the group's entries with an influence."""
    for key in vectors:
        if key.startswith(f"{group}/"):
            name = key.removeprefix(f"{group}/")
            name = name.rpartition("/")[0] if group == "grad" else name
            target, transform = parity.match(rules, name)
            if transform != "ignore":
                yield key, target, transform


def test_the_training_loss_equals_the_public_code(trained):
    vectors, ((loss, _), _), _ = trained
    assert float(loss) == pytest.approx(vectors["loss/sum"].item() / 2, rel=2e-6)


def test_batch_statistics_after_training_equal_the_public_code(trained):
    vectors, ((_, variables), _), rules = trained
    leaves = parity.leaves_of(variables)
    seen = set()
    for key, path, _ in used(vectors, "bn_after", rules):
        assert parity.relative_difference(leaves[path], vectors[key]) <= 2e-6, key
        seen.add(path)
    assert seen == {path for path in leaves if path.startswith("batch_stats/")}


def assert_stored_gradient(stored, ours, theirs):
    norm = np.linalg.norm(ours)
    if stored in ("full", "head"):
        difference = np.linalg.norm(ours.ravel()[: theirs.size] - theirs.ravel())
        # A bias ahead of a batch norm has no gradient; both hold rounding.
        assert difference <= max(5e-5 * np.linalg.norm(theirs), 1e-6)
    elif stored == "norm":
        assert norm == pytest.approx(theirs.item(), rel=5e-5)
    elif stored == "sum":
        assert abs(ours.sum() - theirs) <= 5e-5 * norm * ours.size**0.5
    elif stored == "none":  # the encoder is not trained
        assert not ours.any()
    else:
        assert stored == "probe"  # a random projection, by weights that are not stored


def test_every_gradient_of_training_equals_the_public_code(trained):
    """In relative L2 norm; of large tensors the norm, the sum and the first values are stored."""
    vectors, (_, gradients), rules = trained
    leaves = parity.leaves_of({"params": gradients})
    seen = set()
    for key, path, transform in used(vectors, "grad", rules):
        seen.add(path)
        gradient = parity.to_torch(np.asarray(leaves[path]), transform)
        assert_stored_gradient(key.rpartition("/")[2], gradient, vectors[key])
    assert seen == set(leaves)
