"""Files of many origins: their wrappers, prefixes and entries, and what is left out of them."""

import functools
import time

import jax
import numpy as np
import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.torch_import import state_dicts
from diffdepth_jax.torch_import.conversion import convert
from diffdepth_jax.torch_import.state_dicts import read_state_dict
from tests.torch_import.conversion_test import (
    RELEASED,
    abstract_of,
    save,
    stored,
    swin_tensors,
    tiny_swin,
    to_hugging_face,
    to_official,
    to_timm,
)

TABLE = "relative_position_bias_table"


@pytest.fixture
def write(tmp_path):
    return functools.partial(save, tmp_path / "a.safetensors")


@pytest.fixture
def read(monkeypatch):
    """Reads data as if a file held them."""

    def read(data):
        monkeypatch.setattr(state_dicts, "read_torch_file", lambda path: data)
        return read_state_dict("a.pth")

    return read


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("depth_backbone.stages.0.blocks.0.norm1.weight", RELEASED + "Swin"),
        ("module.depth_backbone.layers.0.0.conv1.weight", RELEASED + "ResNet"),
        ("depth_backbone.mhca_stages.0.aggregate.bn.bias", RELEASED + "MPViT"),
        (f"stages.0.blocks.0.attn.w_msa.{TABLE}", "Swin, mmseg naming"),
        (f"backbone.stages.0.blocks.0.attn.w_msa.{TABLE}", "Swin, mmseg naming"),
        (f"module.backbone.stages.0.blocks.0.attn.w_msa.{TABLE}", "Swin, mmseg naming"),
        (f"swin.encoder.layers.0.blocks.0.attention.self.{TABLE}", "Swin, Hugging Face naming"),
        (f"layers.0.blocks.0.attn.{TABLE}", "Swin, official naming"),
    ],
)
def test_a_file_is_recognised_by_its_names(write, name, kind):
    assert read_state_dict(write({name: np.zeros(1, np.float32)}))[1].name == kind


# Wrappers


def official():
    """Tensors of Microsoft's names, without head and mask."""
    tensors, _ = swin_tensors()
    named = to_official(tensors)
    return {name: x for name, x in named.items() if not name.startswith(("head", "norm."))}


def prefixed(prefix, tensors):
    return {prefix + name: x for name, x in tensors.items()}


def assert_converts(found, kind, left_out=(), kind_name="Swin, official naming"):
    assert kind.name == kind_name
    variables, messages = convert(found, kind, abstract_of(tiny_swin()))
    jax.tree.map(np.testing.assert_array_equal, variables, swin_tensors()[1])
    assert [text for text in messages if "starts at" not in text] == list(left_out)


@pytest.mark.parametrize(
    "prefix",
    [
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "module.module.",
        "model._orig_mod.backbone.",
        "_fsdp_wrapped_module.model.",
        "teacher.backbone.",
        "net._orig_mod.module.",
    ],
)
def test_wrapping_models_leave_no_trace(read, prefix):
    assert_converts(*read(stored(prefixed(prefix, official()))))


def test_modules_that_are_compiled_or_sharded_one_by_one(read):
    def wrap(name):
        name = name.replace("blocks.0.", "blocks.0._checkpoint_wrapped_module.")
        return name.replace("layers.1.", "layers.1._orig_mod._fsdp_wrapped_module.")

    assert_converts(*read(stored({wrap(name): x for name, x in official().items()})))


def test_a_moving_average_brings_its_counter(read):
    tensors = prefixed("module.", official()) | {"n_averaged": np.int64(3)[None]}
    assert_converts(*read(stored(tensors)))


@pytest.mark.parametrize(
    "entries",
    [
        ["model"],
        ["state_dict"],
        ["model_state_dict"],
        ["state_dict_ema"],
        ["model_ema"],
        ["ema"],
        ["ema", "module"],
        ["teacher"],
        ["checkpoint of mine", "model"],
    ],
)
def test_the_entry_of_the_weights_is_found(read, entries):
    """Beside an optimizer's state, whose tensors have no names."""
    data = stored(official())
    for entry in reversed(entries):
        moments = {"state": {0: stored({"exp_avg": np.zeros(3, np.float32)})}}
        data = {"epoch": 3, entry: data, "optimizer": moments}
    assert_converts(*read(data))


def test_of_several_state_dicts_one_is_taken_with_a_message(read):
    other = {"layers.0.blocks.0.norm1.weight": np.zeros(4, np.float32)}
    data = {"model_ema": stored(other), "model": stored(official()), "args": {}}
    message = "the weights are those of model; left out: model_ema"
    assert_converts(*read(data), [message])
    data = {"student": stored(other), "teacher": stored(official())}
    assert_converts(*read(data), ["the weights are those of teacher; left out: student"])


def test_state_dicts_without_a_known_name_are_refused_if_there_are_two(read):
    one = {"layers.0.blocks.0.norm1.weight": np.zeros(4, np.float32)}
    with pytest.raises(UserError, match=r"a\.pth holds several state dicts \(first, second\)"):
        read({"first": stored(one), "second": stored(one)})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, r"holds no state dict: give"),
        ([1, 2], r"holds no state dict: give"),
        ({"epoch": 3, "optimizer": {}}, r"no state dict \(its entries are epoch, optimizer\)"),
        (
            stored(dict.fromkeys(["module.layers.0.a", "layers.0.a"], np.zeros(1, np.float32))),
            r"two tensors of a\.pth differ only in the prefix",
        ),
    ],
)
def test_what_holds_no_single_state_dict_is_refused(read, data, words):
    with pytest.raises(UserError, match=words):
        read(data)


def test_a_dict_inside_itself_ends_the_search(read):
    data = {"epoch": 3}
    data |= {"model": data, "ema": data}
    with pytest.raises(UserError, match="holds no state dict"):
        read(data)
    assert_converts(*read(data | {"net": stored(official())}))


def test_dicts_that_hold_one_dict_again_and_again_are_searched_once(read):
    """The path through them is of 300 ** 4 steps."""
    data = {}
    for _ in range(4):
        data = dict.fromkeys(range(300), data)
    begin = time.process_time()
    with pytest.raises(UserError, match="holds no state dict"):
        read(data)
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("name", ["ema." * 20_000 + "x", 3])
def test_names_of_tensors_that_no_model_has_are_refused(read, name):
    data = stored(official())
    with pytest.raises(UserError, match="names a tensor"):
        read(data | {name: data["layers.0.blocks.0.norm1.weight"]})


def test_many_prefixes_are_taken_off_at_once(read):
    assert_converts(*read(stored(prefixed("ema.module." * 20, official()))))


@pytest.mark.parametrize("part", ["query", "key"])
def test_matrices_that_are_numbers_are_refused(read, part):
    named = to_hugging_face(swin_tensors()[0])
    one = {name: np.float32(1) for name in named if ".attention.self." in name}
    with pytest.raises(UserError, match="differ in shape or have none"):
        read(stored(named | {name: x for name, x in one.items() if part in name or part == "key"}))


# Namings


def test_features_of_timm(read):
    """timm's features_only=True writes layers_0.blocks for layers.0.blocks, and has no head."""
    named = {
        name.replace("layers.", "layers_"): x for name, x in to_timm(swin_tensors()[0]).items()
    }
    named = {name: x for name, x in named.items() if not name.startswith(("head", "norm."))}
    assert_converts(*read(stored(named)), kind_name="Swin, timm (from 0.9) naming")


PARTS = {"decoder.0.bias": np.ones(2, np.float32), "decoder.0.weight": np.ones(2, np.float32)}
LEFT_OUT = "left out, because the backbone does not use them: "


def test_masked_image_models_of_simmim(read):
    encoder = prefixed("encoder.", official() | {"mask_token": np.ones(4, np.float32)})
    left_out = [LEFT_OUT + "mask_token, decoder.0.bias, decoder.0.weight"]
    assert_converts(*read({"model": stored(encoder | PARTS)}), left_out)


def test_masked_image_models_of_hugging_face(read):
    named = to_hugging_face(swin_tensors()[0])
    named = {name: x for name, x in named.items() if not name.startswith(("classifier", "swin.la"))}
    named |= {"swin.embeddings.mask_token": np.ones(4, np.float32)} | PARTS
    left_out = [LEFT_OUT + "embeddings.mask_token, decoder.0.bias, decoder.0.weight"]
    assert_converts(*read(stored(named)), left_out, "Swin, Hugging Face naming")


def test_many_tensors_of_other_parts_are_counted(read):
    heads = {f"head.mlp.{n}.bias": np.ones(1, np.float32) for n in range(6)}
    left_out = [LEFT_OUT + ", ".join(f"head.mlp.{n}.bias" for n in range(4)) + " and 2 more"]
    assert_converts(*read(stored(official() | heads)), left_out)


def test_what_is_no_known_part_is_refused(read):
    found, kind = read(stored(official() | {"adapter.weight": np.ones(1, np.float32)}))
    with pytest.raises(UserError, match=r"in 1 places.*\n  adapter\.weight: is no tensor"):
        convert(found, kind, abstract_of(tiny_swin()))
