"""Wrote small_maps.npz: Swins of timm and transformers whose last maps are as small as a window.

python -m venv VENV && VENV/bin/pip install torch==2.13.0 timm==1.0.31 transformers==5.24.0
VENV/bin/python tests/golden/make_small_maps.py

Windows of 2; maps of 16x32, 8x16, 4x8 and 2x4. `timm/w/` and `hugging_face/w/` are the tensors of a
saved model, the latter a SwinModel, and `out/` under the same names the maps ahead of any norm.
The image is uint8, [1, 64, 128, 3], and both models saw it as image / 64 - 2. Weights are float16.
"""

import pathlib
import tempfile

import numpy as np
import safetensors.numpy
import torch
from timm.models.swin_transformer import SwinTransformer
from transformers import SwinConfig, SwinModel

DEPTHS, HEADS = (1, 1, 1, 2), (1, 1, 1, 2)


def randomize(model, generator):
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            center = 0.7 if "norm" in name and name.endswith("weight") else 0.0
            tensor.copy_((center + 0.3 * torch.randn(tensor.shape, generator=generator)).half())


def timm_swin(image, generator):
    sizes = {"embed_dim": 4, "depths": DEPTHS, "num_heads": HEADS, "window_size": 2}
    model = SwinTransformer(img_size=(64, 128), num_classes=0, **sizes).eval()
    randomize(model, generator)
    return model.state_dict(), model.forward_intermediates(image, intermediates_only=True)


def hugging_face_swin(image, generator):
    sizes = {"embed_dim": 4, "depths": [*DEPTHS], "num_heads": [*HEADS], "window_size": 2}
    model = SwinModel(SwinConfig(image_size=(64, 128), **sizes), add_pooling_layer=False).eval()
    randomize(model, generator)
    outputs = model(image, output_hidden_states=True, output_hidden_states_before_downsampling=True)
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        tensors = safetensors.numpy.load_file(f"{directory}/model.safetensors")
    return tensors, outputs.reshaped_hidden_states[1:]


@torch.no_grad()
def main():
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, 64, 128, 3), generator=generator, dtype=torch.uint8)
    vectors = {"image": image.numpy()}
    seen = image.permute(0, 3, 1, 2).float() / 64 - 2
    for name, swin in (("timm", timm_swin), ("hugging_face", hugging_face_swin)):
        tensors, maps = swin(seen, generator)
        for key, tensor in tensors.items():
            vectors[f"{name}/w/{key}"] = np.asarray(tensor).astype(np.float16)
        for level, features in enumerate(maps):
            vectors[f"{name}/out/{level}"] = features.numpy()
    np.savez_compressed(pathlib.Path(__file__).parent / "small_maps.npz", **vectors)


if __name__ == "__main__":
    main()
