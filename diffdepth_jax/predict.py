"""Predicts depth for photos and videos.

python -m diffdepth_jax.predict --input=FILE_OR_FOLDER --output=DIR [--checkpoint=MODEL]
"""

import pathlib
import sys

from absl import flags

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera
from diffdepth_jax.prediction import outputs
from diffdepth_jax.prediction.camera_choice import CameraChoice
from diffdepth_jax.prediction.input_files import find_inputs
from diffdepth_jax.prediction.options import Options
from diffdepth_jax.prediction.outputs import OutputWriter
from diffdepth_jax.prediction.writers import Writers, create_writers
from diffdepth_jax.program import default_model
from diffdepth_jax.program.entry import start
from diffdepth_jax.program.path_flags import define_path
from diffdepth_jax.program.quick_imports import quick_imports

_CHECKPOINT = define_path("checkpoint", default_model.HELP_WITH_DEFAULT, allow_override=True)
_INPUT = define_path(
    "input",
    "A photo, a video, a folder with its subfolders, or a .txt file with a path in each line.",
)
_OUTPUT = define_path(
    "output",
    "Folder for the results. It gets the same subfolders as the input.",
    allow_override=True,  # other programs have a flag of this name
)
_OUTPUTS = flags.DEFINE_list(
    "outputs",
    None,
    f"What to write: names of {', '.join(outputs.KINDS)}. Default: {','.join(outputs.DEFAULT)} for "
    f"photos, {','.join(outputs.RELATIVE_DEFAULT)} if the model is relative, video for videos. A "
    "video's other outputs are written for each frame.",
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Predict again what exists already.")
_SIZE = flags.DEFINE_enum(
    "size",
    "model",
    ["model", "native"],
    "Size at which photos are predicted. model: the model's image size; depth is then resized to "
    "the photo. native: the photo's own size; photos of many sizes are padded to one of four.",
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "Number of images predicted together.")
_NUM_STEPS = flags.DEFINE_integer(
    "num_steps", None, "Number of sampler steps; default: the model's."
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of each image's starting noise.", lower_bound=0, upper_bound=2**31 - 1
)
_ENSEMBLE = flags.DEFINE_integer(
    "ensemble", 1, "Number of samples for an image. Their median is written, and their spread."
)
_INTERVAL = flags.DEFINE_float(
    "interval",
    None,
    "Also write the ends of an interval that shall hold the true depth of this part of the pixels, "
    "such as 0.9. It is that of the model's calibration, see --mode=calibrate of "
    "diffdepth_jax.main; without one it is made of the samples and of the model's Laplace scale.",
)
_TRAJECTORY = flags.DEFINE_bool("trajectory", False, "Also write the denoising as a GIF.")
_FOCAL_LENGTH = flags.DEFINE_float(
    "focal_length", None, "The camera's focal length in pixels of the photo; rescales the metres."
)
_FOV = flags.DEFINE_float(
    "fov", None, "The camera's horizontal field of view in degrees; rescales the metres."
)
_CAMERA = flags.DEFINE_enum(
    "camera",
    None,
    ["model", "exif", *camera.DATASETS],
    "The camera: a dataset's, or exif for the camera of each photo's EXIF data; rescales the "
    "metres. model: the camera that the model assumes. Default: exif if the model has a canonical "
    "focal length, otherwise model.",
)
_DEPTH_SCALE = flags.DEFINE_float(
    "depth_scale",
    1000.0,
    "Values of the 16-bit PNG are metres x this, so that it holds up to 65535 / this metres.",
)
_COLOR_RANGE = flags.DEFINE_list(
    "color_range",
    None,
    "NEAR,FAR: metres at the ends of the colours; default: chosen for each image.",
)
_MESH = flags.DEFINE_bool("mesh", False, "PLY and GLB hold a surface instead of points.")
_MAX_POINTS = flags.DEFINE_integer(
    "max_points",
    1_000_000,
    "The most points in PLY and GLB. Of larger images only every k-th row and column is taken.",
)


def _color_range() -> tuple[float, float] | None:
    if _COLOR_RANGE.value is None:
        return None
    try:
        near, far = (float(value) for value in _COLOR_RANGE.value)
    except ValueError as error:
        raise UserError(f"color_range {','.join(_COLOR_RANGE.value)}: give NEAR,FAR") from error
    return near, far


def _writers() -> Writers:
    settings = OutputWriter(
        pathlib.Path(_OUTPUT.value or ""),  # `start` requires the flag: it has a value
        outputs.DEFAULT,
        _DEPTH_SCALE.value,
        _color_range(),
        _MESH.value,
        _MAX_POINTS.value,
    )
    return create_writers(
        settings,
        _OUTPUTS.value,
        ensemble=_ENSEMBLE.value,
        trajectory=_TRAJECTORY.value,
        interval=_INTERVAL.value,
    )


def _options() -> Options:
    return Options(
        num_steps=_NUM_STEPS.value,
        seed=_SEED.value,
        ensemble=_ENSEMBLE.value,
        native_size=_SIZE.value == "native",
        batch_size=_BATCH_SIZE.value,
        interval=_INTERVAL.value,
    )


def run() -> int:
    writers = _writers()
    cameras = CameraChoice(_FOCAL_LENGTH.value, _FOV.value, _CAMERA.value)
    files, passed_over = find_inputs(_INPUT.value or "", _OUTPUT.value or "")
    writers.check(files, overwrite=_OVERWRITE.value)
    model, overwrite = default_model.chosen(_CHECKPOINT.value), _OVERWRITE.value
    with quick_imports():
        # Here, because it imports JAX, for which --help and wrong flags need not wait.
        from diffdepth_jax.prediction.command import predict_with
    chosen = model, files, writers, cameras, _options()
    report, writers = predict_with(*chosen, overwrite=overwrite)
    only_videos = all(file.is_video for file in files)
    if passed_over:
        print(passed_over)
    print(report.summary(writers.videos if only_videos else writers.photos))
    for line in report.errors():
        print(line, file=sys.stderr)
    return 1 if report.failures else 0


def main() -> None:
    start(run, required=["input", "output"])


if __name__ == "__main__":
    main()
