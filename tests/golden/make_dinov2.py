"""Wrote dinov2*.npz: random weights as transformers stores them, hidden states and gradients.

python -m venv VENV && VENV/bin/pip install torch==2.13.0 transformers==5.24.0
VENV/bin/python tests/golden/make_dinov2.py

They are a Dinov2Model and a Dinov2WithRegistersModel, both for images of 5x5 patches. `w/` are
tensors of the saved model, `names` those of the same model in memory. Of each image `in/`, `out/`
are the patches' hidden states after each block, and those after the last norm. `cot` are cotangents
of the last image's normed states; `grad/` are the parameters' gradients by them. Weights, images
and cotangents are float16, from which float32 states came.
"""

import pathlib
import tempfile

import numpy as np
import safetensors.numpy
import torch
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)

SIZES = {
    "image_size": 70,
    "patch_size": 14,  # of Dinov2WithRegistersConfig the default is 16
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
IMAGES = ((70, 70), (42, 98), (112, 56))
MODELS = {
    "dinov2": Dinov2Model(Dinov2Config(**SIZES)),
    "dinov2_registers": Dinov2WithRegistersModel(
        Dinov2WithRegistersConfig(**SIZES, num_register_tokens=4)
    ),
}


def saved(model):
    """What is in the file, under the file's names."""
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        return safetensors.numpy.load_file(f"{directory}/model.safetensors")


@torch.no_grad()
def randomize(model, generator):
    for name, tensor in model.state_dict().items():
        center = 0.7 if "norm" in name and name.endswith("weight") else 0.0
        spread = 0.05 if "projection.weight" in name else 0.4
        draw = torch.randn(tensor.shape, generator=generator)
        tensor.copy_((center + spread * draw).half())


def states(model, image):
    """The hidden states of the patches after each block, and after the norm."""
    first = 1 + getattr(model.config, "num_register_tokens", 0)
    output = model(image, output_hidden_states=True)
    return [x[:, first:] for x in (*output.hidden_states[1:], output.last_hidden_state)]


def gradients(model, image, cotangent):
    """Under the names of the file."""
    model.zero_grad()
    (states(model, image)[-1] * cotangent).sum().backward()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.zeros_like(tensor) if tensor.grad is None else tensor.grad)
    return saved(model)


def vectors(model, generator):
    randomize(model, generator)
    arrays = {f"w/{key}": tensor.astype(np.float16) for key, tensor in saved(model).items()}
    arrays["names"] = np.array(list(model.state_dict()))
    for height, width in IMAGES:
        image = torch.randn((1, 3, height, width), generator=generator).half()
        arrays[f"in/{height}x{width}"] = image.numpy()
        with torch.no_grad():
            found = states(model, image.float())
        arrays |= {f"out/{height}x{width}/{i}": x.numpy() for i, x in enumerate(found)}
    cotangent = torch.randn(found[-1].shape, generator=generator).half()
    arrays["cot"] = cotangent.numpy()
    found = gradients(model, image.float(), cotangent.float())
    return arrays | {f"grad/{key}": tensor for key, tensor in found.items()}


def main():
    generator = torch.Generator().manual_seed(0)
    for name, model in MODELS.items():
        path = pathlib.Path(__file__).parent / f"{name}.npz"
        np.savez_compressed(path, **vectors(model.eval(), generator))


if __name__ == "__main__":
    main()
