"""Compares foundation models with those of transformers under random weights, in both precisions.

python -m benchmarks.foundation_parity [--models NAME ...] [--double] [--output=FILE.json]

It needs `pip install torch==2.13.0 transformers==5.24.0`. A number is the largest difference as a
fraction of the largest value: of the last normed states of the patches, or of depth or inverse
depth. With --double, transformers' model computes in float64, too: "ours" and "theirs" are then the
differences of both float32 results from it, which tells whose rounding a difference is.
"""

import argparse
import json
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.backbone_parity import largest, nchw, random_image, randomize
from diffdepth_jax.configs import depth_anything_v2
from diffdepth_jax.configuration import groups
from diffdepth_jax.method.refinement import predict
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.backbones import dinov2, dinov3
from diffdepth_jax.models.variables import abstract_backbone, abstract_variables
from diffdepth_jax.torch_import.conversion import convert
from diffdepth_jax.torch_import.state_dicts import read_state_dict

DEPTH_ANYTHING = ("small", "small_indoor", "base", "base_outdoor", "large", "large_indoor")
DINOV3 = tuple(name for name in dinov3.VARIANTS if "nano" not in name)
GIANT = "dinov2_giant_narrow"  # the giant's blocks, a quarter as wide and deep
_NARROW = {"features": 384, "depth": 10, "num_heads": 6, "layers": (10,), "gated": 1024}
Facts = dict[str, Any]
Compare = tuple[torch.nn.Module, Callable, Callable, tuple[tuple[int, int], ...]]


def variables_of(model: Any, abstract: Any) -> Any:
    """Our variables of a model of transformers, by way of its file."""
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        return convert(*read_state_dict(f"{directory}/model.safetensors"), abstract)[0]


def depth_anything(variant: str) -> Compare:
    """The model of a variant of configs/depth_anything_v2.py."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    from diffdepth_jax.models.depth_anything import widths_of

    fields = groups.read(depth_anything_v2.get_config(variant)).model
    encoder, widths = dinov2.VARIANTS[fields.backbone], widths_of(fields.backbone)
    backbone = Dinov2Config(
        hidden_size=encoder["features"],
        num_hidden_layers=encoder["depth"],
        num_attention_heads=encoder["num_heads"],
        image_size=518,
        patch_size=14,
        out_indices=list(encoder["layers"]),
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=encoder["features"],
        patch_size=14,
        neck_hidden_sizes=list(widths.pyramid),
        fusion_hidden_size=widths.fused,
        head_hidden_size=32,
        depth_estimation_type="metric" if fields.max_depth else "relative",
        max_depth=int(fields.max_depth) or 1,
    )
    model, ours = DepthAnythingForDepthEstimation(config).eval(), create_model(fields)
    randomize(model)
    variables = variables_of(model, abstract_variables(ours))

    @jax.jit
    def run(image):
        noise = jnp.zeros((1, *ours.latent_shape(*image.shape[1:3])))
        decoded = predict(ours, variables, image, noise, schedule=None, num_steps=1)
        depth = jnp.exp(decoded.log_depth)
        return depth if fields.max_depth else decoded.inverse_depth

    return model, run, lambda x: model(x).predicted_depth, ((518, 518), (266, 490))


def dinov3_model(name: str) -> Compare:
    """The DINOv3ViTModel of a name in dinov3.VARIANTS."""
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    fields = dinov3.VARIANTS[name] | {"layers": (dinov3.VARIANTS[name]["depth"],)}
    gated = fields.get("gated", 0)
    config = DINOv3ViTConfig(
        hidden_size=fields["features"],
        num_hidden_layers=fields["depth"],
        num_attention_heads=fields["num_heads"],
        intermediate_size=gated or 4 * fields["features"],
        num_register_tokens=4,
        use_gated_mlp=bool(gated),
        hidden_act="silu" if gated else "gelu",
    )
    model = DINOv3ViTModel(config).eval()
    return _backbone(model, dinov3.DINOv3(**fields), 5, ((224, 224), (208, 368)))


def giant_model() -> Compare:
    """A Dinov2Model with SwiGLU."""
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=_NARROW["features"],
        num_hidden_layers=_NARROW["depth"],
        num_attention_heads=_NARROW["num_heads"],
        image_size=518,
        patch_size=14,
        use_swiglu_ffn=True,
    )
    model = Dinov2Model(config).eval()
    return _backbone(model, dinov2.DINOv2(**_NARROW), 1, ((518, 518), (266, 490)))


def _backbone(model: Any, module: Any, first: int, sizes: tuple[tuple[int, int], ...]) -> Compare:
    randomize(model)
    variables = variables_of(model, abstract_backbone(module))
    weights = {"params": variables["params"]["backbone"]}
    run = jax.jit(lambda image: module.apply(weights, image)[-1])
    return model, run, lambda x: model(x).last_hidden_state[:, first:], sizes


def compare(name: str, double: bool) -> Facts:
    """The differences of a model by the size of the image."""
    made = giant_model() if name == GIANT else None
    made = made or (dinov3_model(name) if name in DINOV3 else depth_anything(name))
    model, ours, theirs, sizes = made
    facts: Facts = {}
    for size in sizes:
        image = random_image(size)
        with torch.inference_mode():
            found, expected = np.asarray(ours(image)), theirs(nchw(image)).numpy()
        facts[f"{size[0]}x{size[1]}"] = {"difference": largest([found], [expected])}
        if double:
            with torch.inference_mode():
                exact = theirs_in_double(model, theirs, image)
            facts[f"{size[0]}x{size[1]}"] |= {
                "ours": largest([found], [exact]),
                "theirs": largest([expected], [exact]),
            }
    return facts


def theirs_in_double(model: Any, theirs: Callable, image: np.ndarray) -> np.ndarray:
    """What transformers' model computes in float64; the model comes back to float32."""
    result = None
    model.double()
    try:
        result = theirs(nchw(image).double()).numpy()
    finally:
        model.float()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = (*DEPTH_ANYTHING, *DINOV3, GIANT)
    parser.add_argument("--models", nargs="+", choices=names, default=names)
    parser.add_argument("--double", action="store_true")
    parser.add_argument("--output", type=pathlib.Path)
    arguments, facts = parser.parse_args(), {}
    for name in arguments.models:
        facts[name] = compare(name, arguments.double)
        print(name, json.dumps(facts[name]), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
