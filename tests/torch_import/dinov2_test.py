"""The namings of DINOv2, what they say about the position table, and files that are refused."""

import functools
import re

import jax
import numpy as np
import pytest

from diffdepth_jax.checkpoints.model_directory import load_variables, read_config
from diffdepth_jax.convert import convert_file
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.backbone_choice import create_backbone
from diffdepth_jax.models.backbones import dinov2
from diffdepth_jax.models.backbones.dinov2 import DINOv2
from diffdepth_jax.torch_import.conversion import convert, load_backbone
from diffdepth_jax.torch_import.state_dicts import read_state_dict
from tests.support import parity, small_run
from tests.torch_import.conversion_test import abstract_of, save


def tiny_dinov2(registers=0):
    return DINOv2(8, 2, 2, (1, 2), num_registers=registers, table_side=3)


@functools.cache
def leaves(registers=0):
    """Random variables, and the same by path."""
    variables = parity.random_variables(abstract_of(tiny_dinov2(registers)))
    return variables, parity.leaves_of(variables["params"]["backbone"])


def official(registers=0):
    """As the authors save it."""
    found, tensors = leaves(registers)[1], {}
    names = {"attn/qkv": "attn.qkv", "attn/proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    for block in range(2):
        for ours, theirs in names.items():
            path, name = f"block{block}/{ours}", f"blocks.{block}.{theirs}"
            tensors[f"{name}.weight"] = found[f"{path}/kernel"].T
            tensors[f"{name}.bias"] = found[f"{path}/bias"]
        for number in "12":
            path, name = f"block{block}/norm{number}", f"blocks.{block}.norm{number}"
            tensors[f"{name}.weight"] = found[f"{path}/scale"]
            tensors[f"{name}.bias"] = found[f"{path}/bias"]
            scale = found[f"block{block}/scale{number}/gamma"]
            tensors[f"blocks.{block}.ls{number}.gamma"] = scale
    tensors["patch_embed.proj.weight"] = found["patch_embed/kernel"].transpose(3, 2, 0, 1)
    tensors["patch_embed.proj.bias"] = found["patch_embed/bias"]
    tensors["norm.weight"], tensors["norm.bias"] = found["norm/scale"], found["norm/bias"]
    tensors["cls_token"] = found["class_token"][None]
    tensors["pos_embed"] = found["position_table"][None]
    tensors["mask_token"] = np.ones((1, 8), np.float32)
    if registers:
        tensors["register_tokens"] = found["register_tokens"][None]
    return tensors


def in_chunks(registers=0):
    """Of models for FSDP; blocks are counted over all chunks."""
    tensors = official(registers)
    return {re.sub(r"^blocks\.(\d)", r"blocks.\1.\1", name): x for name, x in tensors.items()}


def timm(registers=0):
    tensors = official(registers)
    del tensors["mask_token"]
    if registers:
        tensors["reg_token"] = tensors.pop("register_tokens")
        tensors["pos_embed"] = tensors["pos_embed"][:, 1:]
    return tensors


def hugging_face(registers=0, prefix=""):
    table = [
        (r"cls_token|mask_token|register_tokens", r"embeddings.\g<0>"),
        (r"pos_embed", "embeddings.position_embeddings"),
        (r"patch_embed\.proj", "embeddings.patch_embeddings.projection"),
        (r"^norm", "layernorm"),
        (r"^blocks", "encoder.layer"),
        (r"attn\.proj", "attention.output.dense"),
        (r"ls(\d)\.gamma", r"layer_scale\1.lambda1"),
    ]
    named = {}
    for name, tensor in official(registers).items():
        for pattern, other in table:
            name = re.sub(pattern, other, name)
        if ".qkv." in name:
            for part, third in zip(("query", "key", "value"), np.split(tensor, 3), strict=True):
                named[prefix + name.replace("attn.qkv", f"attention.attention.{part}")] = third
        else:
            named[prefix + name] = tensor
    return named


def classifier(registers=0):
    """Of Hugging Face."""
    prefix = "dinov2_with_registers." if registers else "dinov2."
    return hugging_face(registers, prefix) | {"classifier.bias": np.ones(3, np.float32)}


NAMINGS = {
    official: ("official", ("scale_offset", "size_antialiased")),
    in_chunks: ("official", ("scale_offset", "size_antialiased")),
    timm: ("timm", ("size_antialiased", "size_antialiased")),
    hugging_face: ("Hugging Face", ("size", "size_antialiased")),
    classifier: ("Hugging Face", ("size", "size_antialiased")),
}


@pytest.fixture
def write(tmp_path):
    return functools.partial(save, tmp_path / "a.safetensors")


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("naming", NAMINGS)
def test_equal_weights_under_every_naming_give_equal_variables(write, naming, registers):
    """timm adds the class token's position to the token, so that its own row is 0."""
    tensors, kind = read_state_dict(write(naming(registers)))
    name, interpolations = NAMINGS[naming]
    assert kind.name == f"DINOv2, {name}{' (registers)' * bool(registers)} naming"
    assert kind.position_interpolation == interpolations[bool(registers)]
    variables, messages = convert(tensors, kind, abstract_of(tiny_dinov2(registers)))
    backbone = variables["params"]["backbone"]
    expected = jax.tree.map(np.copy, leaves(registers)[0]["params"]["backbone"])
    if naming is timm and registers:
        expected["position_table"][0] = 0
    jax.tree.map(np.testing.assert_array_equal, backbone, expected)
    assert all("left out" in message for message in messages)
    assert bool(messages) == (naming is not timm)


@pytest.mark.parametrize("naming", NAMINGS)
def test_no_tensor_may_be_missing_or_unknown(write, naming):
    tensors = naming(4)
    for name in [n for n in tensors if "mask_token" not in n and "classifier" not in n]:
        if re.search(r"(?:blocks\.1|layer\.1)\.", name):
            continue
        rest = {other: tensor for other, tensor in tensors.items() if other != name}
        found, kind = read_state_dict(write(rest))
        with pytest.raises(UserError, match="nothing in the file fills"):
            convert(found, kind, abstract_of(tiny_dinov2(4)))
    found, kind = read_state_dict(write({**tensors, "rope": np.ones(1, np.float32)}))
    with pytest.raises(UserError, match="rope: is no tensor of this kind"):
        convert(found, kind, abstract_of(tiny_dinov2(4)))


@functools.cache
def giant_leaves():
    """Random variables of a DINOv2 with SwiGLU, as the authors save it: mlp.w12 and mlp.w3."""
    module = DINOv2(8, 2, 2, (1, 2), gated=12, table_side=3)
    variables = parity.random_variables(abstract_of(module))
    found, tensors = parity.leaves_of(variables["params"]["backbone"]), official()
    for block in range(2):
        for ours, theirs in (("fc1", "w12"), ("fc2", "w3")):
            del tensors[f"blocks.{block}.mlp.{ours}.weight"]
            del tensors[f"blocks.{block}.mlp.{ours}.bias"]
            path, name = f"block{block}/{ours}", f"blocks.{block}.mlp.{theirs}"
            tensors[f"{name}.weight"] = found[f"{path}/kernel"].T
            tensors[f"{name}.bias"] = found[f"{path}/bias"]
    return module, found, tensors


@pytest.mark.parametrize("naming", ["official", "timm", "Hugging Face", "Hugging Face in memory"])
def test_a_giant_under_every_naming(write, naming):
    """Gate and value are one matrix in files, and two in models of transformers in memory."""
    module, found, tensors = giant_leaves()
    tensors = dict(tensors)
    for name in [name for name in tensors if ".mlp." in name]:
        tensor, stem = tensors.pop(name), name.rsplit(".", 2)[0]
        leaf, first = name.rsplit(".", 1)[1], ".w12." in name
        if naming == "official":
            tensors[name] = tensor
        elif naming == "timm":
            tensors[f"{stem}.{'fc1' if first else 'fc2'}.{leaf}"] = tensor
        elif naming == "Hugging Face":
            tensors[f"{stem}.{'weights_in' if first else 'weights_out'}.{leaf}"] = tensor
        elif first:
            gate, value = np.split(tensor, 2)
            tensors |= {f"{stem}.gate_proj.{leaf}": gate, f"{stem}.up_proj.{leaf}": value}
        else:
            tensors[f"{stem}.down_proj.{leaf}"] = tensor
    state, kind = read_state_dict(write(tensors))
    variables, _ = convert(state, kind, abstract_of(module))
    leaves = parity.leaves_of(variables["params"]["backbone"])
    for path in (path for path in found if "/fc" in path):
        np.testing.assert_array_equal(leaves[path], found[path], err_msg=path)


# The configuration


@pytest.fixture
def nano(monkeypatch):
    """A configuration of a tiny DINOv2."""
    fields = {"features": 8, "depth": 2, "num_heads": 2, "layers": (1, 2), "table_side": 3}
    monkeypatch.setitem(dinov2.VARIANTS, "dinov2_nano", fields)
    return small_run.config(model__backbone="dinov2_nano")


def test_conversion_sets_the_interpolation_of_the_files_code(nano, write, tmp_path):
    messages = convert_file(write(official()), nano, tmp_path / "converted")
    assert "model.position_interpolation becomes scale_offset instead of size" in messages[1]
    assert read_config(tmp_path / "converted").model.position_interpolation == "scale_offset"
    found = load_variables(tmp_path / "converted", None)
    jax.tree.map(np.testing.assert_array_equal, found, leaves()[0])


def test_training_refuses_a_file_whose_code_interpolates_otherwise(nano, write):
    path, abstract = write(official()), abstract_of(create_backbone(nano.model))
    with pytest.raises(UserError, match=r"set model\.position_interpolation=scale_offset$"):
        load_backbone(path, abstract, "size")
    variables, _ = load_backbone(path, abstract, "scale_offset")
    jax.tree.map(np.testing.assert_array_equal, variables, leaves()[0])
