"""The TFDS builder that all datasets share: how a frame becomes a record."""

import contextlib
import functools
import io
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from diffdepth_jax.data import full_disk
from diffdepth_jax.data.frames import Frame, Source, depth_bytes, depth_format
from diffdepth_jax.data.parallel import ordered_map
from diffdepth_jax.datasets.samples import RGB
from diffdepth_jax.program import progress

_SHARD_BYTES = 200e6  # TFDS holds a whole shard in memory while it writes it

Example = tuple[str, dict[str, Any]]  # the key and the features of one record

# Pictures are stored as encoded files in features of bytes. Some of the image features and of the
# compressed tensors of TFDS need TensorFlow to be written or read.
_FEATURES = {
    "image": tfds.features.Scalar(np.object_),  # JPEG or PNG file
    "depth": tfds.features.Scalar(np.object_),  # in the form that `depth_format` names
    "depth_format": tfds.features.Text(),  # png: 16 bits; float32: little-endian rows; none
    "depth_scale": tfds.features.Scalar(np.float32),  # stored value = metres x depth_scale
    "name": tfds.features.Text(),
    "scene": tfds.features.Text(),
    "intrinsics": tfds.features.Tensor(shape=(3, 3), dtype=np.float32),  # pixels
}


def builder_configs(sources: dict[str, Source]) -> list[tfds.core.BuilderConfig]:
    """One TFDS config for each source, with its name and description."""
    return [
        tfds.core.BuilderConfig(name=name, description=source.description)
        for name, source in sources.items()
    ]


class DepthBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Writes frames in their order; they were found and checked before.

    It writes shard by shard, because the shuffling writer of TFDS needs TensorFlow from 1 GB on.
    TFDS writes into a temporary folder beside the final one and renames it when all is done.
    """

    VERSION = tfds.core.Version("1.0.0")
    SOURCES: dict[str, Source]
    HOMEPAGE: str

    def write(self, frames: dict[str, list[Frame]], *, num_bytes: int, num_workers: int) -> None:
        """Writes {split: frames}; together they take about `num_bytes`."""
        in_order = [frame for split in frames.values() for frame in split]
        scale = self.SOURCES[self.builder_config.name].depth_scale
        to_example = functools.partial(_example, depth_scale=scale)
        # TFDS writes one shard after another, so one iterator, with one pool, serves all of them.
        with (
            contextlib.closing(ordered_map(to_example, in_order, num_workers)) as examples,
            progress.bar(desc="write", total=len(in_order), unit="frame", smoothing=0) as bar,
            contextlib.redirect_stdout(io.StringIO()),  # TFDS prints that it downloads
        ):
            self._examples, self._bar, self._frames = examples, bar, frames
            self._shard_size = max(1, int(_SHARD_BYTES * len(in_order) / max(num_bytes, 1)))
            with full_disk.explained(pathlib.Path(self.data_dir), "the dataset"):
                self.download_and_prepare(file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.builder_config.description,
            homepage=self.HOMEPAGE,
            features=tfds.features.FeaturesDict(_FEATURES),
        )

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[functools.partial[Iterator[Example]]]]:
        size = self._shard_size
        return {
            split: [
                functools.partial(self._next_examples, min(size, len(members) - start))
                for start in range(0, len(members), size)
            ]
            for split, members in self._frames.items()
        }

    def _next_examples(self, count: int) -> Iterator[Example]:
        for example in itertools.islice(self._examples, count):
            self._bar.update()
            yield example


def _example(frame: Frame, depth_scale: float) -> Example:
    """Loads a frame, in a worker process, and makes its record."""
    image, depth = frame.load()
    format = depth_format(depth)
    return frame.name, {
        "image": _png(image) if isinstance(image, np.ndarray) else image,
        "depth": depth_bytes(depth),
        "depth_format": format,
        "depth_scale": depth_scale if format == "png" else 1.0,
        "name": frame.name,
        "scene": frame.scene,
        "intrinsics": np.array(frame.intrinsics, np.float32),
    }


def _png(image: RGB) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png", compress_level=1)
    return file.getvalue()
