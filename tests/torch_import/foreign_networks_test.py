"""A file of another network gets one sentence that says what it is."""

import numpy as np
import pytest
import safetensors.numpy

from diffdepth_jax.errors import UserError
from diffdepth_jax.torch_import.state_dicts import read_state_dict

# A few names of each, as timm 1.0.31, torchvision 0.28 and transformers 5.24 save them.
FILES = {
    "Swin V2, Microsoft": ("layers.0.blocks.0.attn.cpb_mlp.0.weight", "Swin Transformer V2"),
    "Swin V2, timm": ("layers.0.blocks.0.attn.logit_scale layers.3.downsample.norm.bias", "V2"),
    "Swin V2, timm, cr": ("stages.0.blocks.0.attn.meta_mlp.fc1.weight", "V2"),
    "Swin V2, torchvision": ("features.1.0.attn.logit_scale", "V2"),
    "Swin V2, Hugging Face": (
        "swin.encoder.layers.0.blocks.0.attention.self.logit_scale hidden_states_norms.stage1.bias",
        "V2",
    ),
    "Swin-MLP": ("layers.0.blocks.0.spatial_mlp.weight", "Swin-MLP"),
    "FocalNet": ("layers.0.blocks.0.modulation.focal_layers.0.0.weight", "FocalNet"),
    "MaxViT": ("stages.0.blocks.0.attn_grid.mlp.fc1.weight", "MaxViT"),
    "ConvNeXt, timm": ("stages.0.blocks.0.conv_dw.weight stages.0.blocks.0.gamma", "ConvNeXt"),
    "ConvNeXt, Meta": ("downsample_layers.0.0.weight stages.0.0.dwconv.weight", "ConvNeXt"),
    "ConvNeXt, torchvision": ("features.1.0.layer_scale features.1.0.block.0.bias", "ConvNeXt"),
    "ConvNeXt, Hugging Face": ("convnext.encoder.stages.0.layers.0.dwconv.bias", "ConvNeXt"),
    "PVT, timm": ("stages.0.blocks.0.attn.sr.weight patch_embed.proj.weight", "Pyramid"),
    "SegFormer": ("segformer.encoder.block.0.0.attention.self.key.bias", "SegFormer"),
    "BEiT": ("blocks.0.attn.relative_position_bias_table blocks.0.attn.qkv.weight", "BEiT"),
    "ViT, timm": ("cls_token blocks.0.attn.qkv.weight", "Vision Transformer"),
    "ViT, torchvision": ("encoder.layers.encoder_layer_0.self_attention.in_proj_bias", "(ViT)"),
    "ViT, Hugging Face": ("vit.encoder.layer.0.attention.attention.query.bias", "(ViT)"),
    "EfficientNet": ("conv_stem.weight blocks.0.0.conv_pw.weight", "EfficientNet or MobileNet"),
    "ResNet, torchvision": ("conv1.weight layer1.0.conv1.weight fc.bias", "a ResNet of another"),
    "ResNet, Hugging Face": (
        "resnet.encoder.stages.0.layers.0.layer.0.convolution.weight",
        "a ResNet of another",
    ),
    "DenseNet": ("features.denseblock1.denselayer1.norm1.weight", "DenseNet"),
    "MPViT": ("mhca_stages.0.aggregate.bn.bias", "MPViT alone"),
    "unknown": ("conv1.weight fc.weight", "unknown kind (its first tensor is conv1.weight)"),
}


def refusal(path, tensors):
    safetensors.numpy.save_file(tensors, path)
    with pytest.raises(UserError) as caught:
        read_state_dict(path)
    return str(caught.value)


@pytest.mark.parametrize(("names", "words"), FILES.values(), ids=FILES)
def test_the_network_is_named_in_one_line(tmp_path, names, words):
    tensors = {f"module.{name}": np.zeros(1, np.float32) for name in names.split()}
    message = refusal(tmp_path / "a.safetensors", tensors)
    assert message.startswith(f"{tmp_path / 'a.safetensors'} holds a") and words in message
    assert "give one of these instead: released DiffusionDepth" in message
    assert "\n" not in message


def test_a_swin_of_videos_is_told_from_a_swin_by_its_patches(tmp_path):
    table = "layers.0.blocks.0.attn.relative_position_bias_table"
    tensors = {
        "patch_embed.proj.weight": np.zeros((4, 3, 2, 4, 4), np.float32),
        table: np.zeros((15 * 13 * 13, 1), np.float32),
    }
    assert "a Video Swin" in refusal(tmp_path / "a.safetensors", tensors)
