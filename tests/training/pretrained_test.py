"""Training starts from exactly the values that a file or a directory holds, or refuses them."""

import functools
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from diffdepth_jax.checkpoints.model_directory import read_config, save_model
from diffdepth_jax.checkpoints.model_names import find_model
from diffdepth_jax.configs.feed_forward import feed_forward
from diffdepth_jax.configuration import groups
from diffdepth_jax.errors import UserError
from diffdepth_jax.method.refinement import refine
from diffdepth_jax.models.assembly import DiffusionDepth, create_model
from diffdepth_jax.models.backbones import resnet
from diffdepth_jax.models.backbones.swin import SwinTransformer
from diffdepth_jax.models.necks.fpn import FPN
from diffdepth_jax.models.released import ReleasedCodec, ReleasedDenoiser
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.program import shipped_models
from diffdepth_jax.torch_import.conversion import only_backbone
from diffdepth_jax.torch_import.kinds import KINDS
from diffdepth_jax.training import loop
from diffdepth_jax.training.pretrained import check_origin, start_from
from tests.support import parity, small_model, small_run, tiny

KIND = {kind.name: kind for kind in KINDS}


def model(backbone, neck_features=4):
    return DiffusionDepth(
        backbone=backbone,
        neck=FPN(neck_features, batch_norm=True),
        codec=ReleasedCodec(4),
        denoiser=ReleasedDenoiser(4, neck_features, fuse=False),
    )


def swin_model(**fields):
    sizes = {"embed_dim": 4, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 3}
    return model(SwinTransformer(**{**sizes, **fields}))


def resnet_model(channels=(4, 8), **fields):
    return model(resnet.ResNet((1, 1), channels), **fields)


def variables_of(model, seed):
    return parity.random_variables(abstract_variables(model), seed)


def released_file(variables, path):
    kind = KIND["released DiffusionDepth with ResNet"]
    return parity.write_checkpoint(path, parity.state_dict(variables, kind.rules, "res18"))


def swin_file(variables, path):
    rules = KIND["Swin, mmseg naming"].rules
    tensors = parity.state_dict(variables, rules, "swinl_hahi", "depth_backbone.")
    safetensors.numpy.save_file(tensors, path)
    return path


def start(variables, backbone_weights="", initial_weights=""):
    return start_from(
        variables,
        backbone_weights=str(backbone_weights),
        initial_weights=str(initial_weights),
        position_interpolation="size",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "title"),
    [
        ("model__backbone_weights", "its backbone, heads untrained"),
        ("train__initial_weights", "the model it started from"),
    ],
)
def test_the_table_tells_what_the_start_is_worth_by_itself(tmp_path, field, title):
    """A run of one step that moves nothing: the row before training is that of the model."""
    small_model.save(tmp_path / "model")
    fields = {"num_steps": 1, "optimizer__learning_rate": 1e-12, "optimizer__warmup_steps": 0}
    fields |= {field: str(tmp_path / "model"), "batch_size": 2}
    rows = loop.train(small_run.config(**fields), str(tmp_path / "run"))
    titles = ("this model", title, "best constant", "mean map")
    assert list(rows)[:4] == [f"rooms: {title}" for title in titles]
    before, after = (rows[f"streets: {title}"]["abs_rel"] for title in titles[1::-1])
    assert before == pytest.approx(after, rel=1e-4)
    shutil.rmtree(tmp_path / "model")  # a run that goes on needs it no more
    rows = loop.train(small_run.config(**fields), str(tmp_path / "run"))
    assert list(rows)[:3] == [f"rooms: {title}" for title in (titles[0], *titles[2:])]


def assert_equal(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def assert_backbone_replaced(started, before, backbone):
    """Its values exactly; every other leaf as it was."""
    assert_equal(only_backbone(started), only_backbone(backbone))
    for collection, tree in before.items():
        rest = {name: leaf for name, leaf in tree.items() if name != "backbone"}
        assert rest
        assert_equal({name: started[collection][name] for name in rest}, rest)
        assert started[collection].keys() == tree.keys()


def test_nothing_named_changes_nothing():
    variables = variables_of(resnet_model(), 0)
    started, messages = start(variables)
    assert started is variables and messages == []


def test_the_backbone_of_a_released_checkpoint(tmp_path):
    """With batch statistics; the neck may have another width."""
    theirs = variables_of(resnet_model(neck_features=8), 1)
    ours = variables_of(resnet_model(), 0)
    started, messages = start(ours, released_file(theirs, tmp_path / "a.pt"))
    assert "backbone" in started["batch_stats"] and not messages
    assert_backbone_replaced(started, ours, theirs)


def test_the_backbone_of_a_file_of_a_swin(tmp_path):
    theirs, ours = (variables_of(swin_model(), seed) for seed in (1, 0))
    started, messages = start(ours, swin_file(theirs, tmp_path / "a.safetensors"))
    assert not messages
    assert_backbone_replaced(started, ours, theirs)


def test_a_backbone_with_our_position_embedding_starts_it_at_0(tmp_path):
    path = swin_file(variables_of(swin_model(), 1), tmp_path / "a.safetensors")
    started, messages = start(variables_of(swin_model(position_embedding=True), 0), path)
    position = started["params"]["backbone"]["position"]
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(position))
    assert messages == [
        f"params/backbone/position/{name} is not in the file and starts at 0"
        for name in ("bias", "kernel")
    ]


def test_the_details_of_a_model_directory_come_with_its_backbone(tmp_path):
    theirs, ours, wider = (
        variables_of(create_model(small_run.config(model__detail_features=features).model), seed)
        for seed, features in ((1, 4), (0, 4), (0, 6))
    )
    save_model(tmp_path / "model", small_run.config(), theirs)
    started, messages = start(ours, tmp_path / "model")
    assert not messages
    for name in ("backbone", "detail"):
        assert_equal(started["params"][name], theirs["params"][name])
    for name in ours["params"].keys() - {"backbone", "detail"}:
        assert_equal(started["params"][name], ours["params"][name])
    started, (message,) = start(wider, tmp_path / "model")
    assert "has no details of this size: they start from random weights" in message
    assert_backbone_replaced(started, wider, theirs)


@pytest.mark.parametrize("alone", [False, True], ids=["whole model", "backbone alone"])
def test_the_backbone_of_a_model_directory(tmp_path, alone):
    theirs, ours = (variables_of(resnet_model(), seed) for seed in (1, 0))
    saved = only_backbone(theirs) if alone else theirs
    save_model(tmp_path / "model", small_run.config(), saved)
    started, messages = start(ours, tmp_path / "model")
    assert not messages
    assert_backbone_replaced(started, ours, theirs)


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("model__backbone_weights", "model.position_interpolation", "scale_offset"),
        ("model__backbone_weights", "model.window_shift", "larger_maps"),
        ("train__initial_weights", "model.position_interpolation", "size_antialiased"),
        ("train__initial_weights", "frame.canonical_focal_length", 50.0),
        ("train__initial_weights", "model.backbone_layers", (1, 2, 3, 4)),
        ("train__initial_weights", "diffusion.prediction_type", "epsilon"),
    ],
)
def test_a_directory_is_refused_whose_weights_are_for_other_fields(tmp_path, path, field, value):
    directory = tmp_path / "model"
    theirs = small_run.config(**{field.replace(".", "__"): value})
    save_model(directory, theirs, variables_of(resnet_model(), 0))
    check_origin(small_run.config(**{field.replace(".", "__"): value, path: str(directory)}))
    with pytest.raises(UserError, match=re.escape(f"is of {field} {value!r}, not ")):
        check_origin(small_run.config(**{path: str(directory)}))


def test_all_weights_of_a_model_directory(tmp_path):
    theirs, ours = (variables_of(resnet_model(), seed) for seed in (1, 0))
    save_model(tmp_path / "model", small_run.config(), theirs)
    started, messages = start(ours, initial_weights=tmp_path / "model")
    assert not messages
    assert_equal(started, theirs)


def test_a_whole_model_brings_its_own_backbone(tmp_path):
    """Recipes name an ImageNet file, which must not undo what is fine-tuned, nor need to exist."""
    ours, whole = (variables_of(resnet_model(), seed) for seed in range(2))
    save_model(tmp_path / "whole", small_run.config(), whole)
    started, messages = start(ours, "weights/none.pth", tmp_path / "whole")
    assert_equal(started, whole)
    assert messages == [f"all weights come from {tmp_path / 'whole'}; weights/none.pth is not read"]


def test_a_diffusion_model_starts_as_the_feed_forward_one(tmp_path):
    """Its denoiser is the head: where there is no noise it predicts the same depth."""
    theirs, model = tiny.init_model(tiny.feed_forward_model()), tiny.model()
    theirs["params"]["head"]["out"]["kernel"] *= 10
    ours = tiny.init_model(model)
    save_model(tmp_path / "model", small_run.config(), theirs)
    started, messages = start(ours, initial_weights=tmp_path / "model")
    assert messages == ["from a feed_forward model: 14 arrays of the denoiser and codec are new"]
    sampler = {"schedule": tiny.schedule(), "num_steps": 1, "spacing": "trailing"}
    image, noise = tiny.batch(1)["image"], np.zeros((1, 7, 9, 4), np.float32)
    refined, predicted = (
        jax.jit(functools.partial(refine, kind, **sampler))(weights, image, noise).latent
        for kind, weights in ((model, started), (tiny.feed_forward_model(), theirs))
    )
    assert np.abs(predicted).max() > 1
    np.testing.assert_allclose(refined, predicted, atol=1e-4)


def test_outputs_of_the_decoder_are_added_by_fine_tuning(tmp_path):
    model = tiny.model()
    theirs = tiny.init_model(model)
    with_outputs = model.clone(codec=model.codec.clone(laplace_scale=True, validity=True))
    ours = tiny.init_model(with_outputs)
    save_model(tmp_path / "model", small_run.config(), theirs)
    started, messages = start(ours, initial_weights=tmp_path / "model")
    assert messages == ["scale_head, validity_head: new outputs of the decoder"]
    decoder = started["params"]["codec"]["decoder"]
    for name in ("scale_head", "validity_head"):
        assert_equal(decoder.pop(name), ours["params"]["codec"]["decoder"][name])
    assert_equal(started, theirs)


def test_a_sampler_that_would_cut_the_latents_of_a_feed_forward_model_is_refused(tmp_path):
    theirs = groups.read(feed_forward(small_run.fields()))
    save_model(tmp_path / "model", theirs, tiny.init_model(tiny.feed_forward_model()))
    fields = {"train__initial_weights": str(tmp_path / "model")}
    with pytest.raises(UserError, match=r"set --config\.sampler\.clip=0"):
        check_origin(small_run.config(**fields, sampler__clip=1.0))
    check_origin(small_run.config(**fields, sampler__clip=0.0))


def test_a_feed_forward_model_of_other_sizes_is_refused(tmp_path):
    theirs = tiny.init_model(tiny.feed_forward_model().clone(neck=FPN(4)))
    save_model(tmp_path / "model", small_run.config(), theirs)
    with pytest.raises(UserError, match=r"set config\.model as it was there"):
        start(tiny.init_model(tiny.model()), initial_weights=tmp_path / "model")


# Refusals


def test_a_file_of_another_backbone_is_refused(tmp_path):
    path = released_file(variables_of(resnet_model((4, 12)), 1), tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"do not fit in \d+ places") as caught:
        start(variables_of(resnet_model(), 0), path)
    assert "stage1_block0/conv1/kernel" in str(caught.value)
    assert "stage0" not in str(caught.value)


def test_a_file_of_another_family_is_refused(tmp_path):
    path = released_file(variables_of(resnet_model(), 1), tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"(?s)with ResNet.*nothing in the file fills.*patch_embed"):
        start(variables_of(swin_model(), 0), path)


@pytest.mark.parametrize("other", [resnet_model((4, 12)), swin_model()], ids=["size", "family"])
def test_a_directory_of_another_backbone_is_refused(tmp_path, other):
    save_model(tmp_path / "model", small_run.config(), variables_of(other, 1))
    with pytest.raises(UserError, match=r"another than the configuration's.*set config\.model"):
        start(variables_of(resnet_model(), 0), tmp_path / "model")


FROZEN = {"optimizer__freeze": "(backbone|detail)/.*"}


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        ("backbone", {"model__backbone_weights": "none"}),
        ("backbone", {"model__backbone_weights": ""}),
        ("detail", {"model__backbone_weights": "synthetic_small", "model__detail_features": 3}),
        ("detail", {"model__backbone_weights": "swin.pth", "model__detail_features": 3}),
        ("backbone", {"model__backbone_weights": "", "model__detail_features": 3}),
    ],
)
def test_what_starts_from_random_weights_is_not_frozen(part, fields):
    message = rf"would keep {part} as it is, .*random weights.*add --config\.optimizer\.freeze="
    with pytest.raises(UserError, match=message):
        check_origin(small_run.config(**fields, **FROZEN))
    check_origin(small_run.config(**fields))


def test_what_a_start_brings_may_be_frozen():
    features = read_config(find_model("synthetic_small")).model.detail_features
    fields = {"model__backbone_weights": "synthetic_small", "model__detail_features": features}
    check_origin(small_run.config(**fields, **FROZEN))


@pytest.mark.parametrize(
    "other",
    [resnet_model((4, 12)), resnet_model(neck_features=8), swin_model()],
    ids=["backbone", "neck", "family"],
)
def test_a_directory_of_another_model_is_refused_as_a_whole(tmp_path, other):
    save_model(tmp_path / "model", small_run.config(), variables_of(other, 1))
    with pytest.raises(UserError, match=r"the model of .*another than.*set config\.model"):
        start(variables_of(resnet_model(), 0), initial_weights=tmp_path / "model")


def test_a_backbone_alone_is_no_whole_model(tmp_path):
    theirs = only_backbone(variables_of(resnet_model(), 1))
    save_model(tmp_path / "model", small_run.config(), theirs)
    with pytest.raises(UserError, match=r"it holds a backbone alone, for model\.backbone_weights"):
        start(variables_of(resnet_model(), 0), initial_weights=tmp_path / "model")


def test_paths_that_hold_nothing_are_refused(tmp_path):
    variables = jax.tree.map(jnp.asarray, variables_of(resnet_model(), 0))
    with pytest.raises(UserError, match=r"none\.pt"):
        start(variables, tmp_path / "none.pt")
    for field in ("backbone_weights", "initial_weights"):
        with pytest.raises(UserError, match=r"has no parameters|is no model directory"):
            start(variables, **{field: tmp_path})
    with pytest.raises(UserError, match="none does not exist"):
        start(variables, initial_weights=tmp_path / "none")


@pytest.mark.parametrize("field", ["backbone_weights", "initial_weights"])
def test_a_model_that_ships_is_started_from_by_its_name(tmp_path, monkeypatch, field):
    monkeypatch.setattr(shipped_models, "FOLDER", tmp_path)
    theirs = variables_of(resnet_model(), 1)
    save_model(tmp_path / "small", small_run.config(), theirs)
    started, _ = start(variables_of(resnet_model(), 0), **{field: "small"})
    for ours, other in zip(
        *map(jax.tree.leaves, map(only_backbone, (started, theirs))), strict=True
    ):
        np.testing.assert_array_equal(ours, other)
