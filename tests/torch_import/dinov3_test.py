"""The namings of DINOv3 at every published size, and equal weights under each of them."""

import functools

import numpy as np
import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.models.backbones import dinov2, dinov3
from diffdepth_jax.torch_import.conversion import convert
from diffdepth_jax.torch_import.kinds import KINDS
from diffdepth_jax.torch_import.reader_pickles import StoredTensor
from diffdepth_jax.torch_import.rules import TRANSFORMS
from diffdepth_jax.torch_import.state_dicts import join_tensors, read_state_dict
from tests.support import parity
from tests.torch_import.conversion_test import abstract_of, save

KIND = {kind.name: kind for kind in KINDS}
TINY = {"features": 16, "depth": 2, "num_heads": 2, "layers": (1, 2)}


def _linear(name, outputs, inputs, bias=True):
    return {f"{name}.weight": (outputs, inputs)} | ({f"{name}.bias": (outputs,)} if bias else {})


def _affine(name, features):
    return {f"{name}.weight": (features,), f"{name}.bias": (features,)}


def official(features, depth, gated=0, **_):
    """Names and shapes of the authors' DinoVisionTransformer with 4 storage tokens."""
    shapes = {
        "cls_token": (1, 1, features),
        "storage_tokens": (1, 4, features),
        "mask_token": (1, features),
        "rope_embed.periods": (16,),
        "patch_embed.proj.weight": (features, 3, 16, 16),
        "patch_embed.proj.bias": (features,),
        **_affine("norm", features),
    }
    for block in (f"blocks.{index}" for index in range(depth)):
        shapes |= _affine(f"{block}.norm1", features) | _affine(f"{block}.norm2", features)
        shapes |= _linear(f"{block}.attn.qkv", 3 * features, features)
        shapes |= {f"{block}.attn.qkv.bias_mask": (3 * features,)}
        shapes |= _linear(f"{block}.attn.proj", features, features)
        shapes |= {f"{block}.ls1.gamma": (features,), f"{block}.ls2.gamma": (features,)}
        first, last = (("w1", "w2"), "w3") if gated else (("fc1",), "fc2")
        hidden = gated or 4 * features
        for name in first:
            shapes |= _linear(f"{block}.mlp.{name}", hidden, features)
        shapes |= _linear(f"{block}.mlp.{last}", features, hidden)
    return shapes


def timm(features, depth, gated=0, bias=False, **_):
    """Of timm 1.0.31; the models with _qkvb in their names have `bias`."""
    shapes = {}
    for name, shape in official(features, depth, gated).items():
        if name in ("mask_token", "rope_embed.periods") or "bias_mask" in name:
            continue
        if name.endswith("attn.qkv.bias"):
            stem = name.removesuffix("qkv.bias")
            if bias:
                shapes |= {f"{stem}q_bias": (features,), f"{stem}v_bias": (features,)}
            continue
        for theirs, other in (
            ("storage_tokens", "reg_token"),
            ("ls1.gamma", "gamma_1"),
            ("ls2.gamma", "gamma_2"),
            ("w1", "fc1_g"),
            ("w2", "fc1_x"),
            ("w3", "fc2"),
        ):
            name = name.replace(theirs, other)
        shapes[name] = shape
    return shapes


def hugging_face(features, depth, gated=0, **_):
    """Of transformers' files."""
    shapes = {}
    for name, shape in official(features, depth, gated).items():
        if "bias_mask" in name or name == "rope_embed.periods":
            continue
        for theirs, other in (
            ("cls_token", "embeddings.cls_token"),
            ("storage_tokens", "embeddings.register_tokens"),
            ("mask_token", "embeddings.mask_token"),
            ("patch_embed.proj", "embeddings.patch_embeddings"),
            ("blocks", "layer"),
            ("attn.proj", "attention.o_proj"),
            ("ls1.gamma", "layer_scale1.lambda1"),
            ("ls2.gamma", "layer_scale2.lambda1"),
            ("w1", "gate_proj"),
            ("w2", "up_proj"),
            ("w3", "down_proj"),
            ("fc1", "up_proj"),
            ("fc2", "down_proj"),
        ):
            name = name.replace(theirs, other)
        if ".attn.qkv." in name:
            stem, leaf = name.split(".attn.qkv.")
            parts = "qkv" if leaf == "weight" else "qv"
            third = (features, *shape[1:])
            shapes |= {f"{stem}.attention.{part}_proj.{leaf}": third for part in parts}
        else:
            shapes[name] = (1, *shape) if name.endswith("mask_token") else shape
    return shapes


NAMINGS = {
    "official": official,
    "Hugging Face": hugging_face,
    "timm": timm,
    "timm with biases": functools.partial(timm, bias=True),
}


def unread(shape):
    return StoredTensor(shape, np.dtype(np.float32), lambda: np.zeros(shape, np.float32))


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("variant", dinov3.VARIANTS)
def test_each_name_has_one_rule_and_each_parameter_is_filled_once(variant, naming):
    """In its shape; a timm without biases of queries and values says that they start at 0."""
    module, kind = dinov3.DINOv3(**dinov3.VARIANTS[variant]), naming.removesuffix(" with biases")
    shapes = NAMINGS[naming](**dinov3.VARIANTS[variant])
    tensors = join_tensors({name: unread(shape) for name, shape in shapes.items()})
    wanted, filled = parity.leaves_of(abstract_of(module)), {}
    for name, tensor in tensors.items():
        target, transform = parity.match(KIND[f"DINOv3, {kind} naming"].rules, name)
        if transform in TRANSFORMS:
            assert target not in filled, name
            filled[target] = TRANSFORMS[transform](np.broadcast_to(0, tensor.shape)).shape
    lacking = {path for path in wanted if path.endswith("query_value_bias")}
    expected = {path: leaf.shape for path, leaf in wanted.items()}
    if naming == "timm":
        expected = {path: shape for path, shape in expected.items() if path not in lacking}
    assert filled == expected


@functools.cache
def vectors():
    return dict(np.load(parity.GOLDEN / "foundation.npz"))


def file_of(model):
    """The tensors that transformers has saved."""
    found = {k: v for k, v in vectors().items() if k.startswith(f"{model}/w/")}
    return {k.removeprefix(f"{model}/w/"): v.astype(np.float32) for k, v in found.items()}


@pytest.mark.parametrize(("model", "gated"), [("dinov3", 0), ("dinov3_plus", 24)])
def test_the_names_of_hugging_face_are_those_of_its_files(model, gated):
    shapes = {name: tensor.shape for name, tensor in file_of(model).items()}
    assert hugging_face(16, 2, gated) == shapes


def _as(naming, tensors):
    """Hugging Face's tensors of the one with SwiGLU under the names of another code."""
    renamed = {}
    for name, shape in NAMINGS[naming](16, 2, 24).items():
        attention = name.replace("blocks", "layer").split(".attn.")[0] + ".attention."
        if "qkv.weight" in name:
            parts = [tensors[f"{attention}{part}_proj.weight"] for part in "qkv"]
            renamed[name] = np.concatenate(parts)
        elif name.endswith("qkv.bias"):
            query, value = (tensors[f"{attention}{part}_proj.bias"] for part in "qv")
            renamed[name] = np.concatenate([query, np.full_like(query, 7), value])
        elif name.endswith("bias_mask"):
            renamed[name] = np.repeat(np.float32([1, 0, 1]), 16)
        elif name.endswith(("q_bias", "v_bias")):
            renamed[name] = tensors[f"{attention}{name[-6]}_proj.bias"]
        elif name == "rope_embed.periods":
            renamed[name] = np.ones(shape, np.float32)
        else:
            renamed[name] = tensors[_hugging_face_name(name)].reshape(shape)
    return renamed


def _hugging_face_name(name):
    for theirs, other in (
        ("gamma_1", "layer_scale1.lambda1"),
        ("gamma_2", "layer_scale2.lambda1"),
        ("ls1.gamma", "layer_scale1.lambda1"),
        ("ls2.gamma", "layer_scale2.lambda1"),
        ("cls_token", "embeddings.cls_token"),
        ("storage_tokens", "embeddings.register_tokens"),
        ("reg_token", "embeddings.register_tokens"),
        ("mask_token", "embeddings.mask_token"),
        ("patch_embed.proj", "embeddings.patch_embeddings"),
        ("blocks", "layer"),
        ("attn.proj", "attention.o_proj"),
        ("fc1_g", "gate_proj"),
        ("fc1_x", "up_proj"),
        ("fc2", "down_proj"),
        ("w1", "gate_proj"),
        ("w2", "up_proj"),
        ("w3", "down_proj"),
    ):
        name = name.replace(theirs, other)
    return name


@pytest.mark.parametrize("naming", ["official", "timm with biases"])
def test_equal_weights_under_every_naming_give_equal_variables(tmp_path, naming):
    """The authors' key biases, here 7, are masked."""
    abstract = abstract_of(dinov3.DINOv3(**TINY, gated=24))
    variables = []
    for name, tensors in (
        ("a", file_of("dinov3_plus")),
        ("b", _as(naming, file_of("dinov3_plus"))),
    ):
        found, kind = read_state_dict(save(tmp_path / f"{name}.safetensors", tensors))
        variables.append(parity.leaves_of(convert(found, kind, abstract)[0]))
    assert kind.name == f"DINOv3, {naming.removesuffix(' with biases')} naming"
    assert variables[0].keys() == variables[1].keys()
    for path, leaf in variables[0].items():
        np.testing.assert_array_equal(variables[1][path], leaf, err_msg=path)


def test_a_missing_bias_is_named(tmp_path):
    tensors = file_of("dinov3")
    del tensors["layer.1.attention.v_proj.bias"]
    found, kind = read_state_dict(save(tmp_path / "a.safetensors", tensors))
    with pytest.raises(UserError, match=r"block1/attn/query_value_bias") as caught:
        convert(found, kind, abstract_of(dinov3.DINOv3(**TINY)))
    assert "layer.1.attention.q_proj.bias: is no tensor of this kind" in str(caught.value)


def test_a_giant_dinov2_has_one_rule_for_each_name():
    module = dinov2.DINOv2(16, 2, 2, (1, 2), gated=24, table_side=5)
    rules = KIND["DINOv2, Hugging Face naming"].rules
    stored = {name: unread(tensor.shape) for name, tensor in file_of("dinov2_giant").items()}
    matches = [parity.match(rules, name) for name in join_tensors(stored)]
    filled = [target for target, transform in matches if transform in TRANSFORMS]
    assert sorted(filled) == sorted(parity.leaves_of(abstract_of(module)))
