"""The modes of the command line that need no training, in processes of their own."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.evaluation.submission import check_submission
from tests.support import small_model, small_run
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow
CALIBRATE = ("--mode=calibrate", "--config.frame.focal_length=86.4")


def _run(*arguments):
    """(exit status, lines of stdout, last line of stderr)."""
    process = subprocess.run(
        [sys.executable, "-m", "diffdepth_jax.main", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    return process.returncode, process.stdout.splitlines(), process.stderr.strip().split("\n")[-1]


@pytest.fixture
def pairs(tmp_path):
    """Two pairs at 2 and 4 m; the flags of a run on them with the small model."""
    root = tmp_path / "pairs"
    root.mkdir()
    for index, metres in enumerate((2, 4)):
        Image.new("RGB", (48, 32), (90 * index, 0, 0)).save(root / f"rgb_{index}.png")
        depth = np.full((32, 48), 1000 * metres, np.uint16)
        Image.fromarray(depth).save(root / f"depth_{index}.png")
    fields = {name: value for name, value in small_run.OVERRIDES.items() if "data" not in name}
    fields |= {
        "model.window_size": 3,
        "data.folder.root": root,
        "data.folder.image_pattern": "rgb_*.png",
        "data.folder.depth_pattern": "depth_*.png",
        "data.folder.holdout_every": 0,
    }
    flags = [f"--config.{name}={value}" for name, value in fields.items()]
    return "--config=configs/folder.py", f"--workdir={tmp_path / 'run'}", *flags


def test_depth_files_are_scored_without_a_model(pairs, tmp_path):
    """3 m for 2 m and for 4 m: abs_rel 1/2 and 1/4."""
    (tmp_path / "depth").mkdir()
    for index in range(2):
        depth = np.full((32, 48), 3 * 256, np.uint16)
        Image.fromarray(depth).save(tmp_path / f"depth/rgb_{index}.png")
    files = "--mode=evaluate", f"--predictions={tmp_path / 'depth'}"
    status, lines, _ = _run(*pairs, *files, "--predictions_scale=256")
    assert status == 0
    assert lines[1].split()[:2] == ["train", "0.3750"]
    assert lines[-1].startswith("protocol full") and "depth files of" in lines[-1]
    report = json.loads((tmp_path / "run/evaluation/train.json").read_text())
    assert report["means"]["abs_rel"] == pytest.approx(3 / 8)
    status, lines, error = _run(*pairs, *files)
    assert (status, lines) == (2, []) and "give --predictions_scale" in error


def test_a_model_made_elsewhere_is_scored_and_submits(pairs, tmp_path):
    """A model directory of configs/synthetic.py, with the data of configs/folder.py."""
    small_model.save(tmp_path / "run")
    status, lines, error = _run(*pairs, "--mode=evaluate", "--config.evaluation.ensemble=2")
    assert status == 0, error
    assert lines[1].split()[0] == "train" and lines[1].split()[-1] == "2"
    assert lines[-1].endswith("flip averaging off, median of 2 samples, 2 steps")
    status, (line,), _ = _run(*pairs, "--mode=submit", f"--output={tmp_path / 'a.zip'}")
    assert status == 0 and "a.zip: 2 predictions" in line
    assert check_submission(tmp_path / "a.zip", [(32, 48)] * 2) == []


def test_a_model_is_calibrated_and_its_intervals_are_scored(tmp_path):
    """On six scenes, of which three are of each kind."""
    small_model.save(tmp_path / "run")
    flags = small_run.command_line_flags(**{"evaluation.ensemble": 2})
    scenes = "--config=configs/synthetic.py", f"--workdir={tmp_path / 'run'}", *flags
    status, lines, error = _run(*scenes, "--mode=calibrate", "--config.seed=1")
    assert status == 0, error
    assert lines[3].split()[0] == "calibrated" and lines[-2].startswith("6 pictures, ")
    assert lines[-1].endswith("calibration.json and calibration.png")
    status, lines, error = _run(*scenes, "--mode=evaluate")
    assert status == 0 and "intervals are not scored" not in error
    assert any(line.split()[:1] == ["calibrated_coverage"] for line in lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--output=a.zip"], "--output means nothing to --mode=train: add --mode=submit"),
        (["--mode=submit", "--skip_missing"], "--skip_missing means nothing to --mode=submit"),
        (["--mode=submit"], "--mode=submit needs --output"),
        (
            ["--mode=calibrate"],
            "another configuration (frame.focal_length, frame.max_depth differ)",
        ),
        (
            [*CALIBRATE, "--config.frame.max_depth=80.0"],
            "2 pictures with ground truth at 2000 pixels are too few",
        ),
        (["--mode=calibrate", "--coordinator=auto"], "--coordinator: only training and evaluating"),
        (["--mode=evaluate", "--predictions=nowhere"], "nowhere is no folder"),
        (["--mode=evaluate", "--config.evaluation.protocol=garg"], "evaluation.protocol 'garg'"),
    ],
)
def test_bad_arguments_end_in_one_line(pairs, tmp_path, arguments, words):
    small_model.save(tmp_path / "run")
    status, lines, error = _run(*pairs, *arguments)
    assert (status, lines) == (2, [])
    assert error.startswith("error: ") and words in error


def test_a_model_elsewhere_is_scored_and_nothing_is_written_there(pairs, tmp_path):
    """A model that ships may lie in a folder that nobody may change."""
    config, workdir, *fields = pairs
    small_model.save(tmp_path / "model")
    before = sorted((tmp_path / "model").iterdir())
    model = f"--checkpoint={tmp_path / 'model'}"
    status, lines, error = _run(config, workdir, *fields, "--mode=evaluate", model)
    assert status == 0, error
    assert any(line.split()[:1] == ["train"] for line in lines)
    assert sorted((tmp_path / "model").iterdir()) == before
    assert (tmp_path / "run/evaluation/train.json").is_file()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--checkpoint=x"], "--checkpoint means nothing to --mode=train: add --mode=evaluate"),
        (["--mode=evaluate", "--checkpoint=nowhere"], "nowhere does not exist"),
        (
            ["--mode=evaluate", "--checkpoint=x", "--predictions=y"],
            "--checkpoint and --predictions are two things to score",
        ),
    ],
)
def test_a_checkpoint_that_cannot_be_scored_is_refused(pairs, flags, sentence):
    status, _, error = _run(*pairs, *flags)
    assert status == 2 and sentence in error


def test_files_of_another_kind_and_size_are_scored_with_what_lies_beside_them(pairs, tmp_path):
    """Disparity of 1/3 at half the size; then depth of 3 m with a spread and an interval."""
    (tmp_path / "depth").mkdir()
    for index in range(2):
        np.save(tmp_path / f"depth/rgb_{index}.npy", np.full((16, 24), 1 / 3, np.float32))
    files = "--mode=evaluate", f"--predictions={tmp_path / 'depth'}", "--predictions_resize=nearest"
    status, lines, error = _run(*pairs, *files, "--predictions_kind=disparity")
    assert status == 0, error
    assert lines[1].split()[:2] == ["train", "0.3750"]
    assert lines[-1].endswith(", disparity, resized nearest")
    for index in range(2):
        for part, metres in (("", 3.0), ("_spread", 0.5), ("_low", 2.5), ("_high", 4.5)):
            values = np.full((32, 48), metres, np.float32)
            np.save(tmp_path / f"depth/rgb_{index}{part}.npy", values)
    stated = "--predictions_spread", "--predictions_interval=0.9"
    status, lines, error = _run(*pairs, *files, *stated)
    assert status == 0, error
    means = json.loads((tmp_path / "run/evaluation/train.json").read_text())["means"]
    assert means["coverage"] == 0.5  # 4 m lies in it, 2 m does not


def test_two_folders_of_depth_files_are_compared(pairs, tmp_path):
    for name, metres in (("ours", 3.0), ("theirs", 2.5)):
        (tmp_path / name).mkdir()
        for index in range(2):
            np.save(tmp_path / name / f"rgb_{index}.npy", np.full((32, 48), metres, np.float32))
    folders = f"--predictions={tmp_path / 'ours'},{tmp_path / 'theirs'}"
    status, lines, error = _run(*pairs, "--mode=evaluate", folders)
    assert status == 0, error
    assert lines[-2].startswith("train: theirs minus ours, 2 pictures: abs_rel")
    assert lines[-1].endswith("train_theirs_and_ours.png")
