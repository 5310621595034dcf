"""The features of a frozen backbone on disk, so that training runs the rest of the model alone.

Each map of the backbone is one array of float16 in a folder, a row for each view of
`datasets.views`. They are computed once, in order; a computation that was stopped goes on.
"""

import json
import math
import pathlib
import shutil
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from diffdepth_jax.arrays import Variables
from diffdepth_jax.datasets.samples import Views
from diffdepth_jax.distributed import sharding
from diffdepth_jax.errors import UserError
from diffdepth_jax.media import preprocessing
from diffdepth_jax.models.assembly import DepthNetwork
from diffdepth_jax.whole_files import whole_file

_STATE = "features.json"  # what the features are of, and how many rows are written
_SAVE_EVERY = 100  # rows

Facts = dict[str, Any]  # as JSON
Encode = Callable[[np.ndarray], Sequence[np.ndarray]]  # normalised images -> the backbone's maps


class FeatureCache:
    """The folder of the features of some views."""

    def __init__(
        self,
        folder: pathlib.Path,
        views: Views,
        maps: Sequence[jax.ShapeDtypeStruct],
        facts: Facts,
    ) -> None:
        """Opens the folder, and makes it if it is not there.

        Args:
          folder: its path.
          views: a source of samples of one size.
          maps: the shapes [1, h, w, C] of the backbone's maps of one view.
          facts: all that the features depend on. Features of other facts are not used.

        Raises:
          UserError: the folder holds features of something else, or the disk is too small.
        """
        self._folder, self._views = folder, views
        self._facts = json.loads(json.dumps(facts))
        self._shapes = [(len(views), *x.shape[1:]) for x in maps]
        folder.mkdir(parents=True, exist_ok=True)
        self.done = self._rows_on_disk()
        self._maps = [self._open(number) for number in range(len(maps))]

    def _rows_on_disk(self) -> int:
        path = self._folder / _STATE
        if not path.exists():
            self._check_space()
            return 0
        state = json.loads(path.read_text())
        if state["facts"] != self._facts:
            raise UserError(
                f"{self._folder} holds features of {_first_difference(state['facts'], self._facts)}"
                ": delete it, or set another train.features_dir"
            )
        return state["done"]

    def _check_space(self) -> None:
        free = shutil.disk_usage(self._folder).free
        if free < self.size:
            raise UserError(
                f"the features need {self.size / 1e9:.1f} GB, and {self._folder} has "
                f"{free / 1e9:.1f} GB left: set another train.features_dir, or a smaller "
                "train.cache_features"
            )

    def _open(self, number: int) -> np.memmap:
        path, shape = self._folder / f"map{number}.npy", self._shapes[number]
        if not self.done:
            return np.lib.format.open_memmap(path, "w+", np.float16, shape)
        return np.lib.format.open_memmap(path, "r+")

    @property
    def size(self) -> int:
        """Bytes of all features."""
        return sum(2 * math.prod(shape) for shape in self._shapes)

    def __str__(self) -> str:
        maps = ", ".join("x".join(map(str, shape[1:])) for shape in self._shapes)
        return (
            f"features of {len(self._views)} views, maps {maps}, {self.size / 1e9:.2f} GB in "
            f"{self._folder}, {self.done} of them there"
        )

    def fill(self, encode: Encode, batch_size: int) -> Generator[int]:
        """Computes the rows that are missing; after each batch yields how many rows are there.

        Whoever stops in between loses nothing.

        Args:
          encode: normalised images [batch_size, H, W, 3] -> the backbone's maps.
          batch_size: images in a call.

        Raises:
          UserError: a feature is too large for float16, or not finite.
        """
        saved = self.done
        try:
            for rows, images in self._missing(batch_size):
                for stored, values in zip(self._maps, encode(images), strict=True):
                    stored[rows] = _as_float16(values[: rows.stop - rows.start], rows)
                self.done = rows.stop
                if self.done - saved >= _SAVE_EVERY:
                    saved = self._save()
                yield self.done
        finally:
            self._save()

    def _missing(self, batch_size: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows, and their images; the last batch is filled up."""
        total = len(self._views)
        for start in range(self.done, total, batch_size):
            indices = np.minimum(np.arange(start, start + batch_size), total - 1)
            images = np.stack([self._views[int(index)]["image"] for index in indices])
            yield (
                slice(start, min(start + batch_size, total)),
                preprocessing.normalize_image(images),
            )

    def _save(self) -> int:
        """Returns the rows that are safe. The arrays are first: a counted row is on the disk."""
        for stored in self._maps:
            stored.flush()
        with whole_file(self._folder / _STATE) as path:
            path.write_text(json.dumps({"done": self.done, "facts": self._facts}, indent=1) + "\n")
        return self.done

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The view with its features."""
        features = tuple(np.array(stored[index]) for stored in self._maps)
        return {**self._views[index], "features": features}


def _as_float16(values: np.ndarray, rows: slice) -> np.ndarray:
    with np.errstate(over="ignore"):
        small = values.astype(np.float16)
    if not np.isfinite(small).all():
        raise UserError(
            f"features of views {rows.start} to {rows.stop - 1} are not finite, or too large for "
            "float16: this backbone cannot be used with train.cache_features"
        )
    return small


def _first_difference(theirs: Facts, ours: Facts) -> str:
    name = next(name for name in ours if theirs.get(name) != ours[name])
    return f"another {name}, {json.dumps(theirs.get(name))} and not {json.dumps(ours[name])}"


def create_encode(model: DepthNetwork, variables: Variables, mesh: jax.sharding.Mesh) -> Encode:
    """The backbone of these variables, compiled, with a part of each batch on each device."""
    whole, parts = sharding.replicated(mesh), sharding.split(mesh)

    def maps(variables, images):
        return model.apply(variables, images, method="backbone_maps")

    compiled = jax.jit(maps, in_shardings=(whole, parts), out_shardings=parts)
    variables = jax.device_put(variables, whole)
    return lambda images: jax.device_get(compiled(variables, images))


def checksum(variables: Variables) -> int:
    """CRC-32 of the backbone's values."""
    value = 0
    for collection in sorted(variables):
        for leaf in jax.tree.leaves(variables[collection].get("backbone", {})):
            value = zlib.crc32(np.ascontiguousarray(jax.device_get(leaf)).tobytes(), value)
    return value
