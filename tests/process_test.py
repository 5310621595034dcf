"""The real command line in a process of its own: killed, on a full disk, and fed bad input."""

import os
import resource
import shutil
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.checkpoints.model_directory import claim_directory
from tests.support import small_run
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

LAST = 24
TRAINING = small_run.command_line_flags(
    **{
        "train.num_steps": LAST,
        "train.checkpoint_every": 4,
        "train.evaluate_every": LAST,
        "train.log_every": 1,
        "evaluation.baselines": False,
    }
)
FOLDER = {
    "data.folder.image_pattern": "rgb_*.png",
    "data.folder.depth_pattern": "depth_*.png",
    "data.folder.holdout_every": 0,
    "train.num_threads": 2,
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The path to the package, and a place for compiled programs that the processes share."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
    }


def _start(environment, *arguments, module="main"):
    return subprocess.Popen(
        [sys.executable, "-m", f"diffdepth_jax.{module}", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _train(workdir, flags=TRAINING):
    return "--config=configs/synthetic.py", f"--workdir={workdir}", *flags


# How the lines begin that every run writes, see `training.announcements` and `program.progress`.
USUAL = (
    *("device: ", "data: ", "parameters: ", "work directory: ", "first of "),
    *("compiling", "compiled; ", "step ", "trained ", "train: ", "loading "),
    *(f"{steps} steps; the first waits" for steps in range(1, LAST + 1)),
)


def _finish(process):
    """(exit status, table, lines of stderr but the usual ones)."""
    out, err = process.communicate(timeout=500)
    return process.returncode, out, [x for x in err.splitlines() if not x.startswith(USUAL)]


def _assert_one_line(result, *words):
    """The whole of what a user sees: `error: ...`, with these words in it; status 2."""
    status, out, errors = result
    assert status == 2, "\n".join(errors)
    assert out == ""
    assert len(errors) == 1, "\n".join(errors[:20])
    assert errors[0].startswith("error: ")
    assert all(word in errors[0] for word in words), errors[0]


def _steps(workdir):
    """Of the finished checkpoints."""
    return sorted(int(path.name) for path in workdir.glob("checkpoints/*") if path.name.isdigit())


def _wait_for_a_checkpoint(process, workdir):
    deadline = time.monotonic() + 400
    while not _steps(workdir):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def uninterrupted(environment, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    status, out, errors = _finish(_start(environment, *_train(workdir)))
    assert (status, errors) == (0, [])
    assert "rooms" in out and "abs_rel" in out
    return workdir


def _assert_same_end(ours, theirs):
    jax.tree.map(
        np.testing.assert_array_equal,
        small_run.read_state(ours, LAST),
        small_run.read_state(theirs, LAST),
    )


def test_a_killed_run_started_again_ends_as_if_it_had_not_been(
    environment, uninterrupted, tmp_path
):
    workdir = tmp_path / "killed"
    process = _start(environment, *_train(workdir))
    _wait_for_a_checkpoint(process, workdir)
    process.kill()
    process.communicate()
    saved = _steps(workdir)[-1]
    assert saved < LAST
    status, _, errors = _finish(_start(environment, *_train(workdir)))
    assert (status, errors) == (0, [f"resuming from checkpoints/{saved}"])
    lines = small_run.read_metrics(workdir)
    assert [x["step"] for x in lines if "train/loss" in x] == [*range(1, LAST + 1)]  # each once
    _assert_same_end(workdir, uninterrupted)


def test_a_run_gone_on_with_says_where_and_libraries_say_nothing(
    environment, uninterrupted, tmp_path
):
    workdir = shutil.copytree(uninterrupted, tmp_path / "finished")
    process = _start(environment, *_train(workdir), "--config.log_level=info")
    assert _finish(process)[::2] == (0, [f"resuming from checkpoints/{LAST}"])


def test_a_damaged_checkpoint_is_set_aside_in_one_line(environment, uninterrupted, tmp_path):
    workdir = shutil.copytree(uninterrupted, tmp_path / "damaged")
    for path in (workdir / f"checkpoints/{LAST}/state/d").iterdir():
        os.truncate(path, path.stat().st_size // 2)
    status, _, (warning, resuming) = _finish(_start(environment, *_train(workdir)))
    assert status == 0
    assert warning.startswith(f"warning: checkpoints/{LAST} is damaged (state/d/")
    assert resuming == f"resuming from checkpoints/{LAST - 4}"
    _assert_same_end(workdir, uninterrupted)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MiB, and a function that gives it room for the run or what its options say."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    if subprocess.run([*mount, "size=4m", "none", disk], capture_output=True).returncode:
        pytest.skip("no permission to mount a disk")

    def enlarge(options="size=1g"):
        subprocess.run([*mount, f"remount,{options}", "none", disk], check=True)

    yield disk, enlarge
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_ends_in_one_line_and_with_space_again_the_run_goes_on(
    environment, uninterrupted, small_disk
):
    disk, enlarge = small_disk
    result = _finish(_start(environment, *_train(disk / "run")))
    _assert_one_line(result, "checkpoints/4 could not be written", "MiB are free", "same command")
    assert not _steps(disk / "run")
    enlarge()
    status, _, errors = _finish(_start(environment, *_train(disk / "run")))
    assert (status, errors) == (0, [])
    _assert_same_end(disk / "run", uninterrupted)


@pytest.fixture(scope="module")
def failed_write(tmp_path_factory):
    """(directory, result) of a run that cannot write a file of 64 KiB: it fails on the way."""
    workdir = tmp_path_factory.mktemp("runs") / "full"
    uncached = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false", "PYTHONPATH": str(ROOT)}
    process = _start(uncached, *_train(workdir))
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2**16, 2**16))
    return workdir, _finish(process)


def test_a_write_that_fails_on_the_way_is_named_and_leaves_no_checkpoint(
    environment, uninterrupted, failed_write
):
    workdir, (status, _, errors) = failed_write
    (line,) = (line for line in errors if line.startswith("error: "))
    assert status == 2
    assert "checkpoints/4 could not be written" in line and "free space" in line
    assert not _steps(workdir)
    status, _, errors = _finish(_start(environment, *_train(workdir)))
    assert (status, errors) == (0, [])
    _assert_same_end(workdir, uninterrupted)


def test_a_disk_that_fills_while_a_checkpoint_is_written_ends_the_run(
    environment, uninterrupted, small_disk
):
    """A disk with space enough, but none for so many files.

    Threads of tensorstore may print that their event loop is closed beside the error's one line.
    """
    disk, enlarge = small_disk
    enlarge("size=1g,nr_inodes=24")
    result = _finish(_start(environment, *_train(disk / "run")))
    status, _, errors = result
    (line,) = (line for line in errors if line.startswith("error: "))
    assert status == 2
    words = ("checkpoints/4 could not be written", "No space left", "same command")
    assert all(word in line for word in words), line
    assert not _steps(disk / "run")
    enlarge("size=1g,nr_inodes=0")
    status, _, errors = _finish(_start(environment, *_train(disk / "run")))
    assert (status, errors) == (0, [])
    _assert_same_end(disk / "run", uninterrupted)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--colour=1"], ["colour"]),
        (["train"], ["unexpected argument train"]),
        (["--config.train.colour=1"], ["colour"]),
        (["--config.train.num_steps=many"], ["num_steps", "many"]),
        (["--config.optimizer.warmup_steps=-1"], ["warmup_steps -1"]),
        (["--config.model.backbone=vgg"], ["vgg", "swin_tiny"]),
        (["--mode=evaluate"], ["no model directory"]),
        (["--mode=test"], ["test", "evaluate"]),
    ],
)
def test_bad_arguments_end_in_one_line(environment, tmp_path, arguments, words):
    process = _start(environment, *_train(tmp_path / "run"), *arguments)
    _assert_one_line(_finish(process), *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train.batch_size", 0),
        ("train.num_threads", -1),
        ("train.log_every", 0),
        ("train.checkpoint_every", 0),
        ("evaluation.num_panels", 0),
        ("evaluation.batch_size", 0),
        ("model.window_size", 0),
        ("model.denoiser_heads", 3),
        ("data.synthetic.num_train", 1),  # no street for the baselines
    ],
)
def test_a_value_out_of_range_is_named(environment, tmp_path, field, value):
    fields = {"train.num_steps": 3, "evaluation.baselines": True, field: value}
    flags = small_run.command_line_flags(**fields)
    result = _finish(_start(environment, *_train(tmp_path / "run", flags)))
    _assert_one_line(result, field.split(".")[-1], str(value))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--config"]),
        (["--config=configs/none.py"], ["configs/none.py"]),
        (["--config=configs/folder.py"], ["data.folder.root is empty"]),
        (
            ["--config=configs/folder.py", "--config.data.folder.root=/nowhere"],
            ["/nowhere", "not exist"],
        ),
    ],
)
def test_missing_configuration_or_data_ends_in_one_line(environment, tmp_path, arguments, words):
    process = _start(environment, f"--workdir={tmp_path / 'run'}", *arguments)
    _assert_one_line(_finish(process), *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--output=x",), ["missing: --input"]),
        (("--checkpoint=x", "--output=x", "--input=nowhere"), ["nowhere does not exist"]),
        (("--checkpoint=x", "--output=x", "--input=docs"), ["x does not exist", "model directory"]),
        (("--checkpoint=x", "--output=x", "--input=docs", "--num_steps=two"), ["num_steps", "two"]),
    ],
)
def test_bad_arguments_of_prediction_end_in_one_line(environment, arguments, words):
    _assert_one_line(_finish(_start(environment, *arguments, module="predict")), *words)


def test_a_workdir_of_another_configuration_is_refused(environment, tmp_path):
    claim_directory(tmp_path, small_run.config(batch_size=8))
    (tmp_path / "checkpoints/4").mkdir(parents=True)  # something that a takeover would lose
    _assert_one_line(_finish(_start(environment, *_train(tmp_path))), "train.batch_size", "differ")


def test_a_workdir_that_cannot_be_made_is_refused(environment):
    """Not even by root."""
    _assert_one_line(_finish(_start(environment, *_train("/proc/run"))), "/proc/run")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_workdir_is_refused(environment, tmp_path):
    tmp_path.chmod(0o500)
    _assert_one_line(_finish(_start(environment, *_train(tmp_path / "run"))), "writable")


@pytest.fixture
def folder(tmp_path):
    """Four good pairs, and the flags that train on them."""
    root = tmp_path / "pairs"
    root.mkdir()
    for index in range(4):
        Image.new("RGB", (48, 32), (60 * index, 0, 0)).save(root / f"rgb_{index}.png")
        depth = np.full((32, 48), 1500 + index, np.uint16)
        Image.fromarray(depth).save(root / f"depth_{index}.png")
    named = {name: value for name, value in small_run.OVERRIDES.items() if "data" not in name}
    fields = {**named, **FOLDER, "data.folder.root": root}
    flags = [f"--config.{name}={value}" for name, value in fields.items()]
    return root, ("--config=configs/folder.py", f"--workdir={tmp_path / 'run'}", *flags)


@pytest.mark.parametrize(
    ("size", "value", "words"),
    [
        ((32, 48), 0, ["depth_2.png", "no valid pixel", "remove the pair"]),
        ((16, 24), 1500, ["rgb_2.png is 32 x 48", "depth_2.png is 16 x 24"]),
    ],
)
def test_a_bad_file_met_by_a_reading_thread_is_named(environment, folder, size, value, words):
    root, arguments = folder
    Image.fromarray(np.full(size, value, np.uint16)).save(root / "depth_2.png")
    _assert_one_line(_finish(_start(environment, *arguments)), *words)


def test_a_wrong_depth_scale_is_named(environment, folder):
    """Every depth is then below the limit: training has nothing to learn from."""
    _, arguments = folder
    process = _start(environment, *arguments, "--config.data.folder.depth_scale=1e9")
    _assert_one_line(_finish(process), "hardly any is within", "data.folder.depth_scale")
