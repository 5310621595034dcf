#!/usr/bin/env bash
# safetensors: save_file of a transposed numpy array stores other values than the array has, without a word.
#
# Guess: a transposed kernel, as porting a PyTorch linear layer to Flax makes it, is stored in its own order, or refused. Seen:
# the memory is written as it lies, under the shape of the transpose, and read back as another matrix of the same numbers; of a
# slice with a step even other numbers. The docstring asks for tensors that are contiguous and dense; nothing checks it. Every
# sum and norm of a transposed kernel is right, so that a look at these does not find it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder/a.safetensors" <<'PYTHON'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

print("safetensors", safetensors.__version__, "numpy", np.__version__)
path, kernel = sys.argv[1], np.arange(6, dtype=np.float32).reshape(2, 3)
save_file({"transposed": kernel.T, "every_second": kernel.reshape(-1)[::2], "copied": kernel.T.copy()}, path)
stored = load_file(path)
for name, array in stored.items():
    print(name, array.tolist())
assert stored["transposed"].shape == (3, 2) and stored["transposed"].tolist() != kernel.T.tolist()
assert stored["every_second"].tolist() == [0, 1, 2]  # of 0, 2, 4
assert stored["copied"].tolist() == kernel.T.tolist()
PYTHON
