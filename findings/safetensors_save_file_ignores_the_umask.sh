#!/usr/bin/env bash
# safetensors: save_file makes a file that only its owner can read, whatever the umask, also in the place of one that all could.
#
# Guess: as with open() and numpy.save the umask decides, and a file that is written again keeps its mode. Seen: mode 0600 each
# time. Weights that a run leaves in a folder shared by a group, or that a service copies into an image and reads as another
# user, cannot be read there, and a resumed run that saves again closes a file that was opened by hand.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
umask 022
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import os
import sys

import numpy as np
import safetensors
from safetensors.numpy import save_file

print("safetensors", safetensors.__version__, "numpy", np.__version__)
weights, folder = np.ones(3, np.float32), sys.argv[1]


def mode(path):
    return oct(os.stat(path).st_mode & 0o777)


np.save(f"{folder}/a.npy", weights)
save_file({"weights": weights}, f"{folder}/a.safetensors")
open(f"{folder}/b.safetensors", "wb").close()
before = mode(f"{folder}/b.safetensors")
save_file({"weights": weights}, f"{folder}/b.safetensors")
print("umask 022: numpy.save", mode(f"{folder}/a.npy"), "save_file", mode(f"{folder}/a.safetensors"))
print("an existing file", before, "becomes", mode(f"{folder}/b.safetensors"))
assert mode(f"{folder}/a.npy") == before == "0o644"
assert mode(f"{folder}/a.safetensors") == mode(f"{folder}/b.safetensors") == "0o600"
PYTHON
