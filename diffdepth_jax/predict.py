"""Predicts depth for photos and videos.

diffdepth predict photos/ clip.mp4 'shots/*.jpg' --output=depth/
diffdepth predict photo.jpg --outputs=glb --mesh
find . -name '*.jpg' | diffdepth predict - -o depth/
"""

import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from diffdepth_jax.errors import UserError, printable
from diffdepth_jax.media import camera, defaults
from diffdepth_jax.prediction import output_kinds
from diffdepth_jax.program import default_model
from diffdepth_jax.program.entry import start
from diffdepth_jax.program.help_page import Page
from diffdepth_jax.program.interruption import telling
from diffdepth_jax.program.path_flags import define_path, define_paths
from diffdepth_jax.program.quick_imports import quick_imports

if TYPE_CHECKING:  # Pillow and JAX take time, for which --help and wrong flags need not wait
    from diffdepth_jax.prediction.camera_choice import CameraChoice
    from diffdepth_jax.prediction.options import Options
    from diffdepth_jax.prediction.output_names import InputFile
    from diffdepth_jax.prediction.report import Report
    from diffdepth_jax.prediction.writers import Writers

_CHECKPOINT = define_path("checkpoint", default_model.HELP_WITH_DEFAULT, allow_override=True)
_INPUT = define_paths(
    "input",
    "A photo, a video, a folder with its subfolders, a pattern such as 'shots/**/*.jpg', a .txt or "
    ".csv file with a path in each line, or - for such a list on standard input. The same as an "
    "argument without a flag; both may be given several times.",
)
_OUTPUT = define_path(
    "output",
    "Folder for the results. It gets the same subfolders as the input. Default: depth, or if that "
    "would lie in a folder of the input, FOLDER_depth beside that one.",
    allow_override=True,  # other programs have a flag of this name
    short_name="o",
)
_OUTPUTS = flags.DEFINE_list(
    "outputs",
    None,
    f"What to write: names of {', '.join(output_kinds.KINDS)}. Default: "
    f"{','.join(output_kinds.DEFAULT)} for photos ({','.join(output_kinds.RELATIVE_DEFAULT)} of a "
    "relative model), video for videos. A video's other outputs are written for each frame.",
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
    "such as 0.9. It is that of the model's calibration, see `diffdepth calibrate`; "
    "without one it is made of the samples and of the model's Laplace scale.",
)
_TRAJECTORY = flags.DEFINE_bool(
    "trajectory",
    False,
    f"Also write the denoising, in {defaults.DENOISING_STEPS} steps at least, as a GIF, and as "
    "an MP4 where PyAV is installed.",
)
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
_COLORMAP = flags.DEFINE_string(
    "colormap",
    defaults.COLORMAP,
    f"Colours of depth: {', '.join(defaults.COLORMAPS)}, or another map of the cmap library. "
    "With _r at its end near and far change places.",
)
_MESH = flags.DEFINE_bool(
    "mesh", False, "PLY and GLB hold a surface instead of points; that of GLB carries the photo."
)
_MAX_POINTS = flags.DEFINE_integer(
    "max_points",
    defaults.MAX_POINTS,
    "The most points in PLY and GLB. Of larger images only every k-th row and column is taken.",
)
_MAX_TRIANGLES = flags.DEFINE_integer(
    "max_triangles", defaults.MAX_TRIANGLES, "With --mesh, the most triangles in PLY and GLB."
)


_PAGE = Page(
    __doc__,
    {
        "What goes in and comes out": ("input", "output", "outputs", "overwrite", "checkpoint"),
        "The camera": ("camera", "fov", "focal_length"),
        "How sure it is": ("interval", "ensemble"),
        "How it is predicted": ("size", "num_steps", "seed", "batch_size"),
        "Pictures and 3D": (
            "color_range",
            "depth_scale",
            "colormap",
            "mesh",
            "max_points",
            "max_triangles",
            "trajectory",
        ),
    },
)


def _color_range() -> tuple[float, float] | None:
    if _COLOR_RANGE.value is None:
        return None
    try:
        near, far = (float(value) for value in _COLOR_RANGE.value)
    except ValueError as error:
        raise UserError(f"color_range {','.join(_COLOR_RANGE.value)}: give NEAR,FAR") from error
    return near, far


def _output(inputs: Sequence[str]) -> pathlib.Path:
    from diffdepth_jax.prediction.input_files import default_output

    if _OUTPUT.value == "":
        raise UserError("output is empty: name the folder for the results")
    if _OUTPUT.value is not None:
        return pathlib.Path(_OUTPUT.value)
    output = default_output(inputs)
    print(printable(f"results: {output}; --output takes another folder"))
    return output


def _writers(output: pathlib.Path) -> "Writers":
    from diffdepth_jax.prediction.outputs import OutputWriter
    from diffdepth_jax.prediction.writers import create_writers

    settings = OutputWriter(
        output,
        output_kinds.DEFAULT,
        _DEPTH_SCALE.value,
        _color_range(),
        _MESH.value,
        _MAX_POINTS.value,
        _MAX_TRIANGLES.value,
        _COLORMAP.value,
    )
    return create_writers(
        settings,
        _OUTPUTS.value,
        ensemble=_ENSEMBLE.value,
        trajectory=_TRAJECTORY.value,
        interval=_INTERVAL.value,
    )


def _options() -> "Options":
    from diffdepth_jax.prediction.options import Options

    return Options(
        num_steps=_NUM_STEPS.value,
        seed=_SEED.value,
        ensemble=_ENSEMBLE.value,
        native_size=_SIZE.value == "native",
        batch_size=_BATCH_SIZE.value,
        interval=_INTERVAL.value,
    )


def run(arguments: Sequence[str]) -> int:
    from diffdepth_jax.prediction.camera_choice import CameraChoice
    from diffdepth_jax.prediction.input_files import EXAMPLE, find_inputs

    inputs = [*(_INPUT.value or ()), *arguments]
    if not inputs:
        raise UserError(f"missing: --input; name {EXAMPLE}; --help has an example")
    cameras = CameraChoice(_FOCAL_LENGTH.value, _FOV.value, _CAMERA.value)
    writers = _writers(_output(inputs))
    files, passed_over = find_inputs(inputs, writers.photos.directory)
    writers.check(files)
    report, writers = _predict(files, writers, cameras)
    only_videos = all(file.is_video for file in files)
    if passed_over:
        print(printable(passed_over))
    print(printable(report.summary(writers.videos if only_videos else writers.photos)))
    return 1 if report.failures else 0


def _predict(
    files: Sequence["InputFile"], writers: "Writers", cameras: "CameraChoice"
) -> tuple["Report", "Writers"]:
    """Predicts the files; what failed is printed also where Ctrl-C ends the program.

    Returns the writers with the kinds of output that the model has.
    """
    from diffdepth_jax.prediction.report import Report

    model = default_model.chosen(_CHECKPOINT.value)
    report = Report(len(files), listed={file.path: file.listed for file in files})
    overwrite = _OVERWRITE.value
    try:
        with telling(lambda: f"{report.counts} to {writers.photos.directory}"):
            with quick_imports():
                # Here, because it imports JAX, for which --help and wrong flags need not wait.
                from diffdepth_jax.prediction.command import predict_files
            chosen = model, files, writers, cameras, _options(), report
            writers = predict_files(*chosen, overwrite=overwrite)
    finally:
        for line in report.errors():
            print(line, file=sys.stderr)
    return report, writers


def main() -> None:
    start(run, required=[], page=_PAGE, takes_arguments=True)


if __name__ == "__main__":
    main()
