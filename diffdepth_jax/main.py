"""Trains or evaluates: python -m diffdepth_jax.main --config=configs/NAME.py [--workdir=DIR]."""

import pathlib

from absl import app, flags, logging
from ml_collections import config_flags

from diffdepth_jax import evaluate
from diffdepth_jax.entry import one_line_errors, parse_flags
from diffdepth_jax.errors import UserError
from diffdepth_jax.train import evaluate_checkpoint, train

_CONFIG = config_flags.DEFINE_config_file("config", None, "The configuration: configs/NAME.py.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run; default: runs/NAME.")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate"], "What to do.")


def _default_workdir():
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    return str(pathlib.Path("runs") / pathlib.Path(name).stem)


def run(argv):
    if len(argv) > 1:
        raise UserError(f"unexpected argument {argv[1]}: every option starts with --")
    config, workdir = _CONFIG.value.lock(), _WORKDIR.value or _default_workdir()
    verb = train if _MODE.value == "train" else evaluate_checkpoint
    print(evaluate.format_table(verb(config, workdir)))


def main():
    flags.mark_flag_as_required("config")
    logging.set_verbosity(logging.WARNING)
    with one_line_errors():
        app.run(run, flags_parser=parse_flags)


if __name__ == "__main__":
    main()
