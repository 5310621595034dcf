#!/usr/bin/env bash
# jax2onnx: lax.pad of any axis fails as soon as the batch is symbolic, though the batch itself is not padded; jnp.pad converts.
#
# Guess: padding the last axis of [B, 4] has nothing to do with B, so both forms convert, as they do for a batch of 3. Seen:
# lax.pad raises InconclusiveDimensionOperation for B. Flax and resizing code call lax.pad, so a network that converts with
# a fixed batch does not with a dynamic one, which is how depth models are given away.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax2onnx==0.17.1 jax==0.10.2 jaxlib==0.10.2
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
from importlib.metadata import version

import jax
import jax.numpy as jnp
from jax2onnx import to_onnx


def result(function, shape):
    try:
        to_onnx(function, [shape])
    except Exception as error:
        return type(error).__name__
    return "converted"


def lax_pad(x):
    return jax.lax.pad(x, 0.0, [(0, 0, 0), (1, 1, 0)])


def jnp_pad(x):
    return jnp.pad(x, ((0, 0), (1, 1)))


print("jax2onnx", version("jax2onnx"), "jax", jax.__version__)
found = [result(f, shape) for f in (lax_pad, jnp_pad) for shape in ((3, 4), ("B", 4))]
print("lax.pad, jnp.pad of (3, 4) and (B, 4):", *found)
assert found == ["converted", "InconclusiveDimensionOperation", "converted", "converted"]
PYTHON
