"""Wrote hugging_face_swin.npz: random weights as transformers stores them, and their features.

python -m venv VENV && VENV/bin/pip install torch==2.13.0 transformers==5.23.0
VENV/bin/python tests/golden/make_hugging_face.py

`w/` are tensors of a saved SwinBackbone, `names` those of the same model in memory, `classifier`
those of a saved classifier. Weights and image are float16, from which float32 features came.
"""

import pathlib
import tempfile

import numpy as np
import safetensors.numpy
import torch
from transformers import SwinBackbone, SwinConfig, SwinForImageClassification

SIZES = {
    "image_size": 48,
    "embed_dim": 4,
    "depths": [2, 2, 2, 1],
    "num_heads": [1, 1, 2, 2],
    "window_size": 3,
}


def saved(model):
    """What is in the file, under the file's names."""
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory)
        return safetensors.numpy.load_file(f"{directory}/model.safetensors")


def randomize(model, generator):
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            center = 0.7 if "norm" in name and name.endswith("weight") else 0.0
            tensor.copy_((center + 0.3 * torch.randn(tensor.shape, generator=generator)).half())


@torch.no_grad()
def main():
    generator = torch.Generator().manual_seed(0)
    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = SwinBackbone(SwinConfig(**SIZES, out_features=stages)).eval()
    randomize(backbone, generator)
    image = torch.randn((1, 3, 48, 48), generator=generator).half()
    features = backbone(image.float()).feature_maps
    np.savez_compressed(
        pathlib.Path(__file__).parent / "hugging_face_swin.npz",
        **{f"w/{name}": tensor.astype(np.float16) for name, tensor in saved(backbone).items()},
        **{"in/x": image.numpy()},
        **{f"out/{level}": feature.numpy() for level, feature in enumerate(features)},
        names=np.array(list(backbone.state_dict())),
        classifier=np.array(list(saved(SwinForImageClassification(SwinConfig(**SIZES))))),
    )


if __name__ == "__main__":
    main()
