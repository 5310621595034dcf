"""Depth for image files.

python -m diffdepth_jax.predict --checkpoint=DIR --input=FILE_OR_FOLDER --output=DIR
"""

import math
import pathlib
import sys

import numpy as np
from absl import flags
from PIL import Image
from tqdm import tqdm

from diffdepth_jax import visualize
from diffdepth_jax.entry import start
from diffdepth_jax.errors import UserError
from diffdepth_jax.estimator import DepthEstimator
from diffdepth_jax.folder import read_image

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Model directory, such as runs/synthetic.")
_INPUT = flags.DEFINE_string("input", None, "An image, or a folder of images (not recursive).")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for NAME.npy, NAME.png, NAME_color.png.",
    allow_override=True,  # other programs have a flag of this name
)  # fmt: skip
_SIZE = flags.DEFINE_enum(
    "size", "model", ["model", "native"],
    "model: at the model's inference size, resized back; native: at the photo's own size.",
)  # fmt: skip
_NUM_STEPS = flags.DEFINE_integer("num_steps", None, "Sampler steps; default: the model's.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of each image's starting noise.")
_FOCAL_LENGTH = flags.DEFINE_float(
    "focal_length", None, "Of the camera, in pixels of the photo: rescales the metres."
)
_DEPTH_SCALE = flags.DEFINE_float(
    "depth_scale", 1000.0, "16-bit PNG value = metres x this; it holds up to 65535 / scale metres."
)

EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}


def image_files(path) -> list[pathlib.Path]:
    """The image itself, or those of a folder in order of name."""
    path = pathlib.Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"input {path} does not exist: give an image or a folder of images")
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in EXTENSIONS)
    if not files:
        raise UserError(f"input {path} holds no image ({', '.join(sorted(EXTENSIONS))})")
    return files


def output_paths(directory, file):
    """Where the metres, the 16-bit PNG and the picture of an image are written."""
    return [directory / f"{file.stem}{suffix}" for suffix in (".npy", ".png", "_color.png")]


def check_names(files, directory):
    """Refuses outputs that would overwrite each other or one of the inputs."""
    owners = {file.resolve(): file for file in files}
    for file in files:
        for path in output_paths(directory, file):
            other = owners.setdefault(path.resolve(), file)
            if other != file or path.resolve() == file.resolve():
                raise UserError(
                    f"{path}, output of {file}, would overwrite what belongs to {other}: "
                    "rename one, or give another --output"
                )


def write_depth(paths, depth, depth_scale):
    """Metres as .npy, as 16-bit PNG (metres x depth_scale, 0: out of range), and as a picture.

    Returns the number of pixels out of the PNG's range.
    """
    metres, png, picture = paths
    np.save(metres, depth)
    scaled = np.round(depth.astype(np.float64) * depth_scale)
    scaled = np.where(scaled <= np.iinfo(np.uint16).max, scaled, 0).astype(np.uint16)
    Image.fromarray(scaled).save(png)
    visualize.write_png(picture, visualize.colorize_depth(depth))
    return int((scaled == 0).sum())


def _describe_focal_length(prediction):
    if prediction.focal_length is None:
        return "metres hold for cameras like those of the training data (focal length not stated)"
    return f"metres hold for a focal length of {prediction.focal_length:.1f} pixels"


def predict_files(estimator, files, output, *, depth_scale, **options):
    """Predicts and writes every file; returns [(file, error)] of those that could not be read."""
    output.mkdir(parents=True, exist_ok=True)
    failures = []
    for file in tqdm(files, desc="predict", disable=len(files) == 1):
        try:
            image = read_image(file, exif_orientation=True)
        except UserError as error:
            failures.append((file, error))
            continue
        prediction = estimator(image, **options)
        clipped = write_depth(output_paths(output, file), prediction.depth, depth_scale)
        height, width = prediction.depth.shape
        note = f"; {clipped} pixels beyond the PNG's range" if clipped else ""
        tqdm.write(
            f"{file.name}: {height} x {width}, {prediction.depth.min():.2f} to "
            f"{prediction.depth.max():.2f} m; {_describe_focal_length(prediction)}{note}"
        )
    return failures


def run():
    if not 0 < _DEPTH_SCALE.value < math.inf:
        raise UserError(f"depth_scale {_DEPTH_SCALE.value}: must be positive and finite")
    files, output = image_files(_INPUT.value), pathlib.Path(_OUTPUT.value)
    check_names(files, output)
    failures = predict_files(
        DepthEstimator.from_checkpoint(_CHECKPOINT.value),
        files,
        output,
        depth_scale=_DEPTH_SCALE.value,
        num_steps=_NUM_STEPS.value,
        seed=_SEED.value,
        native_size=_SIZE.value == "native",
        focal_length=_FOCAL_LENGTH.value,
    )
    print(
        f"{len(files) - len(failures)} of {len(files)} written to {output}: .npy in metres, "
        f".png in metres x {_DEPTH_SCALE.value:g}, _color.png near red to far blue"
    )
    for file, error in failures:
        print(f"error: {file}: {error}", file=sys.stderr)
    return 1 if failures else 0


def main():
    start(run, required=["checkpoint", "input", "output"])


if __name__ == "__main__":
    main()
