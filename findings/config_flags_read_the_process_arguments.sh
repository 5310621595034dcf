#!/usr/bin/env bash
# ml_collections: a program that parses an argument list of its own gets the overrides of a configuration only if the process was started with the same ones.
#
# Guess: flags.FLAGS(argv) with --config=FILE --config.a=5 in argv sets a to 5, as it sets every other flag from that list. Seen:
# the flag looks for overrides in sys.argv. Where argv is a list of one's own, as in a test, a notebook or a launcher that
# completes the command line, --config.a=5 is an unknown flag; whether it becomes known depends on what sys.argv happens to hold.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ml-collections==1.1.0 absl-py==2.5.1
cd "$folder"
cat >program.py <<'PYTHON'
from importlib.metadata import version
import sys

from absl import flags
from ml_collections import config_flags

print("ml_collections", version("ml-collections"))
given = ["program", "--config=a.py", "--config.a=5"]
for started_with in (["program"], given, ["program", "--config.a=7"]):
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    sys.argv = list(started_with)
    try:
        values(list(given))
        seen = values.config.a
    except flags.Error as error:
        seen = f"{type(error).__name__}: {str(error)[:40]}"
    print(f"started with {started_with[1:]}: {seen}")
PYTHON
cat >a.py <<'PYTHON'
from ml_collections import ConfigDict


def get_config():
    return ConfigDict({"a": 1})
PYTHON
seen=$(venv/bin/python program.py)
echo "$seen"
[[ "$seen" == *"started with []: UnrecognizedFlagError: Unknown command line flag 'config.a'"* ]]
[[ "$seen" == *"'--config.a=5']: 5"* ]]
[[ "$seen" == *"['--config.a=7']: 5"* ]]
