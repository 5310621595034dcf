"""Scores a folder of depth files, of any program, against a configuration's evaluation sets."""

import pathlib

import numpy as np

from diffdepth_jax.datasets.sources import create_sources
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import scoring
from diffdepth_jax.evaluation.evaluator import Evaluator
from diffdepth_jax.evaluation.report import describe, format_report, write_results
from diffdepth_jax.media import preprocessing, reading

_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


class DepthFiles:
    """A predictor that reads DIR/NAME.npy or DIR/NAME.png, by a sample's name without extension.

    Float .npy hold metres, integers metres x scale. A file has the size of its frame, or of KITTI's
    benchmark crop in it and is then put back in its place.

    Attributes:
      missing: names of the samples without a file, so far.
    """

    def __init__(self, directory, scale=None):
        self._directory, self._scale = pathlib.Path(directory), scale
        self.missing = []
        if not self._directory.is_dir():
            raise UserError(f"predictions {directory} is no folder: check --predictions")
        if scale is not None and not 0 < scale < float("inf"):
            raise UserError(f"predictions_scale {scale}: must be positive; 256 for KITTI's PNG")

    def __call__(self, samples, first):
        return [self._read(sample, index) for index, sample in enumerate(samples, start=first)]

    def _read(self, sample, index):
        name = scoring.sample_name(sample, index)
        path = self._path(name)
        if path is None:
            self.missing.append(name)
            return None
        depth = reading.read_depth(str(path), self._scale or 1.0)
        if self._scale is None and _holds_integers(path):
            raise UserError(
                f"{path} holds integers: give --predictions_scale, 256 for metres x 256 (KITTI), "
                "1000 for millimetres"
            )
        return _placed(depth, sample["depth"].shape[:2], path)

    def _path(self, name):
        """The file of a sample; .npy, which rounds nothing, before .png."""
        stem = pathlib.PurePosixPath(name.lstrip("/"))
        if stem.suffix.lower() in _IMAGE_SUFFIXES:
            stem = stem.with_suffix("")
        paths = [self._directory / f"{stem}{suffix}" for suffix in (".npy", ".png")]
        return next((path for path in paths if path.is_file()), None)


def _holds_integers(path):
    return path.suffix == ".png" or np.load(path, mmap_mode="r").dtype.kind != "f"


def _placed(depth, size, path):
    """Metres [H, W, 1] of the frame."""
    if depth.shape[:2] == size:
        return depth
    if depth.shape[:2] == preprocessing.KB_SIZE:
        return scoring.to_frame(depth, size=size, input_crop="kb")
    raise UserError(
        "{} is {} x {}, its frame {} x {}: save predictions at the frame's size".format(
            path, *depth.shape[:2], *size
        )
    )


def score_folder(config, directory, results, *, scale=None, skip_missing=False):
    """Scores the files of a folder; of several sets, each in the subfolder of its name.

    Args:
      config: whose data and protocol.
      directory: the folder.
      results: folder for SET.json and SET.csv, see `write_results`.
      scale: of integer files.
      skip_missing: leave out samples without a file, instead of refusing.

    Returns:
      The report to print.
    """
    _, sources = create_sources(seed=config.seed, **config.data)
    evaluator = Evaluator(config, None, None, sources)
    origin, means, notes = f"depth files of {directory}", {}, []
    for name in sources:
        inside = pathlib.Path(directory) / name if len(sources) > 1 else directory
        files = DepthFiles(inside, scale)
        rows = evaluator.score(name, files, input_crop="none")
        notes += _check_missing(files.missing, len(rows), inside, skip_missing)
        means[name] = evaluator.means(rows)
        write_results(results, name, means[name], rows, describe(config, origin))
    return "\n".join([format_report(config, means, origin), *notes])


def _check_missing(missing, found, directory, skip):
    """Lines on the samples without a file; an error unless these may be left out."""
    if not missing:
        return []
    total = found + len(missing)
    text = f"{len(missing)} of {total} samples have no file in {directory}: {', '.join(missing)}"
    if not (skip and found):
        raise UserError(f"{text}; add NAME.npy or NAME.png, or score the others: --skip_missing")
    return [f"left out: {text}"]
