#!/usr/bin/env bash
# ml_collections: a flag for a tuple that is given twice does not replace the tuple, it makes it longer.
#
# Guess: the last flag counts, as for every other field of a configuration. Seen: --config.size=(1,2) followed by
# --config.size=(3,4) gives (1, 2, 3, 4), while of two numbers or two texts the last one counts. So a script that adds
# its own size at the end of a given command trains at another shape, or is refused, instead of overriding it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ml-collections==1.1.0 absl-py==2.5.1
cat > "$folder/program.py" <<'PYTHON'
import importlib.metadata

from absl import app
from ml_collections import config_flags
from ml_collections.config_dict import create

config = create(size=(480, 640), steps=1, name="a")
flag = config_flags.DEFINE_config_dict("config", config)


def main(_):
    found = flag.value
    print("ml-collections", importlib.metadata.version("ml-collections"), found.size, found.steps, found.name)
    assert found.size == (1, 2, 3, 4), "tuples changed"
    assert (found.steps, found.name) == (3, "c"), "numbers or texts changed"


app.run(main)
PYTHON
"$folder/venv/bin/python" "$folder/program.py" \
    --config.size="(1, 2)" --config.steps=2 --config.name=b \
    --config.size="(3, 4)" --config.steps=3 --config.name=c
