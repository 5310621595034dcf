#!/usr/bin/env bash
# Pillow: where a new pixel's centre lies on a border of two old ones, NEAREST takes now the left, now the right.
#
# Guess: one rule for all ties, so that a map shrunk from 640 to 480 columns has a regular pattern (PyTorch's
# nearest-exact takes the right pixel in each). Seen: of 160 ties 99 go left and 61 right, in no regular order. A depth
# map or mask that Pillow shrinks is thus shifted by a pixel in some columns and not in their neighbours.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==12.3.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import PIL
from PIL import Image

old, new = 640, 480
row = Image.fromarray(np.arange(old, dtype=np.float32)[None])
taken = np.asarray(row.resize((new, 1), Image.Resampling.NEAREST))[0].astype(int)
right, rest = np.divmod((2 * np.arange(new) + 1) * old, 2 * new)  # in whole numbers: nothing is rounded
ties = rest == 0
assert (taken[~ties] == right[~ties]).all(), "NEAREST is off where there is no tie"
went_left = taken[ties] == right[ties] - 1
print("Pillow", PIL.__version__, f"{old} -> {new} columns, ties: {ties.sum()}, to the left: {went_left.sum()}")
print("the first twenty:", "".join(np.where(went_left[:20], "L", "R")))
assert (taken[ties] == right[ties] - went_left).all()
assert 0 < went_left.sum() < ties.sum(), "all ties go one way now"
PYTHON
