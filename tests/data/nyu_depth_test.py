"""Each form of NYU Depth V2, prepared and read back without loss; and what is wrong with each."""

import tarfile

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from diffdepth_jax.datasets.records import Records
from diffdepth_jax.errors import UserError
from diffdepth_jax.media.camera import NYU
from tests.support import depth_forms, raw_datasets
from tests.support.raw_datasets import assert_lossless, images, prepare_small, problems


def test_sync(tmp_path):
    expected = raw_datasets.nyu_sync(tmp_path / "raw")
    prepare_small("nyu_depth/sync", tmp_path / "raw", tmp_path / "data")
    assert_lossless("nyu_depth/sync", tmp_path / "data", expected)
    records = Records("nyu_depth/sync", "train", tmp_path / "data")
    names = [records[index]["name"] for index in range(4)]
    assert names == list(expected["train"])  # the list's order
    assert records[0]["intrinsics"] == pytest.approx(np.array(NYU.rows))
    for name, image in images("nyu_depth/sync", "train", tmp_path / "data").items():
        np.testing.assert_array_equal(image, np.array(Image.open(tmp_path / f"raw/{name}.jpg")))


def test_sync_in_the_folders_of_the_usual_download(tmp_path):
    raw = tmp_path / "raw"
    expected = raw_datasets.nyu_sync(raw)
    for split, folder in (("train", "sync"), ("test", "official_splits/test")):
        (raw / folder).mkdir(parents=True)
        for scene in {name.split("/")[0] for name in expected[split]}:
            (raw / scene).rename(raw / folder / scene)
        (raw / f"nyudepthv2_{split}_files_with_gt.txt").rename(tmp_path / f"my_{split}.txt")
    lists = {split: str(tmp_path / f"my_{split}.txt") for split in ("train", "test")}
    prepare_small("nyu_depth/sync", raw, tmp_path / "data", lists=lists)
    assert_lossless("nyu_depth/sync", tmp_path / "data", expected)


@pytest.mark.parametrize("line", ["{raw}/{image}\t{raw}/{depth}", "\\{image} \\{depth}"])
def test_sync_with_lists_of_other_programs(tmp_path, line):
    """Names and scenes are those of relative lists, so that shared scenes are still found."""
    raw = tmp_path / "raw"
    expected = raw_datasets.nyu_sync(raw)
    for split in ("train", "test"):
        path = raw / f"nyudepthv2_{split}_files_with_gt.txt"
        pairs = [words.split()[:2] for words in path.read_text().splitlines()]
        lines = [line.format(raw=raw, image=image[1:], depth=depth[1:]) for image, depth in pairs]
        text = "\n".join(lines)
        path.write_text(text.replace("/", "\\") if text.startswith("\\") else text)
    prepare_small("nyu_depth/sync", raw, tmp_path / "data")
    assert_lossless("nyu_depth/sync", tmp_path / "data", expected)


def test_sync_without_lists(tmp_path, capsys):
    raw_datasets.nyu_sync(tmp_path / "raw")
    (tmp_path / "raw/nyudepthv2_train_files_with_gt.txt").unlink()
    with pytest.raises(UserError, match="1 problem"):
        prepare_small("nyu_depth/sync", tmp_path / "raw", tmp_path / "data")
    problems(capsys, "train.txt or nyudepthv2_train_files_with_gt.txt", "--train_list=FILE")


def test_hdf5_folder(tmp_path):
    expected = raw_datasets.nyu_hdf5(tmp_path / "raw")
    prepare_small("nyu_depth/hdf5", tmp_path / "raw", tmp_path / "data", num_workers=2)
    assert_lossless("nyu_depth/hdf5", tmp_path / "data", expected)
    for name, image in images("nyu_depth/hdf5", "train", tmp_path / "data").items():
        with h5py.File(tmp_path / f"raw/nyudepthv2/train/{name}.h5") as file:
            np.testing.assert_array_equal(image, file["rgb"][()].transpose(1, 2, 0))


def test_hdf5_depth_that_is_not_finite_or_negative_is_masked(tmp_path):
    raw_datasets.nyu_hdf5(tmp_path / "raw")
    with h5py.File(tmp_path / "raw/nyudepthv2/val/official/00001.h5", "r+") as file:
        file["depth"][0, :4] = np.nan, np.inf, -1, 0
        known = file["depth"][()]
    prepare_small("nyu_depth/hdf5", tmp_path / "raw", tmp_path / "data")
    sample = Records("nyu_depth/hdf5", "test", tmp_path / "data")[0]
    assert not sample["mask"][0, :4].any() and not sample["depth"][0, :4].any()
    np.testing.assert_array_equal(sample["depth"][1:, :, 0], known[1:])


@pytest.mark.parametrize("name", ["nyudepthv2.tar.gz", "nyudepthv2.tar"])
def test_hdf5_archive_is_extracted_once(tmp_path, capsys, name):
    archive, expected = raw_datasets.nyu_hdf5_archive(tmp_path, name)
    prepare_small("nyu_depth/hdf5", archive, tmp_path / "data")
    assert_lossless("nyu_depth/hdf5", tmp_path / "data", expected)
    (extracted,) = (tmp_path / "data/extracted").iterdir()
    stamp = extracted.stat().st_mtime_ns
    prepare_small("nyu_depth/hdf5", archive, tmp_path / "data", overwrite=True)
    assert "extracted before" in capsys.readouterr().out
    assert extracted.stat().st_mtime_ns == stamp


def test_hdf5_folder_of_archives(tmp_path):
    expected = raw_datasets.nyu_hdf5(tmp_path / "unpacked")
    (tmp_path / "raw").mkdir()
    for part in ("train", "val"):
        with tarfile.open(tmp_path / f"raw/{part}-000000.tar", "w") as archive:
            archive.add(tmp_path / "unpacked/nyudepthv2" / part, part)
    prepare_small("nyu_depth/hdf5", tmp_path / "raw", tmp_path / "data")
    assert_lossless("nyu_depth/hdf5", tmp_path / "data", expected)
    (tmp_path / "archive.rar").touch()
    with pytest.raises(UserError, match=r"archive.rar is no folder and no .tar"):
        prepare_small("nyu_depth/hdf5", tmp_path / "archive.rar", tmp_path / "other")


def test_hdf5_files_without_folders_have_the_name_of_their_archive(tmp_path, capsys):
    """Their own names are the same in all archives; a folder may stand for an archive."""
    source = tmp_path / "raw"
    depth_forms.RAW["hdf5 tars without folders"].write(source)
    prepare_small("nyu_depth/hdf5", source, tmp_path / "data")
    assert "split train: the files do not lie in folders of scenes" in capsys.readouterr().out
    archives = {"train": ("train-000000", "train-000001"), "test": ("val-000000",)}
    for split, names in archives.items():
        expected = {f"{name}/0000{k}" for name in names for k in (1, 2, 3, 4)}
        assert set(images("nyu_depth/hdf5", split, tmp_path / "data")) == expected
    for archive in source.glob("*.tar"):
        with tarfile.open(archive) as file:
            file.extractall(archive.with_suffix(""), filter="data")
        archive.unlink()
    prepare_small("nyu_depth/hdf5", source, tmp_path / "unpacked")
    for split in archives:
        ours, others = (
            images("nyu_depth/hdf5", split, tmp_path / name) for name in ("data", "unpacked")
        )
        assert ours.keys() == others.keys()


def test_archives_beside_their_files_stay_as_they_are(tmp_path, capsys):
    expected = raw_datasets.nyu_sync(tmp_path / "raw")
    (tmp_path / "raw/sync.zip").write_bytes(b"not even read")
    prepare_small("nyu_depth/sync", tmp_path / "raw", tmp_path / "data")
    assert "because nothing is missing without: sync.zip" in capsys.readouterr().out
    assert_lossless("nyu_depth/sync", tmp_path / "data", expected)
    (tmp_path / "raw/kitchen_0000/rgb_00000.jpg").unlink()
    with pytest.raises(UserError, match=r"sync\.zip cannot be extracted"):
        prepare_small("nyu_depth/sync", tmp_path / "raw", tmp_path / "other")


@pytest.mark.parametrize("splits_inside", [True, False])
def test_labeled_file_in_a_zip(tmp_path, splits_inside):
    expected, _ = raw_datasets.nyu_labeled(tmp_path / "raw")
    members = ["nyu_depth_v2_labeled.mat", *["splits.mat"] * splits_inside]
    depth_forms.zipped(tmp_path / "raw/archive.zip", tmp_path / "raw", *members)
    prepare_small("nyu_depth/labeled", tmp_path / "raw", tmp_path / "data")
    assert_lossless("nyu_depth/labeled", tmp_path / "data", expected)


def test_truncated_archive_leaves_no_extraction(tmp_path):
    archive, _ = raw_datasets.nyu_hdf5_archive(tmp_path)
    raw_datasets.truncate(archive)
    with pytest.raises(UserError, match=r"nyudepthv2.tar.gz cannot be extracted"):
        prepare_small("nyu_depth/hdf5", archive, tmp_path / "data")
    assert not list((tmp_path / "data/extracted").iterdir())


def test_truncated_and_mistyped_hdf5_files_are_named(tmp_path, capsys):
    raw_datasets.nyu_hdf5(tmp_path / "raw", num_train=4)
    train = tmp_path / "raw/nyudepthv2/train/study_0001"
    raw_datasets.truncate(train / "00001.h5")
    with h5py.File(train / "00002.h5", "r+") as file:
        del file["depth"]
    with h5py.File(train / "00003.h5", "r+") as file:
        metres = file["depth"][()]
        del file["depth"]
        file["depth"] = metres * 1000
    with pytest.raises(UserError, match="3 problems"):
        prepare_small("nyu_depth/hdf5", tmp_path / "raw", tmp_path / "data")
    printed = problems(capsys, "study_0001/00001.h5: cannot be read", "study_0001/00002.h5")
    assert "00003.h5: median depth" in printed and "millimetres taken for metres" in printed
    assert "00004.h5" not in printed


@pytest.mark.parametrize("filled", [False, True])
def test_labeled(tmp_path, filled):
    expected = raw_datasets.nyu_labeled(tmp_path / "raw")[filled]
    dataset = "nyu_depth/labeled_filled" if filled else "nyu_depth/labeled"
    prepare_small(dataset, tmp_path / "raw", tmp_path / "data")
    assert_lossless(dataset, tmp_path / "data", expected)
    with h5py.File(tmp_path / "raw/nyu_depth_v2_labeled.mat") as file:
        stored = file["images"][()]
    for split in ("train", "test"):
        for name, image in images(dataset, split, tmp_path / "data").items():
            np.testing.assert_array_equal(image, stored[int(name[-5:])].transpose(2, 1, 0))


def test_labeled_file_that_is_truncated_or_without_splits(tmp_path, capsys):
    raw_datasets.nyu_labeled(tmp_path)
    splits = (tmp_path / "splits.mat").read_bytes()
    (tmp_path / "splits.mat").unlink()
    with pytest.raises(UserError, match="1 problem"):
        prepare_small("nyu_depth/labeled", tmp_path, tmp_path / "data")
    problems(capsys, "splits.mat is missing; data/README.md says where to get it")
    (tmp_path / "splits.mat").write_bytes(splits[:150])
    with pytest.raises(UserError, match=r"splits.mat cannot be read"):
        prepare_small("nyu_depth/labeled", tmp_path, tmp_path / "data")
    (tmp_path / "splits.mat").write_bytes(splits)
    raw_datasets.truncate(tmp_path / "nyu_depth_v2_labeled.mat")
    with pytest.raises(UserError, match=r"nyu_depth_v2_labeled.mat cannot be read"):
        prepare_small("nyu_depth/labeled", tmp_path, tmp_path / "data")


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [([1, 2, 3], [3, 4], "1 frames are in both"), ([1, 2, 3], [5, 6], "1 not among the 5")],
)
def test_splits_that_do_not_fit(tmp_path, train, test, message):
    raw_datasets.nyu_labeled(tmp_path)
    scipy.io.savemat(tmp_path / "splits.mat", {"trainNdxs": train, "testNdxs": test})
    with pytest.raises(UserError, match=message):
        prepare_small("nyu_depth/labeled", tmp_path, tmp_path / "data")


def test_labeled_scenes_shared_by_train_and_test_are_named(tmp_path, capsys):
    raw_datasets.nyu_labeled(tmp_path)
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "r+") as file:
        cells = file["scenes"][()]
        cells[0, 1] = cells[0, 0]
        file["scenes"][...] = cells
    with pytest.raises(UserError):
        prepare_small("nyu_depth/labeled", tmp_path, tmp_path / "data")
    problems(capsys, "train and test share office_0000", "--allow_shared_scenes")
    prepare_small("nyu_depth/labeled", tmp_path, tmp_path / "data", allow_shared_scenes=True)


def _replace(path, name, write):
    with h5py.File(path, "r+") as file:
        del file[name]
        write(file)


def _link_elsewhere(file):
    file["depth"] = h5py.ExternalLink("other.h5", "depth")


def _virtual(file):
    layout = h5py.VirtualLayout((48, 64), "f4")
    layout[...] = h5py.VirtualSource("other.h5", "depth", (48, 64))
    file.create_virtual_dataset("depth", layout)


def _stored_elsewhere(file):
    file.create_dataset("depth", (48, 64), "f4", external=[("other.raw", 0, 48 * 64 * 4)])


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (_link_elsewhere, "a link to another place or file"),
        (_virtual, "its values in other files"),
        (_stored_elsewhere, "its values in other files"),
        (lambda file: file.create_group("depth"), "a group and no array"),
        (lambda file: file.update(depth=h5py.Empty("f4")), "depth is empty"),
        (lambda file: file.create_dataset("depth", (10**6, 10**6), "f4"), "more than 1 GiB"),
        (lambda file: file.update(depth=np.zeros((48, 64), np.int32)), "expected floats (H, W)"),
    ],
)
def test_hdf5_frames_that_are_no_arrays_of_their_own_are_named(tmp_path, capsys, write, words):
    """What other files hold never comes into records."""
    raw_datasets.nyu_hdf5(tmp_path)
    folder = tmp_path / "nyudepthv2/val/official"
    with h5py.File(folder / "other.raw", "w"):
        pass
    with h5py.File(folder / "other.h5", "w") as file:
        file["rgb"], file["depth"] = np.zeros((3, 48, 64), np.uint8), np.ones((48, 64), np.float32)
    _replace(folder / "00001.h5", "depth", write)
    with pytest.raises(UserError):
        prepare_small("nyu_depth/hdf5", tmp_path, tmp_path / "data")
    problems(capsys, f"{folder / '00001.h5'}: cannot be read", words)
    assert not list((tmp_path / "data").rglob("*array_record*"))


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("images", lambda file: file.create_group("images"), "a group and no array"),
        ("images", lambda file: file.update(images=np.zeros(())), "images is empty"),
        ("images", lambda file: file.update(images=np.zeros(5)), "do not belong together"),
        ("depths", lambda file: file.update(depths=h5py.SoftLink("/rawDepths")), "a link to"),
        ("scenes", lambda file: file.create_group("scenes"), "a group and no array"),
        ("scenes", lambda file: file.update(scenes=np.zeros((1, 5))), "cannot be read"),
        ("scenes", lambda file: file.create_dataset("scenes", (1, 5), h5py.ref_dtype), "cannot be"),
    ],
)
def test_a_labeled_file_of_other_things_is_named(tmp_path, name, write, words):
    raw_datasets.nyu_labeled(tmp_path)
    _replace(tmp_path / "nyu_depth_v2_labeled.mat", name, write)
    with pytest.raises(UserError, match=f"nyu_depth_v2_labeled.mat.*{words}") as caught:
        prepare_small("nyu_depth/labeled_filled", tmp_path, tmp_path / "data")
    assert "\n" not in str(caught.value)


def test_names_of_scenes_without_end_are_refused(tmp_path):
    raw_datasets.nyu_labeled(tmp_path)
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "r+") as file:
        file["#refs#/long"] = np.full((2000, 1), ord("a"), np.uint16)
        cells = file["scenes"][()]
        cells[0, 0] = file["#refs#/long"].ref
        file["scenes"][...] = cells
    with pytest.raises(UserError, match="a text of scenes has more than 1000 letters"):
        prepare_small("nyu_depth/labeled", tmp_path, tmp_path / "data")


def test_pictures_of_floats_are_refused_before_anything_is_written(tmp_path, capsys):
    raw_datasets.nyu_labeled(tmp_path)
    path = tmp_path / "nyu_depth_v2_labeled.mat"
    with h5py.File(path, "r") as file:
        floats = file["images"][()] / np.float32(255)
    _replace(path, "images", lambda file: file.update(images=floats))
    with pytest.raises(UserError, match="5 problems"):
        prepare_small("nyu_depth/labeled", tmp_path, tmp_path / "data")
    problems(capsys, "frame 1 of images: cannot be read (rgb is float32 (3, 48, 64)")
    assert not list((tmp_path / "data").rglob("*array_record*"))


@pytest.mark.parametrize(
    "indices",
    [
        {"x": np.zeros((0, 0))},
        np.zeros((0, 0), [("a", object)]),
        np.zeros((0, 0)),
        np.array([1.5, 2.0]),
        np.array([1.0, np.nan]),
        "text",
        np.array([[1, "a"]], object),
    ],
    ids=["structure", "empty structure", "empty", "fractions", "nan", "text", "cells"],
)
def test_splits_that_are_no_numbers_are_named(tmp_path, indices):
    raw_datasets.nyu_labeled(tmp_path)
    scipy.io.savemat(tmp_path / "splits.mat", {"trainNdxs": indices, "testNdxs": [4, 5]})
    with pytest.raises(UserError, match=r"splits\.mat cannot be read \(trainNdxs ") as caught:
        prepare_small("nyu_depth/labeled", tmp_path, tmp_path / "data")
    assert "\n" not in str(caught.value)


def test_splits_of_megabytes_are_refused(tmp_path):
    raw_datasets.nyu_labeled(tmp_path)
    with open(tmp_path / "splits.mat", "ab") as file:
        file.write(bytes(2**20))
    with pytest.raises(UserError, match="much larger than the published file"):
        prepare_small("nyu_depth/labeled", tmp_path, tmp_path / "data")
