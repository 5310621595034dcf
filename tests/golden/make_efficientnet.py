"""Wrote efficientnet_lite.npz: a small EfficientNet-Lite, evaluating and training, with gradients.

python -m venv VENV && VENV/bin/pip install torch==2.13.0 efficientnet-lite-pytorch==0.1.0
VENV/bin/python tests/golden/make_efficientnet.py

The network is the package's, with two of the seven stages and padding for any size. `w/` is its
state dict, `in/x` an image, `out/` the last map of each stride, `bn_after/` the running statistics
after a step; `_train` marks the training mode, without stochastic depth. `grad_train/` are the
gradients of `sum(out_train * cot)`. Weights, image and cotangents are float16.
"""

import pathlib

import numpy as np
import torch
from efficientnet_lite_pytorch.model import EfficientNet
from efficientnet_lite_pytorch.utils import BlockDecoder, get_model_params

STAGES = ["r1_k3_s11_e1_i8_o8", "r2_k5_s22_e3_i8_o16"]


def create():
    _, fields = get_model_params("efficientnet-lite0", {"image_size": None, "num_classes": 1})
    model = EfficientNet(BlockDecoder.decode(STAGES), fields._replace(drop_connect_rate=0.0))
    model._conv_head = model._bn1 = model._fc = torch.nn.Identity()  # of the classifier
    return model


@torch.no_grad()
def randomize(model, generator):
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            draw = torch.randn(tensor.shape, generator=generator)
            if "bn" in name and name.endswith(("weight", "var")):
                tensor.copy_((1 + 0.3 * draw).abs().half())
            else:
                tensor.copy_((draw * max(tensor[0].numel(), 4) ** -0.5).half())


def maps(model, image):
    x, found = model._swish(model._bn0(model._conv_stem(image))), []
    for block in model._blocks:
        if block._depthwise_conv.stride[0] == 2:
            found.append(x)
        x = block(x)
    return [*found, x]


def main():
    generator = torch.Generator().manual_seed(0)
    model = create()
    randomize(model, generator)
    image = torch.randn((2, 3, 22, 31), generator=generator).half()
    arrays = {f"w/{name}": half(tensor) for name, tensor in model.state_dict().items()}
    arrays["in/x"] = image.numpy()
    with torch.no_grad():
        found = maps(model.eval(), image.float())
    cotangents = [torch.randn(x.shape, generator=generator).half() for x in found]
    trained = maps(model.train(), image.float())
    sum((x * cot.float()).sum() for x, cot in zip(trained, cotangents, strict=True)).backward()
    for index, (x, y, cot) in enumerate(zip(found, trained, cotangents, strict=True)):
        arrays |= {f"out/{index}": x.numpy(), f"out_train/{index}": y.detach().numpy()}
        arrays[f"cot/{index}"] = cot.numpy()
    arrays |= {f"grad_train/{n}": p.grad.numpy() for n, p in model.named_parameters()}
    arrays |= {f"bn_after/{n}": x.numpy() for n, x in model.named_buffers() if "running" in n}
    np.savez_compressed(pathlib.Path(__file__).parent / "efficientnet_lite.npz", **arrays)


def half(tensor):
    array = tensor.numpy()
    return array.astype(np.float16) if tensor.is_floating_point() else array


if __name__ == "__main__":
    main()
