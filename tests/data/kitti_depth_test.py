"""Each form of KITTI depth, prepared and read back without loss; and what is wrong with each."""

import shutil

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.datasets.records import Records
from diffdepth_jax.errors import UserError
from tests.support import depth_forms, raw_datasets
from tests.support.paths import SHARED
from tests.support.raw_datasets import assert_lossless, images, prepare_small, problems

REAL_FRAMES = SHARED / "real_frames/kitti"
EIGEN, OFFICIAL = "kitti_depth/eigen", "kitti_depth/depth_prediction"


def test_eigen(tmp_path, capsys):
    expected = raw_datasets.kitti_eigen(tmp_path / "raw")
    prepare_small(EIGEN, tmp_path / "raw", tmp_path / "data")
    assert "test: 1 lines without depth left out" in capsys.readouterr().out
    assert_lossless(EIGEN, tmp_path / "data", expected)
    for name, image in images(EIGEN, "train", tmp_path / "data").items():
        drive, camera, frame = name.split("/")
        path = tmp_path / "raw" / drive[:10] / drive / camera / "data" / f"{frame}.png"
        np.testing.assert_array_equal(image, np.array(Image.open(path)))
    intrinsics = Records(EIGEN, "test", tmp_path / "data")[0]["intrinsics"]
    known = [[721.5377, 0, 609.5593], [0, 721.5377, 172.854], [0, 0, 1]]
    np.testing.assert_allclose(intrinsics, known, rtol=1e-6)


def test_eigen_with_depth_elsewhere(tmp_path):
    expected = raw_datasets.kitti_eigen(tmp_path / "raw")
    for split in ("train", "val"):
        shutil.move(tmp_path / "raw" / split, tmp_path / "annotated" / split)
    prepare_small(EIGEN, tmp_path / "raw", tmp_path / "data", depth_source=tmp_path / "annotated")
    assert_lossless(EIGEN, tmp_path / "data", expected)


def test_eigen_without_calibration_is_one_problem(tmp_path, capsys):
    raw_datasets.kitti_eigen(tmp_path / "raw")
    (tmp_path / "raw/2011_09_26/calib_cam_to_cam.txt").write_text("P_rect_03: 1\n")
    with pytest.raises(UserError):
        prepare_small(EIGEN, tmp_path / "raw", tmp_path / "data")
    problems(capsys, "calib_cam_to_cam.txt cannot be read")
    (tmp_path / "raw/2011_09_26/calib_cam_to_cam.txt").unlink()
    with pytest.raises(UserError):
        prepare_small(EIGEN, tmp_path / "raw", tmp_path / "data")
    printed = problems(capsys, "calib_cam_to_cam.txt of 2011_09_26 is missing", "_calib.zip")
    assert printed.count("of 2011_09_26 is missing") == 2  # one for each drive


def test_drive_shared_by_train_and_test_is_named(tmp_path, capsys):
    raw_datasets.kitti_eigen(tmp_path / "raw")
    lists = [tmp_path / f"raw/eigen_{split}_files_with_gt.txt" for split in ("train", "test")]
    first = lists[0].read_text().splitlines()[0]
    lists[1].write_text(f"{lists[1].read_text()}{first}\n")
    with pytest.raises(UserError):
        prepare_small(EIGEN, tmp_path / "raw", tmp_path / "data")
    problems(capsys, "train and test share 2011_09_26_drive_0001_sync")


def test_images_that_are_kept_as_jpeg(tmp_path, capsys):
    """Under lists of .png files; the bytes are those of the files."""
    depth_forms.kitti("jpg")(tmp_path / "raw")
    for dataset, splits in ((EIGEN, ("train", "test")), (OFFICIAL, ("train", "val"))):
        prepare_small(dataset, tmp_path / "raw", tmp_path / "data", splits=splits)
        printed = capsys.readouterr().out
        assert "split train: 8 of 8 images are .jpg files, where .png were published" in printed
        records = Records(dataset, splits[1], tmp_path / "data")
        example = records._features.deserialize_example_np(records._records[0])
        name = f"{records[0]['name'].split('/')[-1]}.jpg"
        (path,) = (tmp_path / "raw/2011_09_26/2011_09_26_drive_0002_sync").rglob(name)
        assert example["image"] == path.read_bytes()


def test_lists_of_monodepth2_name_both_cameras(tmp_path, capsys):
    """Numbers with and without zeros; frames at a drive's ends have no annotated depth."""
    expected = raw_datasets.kitti_depth_prediction(tmp_path, num_train=3)
    drive = "2011_09_26/2011_09_26_drive_0001_sync"
    lines = [
        f"{drive} 6 r",
        f"{drive} 0000000005 l",
        f"{drive} 4 l",
        f"{drive} 7 r",
        f"{drive} 8 r",
    ]
    (tmp_path / "train_files.txt").write_text("\n".join(lines))
    options = {"splits": ("train",), "lists": {"train": "train_files.txt"}}
    prepare_small(EIGEN, tmp_path, tmp_path / "data", **options)
    assert "split train: 2 lines without depth left out" in capsys.readouterr().out
    names = [
        f"2011_09_26_drive_0001_sync/{tail}"
        for tail in (
            "image_03/0000000006",
            "image_02/0000000005",
            "image_03/0000000007",
        )
    ]
    assert list(images(EIGEN, "train", tmp_path / "data")) == names
    depths = {name: expected["train"][name] for name in names}
    assert_lossless(EIGEN, tmp_path / "data", {"train": depths})


def test_a_drive_of_monodepth2s_lists_without_any_depth_is_a_problem(tmp_path, capsys):
    raw_datasets.kitti_depth_prediction(tmp_path)
    drive = "2011_09_26/2011_09_26_drive_0009_sync"
    (tmp_path / "train_files.txt").write_text(f"{drive} 5 l")
    with pytest.raises(UserError, match="3 problems"):
        options = {"splits": ("train",), "lists": {"train": "train_files.txt"}}
        prepare_small(EIGEN, tmp_path, tmp_path / "data", **options)
    problems(capsys, f"{drive}/image_02/data/0000000005.png is missing", "proj_depth")


@pytest.fixture
def exported(tmp_path):
    depth_forms.kitti_exported_depth(tmp_path)
    return tmp_path


def test_depth_of_the_test_list_in_one_file(exported):
    """In the order of the list; float32 as it is."""
    path = exported / "eigen_test_files_with_gt.txt"
    maps = dict(enumerate(np.load(exported / "gt_depths.npz", allow_pickle=True)["data"]))
    path.write_text("\n".join(reversed(path.read_text().splitlines())))
    prepare_small(EIGEN, exported, exported / "data", test_depth=exported / "gt_depths.npz")
    records = Records(EIGEN, "test", exported / "data")
    frames = [depth_forms.frame_of(sample["image"]) for sample in records]
    assert frames == list(reversed(depth_forms.TEST))
    for index, depth in maps.items():
        np.testing.assert_array_equal(records[index]["depth"][..., 0], depth)


def test_depth_maps_of_another_list_are_refused(exported):
    path = exported / "eigen_test_files_with_gt.txt"
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    with pytest.raises(UserError, match=r"holds 4 depth maps, but .* has 3 lines"):
        prepare_small(EIGEN, exported, exported / "data", test_depth=exported / "gt_depths.npz")


@pytest.mark.parametrize(
    ("dataset", "splits"), [(OFFICIAL, ()), (EIGEN, ("train",)), ("nyu_depth/sync", ())]
)
def test_depth_maps_that_nothing_reads_are_refused(exported, dataset, splits):
    with pytest.raises(UserError, match=r"--test_depth=.*gt_depths.npz means nothing for"):
        prepare_small(
            dataset, exported, exported / "data", splits, test_depth=exported / "gt_depths.npz"
        )


def test_depth_prediction(tmp_path):
    expected = raw_datasets.kitti_depth_prediction(tmp_path / "raw")
    prepare_small(OFFICIAL, tmp_path / "raw", tmp_path / "data", num_workers=2)
    assert_lossless(OFFICIAL, tmp_path / "data", expected)
    test = Records(OFFICIAL, "test", tmp_path / "data")
    assert [test[0]["name"], test[1]["name"]] == ["0000000000", "0000000001"]
    assert test[0]["intrinsics"][:2, 2].tolist() == pytest.approx([596.5, 149.8])
    train = Records(OFFICIAL, "train", tmp_path / "data")
    assert [train[i]["intrinsics"][0, 2].item() for i in (0, -1 + len(train))] == pytest.approx(
        [609.5593, 610]
    )  # camera 02, camera 03


def test_depth_prediction_with_images_in_the_raw_folders(tmp_path):
    raw = tmp_path / "raw"
    expected = raw_datasets.kitti_depth_prediction(raw)
    for split in ("train", "val"):
        (drive,) = (raw / split).iterdir()
        for name in ("image_02", "image_03", "calib_cam_to_cam.txt"):
            place = raw / "2011_09_26" / (name if name[0] == "c" else f"{drive.name}/{name}")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(drive / name, place)
    prepare_small(OFFICIAL, raw, tmp_path / "data")
    assert_lossless(OFFICIAL, tmp_path / "data", expected)


def test_missing_pieces_are_named(tmp_path, capsys):
    raw = tmp_path / "raw"
    raw_datasets.kitti_depth_prediction(raw)
    selected = raw / "depth_selection/val_selection_cropped"
    next((selected / "groundtruth_depth").iterdir()).unlink()
    next((selected / "intrinsics").iterdir()).write_text("1 2 3")
    (raw / "train/2011_09_26_drive_0001_sync/image_03/data/0000000006.png").unlink()
    shutil.rmtree(raw / "depth_selection/test_depth_prediction_anonymous")
    with pytest.raises(UserError):
        prepare_small(OFFICIAL, raw, tmp_path / "data")
    printed = problems(capsys, "sync_groundtruth_depth_", "3 numbers, expected 9")
    assert "image_03/data/0000000006.png is missing" in printed
    assert "split test:" in printed and "test_depth_prediction_anonymous is missing" in printed


def test_a_wrong_count_names_the_gaps_of_drives(tmp_path, capsys):
    raw_datasets.kitti_depth_prediction(tmp_path, num_train=4)
    truth = tmp_path / "train/2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_03"
    for name in ("0000000006.png", "0000000008.png"):
        (truth / name).unlink()
    with pytest.raises(UserError):
        prepare_small(OFFICIAL, tmp_path, tmp_path / "data", any_size=False)
    printed = problems(capsys, "split train: 6 usable frames, but 85898 are published")
    assert "groundtruth/image_03 has no 0000000006.png, 0000000008.png" in printed


@pytest.mark.skipif(not REAL_FRAMES.is_dir(), reason=f"the real frames are not at {REAL_FRAMES}")
@pytest.mark.parametrize("dataset", [EIGEN, OFFICIAL])
def test_real_frames_as_they_lie(tmp_path, dataset):
    drive = "2011_09_26_drive_0001_sync"
    tail = "image_02/data/0000000005.png"
    truth = f"{drive}/proj_depth/groundtruth/image_02/0000000005.png"
    (tmp_path / "one.txt").write_text(f"2011_09_26/{drive}/{tail} {truth} 721.5377\n")
    lists = {"train": str(tmp_path / "one.txt")} if dataset == EIGEN else {}
    prepare_small(dataset, REAL_FRAMES, tmp_path / "data", splits=("train",), lists=lists)
    records = Records(dataset, "train", tmp_path / "data")
    assert len(records) == {EIGEN: 1, OFFICIAL: 2}[dataset]
    sample = records[0]
    stored = np.array(Image.open(REAL_FRAMES / "train" / truth))
    np.testing.assert_array_equal(sample["depth"][..., 0], stored.astype(np.float32) / 256)
    picture = np.array(Image.open(REAL_FRAMES / "train" / drive / tail))
    np.testing.assert_array_equal(sample["image"], picture)
    assert sample["image"].shape == (375, 1242, 3) and sample["name"].endswith("/0000000005")
    assert sample["mask"].mean() == pytest.approx(0.195, abs=5e-4)
    assert sample["intrinsics"][0].tolist() == pytest.approx([721.5377, 0, 609.5593])
