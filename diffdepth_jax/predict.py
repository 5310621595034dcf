"""Depth for photos and videos.

python -m diffdepth_jax.predict --checkpoint=DIR --input=FILE_OR_FOLDER --output=DIR
"""

import math
import pathlib
import sys

from absl import flags

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera
from diffdepth_jax.prediction import outputs, placement
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.prediction.file_prediction import CameraChoice, FilePredictor, Report, frame_name
from diffdepth_jax.prediction.input_files import check_names, find_inputs, image_sizes
from diffdepth_jax.prediction.outputs import OutputWriter, check_kinds
from diffdepth_jax.program import compilation_cache
from diffdepth_jax.program.entry import start

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Model directory, such as runs/synthetic.")
_INPUT = flags.DEFINE_string(
    "input",
    None,
    "A photo, a video, a folder of them with its folders, or a .txt with a path in each line.",
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Folder for the results, in the folders of their inputs.",
    allow_override=True,  # other programs have a flag of this name
)
_OUTPUTS = flags.DEFINE_list(
    "outputs",
    None,
    f"Of {', '.join(outputs.KINDS)}. Default: {','.join(outputs.DEFAULT)}, of videos video alone; "
    "other outputs of a video are written for each frame.",
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Predict again what has been written before.")
_SIZE = flags.DEFINE_enum(
    "size",
    "model",
    ["model", "native"],
    "model: at the model's inference size, resized back; native: at the photo's own size, photos "
    "of many sizes padded to one of four.",
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "Images predicted together.")
_NUM_STEPS = flags.DEFINE_integer("num_steps", None, "Sampler steps; default: the model's.")
_SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of each image's starting noise.", lower_bound=0, upper_bound=2**31 - 1
)
_ENSEMBLE = flags.DEFINE_integer(
    "ensemble", 1, "Samples for an image: their median is written, and their spread."
)
_TRAJECTORY = flags.DEFINE_bool("trajectory", False, "Write the denoising as a GIF.")
_FOCAL_LENGTH = flags.DEFINE_float(
    "focal_length", None, "Of the camera, in pixels of the photo: rescales the metres."
)
_FOV = flags.DEFINE_float(
    "fov", None, "The same from the camera's horizontal field of view in degrees."
)
_CAMERA = flags.DEFINE_enum(
    "camera",
    "model",
    ["model", "exif", *camera.DATASETS],
    "The same of a dataset, or from each photo's EXIF; model: the camera that the model assumes.",
)
_DEPTH_SCALE = flags.DEFINE_float(
    "depth_scale", 1000.0, "16-bit PNG value = metres x this; it holds up to 65535 / scale metres."
)
_COLOR_RANGE = flags.DEFINE_list(
    "color_range", None, "NEAR,FAR in metres of the colours; default: each image's own."
)
_MESH = flags.DEFINE_bool("mesh", False, "A surface instead of points in PLY and GLB.")
_MAX_POINTS = flags.DEFINE_integer(
    "max_points", 1_000_000, "In PLY and GLB; of larger images every k-th pixel is taken."
)


def _color_range():
    """(near, far) in metres, or None."""
    if _COLOR_RANGE.value is None:
        return None
    try:
        near, far = (float(value) for value in _COLOR_RANGE.value)
    except ValueError as error:
        raise UserError(f"color_range {','.join(_COLOR_RANGE.value)}: give NEAR,FAR") from error
    if not 0 < near < far < math.inf:
        raise UserError(f"color_range {near:g},{far:g}: must be positive and increasing")
    return near, far


def _check_numbers():
    if not 0 < _DEPTH_SCALE.value < math.inf:
        raise UserError(f"depth_scale {_DEPTH_SCALE.value}: must be positive and finite")
    if _MAX_POINTS.value < 1:
        raise UserError(f"max_points {_MAX_POINTS.value}: must be 1 or more")


def _writers():
    """The writers for photos and for videos."""
    kinds = list(outputs.DEFAULT if _OUTPUTS.value is None else _OUTPUTS.value)
    kinds += ["spread"] * (_ENSEMBLE.value > 1) + ["gif"] * _TRAJECTORY.value
    kinds = tuple(dict.fromkeys(kinds))
    check_kinds(kinds, _ENSEMBLE.value)
    return (
        OutputWriter(
            pathlib.Path(_OUTPUT.value),
            own,
            _DEPTH_SCALE.value,
            _color_range(),
            _MESH.value,
            _MAX_POINTS.value,
        )
        for own in (kinds, ("video",) if _OUTPUTS.value is None else kinds)
    )


def _paths_of(file, photo_writer, video_writer):
    """What is written for a file; of a video's frames, the first's."""
    if not file.is_video:
        return photo_writer.paths(file.name)
    paths = video_writer.paths(frame_name(file, 0))
    return [*paths, video_writer.video_path(file.name)] if video_writer.makes_video else paths


def _check_camera(choice, estimator, kinds):
    """A camera that changes nothing is refused."""
    if choice.is_given and not estimator.focal_length and not outputs.NEED_CAMERA & set(kinds):
        raise UserError(
            "this model's configuration states no inference.focal_length, so that metres cannot "
            "be rescaled: leave the camera out, or set it in the config.json of the model"
        )


def _check_writable(directory):
    """Before minutes of prediction."""
    directory.mkdir(parents=True, exist_ok=True)
    probe = directory / ".writable"
    probe.touch()
    probe.unlink()


def _report(report, total, writer):
    kinds = {kind: outputs.KINDS[kind] for kind in writer.kinds}
    listed = "; ".join(f"{', '.join(ends)}: {what}" for ends, what in kinds.values())
    skipped = f", {report.skipped} exist already (--overwrite)" if report.skipped else ""
    listed = listed.replace("depth_scale", f"{writer.depth_scale:g}")
    print(f"{report.written} of {total} written to {writer.directory}{skipped}. {listed}")
    for file, error in report.failures:
        named = "" if str(file) in str(error) else f"{file}: "
        print(f"error: {named}{error}", file=sys.stderr)
    return 1 if report.failures else 0


@compilation_cache.kept()
def run():
    _check_numbers()
    photo_writer, video_writer = _writers()
    choice = CameraChoice(_FOCAL_LENGTH.value, _FOV.value, _CAMERA.value)
    files = find_inputs(_INPUT.value, _OUTPUT.value)
    photos = [file for file in files if not file.is_video]
    videos = [file for file in files if file.is_video]
    if photos and not photo_writer.paths(""):
        raise UserError(f"outputs video: {photos[0].path} is a photo; add outputs of photos")
    check_names(files, lambda file: _paths_of(file, photo_writer, video_writer))
    _check_writable(photo_writer.directory)
    estimator = DepthEstimator.from_checkpoint(_CHECKPOINT.value)
    counts = {"ensemble": _ENSEMBLE.value, "batch_size": _BATCH_SIZE.value}
    estimator.check(num_steps=_NUM_STEPS.value, **counts)
    _check_camera(choice, estimator, photo_writer.kinds + video_writer.kinds)
    native = _SIZE.value == "native"
    options = {
        "overwrite": _OVERWRITE.value,
        "seed": _SEED.value,
        "num_steps": _NUM_STEPS.value,
        "native_size": native,
        **counts,
    }
    padded = placement.shared_sizes(image_sizes(photos)) if native else ()
    report = Report()
    predictor = FilePredictor(estimator, photo_writer, choice, padded_sizes=padded, **options)
    predictor.predict_photos(photos, report)
    predictor = FilePredictor(estimator, video_writer, choice, **options)
    for file in videos:
        predictor.predict_video(file, report)
    return _report(report, len(files), photo_writer if photos else video_writer)


def main():
    start(run, required=["checkpoint", "input", "output"])


if __name__ == "__main__":
    main()
