#!/usr/bin/env bash
# jax: asked for CUDA where its plugin is not installed, it ends in an AssertionError without a word; for any other platform it explains.
#
# Guess: JAX_PLATFORMS=cuda without the extra jax[cuda13] raises a RuntimeError that names the platform and says what to
# install, as every other missing platform does. Seen: `AssertionError` with an empty message. A job that sets JAX_PLATFORMS
# so that it never falls back to the CPU gets no hint that the plugin is missing, and `except RuntimeError` does not catch it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
seen() {
    JAX_PLATFORMS="$1" "$folder/venv/bin/python" - <<'PYTHON'
import jax

try:
    jax.devices()
except Exception as error:
    print(type(error).__name__, repr(str(error)[:60]))
PYTHON
}
"$folder/venv/bin/python" -c 'import jax; print("jax", jax.__version__)'
cuda=$(seen cuda 2>/dev/null)
other=$(seen nonsense 2>/dev/null)
echo "JAX_PLATFORMS=cuda: $cuda"
echo "JAX_PLATFORMS=nonsense: $other"
[[ "$cuda" == "AssertionError ''" ]]
[[ "$other" == "RuntimeError "* ]]
