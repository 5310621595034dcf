"""Looks at RGB-D data, and says what it may be, what is odd about it, and how to train on it."""

import dataclasses
import math
import os
import pathlib
import shlex
from collections.abc import Iterator
from typing import Any

import numpy as np

from diffdepth_jax.configs import default, folder
from diffdepth_jax.configuration.data import Folder
from diffdepth_jax.data.archives import extract, is_archive
from diffdepth_jax.data.pairing import guess_patterns
from diffdepth_jax.data.registration import misplacement
from diffdepth_jax.datasets.folder import RGBDFolder
from diffdepth_jax.datasets.presets import PRESETS
from diffdepth_jax.datasets.samples import Sample
from diffdepth_jax.datasets.sources import open_folder
from diffdepth_jax.errors import UserError
from diffdepth_jax.media.depth_reading import read_values
from diffdepth_jax.media.drawing import depth_limits, depth_picture, stack_panels, write_png
from diffdepth_jax.media.path_lists import read_pairs
from diffdepth_jax.media.reading import read_picture

SHEET = "inspection.png"
_SAMPLES, _ROWS = 16, 4  # that are looked at; that the contact sheet shows
_EIGHT_BIT_SCALE = 25.5  # DenseDepth's, the only one that is common
_MANY = 0.01  # of the pixels at a type's end
_BORDER = 4  # pixels
_FARTHEST, _NEAREST = 150.0, 0.05  # metres; medians beyond are hardly metres

Fields = dict[str, Any]  # of data.folder


@dataclasses.dataclass(frozen=True)
class _Guess:
    """What a folder may be: fields of `data.folder`, and the source that they describe."""

    what: str
    fields: Fields
    source: RGBDFolder


def inspect(path: str | os.PathLike, sheet: str | os.PathLike = SHEET) -> str:
    """Returns the report, and draws a contact sheet.

    Args:
      path: a folder, a list file of pairs, or an archive, which is extracted beside itself into
        the folder "extracted".
      sheet: the PNG file to write.

    Raises:
      UserError: there is nothing, or nothing in which pictures and depth pair up.
    """
    if os.path.realpath(sheet).startswith(os.path.realpath(path) + os.sep):
        raise UserError(
            f"the contact sheet {sheet} would lie in the folder that is looked at, and be taken "
            "for data: give another --sheet"
        )
    root, guess = _guess(pathlib.Path(path))
    samples = list(_some(guess.source))
    lines = [
        f"guess: {guess.what}",
        f"{len(guess.source)} pairs; looked at {len(samples)}:",
        *_facts(samples),
        *(f"odd: {text}" for text in _oddities(guess, samples)),
    ]
    write_png(sheet, _contact_sheet(samples[:_ROWS]))
    drawn = f"contact sheet: {os.path.abspath(sheet)}"
    return "\n".join([*lines, drawn, "to train on it:", _command(root, guess, samples)])


def _guess(path: pathlib.Path) -> tuple[pathlib.Path, _Guess]:
    if not path.exists():
        raise UserError(f"{path} does not exist")
    if is_archive(path):
        path = extract(path, path.parent / "extracted")
    if path.is_file():
        _check_list(path)
        root, fields = path.parent, {"list_file": path.name}
        return root, _Guess(f"the list {path}", *_readable(root, fields))
    for name, fields in PRESETS.items():
        try:
            source = _source(path, fields)
        except UserError:
            continue
        return path, _Guess(f"the layout of preset {name}", {"preset": name}, source)
    patterns = guess_patterns(path)
    if patterns is None:
        raise UserError(
            f"{path}: no pictures and depth maps pair up by their names or numbers; give a list of "
            "pairs, lines 'image depth'"
        )
    found = {"image_pattern": patterns.image, "depth_pattern": patterns.depth}
    what = f"pictures {patterns.image} and depth {patterns.depth}"
    return path, _Guess(what, *_readable(path, found))


def _check_list(path: pathlib.Path) -> None:
    """Raises a UserError if a file is no list of pairs, such as a photo."""
    wanted = "give a folder, an archive, or a list of pairs, lines 'image depth'"
    try:
        pairs = read_pairs(path)
    except UserError as error:
        raise UserError(f"{path} is one file, and no list of pairs: {wanted}") from error
    if not pairs:
        raise UserError(f"{path} names no pairs: {wanted}")


def _readable(root: pathlib.Path, fields: Fields) -> tuple[Fields, RGBDFolder]:
    """The fields with which the first pair can be read, and their source."""
    source = _source(root, fields)
    image, depth = source.paths(0)
    values, size = read_values("depth file", depth), read_picture(image).stored.shape[:2]
    more: Fields = {}
    if values.dtype.itemsize == 1:
        more["eight_bit_scale"] = _EIGHT_BIT_SCALE
    if values.shape[:2] != size and values.shape[:2] != size[::-1]:
        more["resize_depth"] = True
    fields = {**fields, **more}
    return fields, _source(root, fields)


def _source(root: pathlib.Path, fields: Fields) -> RGBDFolder:
    """The pairs that these fields describe; the others are the defaults."""
    given: Fields = {**default.get_config().data.folder.to_dict(), "root": str(root), **fields}
    return open_folder(Folder(**given))


def _some(source: RGBDFolder) -> Iterator[Sample]:
    for index in _looked_at(source):
        yield source[index]


def _looked_at(source: RGBDFolder) -> list[int]:
    return np.unique(np.linspace(0, len(source) - 1, _SAMPLES).round().astype(int)).tolist()


def _depth_values(source: RGBDFolder, index: int) -> np.ndarray:
    return read_values("depth file", source.paths(index)[1])


def _facts(samples: list[Sample]) -> list[str]:
    sizes = {sample["image"].shape[:2] for sample in samples}
    valid = np.concatenate([sample["depth"][sample["mask"]] for sample in samples])
    low, middle, high = np.percentile(valid, [1, 50, 99])
    share = np.mean([sample["mask"].mean() for sample in samples])
    listed = ", ".join(f"{height} x {width}" for height, width in sorted(sizes)[:4])
    return [
        f"  sizes (height x width): {listed}{', ...' if len(sizes) > 4 else ''}",
        f"  depth: median {middle:.3g} m, 98 % from {low:.3g} to {high:.3g} m",
        f"  pixels with depth: {100 * share:.3g} %",
    ]


def _oddities(guess: _Guess, samples: list[Sample]) -> Iterator[str]:
    _, first = guess.source.paths(0)
    values = _depth_values(guess.source, 0)
    types = {str(_depth_values(guess.source, index).dtype) for index in _looked_at(guess.source)}
    if len(types) > 1:
        yield (
            f"depth of several types ({', '.join(sorted(types))}): two data sets in one list? One "
            "scale holds for all integers: give each data set a list of its own"
        )
    if "eight_bit_scale" in guess.fields:
        yield f"8-bit depth, of which the scale is not known; {_EIGHT_BIT_SCALE:g} is DenseDepth's"
    if first.endswith("depth_meters.hdf5"):
        yield "Hypersim's depth_meters is the distance from the camera's centre: convert it first"
    if values.dtype.kind in "ui":
        highest = np.iinfo(values.dtype).max
        if (share := np.mean(values == highest)) > _MANY:
            yield f"{100 * share:.2g} % of the pixels of {first} have the highest value {highest}"
    if guess.fields.get("resize_depth"):
        yield "depth has another size than its picture: each pixel takes the nearest value"
    yield from _odd_unit(values.dtype, samples)
    sizes = [x["image"].shape for x in samples]
    if wrong := misplacement([x for x in samples if x["image"].shape == sizes[0]]):
        yield f"depth may be {wrong}: their edges do not coincide. Look at the contact sheet"
    if _white_border(samples):
        yield "the pictures have a white border, as NYU's: leave it out with augmentation.box"


def _odd_unit(dtype: np.dtype, samples: list[Sample]) -> Iterator[str]:
    median = float(np.median(np.concatenate([x["depth"][x["mask"]] for x in samples])))
    if _NEAREST <= median <= _FARTHEST:
        return
    if dtype.kind == "f":
        yield f"a median of {median:.3g} m: floats must be metres, and these may be millimetres"
    else:
        yield f"a median of {median:.3g} m: data.folder.depth_scale may be another than 1000"


def _white_border(samples: list[Sample]) -> bool:
    """Whether the outermost pixels of all pictures are white, and those inside are not."""
    images = [x["image"] for x in samples if min(x["image"].shape[:2]) > 3 * _BORDER]
    edges = [np.concatenate([x[0], x[-1], x[:, 0], x[:, -1]]).mean() for x in images]
    inside = [x[_BORDER:-_BORDER, _BORDER:-_BORDER].mean() for x in images]
    return len(images) > 1 and min(edges) > 245 and max(inside) < 235


def _contact_sheet(samples: list[Sample]) -> np.ndarray:
    """Pictures beside their depth, one pair below the other."""
    rows = []
    for sample in samples:
        depth = np.where(sample["mask"], sample["depth"], np.nan)[..., 0]
        rows.append(depth_picture(depth, depth_limits(depth), sample["image"]))
    return stack_panels(rows)


def _command(root: pathlib.Path, guess: _Guess, samples: list[Sample]) -> str:
    values = {"root": str(root), **guess.fields}
    if len(guess.source) < 2 * default.get_config().data.folder.holdout_every:
        values["holdout_every"] = 2 if len(guess.source) > 1 else 0
    flags = [f"--config.data.folder.{name}={value}" for name, value in values.items()]
    depth = np.concatenate([x["depth"][x["mask"]] for x in samples])
    farthest = np.percentile(depth, 99)
    # Depth in another unit keeps the recipe's limit, so that training refuses it.
    if np.median(depth) <= _FARTHEST and farthest > folder.get_config().frame.max_depth:
        flags.append(f"--config.frame.max_depth={10 * math.ceil(farthest / 10):g}")
    program = ["python", "-m", "diffdepth_jax.main", "--config=configs/folder.py", *flags]
    return shlex.join([*program, "--workdir=runs/mine"])
