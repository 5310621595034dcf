"""Scores a folder of depth files, from any program, on a configuration's evaluation sets."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.datasets.samples import EvaluationSample
from diffdepth_jax.datasets.sources import create_sources
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import scoring
from diffdepth_jax.evaluation.report import describe, format_report, write_results
from diffdepth_jax.evaluation.scorer import Scorer
from diffdepth_jax.evaluation.scoring import Prediction, Row
from diffdepth_jax.media import preprocessing
from diffdepth_jax.media.depth_reading import DepthForm, read_depth
from diffdepth_jax.media.orientation import AS_STORED, DepthOrientation, depth_turn, turned

_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}

_SUFFIXES = (".npy", ".npz", ".tiff", ".tif", ".pfm", ".png")


class DepthFiles:
    """A predictor that reads DIR/NAME and one of `_SUFFIXES`, by a sample's name.

    NAME may lack the extension of the image.

    Floats are metres, integers metres x scale. A file has the size of its frame, or
    of KITTI's benchmark crop; a crop is put back in its place in the frame. Where EXIF turns the
    frame, the file fits the turned or the stored picture, see `media.orientation`.

    Attributes:
      missing: names of the samples without a file, so far.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        scale: float | None = None,
        orientation: DepthOrientation = "apply",
    ):
        """Takes the folder, the scale of integer files, and how files lie if size does not tell."""
        self._directory, self._scale = pathlib.Path(directory), scale
        self._orientation: DepthOrientation = orientation
        self.missing: list[str] = []
        if not self._directory.is_dir():
            raise UserError(f"predictions {directory} is no folder: check --predictions")
        if scale is not None and not 0 < scale < float("inf"):
            raise UserError(f"predictions_scale {scale}: must be positive; 256 for KITTI's PNG")

    def __call__(self, samples: Sequence[EvaluationSample], first: int) -> list[Prediction | None]:
        return [self._read(sample, index) for index, sample in enumerate(samples, start=first)]

    def _read(self, sample: EvaluationSample, index: int) -> Prediction | None:
        name = scoring.sample_name(sample, index)
        path = self._path(name)
        if path is None:
            self.missing.append(name)
            return None
        depth = read_depth(path, DepthForm(self._scale))
        return _placed(self._turned(depth, sample), sample["depth"].shape[:2], path)

    def _turned(self, depth: np.ndarray, sample: EvaluationSample) -> np.ndarray:
        turn = depth_turn(
            depth.shape[:2],
            sample["depth"].shape[:2],
            sample.get("orientation", AS_STORED),
            self._orientation,
            "--predictions_orientation",
        )
        return turned(depth, turn)

    def _path(self, name: str) -> pathlib.Path | None:
        """The file of a sample; of several, the one that rounds least.

        `predict` keeps the extension in the names of two images that differ in nothing else.
        """
        whole = stem = pathlib.PurePosixPath(name.lstrip("/"))
        if stem.suffix.lower() in _IMAGE_SUFFIXES:
            stem = stem.with_suffix("")
        names = [f"{base}{suffix}" for base in (whole, stem) for suffix in _SUFFIXES]
        paths = [self._directory / name for name in names]
        return next((path for path in paths if path.is_file()), None)


def _placed(depth: np.ndarray, size: tuple[int, int], path: pathlib.Path) -> Prediction:
    """Metres [H, W, 1] at the size of the frame."""
    if depth.shape[:2] == size:
        return depth
    if depth.shape[:2] == preprocessing.KB_SIZE and _holds_kb_crop(size):
        return scoring.to_frame(depth, size=size, input_crop="kb")
    raise UserError(
        "{} is {} x {}, its frame {} x {}: save predictions at the frame's size".format(
            path, *depth.shape[:2], *size
        )
    )


def _holds_kb_crop(size: tuple[int, int]) -> bool:
    return size[0] >= preprocessing.KB_SIZE[0] and size[1] >= preprocessing.KB_SIZE[1]


@dataclasses.dataclass(frozen=True)
class FileOptions:
    """How depth files are read.

    Attributes:
      scale: integer files hold metres times this; None: there may be none.
      skip_missing: leaves out samples without a file, instead of refusing them.
      orientation: how files lie where EXIF turns a frame within its size.
    """

    scale: float | None = None
    skip_missing: bool = False
    orientation: DepthOrientation = "apply"


def score_folder(
    config: Configuration,
    directory: str | os.PathLike,
    results: str | os.PathLike,
    options: FileOptions = FileOptions(),
) -> str:
    """Scores the depth files of a folder; each of several sets lies in the subfolder of its name.

    Args:
      config: names the data and the protocol.
      directory: the folder.
      results: folder for SET.json and SET.csv, see `write_results`.
      options: how the files are read.

    Returns:
      The report to print.

    Raises:
      UserError: a file is missing, unreadable, without any depth to score, or of another size than
        its frame.
    """
    _, sources = create_sources(config.data, config.seed)
    scorer = Scorer(config, sources)
    scorer.check_ground_truth()
    origin, means, notes = f"depth files of {directory}", {}, []
    for name in sources:
        rows, left_out = score_set(scorer, name, directory, options)
        means[name] = scorer.means(name, rows)
        description = "; ".join([describe(config, [name], origin), *left_out])
        write_results(results, name, means[name], rows, description)
        notes += left_out
    return "\n".join([format_report(config, means, origin), *notes])


def score_set(
    scorer: Scorer, name: str, directory: str | os.PathLike, options: FileOptions
) -> tuple[list[Row], list[str]]:
    """Scores the files of one set; returns its rows, and lines about what was left out."""
    inside = pathlib.Path(directory) / name if len(scorer.sets) > 1 else pathlib.Path(directory)
    files = DepthFiles(inside, options.scale, options.orientation)
    rows = scorer.score(name, files, input_crop="none", holes=True)
    return rows, [
        *_check_missing(files.missing, len(rows), inside, options.skip_missing),
        *_check_holes(rows, inside),
    ]


def _check_missing(
    missing: list[str], found: int, directory: pathlib.Path, skip: bool
) -> list[str]:
    """Lines about the samples without a file; a UserError unless these may be left out."""
    if not missing:
        return []
    total = found + len(missing)
    text = f"{len(missing)} of {total} samples have no file in {directory}: {', '.join(missing)}"
    if not (skip and found):
        raise UserError(
            f"{text}; add NAME.npy, NAME.png or the like, or score the others: --skip_missing"
        )
    return [f"left out: {text}"]


def _check_holes(rows: list[Row], directory: pathlib.Path) -> list[str]:
    """Lines about pixels that have ground truth, but no depth in the files.

    Raises:
      UserError: an image has no other pixels.
    """
    holes = [row for row in rows if row["holes"]]
    empty = [row["name"] for row in holes if not row["valid"]]
    if empty:
        raise UserError(
            f"{len(empty)} of {len(rows)} files in {directory} hold no depth (only 0, negative "
            f"numbers or nan) where there is ground truth: {', '.join(empty[:3])}; predict them "
            "again, or write PNG files with a smaller scale: 65535 / scale metres is their limit"
        )
    if not holes:
        return []
    missing = sum(row["holes"] for row in holes)
    total = missing + sum(row["valid"] for row in rows)
    return [
        f"left out: {missing} of {total} pixels with ground truth ({100 * missing / total:.2g} %), "
        f"in {len(holes)} of {len(rows)} images: the files hold no depth there (0, negative or nan)"
    ]
