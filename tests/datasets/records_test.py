"""Reading prepared datasets: samples, worker processes, and what TFDS itself has prepared."""

import concurrent.futures
import json
import pickle
import re
import struct
import subprocess
import sys

import grain
import numpy as np
import pytest
import tensorflow_datasets as tfds

from diffdepth_jax.datasets.records import Records, decode_depth, decode_image
from diffdepth_jax.datasets.tfrecord import TFRecords
from diffdepth_jax.errors import UserError
from diffdepth_jax.media.camera import NYU
from tests.support import raw_datasets, tfds_nyu
from tests.support.raw_datasets import prepare_small

SYNC = "nyu_depth/sync"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("records")
    raw_datasets.nyu_sync(root / "raw", num_train=6)
    prepare_small(SYNC, root / "raw", root / "data")
    return str(root / "data")


def test_layout_of_a_sample(data_dir):
    sample = Records(SYNC, "train", data_dir)[0]
    assert list(sample) == ["image", "depth", "mask", "name", "intrinsics"]
    assert sample["image"].dtype == np.uint8 and sample["image"].shape == (48, 64, 3)
    assert sample["depth"].dtype == np.float32 and sample["depth"].shape == (48, 64, 1)
    assert sample["mask"].dtype == bool and sample["mask"].shape == (48, 64, 1)
    assert sample["intrinsics"].dtype == np.float64 and sample["intrinsics"].shape == (3, 3)
    assert sample["name"] == "kitchen_0000/rgb_00000"


def test_indices_outside_end_the_iteration(data_dir):
    records = Records(SYNC, "test", data_dir)
    for index in (-1, 2):
        with pytest.raises(IndexError, match="of 2"):
            records[index]
    assert len(list(records)) == 2


def test_part_of_a_split(data_dir):
    part = Records(SYNC, "train[2:4]", data_dir)
    whole = Records(SYNC, "train", data_dir)
    assert len(part) == 2 and part[0]["name"] == whole[2]["name"]


def test_travels_to_other_processes_and_prints_the_same(data_dir):
    records = Records(SYNC, "train", data_dir)
    copied = pickle.loads(pickle.dumps(records))
    np.testing.assert_array_equal(copied[3]["depth"], records[3]["depth"])
    assert repr(copied) == repr(records) == f"Records('{SYNC}', 'train', {data_dir!r}, 6 frames)"


def test_many_threads_read_the_same(data_dir):
    records = Records(SYNC, "train", data_dir)
    alone = [records[index]["depth"] for index in range(6)]
    fresh = Records(SYNC, "train", data_dir)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda index: fresh[index % 6]["depth"], range(60)))
    for index, depth in enumerate(together):
        np.testing.assert_array_equal(depth, alone[index % 6])


def test_is_a_source_for_grain(data_dir):
    records = Records(SYNC, "train", data_dir)
    shuffled = grain.MapDataset.source(records).seed(1).shuffle().map(lambda s: s["name"])
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
    names = list(shuffled.to_iter_dataset(options))
    assert sorted(names) == [records[index]["name"] for index in range(6)] != names


def test_what_is_not_there_is_named_with_the_command(data_dir, tmp_path):
    with pytest.raises(UserError, match=r"diffdepth prepare --dataset=kitti_depth/eigen"):
        Records("kitti_depth/eigen", "train", data_dir)
    with pytest.raises(UserError, match="no split 'val'; prepared splits: train, test"):
        Records(SYNC, "val", data_dir)
    with pytest.raises(UserError, match="knows nyu_depth/SOURCE"):
        Records("nyu", "train", data_dir)
    with pytest.raises(UserError, match="not prepared"):
        Records("nyu_depth_v2", "train", tmp_path)


@pytest.mark.parametrize("split", ["train[:1%]", "train[2:2]", "train[5:2]"])
def test_a_part_without_frames_is_named_with_what_there_is(data_dir, split):
    message = re.escape(f"split {split!r}, holds no frame: train has 6 frames, test has 2 frames")
    with pytest.raises(UserError, match=f"{message}; name a larger part$"):
        Records(SYNC, split, data_dir)


@pytest.mark.parametrize("split", ["train[:20]", "train[:x%]", "train[:200%]", "test+val"])
def test_a_part_that_is_none_is_named_with_the_notation(data_dir, split):
    """Preparing the dataset again would not help."""
    message = re.escape(f"no split {split!r} (") + ".*train has 6 frames.*train\\[:90%\\]"
    with pytest.raises(UserError, match=message) as error:
        Records(SYNC, split, data_dir)
    assert "prepare it again" not in str(error.value)


def test_a_lost_file_is_named(tmp_path):
    raw_datasets.nyu_sync(tmp_path / "raw")
    folder = prepare_small(SYNC, tmp_path / "raw", tmp_path / "data")
    (shard,) = folder.glob("*-test.*")
    shard.unlink()
    with pytest.raises(UserError, match=f"missing: .*{shard.name}"):
        Records(SYNC, "test", tmp_path / "data")
    assert len(Records(SYNC, "train", tmp_path / "data")) == 4


@pytest.mark.parametrize("byte", [b"\0", b"\xff"])
def test_a_damaged_frame_is_named(tmp_path, byte):
    raw_datasets.nyu_sync(tmp_path / "raw", num_train=6)
    folder = prepare_small(SYNC, tmp_path / "raw", tmp_path / "data")
    (shard,) = folder.glob("*-train.*")
    content = bytearray(shard.read_bytes())
    # The third picture, from its start on.
    picture = (tmp_path / "raw/kitchen_0001/rgb_00002.jpg").read_bytes()
    start = content.find(picture[-100:]) - 500
    assert start > 0
    content[start : start + 600] = byte * 600
    shard.write_bytes(content)
    records = Records(SYNC, "train", tmp_path / "data")
    with pytest.raises(UserError, match=r"frame 2 of Records\(.*cannot be read.*prepare it again"):
        records[2]
    assert records[1]["mask"].any() and records[3]["mask"].any()


def test_import_of_the_package_leaves_tfds_alone():
    code = (
        "import diffdepth_jax.datasets.records, sys;"
        "print({'tensorflow_datasets', 'jax'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_decoders_refuse_other_pictures():
    grey = raw_datasets.png_bytes(np.zeros((2, 3), np.uint8))
    with pytest.raises(ValueError, match="mode L; expected RGB"):
        decode_image(grey)
    with pytest.raises(ValueError, match="mode L; expected a single-channel 16-bit PNG"):
        decode_depth(grey, "png", 1000, (2, 3))
    with pytest.raises(ValueError, match="none of the formats JPEG, PNG"):
        decode_image(b"not a picture")


@pytest.fixture(scope="module")
def tfds_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    tfds_nyu.write(root)
    return root


def assert_tfds_nyu(root):
    for split, count in tfds_nyu.NUM_FRAMES.items():
        records = Records("nyu_depth_v2", split, root)
        samples = [records[index] for index in range(len(records))]
        assert sorted(int(sample["image"][0, 0, 0]) for sample in samples) == [*range(count)]
        for index, sample in enumerate(samples):
            assert sample["image"].shape == (480, 640, 3) and sample["image"].dtype == np.uint8
            assert sample["depth"].dtype == np.float32
            assert sample["depth"][7, 7, 0] == sample["image"][0, 0, 0] + 1.25
            assert not sample["mask"][0, 0, 0] and sample["mask"].sum() == 480 * 640 - 1
            assert sample["name"] == f"{split}/{index:05d}"
            assert sample["intrinsics"] == pytest.approx(np.array(NYU.rows))


def test_nyu_as_tfds_prepares_it(tfds_root):
    assert_tfds_nyu(tfds_root)


def test_nyu_as_tfds_prepares_it_by_default_in_tfrecord_files(tfds_root, tmp_path):
    """TFDS needs TensorFlow to write these: here its records are put into the other format."""
    folder = tmp_path / "nyu_depth_v2/0.0.1"
    folder.mkdir(parents=True)
    builder = tfds.builder_from_directory(str(tfds_root / "nyu_depth_v2/0.0.1"))
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    for split in ("train", "validation"):
        records = builder.as_data_source(split, deserialize_method=raw)
        path = folder / f"nyu_depth_v2-{split}.tfrecord-00000-of-00001"
        path.write_bytes(b"".join(_tf_record(records[index]) for index in range(len(records))))
    source = tfds_root / "nyu_depth_v2/0.0.1"
    (folder / "features.json").write_bytes((source / "features.json").read_bytes())
    info = json.loads((source / "dataset_info.json").read_text()) | {"fileFormat": "tfrecord"}
    info["splits"] = [
        {**split, "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"}
        for split in info["splits"]
    ]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    assert_tfds_nyu(tmp_path)
    assert pickle.loads(pickle.dumps(Records("nyu_depth_v2", "train", tmp_path)))[2]["mask"].any()
    raw_datasets.truncate(path)
    with pytest.raises(UserError, match=f"{path.name} ends within record"):
        Records("nyu_depth_v2", "validation", tmp_path)


def _tf_record(data):
    return struct.pack("<QI", len(data), 0) + data + struct.pack("<I", 0)


def test_tfrecord_parts(tmp_path):
    for name in "ab":
        records = [f"{name}{index}".encode() * index for index in range(4)]
        (tmp_path / name).write_bytes(b"".join(map(_tf_record, records)))
    parts = TFRecords([(str(tmp_path / "a"), 1, -1), (str(tmp_path / "b"), 0, 2)])
    assert [parts[index] for index in range(len(parts))] == [b"a1", b"a2a2", b"a3a3a3", b"", b"b1"]
