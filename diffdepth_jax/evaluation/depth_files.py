"""Depth files of any program as predictions: found by the names of samples, checked and placed."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from diffdepth_jax.datasets.samples import EvaluationSample
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import scoring
from diffdepth_jax.evaluation.depth_kinds import KINDS, Kind
from diffdepth_jax.evaluation.protocols import Resize
from diffdepth_jax.evaluation.scoring import Prediction
from diffdepth_jax.media import preprocessing
from diffdepth_jax.media.depth_reading import DepthForm, read_depth
from diffdepth_jax.media.orientation import AS_STORED, DepthOrientation, depth_turn, turned

_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
_NEAREST = np.float32(1e-3)  # metres, of the end of an interval
_SUFFIXES = (".npy", ".npz", ".tiff", ".tif", ".pfm", ".png")


@dataclasses.dataclass(frozen=True)
class FileOptions:
    """How depth files are read.

    Attributes:
      scale: integer files hold numbers times this; None: there may be none.
      skip_missing: leaves out samples without a file, instead of refusing them.
      orientation: how files lie where EXIF turns a frame within its size.
      kind: depth: metres. disparity: 1 / metres. A number of these that is 0, negative or nan says
        that there is no depth. relative_depth, relative_disparity: up to a scale and a shift; every
        number but nan counts.
      resize: how files of another size are brought to their frame's; None: they are refused.
      spread: whether there is a spread beside each depth, in metres.
      interval: the share of pixels for which the intervals beside the depth are meant to hold;
        None: there are none.
    """

    scale: float | None = None
    skip_missing: bool = False
    orientation: DepthOrientation = "apply"
    kind: Kind = "depth"
    resize: Resize | None = None
    spread: bool = False
    interval: float | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and not 0 < self.scale < float("inf"):
            raise UserError(
                f"predictions_scale {self.scale}: must be positive; 256 for KITTI's PNG"
            )
        if self.interval is not None and not 0 < self.interval < 1:
            raise UserError(f"predictions_interval {self.interval}: must be between 0 and 1")
        if self.has_maps and self.kind != "depth":
            raise UserError(
                f"predictions_kind {self.kind}: a spread or an interval is scored of depth only"
            )

    @property
    def has_maps(self) -> bool:
        """Whether anything is read beside the depth."""
        return self.spread or self.interval is not None

    def check_alignment(self, name: str) -> None:
        """Raises a UserError unless an evaluation with this alignment can score such files."""
        needed = KINDS[self.kind]
        if needed and name != needed:
            raise UserError(
                f"--predictions_kind={self.kind} has no unit: set evaluation.alignment to {needed}"
            )
        if self.has_maps and name != "none":
            raise UserError(
                f"evaluation.alignment {name}: a spread or an interval is scored of depth that is "
                "not aligned: leave it out, or set evaluation.alignment to none"
            )

    def describe(self) -> str:
        """What the files hold and how they were resized, if that is not depth at its size."""
        kind = "" if self.kind == "depth" else f", {self.kind.replace('_', ' ')}"
        return kind if self.resize is None else f"{kind}, resized {self.resize}"


class DepthFiles:
    """A predictor that reads DIR/NAME and one of `_SUFFIXES`, by a sample's name.

    NAME may lack the extension of the image. A file has the size of its frame, or of KITTI's
    benchmark crop; a crop is put back in its place in the frame. Other sizes are resized, if the
    options say how. Where EXIF turns the frame, the file fits the turned or the stored picture, see
    `media.orientation`.

    Predictions are metres, or stand for them in the alignment's space; nan where there is no depth.
    With a spread or an interval they have the maps of `uncertainty.stated_scores`.

    Attributes:
      directory: of the files.
      missing: names of the samples without a file, so far.
    """

    def __init__(self, directory: str | os.PathLike, options: FileOptions = FileOptions()):
        """Takes the folder, and how its files are read."""
        self.directory, self._options = pathlib.Path(directory), options
        self.missing: list[str] = []
        if not self.directory.is_dir():
            raise UserError(f"predictions {directory} is no folder: check --predictions")

    def __call__(self, samples: Sequence[EvaluationSample], first: int) -> list[Prediction | None]:
        return [self._read(sample, index) for index, sample in enumerate(samples, start=first)]

    def _read(self, sample: EvaluationSample, index: int) -> Prediction | None:
        name = scoring.sample_name(sample, index)
        path = self._path(name)
        if path is None:
            self.missing.append(name)
            return None
        depth = self._metres(self._map(path, "depth", sample))
        if not self._options.has_maps:
            return depth
        parts = ["spread"] * self._options.spread
        parts += ["low", "high"] * (self._options.interval is not None)
        maps = {part: self._map(path, part, sample) for part in parts}
        unknown = np.full_like(depth, np.nan)
        others = [maps.get(part, unknown) for part in ("spread", "", "low", "high")]
        return np.concatenate([depth, *others], axis=-1)

    def _map(self, path: pathlib.Path, part: str, sample: EvaluationSample) -> np.ndarray:
        """A map of a prediction, at the size of its frame: depth, spread, low or high."""
        where = _beside(path, part)
        values = read_depth(where, DepthForm(self._options.scale), part)
        turn = depth_turn(
            values.shape[:2],
            sample["depth"].shape[:2],
            sample.get("orientation", AS_STORED),
            self._options.orientation,
            "--predictions_orientation",
        )
        values = turned(values, turn)
        if not KINDS[self._options.kind]:
            values = _possible(values, part)
        return _placed(values, sample["depth"].shape[:2], where, self._options.resize)

    def _metres(self, values: np.ndarray) -> Float32[np.ndarray, "height width 1"]:
        if "disparity" not in self._options.kind:
            return values
        with np.errstate(divide="ignore"):
            return 1 / values

    def _path(self, name: str) -> pathlib.Path | None:
        """The file of a sample; of several, the one that rounds least.

        `predict` keeps the extension in the names of two images that differ in nothing else.
        """
        whole = stem = pathlib.PurePosixPath(name.lstrip("/"))
        if stem.suffix.lower() in _IMAGE_SUFFIXES:
            stem = stem.with_suffix("")
        names = [f"{base}{suffix}" for base in (whole, stem) for suffix in _SUFFIXES]
        paths = [self.directory / name for name in names]
        return next((path for path in paths if path.is_file()), None)


def _possible(values: np.ndarray, part: str) -> np.ndarray:
    """Metres as a part can have them: positive depth, spread from 0 on, ends beyond the camera."""
    if part in ("low", "high"):
        return np.maximum(values, _NEAREST)
    stated = values > 0 if part == "depth" else values >= 0
    return np.where(stated, values, np.float32(np.nan))


def _beside(path: pathlib.Path, part: str) -> pathlib.Path:
    """The file of a part of a prediction: the same archive, or NAME_PART.npy, as `predict` has."""
    if part == "depth" or path.suffix == ".npz":
        return path
    other = path.with_name(f"{path.stem}_{part}.npy")
    if not other.is_file():
        raise UserError(f"{path} has no {part} beside it: expected {other}, or both in one .npz")
    return other


def _placed(
    values: np.ndarray, size: tuple[int, int], path: pathlib.Path, resize: Resize | None
) -> np.ndarray:
    """Values [H, W, 1] at the size of the frame."""
    if values.shape[:2] == size:
        return values
    if values.shape[:2] == preprocessing.KB_SIZE and _holds_kb_crop(size):
        return np.asarray(scoring.to_frame(values, size=size, input_crop="kb"))
    if resize is not None:
        return np.asarray(scoring.resize_depth(values, size, resize))
    raise UserError(
        "{} is {} x {}, its frame {} x {}: save predictions at the frame's size, or say how they "
        "are resized: --predictions_resize=bilinear".format(path, *values.shape[:2], *size)
    )


def _holds_kb_crop(size: tuple[int, int]) -> bool:
    return size[0] >= preprocessing.KB_SIZE[0] and size[1] >= preprocessing.KB_SIZE[1]
