#!/usr/bin/env bash
# imageio: with OpenCV installed, the same PFM depth map comes back as 8-bit integers, cut at 255.
#
# Guess: a float format is read as floats, whichever plugin reads it; another package in the environment changes nothing.
# Seen: alone, imageio gives float32 (by Pillow). With opencv-python-headless beside it OpenCV goes first for .pfm, without
# being asked for unchanged values: uint8, 1.25 m becomes 1, and 300.75 becomes 255. No warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet imageio==2.38.1 pillow==12.3.0 numpy==2.4.6
cat > "$folder/read.py" <<'PYTHON'
import sys

import imageio.v3 as iio
import numpy as np

path, expected = sys.argv[1:]
depth = np.array([[1.25, 2.5], [300.75, 4]], "<f4")
with open(path, "wb") as file:
    file.write(b"Pf\n2 2\n-1\n" + depth[::-1].tobytes())
found = iio.imread(path)
print(expected, "imageio", iio.__name__, found.dtype, found.tolist())
if expected == "alone":
    assert found.dtype == np.float32 and (found == depth).all()
else:
    assert found.dtype == np.uint8, "floats stay floats now"
    assert found.tolist() == [[1, 2], [255, 4]]
PYTHON
"$folder/venv/bin/python" "$folder/read.py" "$folder/a.pfm" alone
"$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 numpy==2.4.6
"$folder/venv/bin/pip" list 2> /dev/null | grep -i -E "^(imageio|opencv|pillow|numpy)"
"$folder/venv/bin/python" "$folder/read.py" "$folder/a.pfm" beside_opencv
