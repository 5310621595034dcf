"""The features of a frozen backbone on disk, so that training runs the rest of the model alone.

Each map of the backbone is one array of float16 in a folder, a row for each view of
`datasets.views`. They are computed once, in order; a computation that was stopped goes on.
"""

import json
import math
import os
import pathlib
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
    """The folder of the features of some views.

    Attributes:
      done: how many of the views have their features.
    """

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
          facts: what the features depend on, beside the pixels of the views.

        Raises:
          UserError: the folder holds features of something else, is damaged, or the disk is full.
        """
        self._folder, self._views, self._facts = folder, views, json.loads(json.dumps(facts))
        self._shapes = {f"map{i}": (len(views), *x.shape[1:]) for i, x in enumerate(maps)}
        folder.mkdir(parents=True, exist_ok=True)
        self.done = self._rows_on_disk()
        self._maps = [self._open(name, np.float16, shape) for name, shape in self._shapes.items()]
        self._checksums = self._open("checksums", np.uint32, (len(views),))

    def _rows_on_disk(self) -> int:
        path = self._folder / _STATE
        if not path.exists():
            return 0
        try:
            state = json.loads(path.read_text())
            theirs, done = state["facts"], state["done"]
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(_STATE) from error
        for name, ours in self._facts.items():
            if theirs.get(name, ours) != ours:  # folders of older versions lack some
                raise UserError(
                    f"the features in {self._folder} are of other {name}, {theirs.get(name)} "
                    f"instead of {ours}: delete the folder, or set another train.features_dir"
                )
        return done

    def _open(self, name: str, dtype: type, shape: tuple[int, ...]) -> np.memmap:
        """Opens an array of the folder, or makes it, with its place on the disk reserved."""
        path = self._folder / f"{name}.npy"
        if not self.done:
            return self._make(path, dtype, shape)
        try:
            array = np.lib.format.open_memmap(path, "r" if self.complete else "r+")
        except (OSError, ValueError) as error:
            raise self._damaged(path.name) from error
        if array.shape != shape or array.dtype != dtype:
            raise self._damaged(path.name)
        return array

    def _make(self, path: pathlib.Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
        array = np.lib.format.open_memmap(path, "w+", dtype, shape)
        try:  # otherwise a disk that fills up later would end the process without a word
            with open(path, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            path.unlink()
            raise UserError(
                f"the features need {self.size / 1e9:.1f} GB, and {self._folder} has no room "
                f"({error.strerror}): set another train.features_dir, or a smaller "
                "train.cache_features"
            ) from error
        return array

    def _damaged(self, name: str) -> UserError:
        return UserError(f"{self._folder / name} is missing or damaged: delete {self._folder}")

    @property
    def complete(self) -> bool:
        """Whether all views have their features."""
        return self.done == len(self._views)

    @property
    def size(self) -> int:
        """Bytes of all features."""
        return sum(2 * math.prod(shape) for shape in self._shapes.values())

    def __str__(self) -> str:
        maps = ", ".join("x".join(map(str, shape[1:])) for shape in self._shapes.values())
        return (
            f"features of {len(self._views)} views, maps {maps}, {self.size / 1e9:.2f} GB in "
            f"{self._folder}, {self.done} of them there"
        )

    def fill(self, encode: Encode, batch_size: int) -> Generator[int]:
        """Computes the rows that are missing; after each batch yields how many rows are there.

        Whoever stops in between, and closes the generator, loses nothing.

        Args:
          encode: normalised images [batch_size, H, W, 3] -> the backbone's maps.
          batch_size: images in a call.

        Raises:
          UserError: a feature is too large for float16, or not finite.
        """
        if self.complete:
            return
        saved = self.done
        try:
            for rows, images in self._missing(batch_size):
                maps = encode(preprocessing.normalize_image(images))
                for stored, values in zip(self._maps, maps, strict=True):
                    stored[rows] = _as_float16(values[: rows.stop - rows.start], rows)
                self._checksums[rows] = [_checksum(x) for x in images[: rows.stop - rows.start]]
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
            yield slice(start, min(start + batch_size, total)), images

    def _save(self) -> int:
        """Returns the rows that are safe. The arrays are first: a counted row is on the disk."""
        for stored in (*self._maps, self._checksums):
            stored.flush()
        with whole_file(self._folder / _STATE) as path:
            path.write_text(json.dumps({"done": self.done, "facts": self._facts}, indent=1) + "\n")
        return self.done

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The view with its features.

        Raises:
          UserError: the view shows other pixels than the features are of.
        """
        view = self._views[index]
        if _checksum(view["image"]) != self._checksums[index]:
            raise UserError(
                f"view {index} of the training images has changed since its features in "
                f"{self._folder} were computed: delete the folder"
            )
        return {**view, "features": tuple(np.array(stored[index]) for stored in self._maps)}


def _checksum(image: np.ndarray) -> int:
    return zlib.crc32(image.tobytes())


def _as_float16(values: np.ndarray, rows: slice) -> np.ndarray:
    with np.errstate(over="ignore"):
        small = values.astype(np.float16)
    if not np.isfinite(small).all():
        raise UserError(
            f"features of views {rows.start} to {rows.stop - 1} are not finite, or too large for "
            "float16: this backbone cannot be used with train.cache_features"
        )
    return small


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
