"""Depth from an ONNX file, with nothing but ONNX Runtime: pip install onnxruntime

python load_onnx.py MODEL.onnx IMAGE.npy DEPTH.npy
"""

import sys

import numpy as np
import onnxruntime

if len(sys.argv) != 4:
    sys.exit("usage: python load_onnx.py MODEL.onnx IMAGE.npy DEPTH.npy")
model, image, depth = sys.argv[1:]
images = np.load(image)[None]  # uint8 RGB [1, H, W, 3]
if images.size == 0 or max(images.shape) > 16384:
    sys.exit(f"image of shape {images.shape[1:]}: sides must be 1 to 16384")
session = onnxruntime.InferenceSession(model)
(metres,) = session.run(["depth"], {"images": images})  # float32 [1, H, W]
np.save(depth, metres[0])
