"""The forms in which depth data circulates, each written small, with depth that is known.

The grey of a picture tells its frame, whatever the form calls it: see `frame_of`. Depth is written
with numpy, Pillow and h5py alone, never by the inverse of a reader.
"""

import dataclasses
import pathlib
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
from PIL import Image

SIZE = (32, 48)  # height and width of the pictures
ROOM, STREET = 6.0, 60.0  # metres up to which depth is known
TRAIN, TEST = range(8), range(8, 12)  # frames
MEASURED = 0.9  # of the pixels
_MATRIX = "7.2e2 0 6e2 0 0 7.2e2 1.7e2 0 0 0 1 0"
CALIBRATION = f"P_rect_02: {_MATRIX}\nP_rect_03: {_MATRIX}\n"


def metres(frame: int, top: float = ROOM, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Known depth, float32; 0 where nothing was measured."""
    rng = np.random.default_rng(frame)
    depth = rng.uniform(top / 8, top, size).astype(np.float32)
    return np.where(rng.random(size) < MEASURED, depth, np.float32(0))


def frame_of(image: np.ndarray) -> int:
    return round((float(image.mean()) - 10) / 20)


def picture(path: pathlib.Path, frame: int, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 10 + 20 * frame, np.uint8)).save(path)


def integers(
    path: pathlib.Path, depth: np.ndarray, scale: float, dtype: type = np.uint16, hole: int = 0
) -> None:
    """Writes metres x scale, and `hole` where nothing was measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.where(depth > 0, np.round(depth * scale), hole)
    Image.fromarray(values.astype(dtype)).save(path)


def text(path: pathlib.Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


# Files of depth


def _tiff(path: pathlib.Path, depth: np.ndarray) -> None:
    Image.fromarray(depth).save(path)


def _pfm(path: pathlib.Path, depth: np.ndarray) -> None:
    header = f"Pf\n{depth.shape[1]} {depth.shape[0]}\n-1\n".encode()
    path.write_bytes(header + depth[::-1].tobytes())


def _npz(path: pathlib.Path, depth: np.ndarray) -> None:
    np.savez(path, depth=depth)


def _half(path: pathlib.Path, depth: np.ndarray) -> None:
    np.save(path, depth.astype(np.float16))


def _hdf5(path: pathlib.Path, depth: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["depth"] = depth


def _png(path: pathlib.Path, depth: np.ndarray) -> None:
    integers(path, depth, 1000)


def _png8(path: pathlib.Path, depth: np.ndarray) -> None:
    integers(path, depth, 25.5, np.uint8)


FILES: dict[str, tuple[str, Callable[[pathlib.Path, np.ndarray], None]]] = {
    "png16": ("png", _png),
    "png8": ("png", _png8),
    "tiff": ("tiff", _tiff),
    "pfm": ("pfm", _pfm),
    "npz": ("npz", _npz),
    "npy16": ("npy", _half),
    "h5": ("h5", _hdf5),
}


def _plain(kind: str, factor: int = 1) -> Callable[[pathlib.Path], None]:
    """image/0000.jpg and depth/0000.SUFFIX; pictures are larger than depth by the factor."""
    suffix, save = FILES[kind]

    def write(root: pathlib.Path) -> None:
        (root / "depth").mkdir(parents=True)
        for frame in TRAIN:
            picture(root / f"image/{frame:04d}.jpg", frame, (factor * SIZE[0], factor * SIZE[1]))
            save(root / f"depth/{frame:04d}.{suffix}", metres(frame))

    return write


# Folders of data sets


def seven_scenes(root: pathlib.Path) -> None:
    for frame in TRAIN:
        picture(root / f"seq-01/frame-{frame:06d}.color.png", frame)
        integers(root / f"seq-01/frame-{frame:06d}.depth.png", metres(frame), 1000, hole=65535)


def densedepth(root: pathlib.Path) -> None:
    """DenseDepth's NYU: 8 bits for training, 16 for the test, and CSV lists."""
    for split, frames, suffix, form in (
        ("train", TRAIN, "jpg", (25.5, np.uint8)),
        ("test", TEST, "png", (1000, np.uint16)),
    ):
        lines = []
        for frame in frames:
            names = [f"data/nyu2_{split}/a/{frame}.{suffix}", f"data/nyu2_{split}/a/{frame}_d.png"]
            picture(root / names[0], frame)
            integers(root / names[1], metres(frame), *form)
            lines.append(",".join(names))
        text(root / f"data/nyu2_{split}.csv", lines)


def diode(root: pathlib.Path) -> None:
    """Where the mask is 0 the depth file holds a number all the same."""
    for frame in TRAIN:
        stem = root / f"val/indoors/scene_00019/scan_00183/00019_00183_indoors_{frame:03d}_010"
        picture(stem.with_name(f"{stem.name}.png"), frame)
        depth = metres(frame)
        np.save(f"{stem}_depth.npy", np.where(depth > 0, depth, np.float32(77))[..., None])
        np.save(f"{stem}_depth_mask.npy", np.float32(depth > 0))


def scannet(root: pathlib.Path) -> None:
    for frame in TRAIN:
        picture(root / f"scene0000_00/color/{frame}.jpg", frame, (2 * SIZE[0], 2 * SIZE[1]))
        integers(root / f"scene0000_00/depth/{frame}.png", metres(frame), 1000)


def tum(root: pathlib.Path) -> None:
    """rgb.txt and depth.txt with times, and associations.txt with pairs."""
    lists: dict[str, list[str]] = {"rgb": ["# color images"], "depth": ["# depth maps"]}
    for frame in TRAIN:
        names = {"rgb": f"{frame}.175304", "depth": f"{frame}.160407"}
        picture(root / f"rgb/{names['rgb']}.png", frame)
        integers(root / f"depth/{names['depth']}.png", metres(frame), 5000)
        for kind, time in names.items():
            lists[kind].append(f"{time} {kind}/{time}.png")
    for kind, lines in lists.items():
        text(root / f"{kind}.txt", lines)
    pairs = zip(lists["rgb"][1:], lists["depth"][1:], strict=True)
    text(root / "associations.txt", [f"{rgb} {depth}" for rgb, depth in pairs])


def vkitti2(root: pathlib.Path) -> None:
    for frame in TRAIN:
        folder = root / "Scene01/clone/frames"
        picture(folder / f"rgb/Camera_0/rgb_{frame:05d}.jpg", frame)
        depth = metres(frame, STREET)
        integers(folder / f"depth/Camera_0/depth_{frame:05d}.png", depth, 100, hole=65535)


def hypersim(root: pathlib.Path) -> None:
    images = root / "ai_001_001/images"
    for frame in TRAIN:
        picture(images / f"scene_cam_00_final_preview/frame.{frame:04d}.tonemap.jpg", frame)
        path = images / f"scene_cam_00_geometry_hdf5/frame.{frame:04d}.depth_meters.hdf5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file["dataset"] = np.where(metres(frame) > 0, metres(frame), np.nan).astype(np.float16)


def ultralytics(root: pathlib.Path) -> None:
    for split, frames in (("train", TRAIN), ("val", TEST)):
        (root / f"depth/{split}").mkdir(parents=True)
        for frame in frames:
            picture(root / f"images/{split}/{frame:03d}.jpg", frame)
            np.save(root / f"depth/{split}/{frame:03d}.npy", metres(frame))


def nyu_bts(root: pathlib.Path) -> None:
    """sync/SCENE and official_splits/test/SCENE, with the lists of BTS."""
    for split, frames, folder in (
        ("train", TRAIN, "sync"),
        ("test", TEST, "official_splits/test"),
    ):
        lines = []
        for frame in frames:
            scene = f"kitchen_000{frame % 2}" if split == "train" else "bathroom"
            rgb, depth = f"{scene}/rgb_{frame:05d}.jpg", f"{scene}/sync_depth_{frame:05d}.png"
            picture(root / folder / rgb, frame)
            integers(root / folder / depth, metres(frame), 1000)
            lines.append(f"/{rgb} /{depth} 518.8579")
        text(root / f"nyudepthv2_{split}_files_with_gt.txt", lines)


def kitti(suffix: str = "png", listed: str = "png") -> Callable[[pathlib.Path], None]:
    """Raw drives, data_depth_annotated, calibration and the lists of BTS."""

    def write(root: pathlib.Path) -> None:
        for split, frames, folder, drive in KITTI_SPLITS:
            lines = [f"2011_09_26/{drive}/image_02/data/0000000000.{listed} None 721.5377"]
            for frame in frames:
                stem = f"2011_09_26/{drive}/image_02/data/{frame:010d}"
                truth = f"{drive}/proj_depth/groundtruth/image_02/{frame:010d}.png"
                picture(root / f"{stem}.{suffix}", frame)
                integers(
                    root / f"data_depth_annotated/{folder}/{truth}", metres(frame, STREET), 256
                )
                lines.append(f"{stem}.{listed} {truth} 721.5377")
            text(root / f"eigen_{split}_files_with_gt.txt", lines)
        text(root / "2011_09_26/calib_cam_to_cam.txt", [CALIBRATION])

    return write


KITTI_SPLITS = (  # list, frames, folder of the annotated depth, drive
    ("train", TRAIN, "train", "2011_09_26_drive_0001_sync"),
    ("test", TEST, "val", "2011_09_26_drive_0002_sync"),
)


def kitti_absolute(root: pathlib.Path) -> None:
    """The lists of Depth Anything V2 name whole paths."""
    kitti()(root)
    for split, _, folder, _ in KITTI_SPLITS:
        path = root / f"eigen_{split}_files_with_gt.txt"
        pairs = [line.split() for line in path.read_text().splitlines()]
        text(
            path,
            [
                f"{root}/{image} {root}/data_depth_annotated/{folder}/{depth}"
                for image, depth, _ in pairs
                if depth != "None"
            ],
        )


def kitti_monodepth2(root: pathlib.Path) -> None:
    """JPEG files and lists "folder frame side"; of frame 99 there is no annotated depth."""
    kitti("jpg")(root)
    for split, frames, _, drive in KITTI_SPLITS:
        number = "{}" if split == "train" else "{:010d}"
        lines = [f"2011_09_26/{drive} {number.format(frame)} l" for frame in (*frames, 99)]
        text(root / f"eigen_{split}_files_with_gt.txt", lines)


def kitti_exported_depth(root: pathlib.Path) -> None:
    """As above, but the depth of the test list is in gt_depths.npz, an array of objects."""
    kitti_monodepth2(root)
    path = root / "eigen_test_files_with_gt.txt"
    text(path, path.read_text().splitlines()[: len(TEST)])
    maps = np.empty(len(TEST), object)
    maps[:] = [metres(frame, STREET) for frame in TEST]
    np.savez_compressed(root / "gt_depths.npz", data=maps)
    for truth in (root / "data_depth_annotated/val").rglob("*.png"):
        truth.unlink()


# Archives


def zipped(path: pathlib.Path, root: pathlib.Path, *members: str) -> None:
    """Moves files and folders below the root into a zip file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            files = [root / member, *(root / member).rglob("*")]
            for file in filter(pathlib.Path.is_file, files):
                archive.write(file, file.relative_to(root))
                file.unlink()


def nyu_zipped(root: pathlib.Path) -> None:
    nyu_bts(root)
    zipped(root / "sync.zip", root, "sync")


def nyu_all_in_one_zip(root: pathlib.Path) -> None:
    nyu_bts(root / "files")
    names = [path.name for path in (root / "files").iterdir()]
    zipped(root / "nyu.zip", root / "files", *names)


def kitti_zipped(root: pathlib.Path) -> None:
    """As downloaded: a zip for each drive, for the calibration and for the annotated depth."""
    kitti()(root)
    for _, _, _, drive in KITTI_SPLITS:
        text(root / f"2011_09_26/{drive}/velodyne_points/data/0.bin", ["not read"])
        zipped(root / f"{drive}.zip", root, f"2011_09_26/{drive}")
    zipped(root / "2011_09_26_calib.zip", root, "2011_09_26/calib_cam_to_cam.txt")
    zipped(root / "data_depth_annotated.zip", root / "data_depth_annotated", "train", "val")


def kitti_benchmark_zipped(root: pathlib.Path) -> None:
    kitti_zipped(root)
    for name in ("train", "test"):
        (root / f"eigen_{name}_files_with_gt.txt").unlink()


def nyu_hdf5(train: str, test: str) -> Callable[[pathlib.Path], None]:
    """Two tar files for training and one for the test; numbers begin anew in each."""

    def write(root: pathlib.Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        for name, frames, member in (
            ("train-000000", TRAIN[:4], train.format(scene="a", number="{:05d}")),
            ("train-000001", TRAIN[4:], train.format(scene="b", number="{:05d}")),
            ("val-000000", TEST, test),
        ):
            with tarfile.open(root / f"{name}.tar", "w") as archive:
                for number, frame in enumerate(frames, start=1):
                    archive.add(_nyu_file(root, frame), member.format(number))
        (root / "frame.h5").unlink()

    return write


def _nyu_file(root: pathlib.Path, frame: int) -> pathlib.Path:
    with h5py.File(root / "frame.h5", "w") as file:
        file["rgb"] = np.full((3, *SIZE), 10 + 20 * frame, np.uint8)
        file["depth"] = metres(frame)
    return root / "frame.h5"


@dataclasses.dataclass(frozen=True)
class FolderForm:
    """A form that `data.source=folder` reads.

    Attributes:
      write: writes it below a folder.
      fields: of `data.folder`; `root` is below that folder.
      step: metres between two depths of the encoding; 0: floats of 32 bits.
      top: metres up to which depth is known.
      train, test: the frames that are held; without a test list some are held out.
    """

    write: Callable[[pathlib.Path], None]
    fields: dict[str, Any]
    step: float
    top: float = ROOM
    train: range = TRAIN
    test: range = range(0)


@dataclasses.dataclass(frozen=True)
class RawForm:
    """A form that `diffdepth prepare` reads.

    Attributes:
      write: writes it below a folder.
      dataset: what it becomes.
      step, top: as above.
      source: path of the source below that folder.
      options: further flags, with paths below that folder.
      says: parts of what the program prints.
    """

    write: Callable[[pathlib.Path], None]
    dataset: str
    step: float
    top: float = ROOM
    source: str = ""
    options: tuple[tuple[str, str], ...] = ()
    says: tuple[str, ...] = ()


_MILLIMETRE, _KITTI_STEP, _HALF_STEP = 1e-3, 1 / 256, ROOM / 2**10
_IMAGE = {"image_pattern": "image/*.jpg"}
_TUM = {"depth_scale": 5000.0}
_BTS = {"preset": "kitti_bts"}


def _depth_of(suffix: str) -> dict[str, Any]:
    return {**_IMAGE, "depth_pattern": f"depth/*.{suffix}"}


PRESETS = {
    "7scenes": FolderForm(seven_scenes, {"preset": "7scenes"}, _MILLIMETRE),
    "densedepth": FolderForm(densedepth, {"preset": "densedepth"}, 1 / 25.5, test=TEST),
    "diode": FolderForm(diode, {"preset": "diode"}, 0),
    "kitti_bts": FolderForm(kitti(), _BTS, _KITTI_STEP, STREET, test=TEST),
    "scannet": FolderForm(scannet, {"preset": "scannet"}, _MILLIMETRE),
    "tum": FolderForm(tum, {"preset": "tum"}, 1 / 5000),
    "vkitti2": FolderForm(vkitti2, {"preset": "vkitti2"}, 1 / 100, STREET),
}
FOLDERS = {
    **PRESETS,
    "png16": FolderForm(_plain("png16"), _depth_of("png"), _MILLIMETRE),
    "png8": FolderForm(_plain("png8"), _depth_of("png") | {"eight_bit_scale": 25.5}, 1 / 25.5),
    "smaller png16": FolderForm(
        _plain("png16", 2), _depth_of("png") | {"resize_depth": True}, _MILLIMETRE
    ),
    "tiff": FolderForm(_plain("tiff"), _depth_of("tiff"), 0),
    "pfm": FolderForm(_plain("pfm"), _depth_of("pfm"), 0),
    "npz": FolderForm(_plain("npz"), _depth_of("npz"), 0),
    "npy16": FolderForm(_plain("npy16"), _depth_of("npy"), _HALF_STEP),
    "h5": FolderForm(_plain("h5"), _depth_of("h5"), 0),
    "tum lists": FolderForm(
        tum, {"list_file": "rgb.txt", "depth_list_file": "depth.txt", **_TUM}, 1 / 5000
    ),
    "tum pairs": FolderForm(tum, {"list_file": "associations.txt", **_TUM}, 1 / 5000),
    "hypersim": FolderForm(
        hypersim,
        {
            "image_pattern": "**/scene_cam_*_final_preview/frame.*.tonemap.jpg",
            "depth_pattern": "**/scene_cam_*_geometry_hdf5/frame.*.depth_meters.hdf5",
        },
        _HALF_STEP,
    ),
    "ultralytics": FolderForm(
        ultralytics,
        {"image_pattern": "images/**/*.jpg", "depth_pattern": "depth/**/*.npy"},
        0,
        train=range(TEST.stop),
    ),
    "nyu bts patterns": FolderForm(nyu_bts, {"root": "sync"}, _MILLIMETRE),
    "nyu bts list": FolderForm(
        nyu_bts,
        {"root": "sync", "list_file": "../nyudepthv2_train_files_with_gt.txt"},
        _MILLIMETRE,
    ),
    "kitti jpg, png in lists": FolderForm(kitti("jpg"), _BTS, _KITTI_STEP, STREET, test=TEST),
    "kitti jpg": FolderForm(kitti("jpg", "jpg"), _BTS, _KITTI_STEP, STREET, test=TEST),
    "depth anything v2": FolderForm(kitti_absolute, _BTS, _KITTI_STEP, STREET, test=TEST),
}

_EIGEN, _BENCHMARK = "kitti_depth/eigen", "kitti_depth/depth_prediction"
_STREET = (_KITTI_STEP, STREET)
_JPEG = ("images are .jpg files, where .png were published",)
_SPLITS = (("splits", "train,val"),)
RAW = {
    "nyu sync": RawForm(nyu_bts, "nyu_depth/sync", _MILLIMETRE),
    "nyu sync.zip": RawForm(nyu_zipped, "nyu_depth/sync", _MILLIMETRE),
    "nyu zip": RawForm(nyu_all_in_one_zip, "nyu_depth/sync", _MILLIMETRE, source="nyu.zip"),
    "kitti": RawForm(kitti(), _EIGEN, *_STREET),
    "kitti raw jpg, png in lists": RawForm(kitti("jpg"), _EIGEN, *_STREET, says=_JPEG),
    "kitti raw jpg": RawForm(kitti("jpg", "jpg"), _EIGEN, *_STREET, says=_JPEG),
    "kitti absolute": RawForm(kitti_absolute, _EIGEN, *_STREET),
    "kitti zips": RawForm(kitti_zipped, _EIGEN, *_STREET),
    "monodepth2": RawForm(
        kitti_monodepth2,
        _EIGEN,
        *_STREET,
        says=(*_JPEG, "train: 1 lines without depth left out", "test: 1 lines without depth"),
    ),
    "gt_depths.npz": RawForm(
        kitti_exported_depth, _EIGEN, *_STREET, options=(("test_depth", "gt_depths.npz"),)
    ),
    "benchmark zips": RawForm(kitti_benchmark_zipped, _BENCHMARK, *_STREET, options=_SPLITS),
    "benchmark jpg": RawForm(kitti("jpg"), _BENCHMARK, *_STREET, options=_SPLITS, says=_JPEG),
    "hdf5 tars": RawForm(
        nyu_hdf5("nyudepthv2/train/{scene}/{number}.h5", "nyudepthv2/val/official/{:05d}.h5"),
        "nyu_depth/hdf5",
        0,
    ),
    "hdf5 tars without nyudepthv2": RawForm(
        nyu_hdf5("train/{scene}/{number}.h5", "val/official/{:05d}.h5"), "nyu_depth/hdf5", 0
    ),
    "hdf5 tars without folders": RawForm(
        nyu_hdf5("{number}.h5", "{:05d}.h5"), "nyu_depth/hdf5", 0, says=("no scene is known",)
    ),
}
