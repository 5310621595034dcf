"""Depth from an exported model, with nothing but jax: pip install jax flatbuffers

python load_exported.py MODEL IMAGE.npy DEPTH.npy [MODEL.npz]
"""

import sys

import jax
import jax.export
import numpy as np

if len(sys.argv) not in (4, 5):
    sys.exit("usage: python load_exported.py MODEL IMAGE.npy DEPTH.npy [MODEL.npz]")
model, image, depth, *beside = sys.argv[1:]
with open(model, "rb") as file:
    exported = jax.export.deserialize(bytearray(file.read()))
parameters = [dict(np.load(path)) for path in beside]  # of --parameters=beside
images = np.load(image)[None]  # uint8 RGB [1, H, W, 3]
if images.size == 0 or max(images.shape) > 16384:  # jax would say less
    sys.exit(f"image of shape {images.shape[1:]}: sides must be 1 to 16384")
metres = jax.jit(exported.call)(*parameters, images, np.uint32(0))  # float32 [1, H, W]
np.save(depth, metres[0])
