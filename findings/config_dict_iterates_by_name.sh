#!/usr/bin/env bash
# ml_collections: a ConfigDict iterates by name, but its JSON has the order in which it was written.
#
# Guess: like a dict, in the order of insertion everywhere. Seen: keys(), items(), values(), ** and to_dict()
# are alphabetical, to_json() is not. So a loop over a configuration and a loop over its stored JSON have two
# orders, and a float32 sum over the values (weights of losses) differs in its last digit between them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ml-collections==1.1.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import json

import numpy as np
from ml_collections import ConfigDict

written = {"silog": 1.0, "ddim": 0.1, "l1": 1e-8}
config = ConfigDict(written)
orders = {
    "items": [name for name, _ in config.items()],
    "iteration": list(config),
    "**": list(dict(**config)),
    "to_dict": list(config.to_dict()),
    "to_json": list(json.loads(config.to_json())),
}
print("ml-collections", importlib.metadata.version("ml-collections"), "written:", list(written))
for name, order in orders.items():
    print(f"{name:10}", order)
assert orders.pop("to_json") == list(written), "to_json changed"
assert all(order == ["ddim", "l1", "silog"] for order in orders.values()), "the order changed"


def total(values):
    result = np.float32(0)
    for value in values:
        result += np.float32(value)
    return result


numbers = {"c": 1.0, "b": 3e-8, "a": 3e-8}
as_written, as_iterated = total(numbers.values()), total(ConfigDict(numbers).values())
assert as_written != as_iterated
print("float32 sum as written:", repr(as_written), "over the ConfigDict:", repr(as_iterated))
PYTHON
