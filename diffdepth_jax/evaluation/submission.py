"""KITTI's depth prediction benchmark: the zip of 16-bit PNG files, metres x 256."""

import io
import os
import pathlib
import re
import zipfile
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.datasets.samples import EvaluationSample
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import scoring
from diffdepth_jax.evaluation.evaluator import load_evaluator
from diffdepth_jax.evaluation.scoring import Prediction
from diffdepth_jax.media.photo_formats import open_picture
from diffdepth_jax.program import progress
from diffdepth_jax.program.interruption import telling
from diffdepth_jax.whole_files import whole_file

SCALE = 256
# Of the anonymous test set of depth prediction.
TEST_SIZES = ((352, 1216),) * 500
_NUMBERED = re.compile(r"\d{10}")
_SHOWN = 5  # problems of a zip in one message


def file_name(name: str, index: int) -> str:
    """NNNNNNNNNN.png: the number in the sample's name if it has one, otherwise its index."""
    stem = pathlib.PurePosixPath(name).stem
    return f"{stem if _NUMBERED.fullmatch(stem) else f'{index:010d}'}.png"


def encode_depth(depth: np.ndarray) -> bytes:
    """A PNG file of metres [H, W, 1]: uint16 = metres x 256, at least 1; nan becomes 1."""
    values = np.nan_to_num(depth[..., 0] * SCALE, nan=1, posinf=65535, neginf=1)
    values = np.clip(np.rint(values), 1, 65535).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, format="PNG")
    return file.getvalue()


def check_submission(
    path: str | os.PathLike, sizes: Sequence[tuple[int, int]] = TEST_SIZES
) -> list[str]:
    """The problems of a zip of predictions, a line for each; an empty list if there is none.

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


def _check_file(name: str, archive: zipfile.ZipFile, size: tuple[int, int]) -> list[str]:
    try:
        with open_picture(io.BytesIO(archive.read(name)), ["PNG"]) as image:
            values, mode = np.array(image), image.mode
    except (OSError, SyntaxError, ValueError, zipfile.BadZipFile) as error:
        return [f"{name} is no readable PNG ({error})"]
    if values.dtype != np.uint16 or values.ndim != 2:
        return [f"{name} has mode {mode}, must be one channel of 16 bits"]
    if values.shape != tuple(size):
        return ["{} is {} x {}, must be {} x {}".format(name, *values.shape, *size)]
    zeros = np.count_nonzero(values == 0)
    return [f"{name} has {zeros} zeros, which say that nothing was predicted"] if zeros else []


def write_submission(
    path: str | os.PathLike,
    frames: Iterable[tuple[int, EvaluationSample, Prediction]],
    total: int | None = None,
) -> int:
    """Writes and checks the zip, whole or not at all.

    Args:
      path: of the zip; must not exist.
      frames: (index, sample, metres [H, W, 1]) of each image, see `scoring.predict_frames`.
      total: the number of frames, for a progress bar.

    Returns:
      The number of files.

    Raises:
      UserError: the path exists, or the benchmark would refuse the zip.
    """
    path = pathlib.Path(path)
    if path.exists():
        raise UserError(f"output {path} exists: give another, or delete it")
    path.parent.mkdir(parents=True, exist_ok=True)
    with telling(lambda: f"{path} was not written"), whole_file(path) as unfinished:
        sizes = _write_frames(unfinished, progress.bar(frames, "predict", total=total))
        problems = check_submission(unfinished, [sizes[name] for name in sorted(sizes)])
        if problems:
            raise UserError(f"{path} would not be accepted: {'; '.join(problems[:_SHOWN])}")
    return len(sizes)


def _write_frames(
    path: pathlib.Path, frames: Iterable[tuple[int, EvaluationSample, Prediction]]
) -> dict[str, tuple[int, int]]:
    """Writes the zip; returns {name of a file: (height, width) of its frame}."""
    sizes = {}
    with zipfile.ZipFile(path, "w") as archive:
        for index, sample, depth in frames:
            name = file_name(scoring.sample_name(sample, index), index)
            archive.writestr(name, encode_depth(np.asarray(depth)))
            sizes[name] = sample["depth"].shape[:2]
    return sizes


def submit(config: Configuration, workdir: str | os.PathLike, output: str | None) -> str:
    """Predicts the test set with the model of `workdir` into a zip; returns a line for the user."""
    if not output:
        raise UserError("--mode=submit needs --output=FILE.zip")
    if config.model.is_relative:
        raise UserError("a submission is of metres, and this model is relative: take a metric one")
    evaluator, variables = load_evaluator(config, workdir)
    sets = evaluator.scorer.sets
    if len(sets) != 1:
        raise UserError(
            f"the configuration has {len(sets)} evaluation sets ({', '.join(sets)}): a submission "
            "is made of one, the benchmark's test set"
        )
    ((name, total),) = sets.items()
    frames = evaluator.scorer.frames(name, evaluator.predictor(variables))
    count = write_submission(output, frames, total)
    note = "" if count == len(TEST_SIZES) else f"; the benchmark's test set has {len(TEST_SIZES)}"
    return f"{output}: {count} predictions, 16-bit PNG of metres x {SCALE}, checked{note}"
