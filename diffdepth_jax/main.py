"""Trains, evaluates or submits: python -m diffdepth_jax.main --config=configs/NAME.py.

--mode=train (the default) trains and evaluates, --mode=evaluate scores a model directory, or with
--predictions=DIR the depth files of any program, --mode=calibrate finds out how far off the depth
of a model directory may be, and --mode=submit writes a KITTI submission.
"""

import pathlib
from collections.abc import Mapping
from typing import cast

from absl import flags
from ml_collections import config_flags

from diffdepth_jax.checkpoints.model_names import find_model
from diffdepth_jax.configuration import groups
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.configuration.paths import expand_home
from diffdepth_jax.distributed import processes
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation.calibration import calibrate
from diffdepth_jax.evaluation.depth_files import KINDS, FileOptions, Kind
from diffdepth_jax.evaluation.evaluator import evaluate_checkpoint
from diffdepth_jax.evaluation.file_scores import score_folders
from diffdepth_jax.evaluation.protocols import Resize
from diffdepth_jax.evaluation.report import format_report
from diffdepth_jax.evaluation.scoring import Means
from diffdepth_jax.evaluation.submission import submit
from diffdepth_jax.media.orientation import DepthOrientation
from diffdepth_jax.program import compilation_cache
from diffdepth_jax.program.entry import one_line_errors, start
from diffdepth_jax.program.messages import show_messages
from diffdepth_jax.program.path_flags import define_path
from diffdepth_jax.training.loop import train

_CONFIG = config_flags.DEFINE_config_file("config", None, "The configuration: configs/NAME.py.")
_WORKDIR = define_path(
    "workdir", "Directory of the run or of a converted model; default: runs/NAME."
)
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "evaluate", "calibrate", "submit"], "What to do."
)
_PREDICTIONS = define_path(
    "predictions",
    "evaluate: folder of depth files to score instead of a model. They are NAME.npy (metres), "
    "NAME.png (16 bit) or the like, where NAME is the sample's name. Several folders, separated by "
    "commas, give one table, and are compared with the first.",
)
_PREDICTIONS_SCALE = flags.DEFINE_float(
    "predictions_scale",
    None,
    "evaluate: values of the PNG files are metres x this: 256 in KITTI, 1000 for millimetres.",
)
_PREDICTIONS_ORIENTATION = flags.DEFINE_enum(
    "predictions_orientation",
    "apply",
    ["apply", "stored"],
    "evaluate: how depth files lie where EXIF turns a picture within its size. apply: like the "
    "turned picture, as predict writes them; stored: like the stored pixels.",
)
_PREDICTIONS_KIND = flags.DEFINE_enum(
    "predictions_kind",
    "depth",
    list(KINDS),
    "evaluate: what the files hold. depth: metres; disparity: 1 / metres; relative_depth and "
    "relative_disparity: up to a scale and a shift, which evaluation.alignment has to fit.",
)
_PREDICTIONS_RESIZE = flags.DEFINE_enum(
    "predictions_resize",
    None,
    ["nearest", "bilinear", "bilinear_corners"],
    "evaluate: how files of another size are brought to their frame's; default: they are refused.",
)
_PREDICTIONS_SPREAD = flags.DEFINE_bool(
    "predictions_spread",
    False,
    "evaluate: also score the spread beside each depth: NAME_spread.npy, or spread in NAME.npz.",
)
_PREDICTIONS_INTERVAL = flags.DEFINE_float(
    "predictions_interval",
    None,
    "evaluate: also score the intervals beside each depth, NAME_low.npy and NAME_high.npy, or low "
    "and high in NAME.npz, which are meant to hold for this share of the pixels, such as 0.9.",
)
_SKIP_MISSING = flags.DEFINE_bool(
    "skip_missing",
    False,
    "evaluate: score the samples that have a prediction, and leave out the others.",
)
_CHECKPOINT = define_path(
    "checkpoint",
    "evaluate: the model, as predict takes it; default: the one in WORKDIR. Results go to WORKDIR.",
    allow_override=True,
)
_OUTPUT = define_path("output", "submit: the zip file to write.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "For a run of several processes: HOST:PORT of the first process. auto: on Cloud TPU, SLURM and "
    "Open MPI the processes find each other.",
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of processes of the run.", 1)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.", 0)
_OF_PREDICTIONS = (
    "predictions_scale",
    "predictions_orientation",
    "predictions_kind",
    "predictions_resize",
    "predictions_spread",
    "predictions_interval",
    "skip_missing",
)
# The only mode in which a flag has a meaning.
_MODE_OF = {
    **dict.fromkeys(("predictions", *_OF_PREDICTIONS, "checkpoint"), "evaluate"),
    "output": "submit",
}


def _default_workdir() -> str:
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    return str(pathlib.Path("runs") / pathlib.Path(name).stem)


def _evaluate_folder(config: Configuration, predictions: str, workdir: str) -> str:
    options = FileOptions(
        scale=_PREDICTIONS_SCALE.value,
        skip_missing=_SKIP_MISSING.value,
        orientation=cast(DepthOrientation, _PREDICTIONS_ORIENTATION.value),
        kind=cast(Kind, _PREDICTIONS_KIND.value),
        resize=cast(Resize | None, _PREDICTIONS_RESIZE.value),
        spread=_PREDICTIONS_SPREAD.value,
        interval=_PREDICTIONS_INTERVAL.value,
    )
    one = pathlib.Path(predictions).exists()  # its name may have commas
    folders = [predictions] if one else [expand_home(x) for x in predictions.split(",")]
    return score_folders(config, folders, pathlib.Path(workdir) / "evaluation", options)


def _evaluate_model(config: Configuration, workdir: str) -> Mapping[str, Means]:
    model = _CHECKPOINT.value
    return evaluate_checkpoint(config, workdir, None if model is None else find_model(model))


def _check_flags() -> None:
    for name, mode in _MODE_OF.items():
        if flags.FLAGS[name].present and _MODE.value != mode:
            raise UserError(f"--{name} means nothing to --mode={_MODE.value}: add --mode={mode}")
    for name in _OF_PREDICTIONS:
        if flags.FLAGS[name].present and _PREDICTIONS.value is None:
            raise UserError(f"--{name} means nothing without --predictions=DIR")
    if _CHECKPOINT.value is not None and _PREDICTIONS.value is not None:
        raise UserError("--checkpoint and --predictions are two things to score: give one")
    _check_processes()


def _check_processes() -> None:
    number, index = _NUM_PROCESSES.value, _PROCESS_ID.value
    if _COORDINATOR.value in (None, "auto"):
        for name, value in (("num_processes", number), ("process_id", index)):
            if value is not None:
                raise UserError(f"--{name} means nothing without --coordinator=HOST:PORT")
    elif number is None or index is None:
        raise UserError("--coordinator=HOST:PORT needs --num_processes=N and --process_id=I")
    elif index >= number:
        raise UserError(f"--process_id={index}: must be below --num_processes")
    alone = _MODE.value in ("calibrate", "submit") or _PREDICTIONS.value is not None
    if _COORDINATOR.value and alone:
        raise UserError("--coordinator: only training and evaluating a model take more processes")


def run() -> None:
    with processes.fail_together(), one_line_errors(), compilation_cache.kept():
        _run()


def _run() -> None:
    config, mode = groups.read(_CONFIG.value), _MODE.value
    show_messages(config.log_level)
    _check_flags()
    if _COORDINATOR.value is not None:
        processes.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    workdir = _WORKDIR.value or _default_workdir()
    if mode == "submit":
        print(submit(config, workdir, _OUTPUT.value))
    elif mode == "calibrate":
        print(calibrate(config, workdir))
    elif mode == "evaluate" and _PREDICTIONS.value is not None:
        print(_evaluate_folder(config, _PREDICTIONS.value, workdir))
    else:
        rows = train(config, workdir) if mode == "train" else _evaluate_model(config, workdir)
        report = format_report(config, rows)
        if processes.is_first():
            print(report)
            if mode == "train":
                program = "python -m diffdepth_jax.predict"
                print(f"next: {program} --checkpoint={workdir} --input=photo.jpg --output=depth")


def main() -> None:
    start(run, required=["config"])


if __name__ == "__main__":
    main()
