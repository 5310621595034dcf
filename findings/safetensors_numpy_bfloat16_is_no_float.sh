#!/usr/bin/env bash
# safetensors: a bfloat16 tensor comes to numpy as an array whose type is no float to numpy, though it computes as one.
#
# Guess: dtype.kind is "f", as that of float16, so that code which looks for floats (to check them, or to widen them to float32)
# finds it. Seen: the kind is "V", that of raw bytes, and numpy.issubdtype(dtype, numpy.floating) is False, while numpy.isfinite
# works and finds the nan. So a check of "all floats are finite" passes over a bfloat16 model without looking. jax.numpy.issubdtype
# says True.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6 ml_dtypes==0.6.0
"$folder/venv/bin/python" - "$folder/a.safetensors" <<'PYTHON'
import sys

import ml_dtypes
import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

print("safetensors", safetensors.__version__, "numpy", np.__version__, "ml_dtypes", ml_dtypes.__version__)
bias = np.array([1, np.nan], np.float32)
save_file({"half": bias.astype(np.float16), "brain": bias.astype(ml_dtypes.bfloat16)}, sys.argv[1])
seen = {}
for name, array in load_file(sys.argv[1]).items():
    seen[name] = (array.dtype.kind, bool(np.issubdtype(array.dtype, np.floating)), np.isfinite(array).tolist())
    print(name, array.dtype, *seen[name])
assert seen["half"] == ("f", True, [True, False])
assert seen["brain"] == ("V", False, [True, False])
PYTHON
