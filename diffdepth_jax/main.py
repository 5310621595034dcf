"""Trains, evaluates or submits: python -m diffdepth_jax.main --config=configs/NAME.py.

--mode=train (the default) trains and evaluates, --mode=evaluate scores a model directory, or with
--predictions=DIR the depth files of any program, and --mode=submit writes a KITTI submission.
"""

import pathlib

from absl import flags
from ml_collections import config_flags

from diffdepth_jax.distributed import processes
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation.depth_files import score_folder
from diffdepth_jax.evaluation.evaluator import evaluate_checkpoint
from diffdepth_jax.evaluation.report import format_report
from diffdepth_jax.evaluation.submission import submit
from diffdepth_jax.program import compilation_cache
from diffdepth_jax.program.entry import one_line_errors, start
from diffdepth_jax.program.messages import show_messages
from diffdepth_jax.training.loop import train

_CONFIG = config_flags.DEFINE_config_file("config", None, "The configuration: configs/NAME.py.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory of the run or of a converted model; default: runs/NAME."
)
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate", "submit"], "What to do.")
_PREDICTIONS = flags.DEFINE_string(
    "predictions",
    None,
    "evaluate: instead of a model, a folder of depth files NAME.npy (metres) or NAME.png (16 bit); "
    "NAME is the sample's name.",
)
_PREDICTIONS_SCALE = flags.DEFINE_float(
    "predictions_scale",
    None,
    "evaluate: PNG value = metres x this: 256 as in KITTI, 1000 for millimetres.",
)
_SKIP_MISSING = flags.DEFINE_bool(
    "skip_missing", False, "evaluate: score the predictions that are there, not all."
)
_OUTPUT = flags.DEFINE_string("output", None, "submit: the zip file to write.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "Of a run of several processes: HOST:PORT of the first; on Cloud TPU, SLURM, Open MPI: auto.",
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many the run has.", 1)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which this is, from 0.", 0)
_MODE_OF = {
    "predictions": "evaluate",
    "predictions_scale": "evaluate",
    "skip_missing": "evaluate",
    "output": "submit",
}


def _default_workdir():
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    return str(pathlib.Path("runs") / pathlib.Path(name).stem)


def _evaluate_folder(config, workdir):
    return score_folder(
        config,
        _PREDICTIONS.value,
        pathlib.Path(workdir) / "evaluation",
        scale=_PREDICTIONS_SCALE.value,
        skip_missing=_SKIP_MISSING.value,
    )


def _check_flags():
    for name, mode in _MODE_OF.items():
        if flags.FLAGS[name].present and _MODE.value != mode:
            raise UserError(f"--{name} means nothing to --mode={_MODE.value}: add --mode={mode}")
    for name in ("predictions_scale", "skip_missing"):
        if flags.FLAGS[name].present and _PREDICTIONS.value is None:
            raise UserError(f"--{name} means nothing without --predictions=DIR")
    _check_processes()


def _check_processes():
    names = ("num_processes", "process_id")
    given = [name for name in names if flags.FLAGS[name].present]
    if _COORDINATOR.value in (None, "auto"):
        if given:
            raise UserError(f"--{given[0]} means nothing without --coordinator=HOST:PORT")
    elif len(given) < len(names):
        raise UserError("--coordinator=HOST:PORT needs --num_processes=N and --process_id=I")
    elif _PROCESS_ID.value >= _NUM_PROCESSES.value:
        raise UserError(f"--process_id={_PROCESS_ID.value}: must be below --num_processes")
    if _COORDINATOR.value and (_MODE.value == "submit" or _PREDICTIONS.value is not None):
        raise UserError("--coordinator: only training and evaluating a model take more processes")


def run():
    with processes.fail_together(), one_line_errors(), compilation_cache.kept():
        _run()


def _run():
    show_messages(_CONFIG.value.log_level)
    _check_flags()
    if _COORDINATOR.value is not None:
        processes.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    config, workdir, mode = _CONFIG.value.lock(), _WORKDIR.value or _default_workdir(), _MODE.value
    if mode == "submit":
        print(submit(config, workdir, _OUTPUT.value))
    elif mode == "evaluate" and _PREDICTIONS.value is not None:
        print(_evaluate_folder(config, workdir))
    else:
        verb = train if mode == "train" else evaluate_checkpoint
        report = format_report(config, verb(config, workdir))
        if processes.is_first():
            print(report)


def main():
    start(run, required=["config"])


if __name__ == "__main__":
    main()
