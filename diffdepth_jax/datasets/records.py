"""Prepared datasets, read by index: the only module that knows tensorflow_datasets.

A dataset was prepared by `diffdepth prepare`, or is `nyu_depth_v2` as TFDS prepares it.
"""

import io
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.message import DecodeError
from jaxtyping import Float32
from numpy.typing import ArrayLike
from PIL import Image

from diffdepth_jax.datasets.samples import RGB, Sample
from diffdepth_jax.datasets.tfrecord import TFRecords
from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera
from diffdepth_jax.media.photo_formats import open_picture
from diffdepth_jax.media.preprocessing import zero_outside

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder

_OWN_DATASETS = ("nyu_depth", "kitti_depth")
_TFDS_NYU = "nyu_depth_v2"
_VERSION = re.compile(r"\d+\.\d+\.\d+")
# The errors that Pillow raises on damaged pictures, and the readers of records on damaged files.
_DECODER_ERRORS = (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError)
_DAMAGE = (OSError, ValueError, KeyError, IndexError, RuntimeError, DecodeError)

_Example = Mapping[str, Any]  # the features of a record by name
_Frame = tuple[RGB, Float32[np.ndarray, "height width"], str, ArrayLike]
_Serialized = TFRecords | Sequence[bytes]  # the records of a split by index


class Records:
    """Random-access source of the frames of one split, with names and intrinsics.

    Frames may differ in size. Depth is 0 where the mask is False. Many threads may read at a time,
    and a source can be pickled.
    """

    def __init__(self, name: str, split: str, data_dir: str | os.PathLike[str]) -> None:
        """Opens the split; reads no record.

        Args:
          name: DATASET/SOURCE as it was prepared, such as "nyu_depth/sync"; or "nyu_depth_v2".
          split: name of a prepared split, or a part of it in the notation of TFDS: "train[:90%]".
          data_dir: the folder that was given as `--data_dir` when the dataset was prepared.

        Raises:
          UserError: the dataset is not prepared, has no such split, or cannot be opened; or the
            part of the split holds no frame.
        """
        self.name, self.split = name, split
        self.data_dir = os.path.expanduser(data_dir)
        self._open()

    def _open(self) -> None:
        builder = _prepared(self.name, self.data_dir)
        self._decode = _decode_tfds_nyu if self.name == _TFDS_NYU else _decode
        self._features = builder.info.features
        self._records = _open_split(builder, self.name, self.split)

    def __getstate__(self) -> dict[str, str]:
        return {"name": self.name, "split": self.split, "data_dir": self.data_dir}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"Records({self.name!r}, {self.split!r}, {self.data_dir!r}, {len(self)} frames)"

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)} in {self!r}")
        try:
            example = self._features.deserialize_example_np(self._records[index])
            image, depth, name, intrinsics = self._decode(example, f"{self.split}/{index:05d}")
        except _DAMAGE as error:
            raise UserError(
                f"frame {index} of {self!r} cannot be read ({_one_line(error)}); prepare it again"
            ) from error
        mask = np.isfinite(depth) & (depth > 0)
        return {
            "image": image,
            "depth": zero_outside(depth, mask)[..., None],
            "mask": mask[..., None],
            "name": name,
            "intrinsics": np.asarray(intrinsics, np.float64),
        }


def decode_image(encoded: bytes) -> RGB:
    """Decodes a JPEG or PNG file; raises a ValueError unless it is RGB with 8 bits per channel."""
    try:
        with open_picture(io.BytesIO(encoded), ["JPEG", "PNG"]) as image:
            if image.mode != "RGB":
                raise ValueError(f"mode {image.mode}; expected RGB with 8 bits per channel")
            return np.asarray(image)
    except _DECODER_ERRORS as error:
        raise ValueError(_one_line(error)) from error


def decode_depth(
    encoded: bytes, format: str, scale: float, size: tuple[int, int]
) -> Float32[np.ndarray, "height width"]:
    """Decodes depth in metres; 0, nan and inf stay as they are.

    Args:
      encoded: the stored depth.
      format: "png", a 16-bit PNG file; "float32", little-endian values row by row; or "none", for
        which the result is 0 everywhere.
      scale: stored value = metres x scale.
      size: (H, W), used for "float32" and "none".

    Raises:
      ValueError: the data are damaged.
    """
    if format == "none":
        return np.zeros(size, np.float32)
    if format == "float32":
        return np.frombuffer(encoded, "<f4").reshape(size) / np.float32(scale)
    try:
        with open_picture(io.BytesIO(encoded), ["PNG"]) as picture:
            if not picture.mode.startswith("I"):
                raise ValueError(f"mode {picture.mode}; expected a single-channel 16-bit PNG")
            return np.divide(np.asarray(picture), np.float32(scale), dtype=np.float32)
    except _DECODER_ERRORS as error:
        raise ValueError(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _decode(example: _Example, _: str) -> _Frame:
    """Decodes a record that data.prepare wrote: image, depth, name, intrinsics."""
    image = decode_image(example["image"])
    format = example["depth_format"].decode()
    size = (image.shape[0], image.shape[1])
    depth = decode_depth(example["depth"], format, example["depth_scale"], size)
    return image, depth, example["name"].decode(), example["intrinsics"]


def _decode_tfds_nyu(example: _Example, name: str) -> _Frame:
    """Decodes a record of TFDS's nyu_depth_v2, which has no names and stores float16 metres."""
    depth = example["depth"].astype(np.float32)
    return example["image"], depth, name, camera.NYU.rows


def _prepared(name: str, data_dir: str) -> "DatasetBuilder":
    """Returns the TFDS builder of the newest prepared version."""
    folder = os.path.join(data_dir, name)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    versions = [
        version
        for version in names
        if _VERSION.fullmatch(version)
        and os.path.isfile(os.path.join(folder, version, "dataset_info.json"))
    ]
    if not versions:
        raise UserError(f"dataset {name} is not prepared in {data_dir}; {_remedy(name, data_dir)}")
    import tensorflow_datasets as tfds  # here, because `import diffdepth_jax` must stay quick

    newest = max(versions, key=lambda version: tuple(map(int, version.split("."))))
    return tfds.builder_from_directory(os.path.join(folder, newest))


def _remedy(name: str, data_dir: str) -> str:
    if name == _TFDS_NYU:
        return "TFDS prepares it; from HDF5 frames prepare nyu_depth/hdf5 (see data/README.md)"
    if name.split("/")[0] not in _OWN_DATASETS or name.count("/") != 1:
        return "prepare knows nyu_depth/SOURCE and kitti_depth/SOURCE (see data/README.md)"
    return (
        f"run: diffdepth prepare --dataset={name} --source=DIR --data_dir={data_dir}"
        " (data/README.md says what DIR must hold)"
    )


def _open_split(builder: Any, name: str, split: str) -> _Serialized:
    """Opens the files of a split: array_record, or TFRecord, which TFDS writes by default.

    `builder` is a DatasetBuilder; its decorated methods are opaque to type checkers.
    """
    import tensorflow_datasets as tfds

    splits = builder.info.splits
    if re.split(r"[\[+]", split)[0] not in splits:
        known = ", ".join(splits) or "none"
        raise UserError(f"dataset {name} has no split {split!r}; prepared splits: {known}")
    files = _file_instructions(splits, name, split)
    try:
        missing = [file.filename for file in files if not os.path.isfile(file.filename)]
        if missing:
            raise OSError(f"missing: {', '.join(missing)}")
        if builder.info.file_format.value == "tfrecord":
            return TFRecords([(file.filename, file.skip, file.take) for file in files])
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        return builder.as_data_source(split, deserialize_method=raw)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"dataset {name}, split {split!r}, in {builder.data_path} cannot be opened"
            f" ({_one_line(error)}); prepare it again"
        ) from error


def _file_instructions(splits: Any, name: str, split: str) -> Any:
    """Which records of which files make up a split or a part of it; a UserError if none do."""
    sizes = ", ".join(f"{known} has {info.num_examples} frames" for known, info in splits.items())
    try:
        part = splits[split]
    except ValueError as error:
        raise UserError(
            f"dataset {name} has no split {split!r} ({_one_line(error)}): {sizes}; write a part as"
            " train[:90%] or train[10:20], within its split"
        ) from error
    if part.num_examples < 1:  # below 0 where a part ends before it begins
        raise UserError(
            f"dataset {name}, split {split!r}, holds no frame: {sizes}; name a larger part"
        )
    return part.file_instructions
