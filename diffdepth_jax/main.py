"""Trains, evaluates, calibrates or submits.

diffdepth train --config=synthetic
diffdepth train --config=folder --config.data.folder.root=DIR --workdir=runs/mine
diffdepth evaluate runs/synthetic
diffdepth calibrate runs/synthetic

python -m diffdepth_jax.main is the same with --mode=train, which is the default, and so on.
"""

import pathlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from absl import flags

from diffdepth_jax.configuration.paths import expand_home
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation.depth_kinds import KINDS, Kind
from diffdepth_jax.program.config_flag import define_config, name_of
from diffdepth_jax.program.entry import command, one_line_errors, start
from diffdepth_jax.program.help_page import Page
from diffdepth_jax.program.path_flags import define_path
from diffdepth_jax.program.run_arguments import completed, value_of

if TYPE_CHECKING:  # JAX takes seconds, for which --help and wrong flags need not wait
    from diffdepth_jax.configuration.groups import Configuration
    from diffdepth_jax.evaluation.protocols import Resize
    from diffdepth_jax.evaluation.scoring import Means
    from diffdepth_jax.media.orientation import DepthOrientation

_CONFIG = define_config(
    "The configuration: a name such as synthetic, a .py file, or the directory of a run. Default: "
    "that of --checkpoint or of --workdir."
)
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


_GROUPS = {
    "What to do": ("mode", "config", "workdir", "checkpoint", "output"),
    "Score depth files of any program": ("predictions", *_OF_PREDICTIONS),
    "Several processes": ("coordinator", "num_processes", "process_id"),
}
_FIELDS = """
A configuration is a name, a .py file, or the directory of a run; --config='?' lists the names.
--config.GROUP.FIELD=VALUE replaces a field; configs/default.py has them all."""
_TEXTS = {
    "train": f"""\
Trains a model and evaluates it. The same command goes on with a run that was stopped.

diffdepth train --config=synthetic
diffdepth train --config=fine_tune --config.data.folder.root=DIR
diffdepth train --config=folder --config.data.folder.root=DIR --workdir=runs/mine
{_FIELDS}""",
    "evaluate": f"""\
Scores a model, or the depth files of any program, on held-out data.

diffdepth evaluate runs/synthetic
diffdepth evaluate --config=nyu --predictions=DIR
{_FIELDS}""",
    "calibrate": f"""\
Measures how far off the depth of a model may be, for predict --interval.

diffdepth calibrate runs/synthetic
{_FIELDS}""",
    "submit": f"""\
Predicts the test set of KITTI's benchmark into the zip file to upload.

diffdepth submit runs/kitti --output=kitti.zip
{_FIELDS}""",
}


def _page(mode: str | None) -> Page:
    """The page of a mode, without what means nothing to it; of the whole program without one."""
    if mode not in _TEXTS:
        return Page(__doc__, _GROUPS)
    return Page(_TEXTS[mode], _GROUPS, {"mode", *(x for x, of in _MODE_OF.items() if of != mode)})


def _evaluate_folder(config: "Configuration", predictions: str, workdir: str) -> str:
    from diffdepth_jax.evaluation.depth_files import FileOptions
    from diffdepth_jax.evaluation.file_scores import score_folders

    options = FileOptions(
        scale=_PREDICTIONS_SCALE.value,
        skip_missing=_SKIP_MISSING.value,
        orientation=cast("DepthOrientation", _PREDICTIONS_ORIENTATION.value),
        kind=cast(Kind, _PREDICTIONS_KIND.value),
        resize=cast("Resize | None", _PREDICTIONS_RESIZE.value),
        spread=_PREDICTIONS_SPREAD.value,
        interval=_PREDICTIONS_INTERVAL.value,
    )
    one = pathlib.Path(predictions).exists()  # its name may have commas
    folders = [predictions] if one else [expand_home(x) for x in predictions.split(",")]
    return score_folders(config, folders, pathlib.Path(workdir) / "evaluation", options)


def _evaluate_model(config: "Configuration", workdir: str) -> "Mapping[str, Means]":
    from diffdepth_jax.checkpoints.model_names import find_model
    from diffdepth_jax.evaluation.evaluator import evaluate_checkpoint

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
    from diffdepth_jax.configuration import groups
    from diffdepth_jax.program.messages import show_messages

    config = groups.read(_CONFIG.value)
    show_messages(config.log_level)
    _check_flags()
    if _COORDINATOR.value is None:
        return _run(config)
    from diffdepth_jax.distributed import processes  # here, because it imports JAX

    with processes.fail_together(), one_line_errors():
        processes.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
        _run(config)


def _run(config: "Configuration") -> None:
    from diffdepth_jax.distributed import processes
    from diffdepth_jax.program import compilation_cache

    with compilation_cache.kept():
        workdir = _WORKDIR.value or str(pathlib.Path("runs") / name_of(flags.FLAGS["config"]))
        report = _report(config, workdir)
        if processes.is_first():
            print(report)


def _report(config: "Configuration", workdir: str) -> str:
    """Does what --mode says; returns what is printed at its end."""
    if _MODE.value == "submit":
        from diffdepth_jax.evaluation.submission import submit

        return submit(config, workdir, _OUTPUT.value)
    if _MODE.value == "calibrate":
        from diffdepth_jax.evaluation.calibration import calibrate

        return calibrate(config, workdir)
    if _PREDICTIONS.value is not None:
        return _evaluate_folder(config, _PREDICTIONS.value, workdir)
    from diffdepth_jax.evaluation.report import format_report

    if _MODE.value == "evaluate":
        return format_report(config, _evaluate_model(config, workdir))
    from diffdepth_jax.training.loop import train

    report = format_report(config, train(config, workdir))
    following = f"{command('predict')} --checkpoint={workdir} --input=photo.jpg --output=depth"
    return f"{report}\nnext: {following}"


def main() -> None:
    mode = value_of("mode", sys.argv[1:])
    start(run, required=["config"], page=_page(mode), complete=completed)


if __name__ == "__main__":
    main()
