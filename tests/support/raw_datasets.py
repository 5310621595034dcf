"""Small raw downloads in the exact layout of each source, made of synthetic scenes; and preparing
them and reading them back.

Each function named after a source writes below `root` and returns {split: {frame name: depth}}:
float32 [H, W] in metres as a reader must give it back, None where none is published.
"""

import io
import pathlib
import tarfile

import h5py
import numpy as np
import scipy.io
from PIL import Image

from diffdepth_jax.data.frames import Options
from diffdepth_jax.data.preparation import prepare
from diffdepth_jax.datasets.records import Records
from diffdepth_jax.datasets.synthetic import SyntheticScenes

NYU_SIZE, KITTI_SIZE = (48, 64), (48, 160)  # H, W
_SCENES = {"train": "train", "test": "eval", "val": "eval"}  # split of the synthetic scenes
CALIBRATION = """calib_time: 09-Jan-2012 13:57:47
S_rect_02: 1.242000e+03 3.750000e+02
P_rect_02: 7.215377e+02 0 6.095593e+02 4.485728e+01 0 7.215377e+02 1.728540e+02 0.2 0 0 1 0.003
P_rect_03: 7.2e+02 0 6.1e+02 -339.5242 0 7.2e+02 1.73e+02 2.199936e+00 0 0 1 0.0027
"""


def prepare_small(dataset, source, data_dir, splits=(), any_size=True, overwrite=False, **options):
    """What the command does with --any_size and one process."""
    options = Options(
        source=pathlib.Path(source),
        data_dir=pathlib.Path(data_dir),
        splits=splits,
        any_size=any_size,
        **options,
    )
    return prepare(dataset, options, overwrite)


def assert_lossless(dataset, data_dir, expected):
    """Names, depth and mask of every frame of every split."""
    for split, depths in expected.items():
        records = Records(dataset, split, data_dir)
        samples = {
            sample["name"]: sample for sample in map(records.__getitem__, range(len(records)))
        }
        assert samples.keys() == depths.keys() and len(records) == len(depths)
        for name, depth in depths.items():
            sample = samples[name]
            if depth is None:
                assert not sample["mask"].any() and not sample["depth"].any()
                continue
            np.testing.assert_array_equal(sample["depth"][..., 0], depth)
            np.testing.assert_array_equal(sample["mask"], sample["depth"] > 0)
            assert sample["image"].shape == (*depth.shape, 3)


def images(dataset, split, data_dir):
    """{name: image} of a split."""
    records = Records(dataset, split, str(data_dir))
    return {records[index]["name"]: records[index]["image"] for index in range(len(records))}


def problems(capsys, *parts):
    """What was printed, checked to name each part."""
    printed = capsys.readouterr().err
    for part in parts:
        assert part in printed
    return printed


def scenes(kind, split, count, size):
    """(image uint8 [H, W, 3], depth float32 [H, W] metres) of a few scenes."""
    for sample in map(SyntheticScenes(kind, split, count, *size).__getitem__, range(count)):
        yield sample["image"], sample["depth"][..., 0]


def save_image(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


def save_depth(path, depth, scale):
    """Writes a 16-bit PNG; returns the metres that it holds."""
    stored = np.round(depth * scale).astype(np.uint16)
    save_image(path, stored)
    return stored.astype(np.float32) / np.float32(scale)


def nyu_sync(root, num_train=4, num_test=2, size=NYU_SIZE):
    """SCENE/rgb_00000.jpg, SCENE/sync_depth_00000.png and the two list files."""
    expected = {"train": {}, "test": {}}
    for split, count in (("train", num_train), ("test", num_test)):
        lines = []
        for index, (image, depth) in enumerate(scenes("rooms", _SCENES[split], count, size)):
            # As published: training scenes have numbers, test frames lie in folders of their type.
            scene = f"kitchen_{index // 2:04d}" if split == "train" else "bathroom"
            rgb, sync = f"{scene}/rgb_{index:05d}.jpg", f"{scene}/sync_depth_{index:05d}.png"
            save_image(root / rgb, image, quality=95)
            expected[split][rgb.removesuffix(".jpg")] = save_depth(root / sync, depth, 1000)
            lines.append(f"/{rgb} /{sync} 518.8579")
        name = f"nyudepthv2_{split}_files_with_gt.txt"
        (root / name).write_text("\n".join(lines) + "\n")
    return expected


def nyu_hdf5(root, num_train=3, num_test=2, size=NYU_SIZE):
    """nyudepthv2/train/SCENE/00001.h5 and nyudepthv2/val/official/00001.h5."""
    expected = {"train": {}, "test": {}}
    for split, folder, count in (
        ("train", "train/study_0001", num_train),
        ("test", "val/official", num_test),
    ):
        path = root / "nyudepthv2" / folder
        path.mkdir(parents=True)
        for index, (image, depth) in enumerate(scenes("rooms", _SCENES[split], count, size), 1):
            with h5py.File(path / f"{index:05d}.h5", "w") as file:
                file["rgb"], file["depth"] = image.transpose(2, 0, 1), depth
            expected[split][f"{path.name}/{index:05d}"] = depth
    return expected


def nyu_hdf5_archive(root, name="nyudepthv2.tar.gz", **arguments):
    """The same in a tar file; returns (its path, expected)."""
    expected = nyu_hdf5(root / "unpacked", **arguments)
    with tarfile.open(root / name, "w:gz" if name.endswith("gz") else "w") as archive:
        archive.add(root / "unpacked" / "nyudepthv2", "nyudepthv2")
    return root / name, expected


def nyu_labeled(root, num_train=3, num_test=2, size=NYU_SIZE):
    """nyu_depth_v2_labeled.mat and splits.mat; returns (expected of rawDepths, of depths)."""
    root.mkdir(parents=True, exist_ok=True)
    frames = [*scenes("rooms", "train", num_train, size), *scenes("rooms", "eval", num_test, size)]
    # The splits are mixed: here the test frames come second, fourth, ...
    order = sorted(
        range(len(frames)), key=lambda i: 2 * i if i < num_train else 2 * (i - num_train) + 1
    )
    is_train = [index < num_train for index in order]
    frames = [frames[index] for index in order]
    raw = [np.where(np.arange(size[1]) < 5, np.float32(0), depth) for _, depth in frames]
    path = root / "nyu_depth_v2_labeled.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        # MATLAB's axes come out in reverse order: [N, 3, W, H] and [N, W, H].
        file["images"] = np.stack([image.transpose(2, 1, 0) for image, _ in frames])
        file["depths"] = np.stack([depth.T for _, depth in frames])
        file["rawDepths"] = np.stack([depth.T for depth in raw])
        _write_cells(file, "scenes", [f"office_{index:04d}" for index in range(len(frames))])
        _write_cells(file, "sceneTypes", ["office"] * len(frames))
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    numbers = np.arange(1, len(frames) + 1, dtype=np.uint16)[:, None]
    train, test = numbers[np.array(is_train)], numbers[~np.array(is_train)]
    scipy.io.savemat(root / "splits.mat", {"trainNdxs": train, "testNdxs": test})
    return tuple(_by_split(depths, is_train) for depths in (raw, [depth for _, depth in frames]))


def _by_split(depths, is_train):
    expected = {"train": {}, "test": {}}
    for index, (depth, train) in enumerate(zip(depths, is_train, strict=True)):
        expected["train" if train else "test"][f"office/rgb_{index:05d}"] = depth
    return expected


def _write_cells(file, name, texts):
    """A cell array of texts: references to arrays of UTF-16 code units, [L, 1] each."""
    group = file.require_group("#refs#")
    cells = file.create_dataset(name, (1, len(texts)), h5py.ref_dtype)
    for index, text in enumerate(texts):
        group[f"{name}{index}"] = np.array([[ord(letter)] for letter in text], np.uint16)
        cells[0, index] = group[f"{name}{index}"].ref


def kitti_eigen(root, num_train=3, num_test=2, size=KITTI_SIZE):
    """raw DATE/DRIVE folders with calibration, train|val/DRIVE/proj_depth, and two list files."""
    expected = {"train": {}, "test": {}}
    date = "2011_09_26"
    for split, folder, count, number in (
        ("train", "train", num_train, 1),
        ("test", "val", num_test, 2),
    ):
        drive, lines = f"{date}_drive_{number:04d}_sync", []
        for index, (image, depth) in enumerate(scenes("streets", _SCENES[split], count, size), 5):
            rgb = f"{date}/{drive}/image_02/data/{index:010d}.png"
            truth = f"{drive}/proj_depth/groundtruth/image_02/{index:010d}.png"
            save_image(root / rgb, image)
            name = f"{drive}/image_02/{index:010d}"
            expected[split][name] = save_depth(root / folder / truth, depth, 256)
            lines.append(f"{rgb} {truth} 721.5377")
        if split == "test":  # without ground truth, as 45 of the published list
            save_image(root / f"{date}/{drive}/image_02/data/0000000000.png", image)
            lines.append(f"{date}/{drive}/image_02/data/0000000000.png None 721.5377")
        (root / f"eigen_{split}_files_with_gt.txt").write_text("\n".join(lines) + "\n")
    (root / date / "calib_cam_to_cam.txt").write_text(CALIBRATION)
    return expected


def kitti_depth_prediction(
    root, num_train=2, num_val=1, num_selected=2, num_test=2, size=KITTI_SIZE
):
    """The benchmark's four parts; images of train and val beside proj_depth."""
    expected = {"val_selection_cropped": {}, "test": {}}
    for split, count, number in (("train", num_train, 1), ("val", num_val, 2)):
        expected[split] = _kitti_drive(root / split, split, count, number, size)
    folder = root / "depth_selection" / "val_selection_cropped"
    for index, (image, depth) in enumerate(scenes("streets", "eval", num_selected, size), 5):
        stem = f"2011_09_26_drive_0002_sync_image_{index:010d}_image_02"
        truth = stem.replace("sync_image", "sync_groundtruth_depth")
        _save_selected(folder, stem, image)
        metres = save_depth(folder / "groundtruth_depth" / f"{truth}.png", depth, 256)
        expected["val_selection_cropped"][stem] = metres
    folder = root / "depth_selection" / "test_depth_prediction_anonymous"
    for index, (image, _) in enumerate(scenes("streets", "eval", num_test, size)):
        _save_selected(folder, f"{index:010d}", image)
        expected["test"][f"{index:010d}"] = None
    return expected


def _kitti_drive(root, split, count, number, size):
    drive, expected = f"2011_09_26_drive_{number:04d}_sync", {}
    for camera in ("image_02", "image_03"):
        for index, (image, depth) in enumerate(scenes("streets", _SCENES[split], count, size), 5):
            save_image(root / drive / camera / "data" / f"{index:010d}.png", image)
            truth = root / drive / "proj_depth/groundtruth" / camera / f"{index:010d}.png"
            expected[f"{drive}/{camera}/{index:010d}"] = save_depth(truth, depth, 256)
    (root / drive / "calib_cam_to_cam.txt").write_text(CALIBRATION)
    return expected


def _save_selected(folder, stem, image):
    save_image(folder / "image" / f"{stem}.png", image)
    (folder / "intrinsics").mkdir(exist_ok=True)
    (folder / "intrinsics" / f"{stem}.txt").write_text("721.5 0 596.5 0 721.5 149.8 0 0 1")


def truncate(path: pathlib.Path, kept=0.5):
    """Cuts a file short."""
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])


def png_bytes(array) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    return file.getvalue()
