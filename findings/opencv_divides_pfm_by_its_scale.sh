#!/usr/bin/env bash
# PFM: OpenCV divides by the scale in the header, Pillow does not look at it, so that one file has two depths.
#
# Guess: both apply it, or neither; if one does, it multiplies, as the word scale says. Seen: a file of 1 to 6 m with the
# scale -0.004 is 250 to 1500 in OpenCV and 1 to 6 in Pillow. With -1, which both write, they agree, so that a test on files
# of one's own notices nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 pillow==12.3.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import pathlib
import sys

import cv2
import numpy as np
import PIL
from PIL import Image

print("OpenCV", cv2.__version__, "Pillow", PIL.__version__)
depth = np.arange(1, 7, dtype="<f4").reshape(3, 2)
for scale in (-1.0, -0.004, -2.0):
    path = pathlib.Path(sys.argv[1], "a.pfm")
    path.write_bytes(f"Pf\n2 3\n{scale}\n".encode() + depth[::-1].tobytes())
    by_opencv = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    by_pillow = np.asarray(Image.open(path))
    print(f"scale {scale}: OpenCV {by_opencv.ravel()}, Pillow {by_pillow.ravel()}")
    assert (by_pillow == depth).all(), "Pillow applies the scale now"
    assert np.allclose(by_opencv, depth / abs(scale)), "OpenCV does not divide any more"
PYTHON
