"""What is fuzzed: small valid files of each kind, and the reader of this project for each.

The files are made here. A reader raises whatever the programs would end with.
"""

import contextlib
import functools
import io
import json
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np
import safetensors.numpy
from PIL import Image, PngImagePlugin

from diffdepth_jax.checkpoints import calibration, model_directory
from diffdepth_jax.checkpoints.run_checkpoints import RunCheckpoints
from diffdepth_jax.data.archives import extract
from diffdepth_jax.data.checks import check_frame
from diffdepth_jax.data.frames import Options
from diffdepth_jax.data.kitti_depth.depth_maps import split_maps
from diffdepth_jax.data.nyu_depth import labeled
from diffdepth_jax.data.nyu_depth.nyu_depth_dataset_builder import SOURCES
from diffdepth_jax.media import path_lists, timed_lists
from diffdepth_jax.media.depth_reading import DepthForm, read_depth
from diffdepth_jax.media.reading import read_photo
from diffdepth_jax.method import diffusion
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.prediction.loading import load_variables
from diffdepth_jax.torch_import.conversion import convert
from diffdepth_jax.torch_import.state_dicts import read_state_dict
from tests.support import metadata_blocks, parity, raw_datasets, small_model, small_run
from tests.torch_import.conversion_test import abstract_of, swin_tensors, tiny_swin, to_official

SIZE = (12, 16)


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
      make: writes valid files into an empty folder; each of them is damaged in turn.
      read: reads a file in the folder, with what lies beside it.
    """

    make: Callable[[pathlib.Path], None]
    read: Callable[[pathlib.Path], object]


def _pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)


def _photos(folder: pathlib.Path) -> None:
    image, exif = Image.fromarray(_pixels()), Image.Exif()
    exif[0x112], exif[0x110] = 6, "camera"
    exif.get_ifd(0x8769)[0xA405] = 26
    for suffix in ("jpg", "webp", "tif", "gif", "bmp", "ppm", "jp2"):
        more = {"exif": exif} if suffix in ("jpg", "webp", "tif") else {}
        image.save(folder / f"a.{suffix}", **more)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", metadata_blocks._XMP.decode())
    image.save(folder / "a.png", exif=exif, pnginfo=text)
    image.convert("P").save(folder / "b.png")
    image.save(folder / "c.tif", compression="tiff_lzw")
    image.save(folder / "two.gif", save_all=True, append_images=[image])


def _depth(folder: pathlib.Path) -> None:
    import h5py

    metres = np.linspace(1, 9, np.prod(SIZE), dtype=np.float32).reshape(SIZE)
    integers = (metres * 1000).astype(np.uint16)
    Image.fromarray(integers).save(folder / "a.png")
    Image.fromarray(integers).save(folder / "b.tif")
    Image.fromarray(metres).save(folder / "a.tiff", compression="tiff_deflate")
    (folder / "a.pgm").write_bytes(b"P5\n# text\n16 12\n65535\n" + integers.astype(">u2").tobytes())
    (folder / "a.pfm").write_bytes(b"Pf\n16 12\n-1.0\n" + metres.tobytes())
    np.save(folder / "a.npy", metres)
    np.savez_compressed(folder / "a.npz", depth=metres)
    np.savez(folder / "b.npz", other=metres)
    for name, more in {"a": {}, "b": {"chunks": (4, 4), "compression": "gzip"}}.items():
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file.create_dataset("depth", data=metres, **more)


def _lists(folder: pathlib.Path) -> None:
    lines = [f"rgb/{n}.png depth/{n}.png 518.8579" for n in range(5)]
    lines += ["'a b.png' None", "# text", "/abs/a.png\t/abs/b.png"]
    (folder / "pairs.txt").write_text("\n".join(lines))
    times = [f"13051.{n:03d} rgb/{n}.png" for n in range(0, 90, 9)]
    (folder / "times.txt").write_text("\n".join(["# time file", *times]))


def _read_list(path: pathlib.Path) -> None:
    for pair in path_lists.read_pairs(path) if path.name == "pairs.txt" else ():
        for name in (pair.image, pair.depth):
            path_lists.find(name, path.parent)
            path_lists.name_below(name, path.parent)
    if path.name == "times.txt":
        times = timed_lists.read_times(path)
        timed_lists.associate(times, times)


def _configuration(folder: pathlib.Path) -> None:
    model_directory.claim_directory(folder, small_run.config())


def _read_configuration(path: pathlib.Path) -> None:
    output = path.parent / "copy"
    output.mkdir(exist_ok=True)
    model_directory.copy_configuration(path.parent, output)
    config = model_directory.read_config(path.parent)
    diffusion.create_schedule(**vars(config.diffusion))
    create_model(config.model)
    model_directory.check_directory(path.parent, small_run.config())


@functools.cache
def _abstract():
    return abstract_variables(create_model(small_run.config().model))


def _model(folder: pathlib.Path) -> None:
    small_model.save(folder)
    widths = calibration.IntervalWidths((0.5, 0.9), (3.0,), ((0.1,),) * 2, (((1.0, 2.0),) * 2,) * 2)
    found = calibration.Calibration(widths, 1.0, 4, 2, "identity", "text", {"eval": {"d1": 0.5}})
    calibration.save_calibration(folder, found)


def _read_model(path: pathlib.Path) -> None:
    if path.name == calibration.FILE:
        _repair_checksum(path)
        calibration.load_calibration(path.parent)
    else:
        model_directory.read_config(path.parent)
        load_variables(path.parent, _abstract)


def _repair_checksum(path: pathlib.Path) -> None:
    """Otherwise nothing but the checksum would ever be looked at."""
    with contextlib.suppress(ValueError, AttributeError):
        fields = json.loads(path.read_text())
        fields.pop("checksum", None)
        path.write_text(json.dumps({"checksum": calibration._checksum(fields), **fields}))


def _state():
    return {"step": np.int32(1), "params": {"kernel": np.ones((4, 3), np.float32)}}


def _run(folder: pathlib.Path) -> None:
    model_directory.claim_directory(folder, small_run.config())
    with RunCheckpoints(folder) as checkpoints:
        checkpoints.save(1, _state())
        checkpoints.save_best(1, _state(), 0.5)


def _read_run(path: pathlib.Path) -> None:
    root = next(each for each in path.parents if (each / "config.json").exists())
    with RunCheckpoints(root) as checkpoints:
        checkpoints.restore(jax.tree.map(np.zeros_like, _state()))


def _weights(folder: pathlib.Path) -> None:
    tensors = to_official(swin_tensors()[0])
    parity.write_checkpoint(folder / "a.pt", tensors)
    safetensors.numpy.save_file(tensors, folder / "a.safetensors")
    from tests.support.paths import TORCH_FILES

    for name in ("checkpoint_stream.pt", "checkpoint_zip.pt"):
        shutil.copy(TORCH_FILES / name, folder / name)


@functools.cache
def _leaves():
    return abstract_of(tiny_swin())


def _read_weights(path: pathlib.Path) -> None:
    from diffdepth_jax.torch_import.reader import StoredTensor, read_torch_file

    if path.name.startswith("checkpoint"):
        data = read_torch_file(path)
        for each in data.values() if isinstance(data, dict) else ():
            if isinstance(each, StoredTensor):
                each.numpy()
    convert(*read_state_dict(path), _leaves())


def _hdf5(folder: pathlib.Path) -> None:
    raw_datasets.nyu_hdf5(folder, num_train=1, num_test=1, size=SIZE)
    raw_datasets.nyu_labeled(folder, num_train=2, num_test=1, size=SIZE)


def _read_hdf5(path: pathlib.Path) -> None:
    is_frame = path.suffix == ".h5"
    source = SOURCES["hdf5" if is_frame else "labeled_filled"]
    folder = next(each for each in path.parents if (each / "splits.mat").exists())
    options = Options(source=folder, data_dir=folder, splits=("train", "test"))
    for frames in source.find(options).frames.values():
        for frame in frames:
            check_frame(frame, source, any_size=True)


def _matlab(folder: pathlib.Path) -> None:
    import scipy.io

    indices = {"trainNdxs": np.arange(1, 4)[:, None], "testNdxs": np.array([[4], [5]])}
    scipy.io.savemat(folder / "a.mat", indices)
    scipy.io.savemat(folder / "b.mat", indices, do_compression=True)
    scipy.io.savemat(folder / "c.mat", {**indices, "more": {"x": [1, 2], "y": "text"}}, format="5")


def _maps(folder: pathlib.Path) -> None:
    maps = np.empty(2, object)
    maps[:] = [np.ones((3, 4), np.float32), np.ones((4, 3), np.float32)]
    np.savez(folder / "objects.npz", data=maps)
    np.savez_compressed(folder / "arrays.npz", *maps)


def _archives(folder: pathlib.Path) -> None:
    import tarfile
    import zipfile

    for name, mode in (("a.tar", "w"), ("a.tar.gz", "w:gz")):
        with tarfile.open(folder / name, mode) as archive:
            for member in ("train/a.h5", "train/" + "long" * 40 + ".h5", "val/b.h5"):
                entry = tarfile.TarInfo(member)
                entry.size = 700
                archive.addfile(entry, io.BytesIO(bytes(700)))
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/a.h5", bytes(700))
        archive.writestr("val/b.h5", bytes(700))


@contextlib.contextmanager
def _output(path: pathlib.Path) -> Iterator[pathlib.Path]:
    output = path.parent / "output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    yield output
    shutil.rmtree(output, ignore_errors=True)


def _extract(path: pathlib.Path) -> None:
    with _output(path) as output:
        extract(path, output)


def _read_maps(path: pathlib.Path) -> None:
    with _output(path) as output:
        split_maps(path, output)


KINDS = {
    "photo": Kind(_photos, read_photo),
    "depth": Kind(_depth, lambda path: read_depth(path, DepthForm(eight_bit_scale=1.0))),
    "list": Kind(_lists, _read_list),
    "config": Kind(_configuration, _read_configuration),
    "model": Kind(_model, _read_model),
    "run": Kind(_run, _read_run),
    "weights": Kind(_weights, _read_weights),
    "hdf5": Kind(_hdf5, _read_hdf5),
    "matlab": Kind(_matlab, lambda path: labeled._read_splits(path, 5)),
    "maps": Kind(_maps, _read_maps),
    "archive": Kind(_archives, _extract),
}
