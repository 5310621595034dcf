"""KITTI's depth prediction benchmark: the zip of 16-bit PNG files, metres x 256."""

import io
import pathlib
import re
import zipfile

import numpy as np
from PIL import Image
from tqdm import tqdm

from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import scoring
from diffdepth_jax.evaluation.evaluator import load_evaluator

SCALE = 256
# Of the anonymous test set of depth prediction.
TEST_SIZES = ((352, 1216),) * 500
_NUMBERED = re.compile(r"\d{10}")
_SHOWN = 5  # problems of a zip in one message


def file_name(name, index):
    """NNNNNNNNNN.png: the number that the sample is called by, otherwise its index."""
    stem = pathlib.PurePosixPath(name).stem
    return f"{stem if _NUMBERED.fullmatch(stem) else f'{index:010d}'}.png"


def encode_depth(depth):
    """A PNG file of metres [H, W, 1]: uint16 = metres x 256, at least 1; nan becomes 1."""
    values = np.nan_to_num(depth[..., 0] * SCALE, nan=1, posinf=65535, neginf=1)
    values = np.clip(np.rint(values), 1, 65535).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, format="PNG")
    return file.getvalue()


def check_submission(path, sizes=TEST_SIZES):
    """What is wrong with a zip of predictions, a line for each problem; none if it is right.

    Args:
      path: the zip file.
      sizes: (height, width) of each image of the test set, in the order of their numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            expected = {f"{index:010d}.png": size for index, size in enumerate(sizes)}
            problems = [f"{name} is missing" for name in expected if name not in names]
            if len(names) != len(sizes):
                problems.insert(0, f"{len(names)} files, must be {len(sizes)}")
            for name in names:
                if name not in expected:
                    problems.append(f"{name} does not belong in the zip")
                elif names.count(name) > 1:
                    problems.append(f"{name} is there {names.count(name)} times")
                else:
                    problems += _check_file(name, archive, expected[name])
            return problems
    except (OSError, zipfile.BadZipFile) as error:
        return [f"{path} is no readable zip file ({error})"]


def _check_file(name, archive, size):
    try:
        with Image.open(io.BytesIO(archive.read(name)), formats=["PNG"]) as image:
            values = np.array(image)
    except (OSError, SyntaxError, ValueError, zipfile.BadZipFile) as error:
        return [f"{name} is no readable PNG ({error})"]
    if values.dtype != np.uint16 or values.ndim != 2:
        return [f"{name} has mode {image.mode}, must be one channel of 16 bits"]
    if values.shape != tuple(size):
        return ["{} is {} x {}, must be {} x {}".format(name, *values.shape, *size)]
    zeros = np.count_nonzero(values == 0)
    return [f"{name} has {zeros} zeros, which say that nothing was predicted"] if zeros else []


def write_submission(path, frames, total=None):
    """Writes and checks the zip, whole or not at all.

    Args:
      path: of the zip; must not exist.
      frames: (index, sample, metres [H, W, 1]) of each image, see `evaluate.predict_frames`.
      total: how many there are, for a progress bar.

    Returns:
      The number of files.
    """
    path, sizes = pathlib.Path(path), {}
    if path.exists():
        raise UserError(f"output {path} exists: give another, or delete it")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with zipfile.ZipFile(unfinished, "w") as archive:
            for index, sample, depth in tqdm(frames, desc="predict", total=total):
                name = file_name(scoring.sample_name(sample, index), index)
                archive.writestr(name, encode_depth(np.asarray(depth)))
                sizes[name] = sample["depth"].shape[:2]
        problems = check_submission(unfinished, [sizes[name] for name in sorted(sizes)])
        if problems:
            raise UserError(f"{path} would not be accepted: {'; '.join(problems[:_SHOWN])}")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return len(sizes)


def submit(config, workdir, output):
    """Predicts the test set with the model of `workdir`: returns what to tell the user."""
    if not output:
        raise UserError("--mode=submit needs --output=FILE.zip")
    evaluator, variables = load_evaluator(config, workdir)
    sets = evaluator.sets
    if len(sets) != 1:
        raise UserError(
            f"the configuration has {len(sets)} evaluation sets ({', '.join(sets)}): a submission "
            "is made of one, the benchmark's test set"
        )
    ((name, total),) = sets.items()
    frames = evaluator.frames(name, evaluator.predictor(variables))
    count = write_submission(output, frames, total)
    note = "" if count == len(TEST_SIZES) else f"; the benchmark's test set has {len(TEST_SIZES)}"
    return f"{output}: {count} predictions, 16-bit PNG of metres x {SCALE}, checked{note}"
