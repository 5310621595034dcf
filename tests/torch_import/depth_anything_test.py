"""The namings of Depth Anything, what their codes do, its licences, and sharded files."""

import json
import re

import numpy as np
import pytest

from diffdepth_jax.configs import depth_anything_v2
from diffdepth_jax.configuration import groups
from diffdepth_jax.convert import convert_file
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation.model_card import licences_in
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.backbone_choice import create_backbone
from diffdepth_jax.models.backbones import dinov2
from diffdepth_jax.models.variables import abstract_backbone, abstract_variables
from diffdepth_jax.torch_import.conversion import convert, load_backbone
from diffdepth_jax.torch_import.kinds import KINDS
from diffdepth_jax.torch_import.licences import licence_of
from diffdepth_jax.torch_import.reader import read_torch_file
from diffdepth_jax.torch_import.rules import TRANSFORMS
from diffdepth_jax.torch_import.state_dicts import join_tensors, read_state_dict
from tests.support import parity
from tests.torch_import.conversion_test import save
from tests.torch_import.dinov3_test import file_of, unread

KIND = {kind.name: kind for kind in KINDS}
# Of the authors' depth_anything_v2/dpt.py and dinov2.py, from Hugging Face's.
TABLE = (
    (r"^backbone\.embeddings\.(cls_token|mask_token)", r"pretrained.\1"),
    (r"^backbone\.embeddings\.position_embeddings", "pretrained.pos_embed"),
    (r"^backbone\.embeddings\.patch_embeddings\.projection", "pretrained.patch_embed.proj"),
    (r"^backbone\.layernorm", "pretrained.norm"),
    (r"^backbone\.encoder\.layer\.(\d+)", r"pretrained.blocks.\1"),
    (r"attention\.output\.dense", "attn.proj"),
    (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.projection", r"depth_head.projects.\1"),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.resize", r"depth_head.resize_layers.\1"),
    (r"residual_layer(\d)\.convolution(\d)", r"resConfUnit\1.conv\2"),
    (r"^(neck\.fusion_stage\.layers\.\d)\.projection", r"\1.out_conv"),
    (r"^head\.conv1", "depth_head.scratch.output_conv1"),
    (r"^head\.conv2", "depth_head.scratch.output_conv2.0"),
    (r"^head\.conv3", "depth_head.scratch.output_conv2.2"),
)


def official(tensors):
    """Hugging Face's tensors as the authors name them."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, other in TABLE:
            name = re.sub(pattern, other, name)
        name = re.sub(
            r"^neck\.convs\.(\d)", lambda m: f"depth_head.scratch.layer{int(m[1]) + 1}_rn", name
        )
        name = re.sub(
            r"^neck\.fusion_stage\.layers\.(\d)",
            lambda m: f"depth_head.scratch.refinenet{4 - int(m[1])}",
            name,
        )
        renamed[name] = tensor
    for name in [name for name in renamed if ".attention.attention.query." in name]:
        parts = [renamed.pop(name.replace("query", x)) for x in ("query", "key", "value")]
        renamed[name.replace("attention.attention.query", "attn.qkv")] = np.concatenate(parts)
    return renamed


@pytest.fixture
def small_table(monkeypatch):
    nano = {**dinov2.VARIANTS["dinov2_nano"], "table_side": 5}
    monkeypatch.setitem(dinov2.VARIANTS, "dinov2_nano", nano)


def config():
    return groups.read(depth_anything_v2.get_config("nano_indoor"))


@pytest.mark.parametrize("naming", ["official", "Hugging Face"])
def test_each_name_has_one_rule_and_each_parameter_is_filled_once(small_table, naming):
    tensors = file_of("metric") if naming == "Hugging Face" else official(file_of("metric"))
    stored = join_tensors(
        {name.removeprefix("backbone."): unread(x.shape) for name, x in tensors.items()}
    )
    matches = [
        parity.match(KIND[f"Depth Anything, {naming} naming"].rules, name) for name in stored
    ]
    filled = sorted(target for target, transform in matches if transform in TRANSFORMS)
    abstract = abstract_variables(create_model(config().model))
    assert filled == sorted(parity.leaves_of(abstract))


@pytest.mark.parametrize("wrapped", ["", "module."])
def test_the_authors_names_give_the_same_variables(small_table, tmp_path, wrapped):
    """Alone, and as their training saves them, in {"model": ...} of a model that is wrapped."""
    abstract, found = abstract_variables(create_model(config().model)), []
    ours = {wrapped + name: x for name, x in official(file_of("metric")).items()}
    for index, tensors in enumerate((file_of("metric"), ours)):
        state, kind = read_state_dict(save(tmp_path / f"{index}.safetensors", tensors))
        found.append(parity.leaves_of(convert(state, kind, abstract)[0]))
    assert kind.name == "Depth Anything, official naming"
    assert kind.position_interpolation == "scale_offset" and not kind.backbone_only
    for path, leaf in found[0].items():
        np.testing.assert_array_equal(found[1][path], leaf, err_msg=path)


@pytest.mark.parametrize("naming", [official, dict])
def test_its_encoder_is_a_backbone(small_table, tmp_path, naming):
    abstract = abstract_backbone(create_backbone(config().model))
    path = save(tmp_path / "a.safetensors", naming(file_of("metric")))
    rule = "scale_offset" if naming is official else "size"
    variables, _ = load_backbone(path, abstract, rule)
    table = file_of("metric")["backbone.embeddings.position_embeddings"][0]
    backbone = variables["params"]["backbone"]
    np.testing.assert_array_equal(backbone["position_table"], table)


# Sharded files


def sharded(directory, tensors):
    """As transformers writes them; the second half of the tensors is in a second file."""
    names, places = sorted(tensors), {}
    for index, part in enumerate((names[::2], names[1::2])):
        file = f"model-{index + 1:05d}-of-00002.safetensors"
        save(directory / file, {name: tensors[name] for name in part})
        places |= dict.fromkeys(part, file)
    path = directory / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return path


def test_an_index_stands_for_the_files_that_it_names(tmp_path):
    tensors = file_of("metric")
    read = read_torch_file(sharded(tmp_path, tensors))
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(read[name].numpy(), tensor)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({"a": "../outside.safetensors"}, "names ../outside.safetensors, which is not beside it"),
        ({"a": "absent.safetensors"}, "cannot be read"),
        ({"a": "pytorch_model-1.bin"}, "is an index of pytorch_model-1.bin: give one of safe"),
        ({"missing": "model-00001-of-00002.safetensors"}, "names missing, which model-00001"),
        ({}, "is JSON without a weight_map"),
        ({"a": 3}, "is JSON without a weight_map"),
        (None, "is JSON without a weight_map"),
    ],
)
def test_an_index_that_is_not_whole_is_refused(tmp_path, places, message):
    path = sharded(tmp_path, {"x": np.ones(2, np.float32), "y": np.ones(2, np.float32)})
    path.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(UserError, match=message):
        read_torch_file(path)


# What is beside the tensors


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"says 0\.0 where the configuration has model\.max_depth 20\.0"),
        ({"depth_estimation_type": "metric", "max_depth": 80}, r"model\.max_depth=80\.0"),
        (
            {"depth_estimation_type": "metric", "max_depth": 80, "backbone_config": None},
            r"model\.max_depth=80\.0",
        ),
        (
            {
                "depth_estimation_type": "metric",
                "max_depth": 20,
                "backbone_config": {"out_indices": [3, 4, 5, 6]},
            },
            r"model\.backbone_layers=\(3, 4, 5, 6\)",
        ),
    ],
)
def test_a_config_of_another_model_beside_the_file_is_refused(
    small_table, tmp_path, fields, message
):
    path = save(tmp_path / "model.safetensors", file_of("metric"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "depth_anything", **fields}))
    with pytest.raises(UserError, match=message):
        convert_file(path, config(), tmp_path / "converted")


def test_the_licence_is_told_and_kept(small_table, tmp_path, capsys):
    """And handed on to what is made of the directory."""
    path = save(tmp_path / "model.safetensors", file_of("metric"))
    messages = convert_file(path, config(), tmp_path / "converted")
    assert messages[-1].startswith("licence of the weights: CC BY-NC 4.0, not for commercial use")
    card = (tmp_path / "converted" / "README.md").read_text()
    assert "\nlicense: cc-by-nc-4.0\n" in card and "## Licence\n\n`cc-by-nc-4.0`: CC BY" in card
    assert licences_in([tmp_path / "converted"]) in card
    assert licences_in([tmp_path / "absent"]) == ""


@pytest.mark.parametrize(
    ("kind", "backbone", "identifier"),
    [
        ("Depth Anything, official naming", "dinov2_small", "apache-2.0"),
        ("Depth Anything, official naming", "dinov2_large", "cc-by-nc-4.0"),
        ("DINOv2, timm naming", "dinov2_large", "apache-2.0"),
        ("DINOv3, timm naming", "dinov3_large", "other"),
    ],
)
def test_licences_are_the_authors(kind, backbone, identifier):
    licence = licence_of(KIND[kind], backbone)
    assert licence is not None and licence.identifier == identifier


def test_a_licence_that_is_not_known_is_not_told():
    assert licence_of(KIND["Swin, timm (from 0.9) naming"], "swin_tiny") is None
