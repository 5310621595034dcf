"""Prepared datasets, read by index: the only module that knows tensorflow_datasets.

Reads what `python -m data.prepare` wrote, and `nyu_depth_v2` as TFDS itself prepares it.
"""

import io
import os
import re

import numpy as np
from google.protobuf.message import DecodeError
from PIL import Image

from diffdepth_jax.datasets.tfrecord import TFRecords
from diffdepth_jax.errors import UserError
from diffdepth_jax.media.preprocessing import zero_outside

# Of the colour camera at 480 x 640, published with the dataset's toolbox.
NYU_INTRINSICS = ((518.8579, 0.0, 325.58245), (0.0, 519.46961, 253.73617), (0.0, 0.0, 1.0))
_OWN_DATASETS = ("nyu_depth", "kitti_depth")
_TFDS_NYU = "nyu_depth_v2"
_VERSION = re.compile(r"\d+\.\d+\.\d+")
# What Pillow, and what the readers of records, raise on damaged files.
_DECODER_ERRORS = (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError)
_DAMAGE = (OSError, ValueError, KeyError, IndexError, RuntimeError, DecodeError)


class Records:
    """Random-access source of the frames of one split.

    A sample is {image: uint8 [H, W, 3], depth: float32 [H, W, 1] metres, mask: bool [H, W, 1],
    name: str, intrinsics: float32 [3, 3]}. Where the mask is False there is no ground truth and
    depth is 0. H and W are the frame's own. May be read from many threads and pickled.
    """

    def __init__(self, name: str, split: str, data_dir: str):
        """Opens the split; reads no record.

        Args:
          name: "nyu_depth/sync", or any other DATASET/SOURCE that was prepared, or "nyu_depth_v2".
          split: as prepared; a part of it may be asked for as in TFDS: "train[:90%]".
          data_dir: what `--data_dir` was when the dataset was prepared.
        """
        self.name, self.split = name, split
        self.data_dir = os.path.expanduser(data_dir)
        self._open()

    def _open(self):
        builder = _prepared(self.name, self.data_dir)
        self._decode = _decode_tfds_nyu if self.name == _TFDS_NYU else _decode
        self._features = builder.info.features
        self._records = _open_split(builder, self.name, self.split)

    def __getstate__(self):
        return {"name": self.name, "split": self.split, "data_dir": self.data_dir}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"Records({self.name!r}, {self.split!r}, {self.data_dir!r}, {len(self)} frames)"

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)} in {self!r}")
        try:
            example = self._features.deserialize_example_np(self._records[index])
            image, depth, rest = self._decode(example, f"{self.split}/{index:05d}")
        except _DAMAGE as error:
            raise UserError(
                f"frame {index} of {self!r} cannot be read ({_one_line(error)}); prepare it again"
            ) from error
        mask = np.isfinite(depth) & (depth > 0)
        depth = zero_outside(depth, mask)
        return {"image": image, "depth": depth[..., None], "mask": mask[..., None], **rest}


def decode_image(encoded: bytes) -> np.ndarray:
    """uint8 [H, W, 3] of a JPEG or PNG file of 8 bits per channel; ValueError if it is not that."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if image.mode != "RGB":
                raise ValueError(f"mode {image.mode}; expected RGB with 8 bits per channel")
            return np.asarray(image)
    except _DECODER_ERRORS as error:
        raise ValueError(_one_line(error)) from error


def decode_depth(encoded: bytes, format: str, scale: float, size: tuple[int, int]) -> np.ndarray:
    """float32 [H, W] in metres as stored: 0, nan and inf included; ValueError if it is damaged.

    Args:
      encoded: a 16-bit PNG file; little-endian float32 values, row by row; or nothing.
      format: "png", "float32" or "none", in this order.
      scale: stored value = metres x scale.
      size: (H, W) of float32 values, and of the zeros that stand for nothing.
    """
    if format == "none":
        return np.zeros(size, np.float32)
    if format == "float32":
        return np.frombuffer(encoded, "<f4").reshape(size) / np.float32(scale)
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            if not picture.mode.startswith("I"):
                raise ValueError(f"mode {picture.mode}; expected a single-channel 16-bit PNG")
            return np.divide(np.asarray(picture), np.float32(scale), dtype=np.float32)
    except _DECODER_ERRORS as error:
        raise ValueError(_one_line(error)) from error


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__


def _decode(example, _):
    """Image, depth and the rest of a record that data.prepare wrote."""
    image = decode_image(example["image"])
    format = example["depth_format"].decode()
    depth = decode_depth(example["depth"], format, example["depth_scale"], image.shape[:2])
    rest = {"name": example["name"].decode(), "intrinsics": example["intrinsics"]}
    return image, depth, rest


def _decode_tfds_nyu(example, name):
    """The same of a record of TFDS's own builder, which keeps no names and 16-bit float metres."""
    rest = {"name": name, "intrinsics": np.array(NYU_INTRINSICS, np.float32)}
    return example["image"], example["depth"].astype(np.float32), rest


def _prepared(name, data_dir):
    """The TFDS builder of the newest prepared version."""
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


def _remedy(name, data_dir):
    if name == _TFDS_NYU:
        return "TFDS prepares it; from HDF5 frames prepare nyu_depth/hdf5 (see data/README.md)"
    if name.split("/")[0] not in _OWN_DATASETS or name.count("/") != 1:
        return "data.prepare knows nyu_depth/SOURCE and kitti_depth/SOURCE (see data/README.md)"
    return (
        f"run: python -m data.prepare --dataset={name} --source=DIR --data_dir={data_dir}"
        " (data/README.md says what DIR must hold)"
    )


def _open_split(builder, name, split):
    """Serialized examples by index, from array_record or, as TFDS writes by default, TFRecord."""
    import tensorflow_datasets as tfds

    splits = builder.info.splits
    if re.split(r"[\[+]", split)[0] not in splits:
        known = ", ".join(splits) or "none"
        raise UserError(f"dataset {name} has no split {split!r}; prepared splits: {known}")
    try:
        files = splits[split].file_instructions
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
