"""Wrote foundation.npz: random weights as transformers stores them, and what its models compute.

python -m venv VENV && VENV/bin/pip install torch==2.13.0 transformers==5.24.0
VENV/bin/python tests/golden/make_foundation.py

They are a DINOv3ViTModel with an MLP and one with SwiGLU, a Dinov2Model with SwiGLU, and a relative
and a metric DepthAnythingForDepthEstimation. Keys: MODEL/w/ tensors of the saved model, MODEL/names
those of the model in memory, MODEL/in/SIZE an image, MODEL/out/SIZE the patches' normed states or
the depth. Weights and images are float16, from which float32 states came.
"""

import pathlib
import tempfile

import numpy as np
import safetensors.numpy
import torch
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTModel,
)

ENCODER = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
DINOV3 = {**ENCODER, "num_hidden_layers": 2, "image_size": 64, "num_register_tokens": 4}


def depth_anything(kind, max_depth):
    encoder = Dinov2Config(
        **ENCODER,
        image_size=70,
        patch_size=14,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = DepthAnythingConfig(
        backbone_config=encoder,
        reassemble_hidden_size=16,
        patch_size=14,
        neck_hidden_sizes=[4, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=32,
        depth_estimation_type=kind,
        max_depth=max_depth,
    )
    return DepthAnythingForDepthEstimation(config)


MODELS = {
    "dinov3": DINOv3ViTModel(DINOv3ViTConfig(**DINOV3, intermediate_size=64)),
    "dinov3_plus": DINOv3ViTModel(
        DINOv3ViTConfig(**DINOV3, intermediate_size=24, use_gated_mlp=True, hidden_act="silu")
    ),
    "dinov2_giant": Dinov2Model(
        Dinov2Config(
            **{**ENCODER, "num_hidden_layers": 2},
            image_size=70,
            patch_size=14,
            use_swiglu_ffn=True,
        )
    ),
    "relative": depth_anything("relative", 1),
    "metric": depth_anything("metric", 20),
}


def saved(model):
    """What is in the file, under the file's names."""
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        return safetensors.numpy.load_file(f"{directory}/model.safetensors")


@torch.no_grad()
def randomize(model, generator):
    for name, tensor in model.named_parameters():
        draw = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim > 1 and "token" not in name and "position" not in name:
            value = draw * tensor[0].numel() ** -0.5
        else:
            value = (0.5 if "norm" in name or "lambda" in name else 0.0) + 0.2 * draw
        # Above 0, where a relative model says something.
        tensor.copy_((value + 2 if name == "head.conv3.bias" else value).half())


def result(model, name, image):
    if name in ("relative", "metric"):
        return model(image).predicted_depth
    first = 5 if name.startswith("dinov3") else 1
    return model(image).last_hidden_state[:, first:]


@torch.no_grad()
def vectors(name, model, generator):
    randomize(model, generator)
    arrays = {f"w/{key}": tensor.astype(np.float16) for key, tensor in saved(model).items()}
    arrays["names"] = np.array(list(model.state_dict()))
    side = 16 if name.startswith("dinov3") else 14
    for rows, columns in ((64 // side + (side == 14), 64 // side + (side == 14)), (3, 7)):
        height, width = side * rows, side * columns
        image = torch.randn((1, 3, height, width), generator=generator).half()
        arrays[f"in/{height}x{width}"] = image.numpy()
        arrays[f"out/{height}x{width}"] = result(model, name, image.float()).numpy()
    return {f"{name}/{key}": array for key, array in arrays.items()}


def main():
    generator, arrays = torch.Generator().manual_seed(0), {}
    for name, model in MODELS.items():
        arrays |= vectors(name, model.eval(), generator)
    np.savez_compressed(pathlib.Path(__file__).parent / "foundation.npz", **arrays)


if __name__ == "__main__":
    main()
