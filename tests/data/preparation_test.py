"""The command that prepares datasets: bad input named, interruption, repetition, processes."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import ExifTags, Image

from diffdepth_jax.data import builder
from diffdepth_jax.data.parallel import ordered_map
from diffdepth_jax.datasets.records import Records
from diffdepth_jax.errors import UserError
from diffdepth_jax.program.folder_lock import FolderLock
from tests.support import depth_forms, raw_datasets
from tests.support.paths import ROOT
from tests.support.raw_datasets import (
    assert_lossless,
    prepare_small,
    problems,
    save_image,
    truncate,
)

SYNC = "nyu_depth/sync"


@pytest.fixture
def raw(tmp_path):
    raw_datasets.nyu_sync(tmp_path / "raw")
    return tmp_path / "raw"


def command(dataset, source, data_dir, *flags):
    """Runs the documented command in a process of its own."""
    arguments = [f"--dataset={dataset}", f"--source={source}", f"--data_dir={data_dir}", *flags]
    return subprocess.run(
        [sys.executable, "-m", "data.prepare", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def refused(raw, data_dir, **options):
    """Prepares what must be refused, and checks that nothing was written."""
    with pytest.raises(UserError) as caught:
        prepare_small(SYNC, raw, data_dir, **options)
    assert "\n" not in str(caught.value)
    assert_nothing_readable(data_dir)
    return str(caught.value)


def assert_nothing_readable(data_dir, dataset=SYNC):
    with pytest.raises(UserError, match=f"{dataset} is not prepared"):
        Records(dataset, "train", data_dir)


def test_documented_command(tmp_path):
    expected = raw_datasets.nyu_sync(tmp_path / "raw")
    done = command(SYNC, tmp_path / "raw", tmp_path / "data", "--any_size", "--num_workers=2")
    assert done.returncode == 0, done.stderr
    assert "train: 4 frames of 2 scenes" in done.stdout
    assert done.stderr == ""  # bars are for terminals
    assert_lossless(SYNC, tmp_path / "data", expected)


def test_command_ends_in_one_line_and_names_every_problem(raw, tmp_path):
    (raw / "kitchen_0000/rgb_00000.jpg").unlink()
    truncate(raw / "bathroom/sync_depth_00001.png")
    done = command(SYNC, raw, tmp_path / "data", "--any_size", "--num_workers=1")
    assert done.returncode == 2
    assert "kitchen_0000/rgb_00000.jpg is missing" in done.stderr
    assert "line 1" in done.stderr
    assert "bathroom/sync_depth_00001.png: cannot be read" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: 2 problems in")
    assert_nothing_readable(tmp_path / "data")
    done = command("nyu_depth/mat", raw, tmp_path / "data")
    assert done.returncode == 2 and "nyu_depth/labeled, " in done.stderr
    done = command(SYNC, raw, tmp_path / "data", "--frames=3")
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_wrong_counts_and_sizes_are_refused_without_any_size(raw, tmp_path, capsys):
    refused(raw, tmp_path / "data", any_size=False)
    problems(capsys, "split train: 4 usable frames, but 24231 or 36253 are published", "--any_size")
    problems_of_sizes = "rgb_00000.jpg: 48 x 64, but the published size is 480 x 640"
    refused(raw, tmp_path / "data", any_size=False)
    problems(capsys, problems_of_sizes)


def test_a_list_that_mixes_two_data_sets_names_the_frames_of_the_other(raw, tmp_path, capsys):
    depth_forms.kitti()(raw)
    drive, name = "2011_09_26_drive_0001_sync", "image_02/data/0000000000.png"
    depth = f"{drive}/proj_depth/groundtruth/image_02/0000000000.png"
    picture = f"2011_09_26/{drive}/{name}"
    path = raw / "nyudepthv2_train_files_with_gt.txt"
    ours = path.read_text()
    path.write_text(f"{ours}{picture} {depth}\n")
    refused(raw, tmp_path / "data")
    problems(capsys, f"line 5: {raw / depth} is missing")
    path.write_text(f"{ours}{picture} data_depth_annotated/train/{depth}\n")
    refused(raw, tmp_path / "data", any_size=False)
    problems(capsys, f"{raw / picture}: 32 x 48, but the published size", "use the original, or")


def test_list_without_a_usable_line(raw, tmp_path, capsys):
    (raw / "nyudepthv2_test_files_with_gt.txt").write_text("\n")
    refused(raw, tmp_path / "data")
    problems(capsys, "split test: 0 usable frames")
    prepare_small(SYNC, raw, tmp_path / "data", splits=("train",))
    with pytest.raises(UserError, match="no split 'test'; prepared splits: train"):
        Records(SYNC, "test", tmp_path / "data")


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (np.zeros((48, 64), np.uint16), "no valid depth"),
        (np.full((48, 64), 3, np.uint16), "metres taken for millimetres"),
        (np.full((48, 64), 60000, np.uint16), "millimetres taken for metres"),
        (np.full((48, 60), 2000, np.uint16), "48 x 60 (height x width); both must have one size"),
        (np.full((48, 64), 200, np.uint8), "mode L; expected a single-channel 16-bit PNG"),
    ],
)
def test_bad_depth_is_named(raw, tmp_path, capsys, depth, message):
    save_image(raw / "kitchen_0001/sync_depth_00002.png", depth)
    refused(raw, tmp_path / "data")
    problems(capsys, "kitchen_0001/sync_depth_00002.png", message)


def test_a_whole_split_in_another_unit_is_named(raw, tmp_path, capsys):
    for path in raw.glob("kitchen*/sync_depth_*.png"):
        save_image(path, np.array(Image.open(path)) // 10)  # centimetres
    refused(raw, tmp_path / "data")
    problems(capsys, "split train: median depth", "metres taken for millimetres")


@pytest.mark.parametrize("name", ["kitchen_0000/rgb_00001.jpg", "bathroom/sync_depth_00000.png"])
@pytest.mark.parametrize("kept", [0, 0.6])
def test_truncated_files_are_named(raw, tmp_path, capsys, name, kept):
    truncate(raw / name, kept)
    refused(raw, tmp_path / "data")
    problems(capsys, f"{raw / name}: cannot be read")


def test_an_image_that_exif_turns_is_refused(raw, tmp_path, capsys):
    path = raw / "kitchen_0000/rgb_00001.jpg"
    with Image.open(path) as image:
        image.getexif()[ExifTags.Base.Orientation] = 3
        image.save(path, exif=image.getexif())
    refused(raw, tmp_path / "data")
    problems(capsys, f"{path}: its EXIF Orientation is 3, so that viewers turn it")


def test_other_bad_input(raw, tmp_path, capsys):
    Image.new("L", (64, 48)).save(raw / "kitchen_0000/rgb_00000.jpg")
    for split in ("train", "test"):
        list_file = raw / f"nyudepthv2_{split}_files_with_gt.txt"
        list_file.write_text(list_file.read_text() * 2)
    assert refused(raw, tmp_path / "data").startswith("2 problems")
    problems(capsys, "mode L; expected RGB", "frames are listed more than once", "rgb_00001")
    list_file.write_text("kitchen_0000/rgb_00000.jpg\n")
    assert "line 1: expected 'image depth'" in refused(raw, tmp_path / "data")
    assert "does not exist" in refused(tmp_path / "nowhere", tmp_path / "data")
    assert "has train, test" in refused(raw, tmp_path / "data", splits=("val",))


def test_frames_listed_twice_for_training_are_noted(raw, tmp_path, capsys):
    list_file = raw / "nyudepthv2_train_files_with_gt.txt"
    list_file.write_text(list_file.read_text() * 2)
    prepare_small(SYNC, raw, tmp_path / "data")
    assert "4 frames are listed more than once" in capsys.readouterr().out
    assert len(Records(SYNC, "train", tmp_path / "data")) == 8


def test_a_full_disk_is_refused_before_writing(raw, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "GB are needed" in refused(raw, tmp_path / "data")


def test_a_disk_that_fills_ends_in_one_line_and_leaves_no_records(raw, tmp_path):
    """Here the limit is one on the size of a file, which ends writing as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, before[1]))
    try:
        message = refused(raw, tmp_path / "data")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "the dataset could not be written below" in message and "make room" in message
    assert not list((tmp_path / "data").rglob("*array_record*"))


@pytest.mark.parametrize("name", ["n" * 300, "n" * 5000, "a\0b"])
def test_names_that_no_disk_takes_are_missing_files(raw, tmp_path, capsys, name):
    path = raw / "nyudepthv2_train_files_with_gt.txt"
    path.write_text(f"{path.read_text()}{name}.jpg {name}.png\n")
    refused(raw, tmp_path / "data")
    problems(capsys, "is missing")


def test_what_is_prepared_is_kept_unless_overwritten(raw, tmp_path, capsys):
    folder = prepare_small(SYNC, raw, tmp_path / "data")
    truncate(raw / "kitchen_0000/rgb_00000.jpg")
    assert prepare_small(SYNC, raw, tmp_path / "data") == folder
    assert "--overwrite" in capsys.readouterr().out
    with pytest.raises(UserError):  # checked before the old one is touched
        prepare_small(SYNC, raw, tmp_path / "data", overwrite=True)
    assert len(Records(SYNC, "train", tmp_path / "data")) == 4


def test_an_error_while_overwriting_keeps_the_old(raw, tmp_path, monkeypatch):
    prepare_small(SYNC, raw, tmp_path / "data")

    def fail(frame, depth_scale):
        raise OSError("the disk was taken out")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="taken out"):
        patch.setattr(builder, "_example", fail)
        prepare_small(SYNC, raw, tmp_path / "data", overwrite=True)
    assert Records(SYNC, "train", tmp_path / "data")[3]["mask"].any()
    (raw / "nyudepthv2_train_files_with_gt.txt").write_text(
        "kitchen_0000/rgb_00000.jpg kitchen_0000/sync_depth_00000.png 518.8579"
    )
    prepare_small(SYNC, raw, tmp_path / "data", overwrite=True)
    assert len(Records(SYNC, "train", tmp_path / "data")) == 1
    assert not list((tmp_path / "data").rglob("incomplete.*"))


def test_a_dataset_set_aside_by_a_killed_run_comes_back(raw, tmp_path, capsys):
    folder = prepare_small(SYNC, raw, tmp_path / "data")
    folder.rename(folder.parent / "replaced.abc")
    truncate(raw / "kitchen_0000/rgb_00000.jpg")
    with pytest.raises(UserError):
        prepare_small(SYNC, raw, tmp_path / "data", overwrite=True)
    assert "set aside by an interrupted run, is there again" in capsys.readouterr().out
    assert len(Records(SYNC, "train", tmp_path / "data")) == 4


def test_splits_are_neither_dropped_nor_taken_for_prepared(raw, tmp_path):
    prepare_small(SYNC, raw, tmp_path / "data", splits=("train",))
    with pytest.raises(UserError, match=r"prepared without the split test: .*--splits=train,test"):
        prepare_small(SYNC, raw, tmp_path / "data", splits=("test",))
    with pytest.raises(UserError, match="holds the split train, which --overwrite"):
        prepare_small(SYNC, raw, tmp_path / "data", splits=("test",), overwrite=True)


def test_lists_of_a_source_that_reads_none_are_refused(raw, tmp_path):
    with pytest.raises(UserError, match="--train_list and --test_list mean nothing for nyu_depth"):
        prepare_small("nyu_depth/hdf5", raw, tmp_path / "data", lists={"train": "only.txt"})


def test_cameras_of_frames_of_another_size_are_told(raw, tmp_path, capsys):
    prepare_small(SYNC, raw, tmp_path / "data")
    assert "frames of another size than the published one: " in capsys.readouterr().out


def test_an_error_while_writing_leaves_nothing(raw, tmp_path, monkeypatch):
    make_example = builder._example

    def fail(frame, depth_scale):
        if "00002" in frame.name:
            raise OSError("the disk was taken out")
        return make_example(frame, depth_scale)

    monkeypatch.setattr(builder, "_example", fail)
    with pytest.raises(OSError, match="taken out"):
        prepare_small(SYNC, raw, tmp_path / "data")
    assert_nothing_readable(tmp_path / "data")
    assert not [path for path in (tmp_path / "data").rglob("*array_record*")]


def test_a_killed_run_leaves_nothing_readable_and_the_next_one_completes(raw, tmp_path, capsys):
    kill_at_third = (
        "import os, signal, tests.support.raw_datasets as r\n"
        "from diffdepth_jax.data import builder\n"
        "make = builder._example\n"
        "def example(frame, depth_scale):\n"
        "    if '00002' in frame.name: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return make(frame, depth_scale)\n"
        "builder._example = example\n"
        f"r.prepare_small({SYNC!r}, {str(raw)!r}, {str(tmp_path / 'data')!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", kill_at_third], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert list((tmp_path / "data").rglob("*array_record*"))  # it was writing
    assert_nothing_readable(tmp_path / "data")
    prepare_small(SYNC, raw, tmp_path / "data")
    assert len(Records(SYNC, "train", tmp_path / "data")) == 4
    assert "left by an interrupted run, is deleted" in capsys.readouterr().out
    left = {path.name for path in (tmp_path / "data/nyu_depth/sync").iterdir()}
    assert left == {"1.0.0"}


def test_a_second_run_into_one_dataset_is_refused_and_one_into_another_is_not(raw, tmp_path):
    data_dir = tmp_path / "data"
    with FolderLock(data_dir / "nyu_depth/sync") as lock, FolderLock(data_dir / "kitti") as other:
        lock.take("wait")
        with pytest.raises(UserError, match=rf"in use by process {os.getpid()} on .*--data_dir$"):
            prepare_small(SYNC, raw, data_dir)
        other.take("wait")
    prepare_small(SYNC, raw, data_dir)
    assert len(Records(SYNC, "train", data_dir)) == 4


def test_what_is_refused_leaves_no_folder(raw, tmp_path):
    (raw / "kitchen_0000/rgb_00000.jpg").unlink()
    refused(raw, tmp_path / "a/data")
    assert not (tmp_path / "a").exists()


def _square(number):
    return number**2


def _die(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("num_workers", [1, 2])
def test_ordered_map_keeps_order_and_does_not_run_far_ahead(num_workers):
    taken = []
    numbers = (taken.append(number) or number for number in range(100))
    results = ordered_map(_square, numbers, num_workers)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert len(taken) <= 12
    results.close()
    assert list(ordered_map(_square, range(20), num_workers)) == [n**2 for n in range(20)]


def test_a_worker_that_dies_is_reported():
    with pytest.raises(UserError, match="--num_workers"):
        list(ordered_map(_die, range(6), 2))


def test_workers_end_with_a_killed_parent(tmp_path):
    script = (
        "import os, signal, time\n"
        "from diffdepth_jax.data.parallel import ordered_map\n"
        "from tests.data.preparation_test import _pid\n"
        "if __name__ == '__main__':\n"
        "    print(next(ordered_map(_pid, range(9), 2)), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "parent.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, tmp_path / "parent.py"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    worker = int(done.stdout)
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{worker}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{worker}")


def _pid(_):
    return os.getpid()
