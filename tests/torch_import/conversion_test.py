"""Every name of the released files, the namings of Swin, and strictness in both directions."""

import functools
import importlib
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from diffdepth_jax.configuration import groups
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.assembly import DiffusionDepth, create_model
from diffdepth_jax.models.backbones import resnet, swin
from diffdepth_jax.models.necks.fpn import FPN
from diffdepth_jax.models.released import ReleasedCodec, ReleasedDenoiser
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.torch_import import state_dicts
from diffdepth_jax.torch_import.conversion import convert
from diffdepth_jax.torch_import.kinds import KINDS
from diffdepth_jax.torch_import.reader import StoredTensor
from diffdepth_jax.torch_import.rules import SWIN_MM
from diffdepth_jax.torch_import.state_dicts import read_state_dict
from tests.support import parity, tiny

KIND = {kind.name: kind for kind in KINDS}
RELEASED = "released DiffusionDepth with "

# Names


@pytest.mark.parametrize(
    ("variant", "config", "kind"),
    [
        ("swinl_hahi", "released_swin", "Swin"),
        ("swinl_add", "released_swin_add", "Swin"),
        ("res18", "released_res18", "ResNet"),
        ("res50", "released_res50", "ResNet"),
        ("res101", "released_res101", "ResNet"),
        ("mpvit_small", "released_mpvit", "MPViT"),
    ],
)
def test_every_name_has_one_rule_and_every_leaf_is_filled_once(variant, config, kind):
    """Of the released checkpoints at full size, in their shapes."""
    config = groups.read(importlib.import_module(f"diffdepth_jax.configs.{config}").get_config())
    abstract = abstract_variables(create_model(config.model))
    parity.assert_rules_fill(abstract, KIND[RELEASED + kind].rules, variant)


# Reading


def save(path, tensors):
    safetensors.numpy.save_file(
        {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path
    )
    return path


@pytest.fixture
def write(tmp_path):
    return functools.partial(save, tmp_path / "a.safetensors")


def test_the_released_layout_holds_more_than_tensors(tmp_path):
    tensors = {"depth_backbone.layers.0.0.conv1.weight": np.ones((2, 3), np.float32)}
    found, kind = read_state_dict(parity.write_checkpoint(tmp_path / "a.pt", tensors))
    assert kind.name == RELEASED + "ResNet" and not kind.backbone_only
    np.testing.assert_array_equal(found.popitem()[1].numpy(), np.ones((2, 3)))


# Namings of Swin


def tiny_swin(window_size=3):
    return swin.SwinTransformer(
        4, (2, 1, 1, 1), (1, 1, 2, 2), window_size=window_size, drop_path_rate=0.0
    )


def abstract_of(module):
    variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    return {"params": {"backbone": variables["params"]}}


def official_order(axis, tensor):
    """mm's patch merging takes (c, dy, dx), all others (dx, dy, c)."""
    channels = tensor.shape[axis] // 4
    order = [c * 4 + dy * 2 + dx for dx in (0, 1) for dy in (0, 1) for c in range(channels)]
    return tensor.take(order, axis)


def renamed(tensors, table):
    def rename(name):
        for theirs, other in table:
            name = name.replace(theirs, other)
        return name

    return {rename(name): tensor for name, tensor in tensors.items()}


def to_official(tensors):
    """From mm's naming."""
    tensors = {
        name: official_order(-1, tensor) if "downsample" in name else tensor
        for name, tensor in tensors.items()
    }
    table = [
        ("stages.", "layers."),
        ("patch_embed.projection", "patch_embed.proj"),
        ("attn.w_msa.", "attn."),
        ("ffn.layers.0.0", "mlp.fc1"),
        ("ffn.layers.1", "mlp.fc2"),
    ]
    head = {
        "norm.weight": np.ones(4, np.float32),
        "head.bias": np.ones(4, np.float32),
        "layers.0.blocks.1.attn_mask": np.ones(4, np.float32),
    }
    return renamed(tensors, table) | head


def to_timm(tensors):
    moved = [(f"layers.{stage}.downs", f"layers.{stage + 1}.downs") for stage in (2, 1, 0)]
    return renamed(to_official(tensors), [*moved, ("head.", "head.fc.")])


def to_torchvision(tensors):
    """Blocks are at odd numbers of features, mergings at even ones."""
    stages = [
        pair
        for stage in range(4)
        for pair in (
            (f"layers.{stage}.blocks.", f"features.{2 * stage + 1}."),
            (f"layers.{stage}.downsample.", f"features.{2 * stage + 2}."),
        )
    ]
    table = [
        ("patch_embed.proj", "features.0.0"),
        ("patch_embed.norm", "features.0.2"),
        ("mlp.fc1", "mlp.0"),
        ("mlp.fc2", "mlp.3"),
    ]
    named = renamed(to_official(tensors), [*stages, *table])
    return {name: tensor for name, tensor in named.items() if "attn_mask" not in name}


def to_mm(tensors):
    """A segmentation model."""
    named = {f"backbone.{name}": tensor for name, tensor in tensors.items()}
    return named | {"decode_head.conv_seg.weight": np.ones(4, np.float32)}


def to_hugging_face(tensors):
    """As in a file of transformers."""
    table = [
        ("layers.", "swin.encoder.layers."),
        ("patch_embed.proj", "swin.embeddings.patch_embeddings.projection"),
        ("patch_embed.norm", "swin.embeddings.norm"),
        ("norm1", "layernorm_before"),
        ("norm2", "layernorm_after"),
        ("attn.proj", "attention.output.dense"),
        ("attn.", "attention.self."),
        ("mlp.fc1", "intermediate.dense"),
        ("mlp.fc2", "output.dense"),
        ("head.", "classifier."),
    ]
    named = {}
    for name, tensor in renamed(to_official(tensors), table).items():
        parts = ("query", "key", "value") if ".qkv." in name else ()
        thirds = np.split(tensor, 3) if parts else ()
        for part, third in zip(parts, thirds, strict=True):
            named[name.replace("qkv", part)] = third
        if not parts and "attn_mask" not in name:
            named["swin.layernorm.weight" if name == "norm.weight" else name] = tensor
    return named


IN_MEMORY = [  # names of transformers 5 for those of its files
    ("attention.self.query", "attention.q_proj"),
    ("attention.self.key", "attention.k_proj"),
    ("attention.self.value", "attention.v_proj"),
    ("attention.self.relative", "attention.relative_position_bias.relative"),
    ("attention.output.dense", "attention.o_proj"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
]


def to_transformers_5(tensors):
    return renamed(to_hugging_face(tensors), IN_MEMORY)


@functools.cache
def swin_tensors():
    """A Swin without stage norms in mm's naming, and our variables."""
    variables = parity.random_variables(abstract_of(tiny_swin()))
    backbone = variables["params"]["backbone"]
    for level in range(4):
        leaf = backbone[f"norm{level}"]
        backbone[f"norm{level}"] = {
            "scale": np.ones_like(leaf["scale"]),
            "bias": np.zeros_like(leaf["bias"]),
        }
    rules = KIND["Swin, mmseg naming"].rules
    tensors = parity.state_dict(variables, rules, "swinl_hahi", "depth_backbone.")
    names = [name for name in tensors if not name.startswith(("norm", "index"))]
    return {name: tensors[name] for name in names}, variables


@pytest.mark.parametrize(
    ("naming", "kind"),
    [
        (to_mm, "Swin, mmseg naming"),
        (to_official, "Swin, official naming"),
        (to_timm, "Swin, timm (from 0.9) naming"),
        (to_torchvision, "Swin, torchvision naming"),
        (to_hugging_face, "Swin, Hugging Face naming"),
        (to_transformers_5, "Swin, Hugging Face naming"),
    ],
)
def test_equal_weights_under_every_naming_give_equal_variables(write, naming, kind):
    """Heads and the final norm are left out; the stage norms start at 1 and 0, each by name."""
    tensors, expected = swin_tensors()
    found, found_kind = read_state_dict(write(naming(tensors)))
    assert found_kind.name == kind
    variables, messages = convert(found, found_kind, abstract_of(tiny_swin()))
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    assert messages[0].startswith("left out, because the backbone does not use them: ")
    assert "head" in messages[0] or "classifier" in messages[0]
    assert messages[1:] == [
        f"params/backbone/norm{level}/{name} is not in the file and starts at {value}"
        for level in range(4)
        for name, value in (("bias", 0), ("scale", 1))
    ]


def hugging_face_component():
    return parity.Component(
        parity.GOLDEN / "hugging_face_swin.npz",
        swin.SwinTransformer(4, (2, 2, 2, 1), (1, 1, 2, 2), window_size=3, drop_path_rate=0.0),
        rules=[],
    )


@pytest.mark.parametrize("table", [[], IN_MEMORY], ids=["file", "memory"])
def test_hugging_face_weights_give_the_features_of_transformers(write, table):
    """With the stage norms of its SwinBackbone."""
    component = hugging_face_component()
    weights = {n: w.astype(np.float32) for n, w in component.tensors("w").items()}
    if table:
        prefixed = [(n, f"swin.{n}") for n in ("embeddings.patch_", "embeddings.norm", "encoder.")]
        weights = renamed(weights, [*prefixed, *table])
        assert set(weights) == set(component.vectors["names"].tolist())
    tensors, kind = read_state_dict(write(weights))
    assert kind.window_shift == "always"
    variables, (message,) = convert(tensors, kind, abstract_of(component.module))
    assert re.fullmatch(r"left out, .*: layernorm\.\w+, layernorm\.\w+", message)
    variables = {"params": variables["params"]["backbone"]}
    image = component.maps("in")[0].astype(np.float32)
    features = jax.jit(component.module.apply)(variables, image)
    parity.assert_maps_close(features, component.maps("out"), 5e-6)


def test_names_of_a_hugging_face_classifier_are_known():
    component = hugging_face_component()
    ours = set(to_hugging_face(swin_tensors()[0]))
    theirs = set(component.vectors["classifier"].tolist())
    assert {"swin.layernorm.weight", "classifier.bias"} <= theirs
    assert {n for n in ours if "index" not in n} <= theirs


@parity.needs_shared
def test_official_weights_give_the_features_of_the_public_code(write):
    """Which orders their patch merging anew when it loads them.

    In float64: the activations reach 1800, where rounding in the vectors alone makes 2.4e-5.
    """
    vectors = np.load(parity.ALL_GOLDEN / "components" / "swin_convert.npz")
    module = swin.SwinTransformer(24, (2, 2, 2, 2), (2, 4, 8, 8), drop_path_rate=0.0)
    converted = []
    for group in ("official", "converted"):
        prefix = f"{group}/"
        weights = {k.removeprefix(prefix): vectors[k] for k in vectors if k.startswith(prefix)}
        tensors, kind = read_state_dict(write(weights))
        converted.append(convert(tensors, kind, abstract_of(module))[0])
    jax.tree.map(np.testing.assert_array_equal, *converted)
    variables = {"params": converted[0]["params"]["backbone"]}
    with jax.enable_x64(True):
        apply = jax.jit(module.clone(dtype=jnp.float64).apply)
        features = apply(variables, parity.channels_last(vectors["in/x"]))
    theirs = [parity.channels_last(vectors[f"out/{level}"]) for level in range(4)]
    parity.assert_maps_close(features, theirs, 3e-5)


# Swin beside the public code


class Attention(nn.Module):
    """The window attention of a block, of a map of the width that the vectors have."""

    shift: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, train):
        attention = swin.WindowAttention(3, 7, self.shift, self.dtype, name="attn")
        return attention(x.reshape(len(x), -1, 19, x.shape[-1])).reshape(x.shape)


@parity.needs_shared
@pytest.mark.parametrize("shift", [0, 3])
def test_window_attention_and_its_gradients_equal_the_public_code(shift):
    """On 15x19 with windows of 7."""
    component = parity.Component(
        parity.ALL_GOLDEN / "components" / f"shift_window_msa_s{shift}_15x19.npz",
        Attention(shift),
        SWIN_MM,
        "stages.0.blocks.0.attn.",
        "stage0_block0",
    )
    parity.assert_forward_parity(component, tolerance=3e-6)
    parity.assert_backward_parity(component)


def recorded_drop_path(vectors):
    """Intercepts stochastic depth to draw what PyTorch drew; checks the rates."""
    calls = {}

    def intercept(call, args, kwargs, context):
        if not isinstance(context.module, nn.Dropout) or kwargs["deterministic"]:
            return call(*args, **kwargs)
        stage, block = (part[-1] for part in context.module.path[0].split("_"))
        calls[stage, block] = calls.get((stage, block), 0) + 1
        name = "attn.drop" if calls[stage, block] == 1 else "ffn.dropout_layer"
        key = f"droppath/stages.{stage}.blocks.{block}.{name}"
        rate = float(vectors.get(f"{key}/prob", 0.0))
        assert context.module.rate == pytest.approx(rate)
        keep = np.asarray(vectors.get(f"{key}/keep", [1]), np.float32)
        return args[0] * (keep / (1 - rate))[:, None, None, None]

    return nn.intercept_methods(intercept)


@parity.needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("train", [False, True])
def test_a_whole_swin_and_its_gradients_equal_the_public_code(train):
    """On 50x46 with windows of 4: every stage is padded. Training, with stochastic depth."""
    module = swin.SwinTransformer(16, (1, 3, 2, 1), (1, 2, 4, 4), window_size=4)
    file = parity.ALL_GOLDEN / "components" / "swin_e16_w4_50x46.npz"
    component = parity.Component(file, module, SWIN_MM)
    with recorded_drop_path(component.vectors):
        parity.assert_forward_parity(component, train, 5e-6)
    with recorded_drop_path(component.vectors):
        parity.assert_backward_parity(component, train)


# Windows of another size


def test_tables_of_another_window_are_resized_with_a_message(write):
    tensors, expected = swin_tensors()
    found, kind = read_state_dict(write(to_official(tensors)))
    variables, messages = convert(found, kind, abstract_of(tiny_swin(window_size=4)))
    resized = [message for message in messages if "resized" in message]
    path = "params/backbone/stage0_block0/attn/relative_position_bias_table"
    assert f"{path} resized from (25, 1) to (49, 1)" in resized
    assert len(resized) == 5
    tables = (
        np.asarray(v["params"]["backbone"]["stage2_block0"]["attn"]["relative_position_bias_table"])
        for v in (variables, expected)
    )
    ours, theirs = (table.reshape(int(len(table) ** 0.5), -1, 2) for table in tables)
    assert ours.shape == (7, 7, 2)
    np.testing.assert_allclose(ours[3, 3], theirs[2, 2], rtol=1e-5)  # a token and itself


# Strictness


@functools.cache
def small_model():
    return DiffusionDepth(
        backbone=resnet.ResNet((1, 1), (4, 4)),
        neck=FPN(4, batch_norm=True),
        codec=ReleasedCodec(4),
        denoiser=ReleasedDenoiser(4, 4, fuse=False),
    )


@pytest.fixture
def small():
    """(state dict, kind, abstract variables, the variables that it stands for)."""
    kind, abstract = KIND[RELEASED + "ResNet"], abstract_variables(small_model())
    variables = parity.random_variables(abstract)
    tensors = parity.state_dict(variables, kind.rules, "res18")
    return tensors, kind, abstract, variables


def stored(tensors):
    def as_stored(tensor):
        return StoredTensor(tensor.shape, tensor.dtype, lambda: tensor.copy())

    return {name: as_stored(tensor) for name, tensor in tensors.items()}


def test_all_values_arrive_and_those_without_influence_may_be_nan(small):
    tensors, kind, abstract, expected = small
    assert np.isnan(tensors["depth_head.convup_fp.0.weight"]).all()
    variables, messages = convert(stored(tensors), kind, abstract)
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    assert not messages
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_precisions_become_float32(small, dtype):
    tensors, kind, abstract, expected = small
    tensors = {name: tensor.astype(dtype) for name, tensor in tensors.items()}
    variables, _ = convert(stored(tensors), kind, abstract)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    tiny.assert_trees_close(variables, expected, 1e-2)


def refusal(tensors, kind, abstract):
    """The lines of what is wrong."""
    with pytest.raises(UserError) as caught:
        convert(stored(tensors), kind, abstract)
    first, *lines = str(caught.value).split("\n  ")
    assert f"do not fit in {len(lines)} places, use" in first
    return lines


def test_everything_that_is_wrong_is_listed_once(small):
    tensors, kind, abstract, _ = small
    conv1 = "depth_backbone.layers.0.0.conv1.weight"
    del tensors[conv1]
    tensors["depth_head.model.pred.0.bias"][3] = np.inf
    tensors["depth_backbone.layers.0.0.bn1.bias"] = np.ones(5, np.float32)
    tensors["depth_backbone.layers.0.0.conv2.weight"] = np.ones((4, 4), np.float32)
    tensors["depth_backbone.layers.7.0.conv2.weight"] = np.ones((4, 4, 3, 3), np.float32)
    tensors["optimizer.state"] = np.ones(1, np.float32)
    lines = refusal(tensors, kind, abstract)
    assert sorted(lines) == [
        "depth_backbone.layers.0.0.bn1.bias: has shape (5,), giving (5,) for (4,) of "
        "params/backbone/stage0_block0/bn1/bias",
        "depth_backbone.layers.0.0.conv2.weight: has shape (4, 4), which does not fit "
        "params/backbone/stage0_block0/conv2/kernel",
        "depth_backbone.layers.7.0.conv2.weight: the model has no "
        "params/backbone/stage7_block0/conv2/kernel",
        "depth_head.model.pred.0.bias: has values that are not finite, for "
        "params/denoiser/prediction/conv0/bias",
        "nothing in the file fills params/backbone/stage0_block0/conv1/kernel",
        "optimizer.state: is no tensor of this kind of model",
    ]


@pytest.mark.parametrize(
    "name", ["depth_head.model.time_embedding.weight", "depth_head.model.pred.4.bias"]
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(small, name, value):
    tensors, kind, abstract, _ = small
    tensors[name].flat[-1] = value
    (line,) = refusal(tensors, kind, abstract)
    assert line.startswith(f"{name}: has values that are not finite")


def test_no_released_leaf_may_be_missing(small):
    """Not even one that files of a Swin alone may lack."""
    tensors, kind, abstract, _ = small
    for name in list(tensors):
        target, transform = parity.match(kind.rules, name)
        if transform != "ignore" and "backbone" in name:
            rest = {other: tensor for other, tensor in tensors.items() if other != name}
            assert refusal(rest, kind, abstract) == [f"nothing in the file fills {target}"]


def test_a_swin_may_lack_its_stage_norms_and_nothing_else():
    """Block norms have the same names."""
    tensors, _ = swin_tensors()
    kind, abstract = KIND["Swin, mmseg naming"], abstract_of(tiny_swin())
    for name in [name for name in tensors if re.search("patch_embed|blocks.0.norm1", name)]:
        target, transform = parity.match(kind.rules, name)
        if transform != "ignore":
            rest = {other: tensor for other, tensor in tensors.items() if other != name}
            assert refusal(rest, kind, abstract) == [f"nothing in the file fills {target}"]


def test_two_tensors_for_one_leaf_are_refused():
    tensors, _ = swin_tensors()
    named = to_hugging_face(tensors)
    named = {name.removeprefix("swin."): tensor for name, tensor in named.items()}
    table = "encoder.layers.0.blocks.0.attention.self.relative_position_bias_table"
    named[table.replace("self.", "")] = named[table]
    kind = KIND["Swin, Hugging Face naming"]
    joined = state_dicts.join_tensors(stored(named))
    with pytest.raises(UserError, match="relative_position_bias_table is filled already"):
        convert(joined, kind, abstract_of(tiny_swin()))


@pytest.mark.parametrize("part", ["query", "key", "value"])
def test_an_incomplete_attention_of_hugging_face_is_named(write, part):
    named = to_hugging_face(swin_tensors()[0])
    del named[f"swin.encoder.layers.1.blocks.0.attention.self.{part}.bias"]
    found, kind = read_state_dict(write(named))
    with pytest.raises(UserError, match=r"in 3 places(.|\n)*stage1_block0/attn/qkv/bias"):
        convert(found, kind, abstract_of(tiny_swin()))


def test_an_alias_that_differs_or_repeats_nothing_is_refused():
    """MPViT's layers share position encodings, and their files repeat them."""
    prefix = "depth_backbone.mhca_stages.0.mhca_blks.0."
    original, alias = f"{prefix}cpe.proj.bias", f"{prefix}MHCA_layers.0.cpe.proj.bias"
    kind = KIND[RELEASED + "MPViT"]
    path, transform = parity.match(kind.rules, original)
    abstract = {"params": {"backbone": {"stage0": {"encoder0": {"cpe": {"bias": np.zeros(2)}}}}}}
    assert (path, transform) == ("params/backbone/stage0/encoder0/cpe/bias", "same")
    one, two = np.float32([1, 2]), np.float32([1, 3])
    variables, _ = convert(stored({original: one, alias: one}), kind, abstract)
    np.testing.assert_array_equal(
        variables["params"]["backbone"]["stage0"]["encoder0"]["cpe"]["bias"], one
    )
    assert refusal({original: one, alias: two}, kind, abstract) == [
        f"{alias}: should repeat {original}, and differs"
    ]
    assert f"{alias}: repeats {original}, which the file lacks" in refusal(
        {alias: two}, kind, abstract
    )
