"""The mistakes of a first day: each ends in one line that says the remedy, and status 2."""

import importlib
import os
import shlex
import subprocess
import sys

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from diffdepth_jax import __main__ as dispatcher
from diffdepth_jax.program import entry
from tests.support.paths import ROOT

_FIELD = "--config.data.folder"
_PATTERNS = f"{_FIELD}.image_pattern=rgb/*.png {_FIELD}.depth_pattern=depth/*.png"
FOLDER = f"train --config=folder {_PATTERNS} {_FIELD}.root"

# What is typed in a folder that is no clone, and what the line must say.
MISTAKES = {
    "nothing to train": ("train", "missing: --config"),
    "no checkpoint": ("export --output=x", "missing: --checkpoint"),
    "nothing to convert": (
        "convert",
        "missing: --checkpoint, --config, --output",
    ),
    "an unknown command": ("trian", "trian; did you mean train?"),
    "an unknown flag": ("train --confg=nyu", "--confg; did you mean --config?"),
    "an unknown configuration": ("train --config=syntetic", "did you mean synthetic?"),
    "an unknown file of the clone": ("train --config=configs/nyuu.py", "did you mean nyu?"),
    "a configuration without its flag": ("train nyu", "did you mean --config=nyu?"),
    "a field without a configuration": ("train --config.seed=1", "give --config=NAME, too"),
    "an unknown field": (
        "train --config=synthetic --config.train.num_step=4",
        "train.num_step is unknown; did you mean train.num_steps?",
    ),
    "an unknown group": (
        "train --config=synthetic --config.trian.num_steps=4",
        "did you mean train.num_steps?",
    ),
    "no number": (
        "train --config=synthetic --config.train.num_steps=many",
        "--config.train.num_steps=many: must be a whole number",
    ),
    "no boolean": (
        "train --config=synthetic --config.evaluation.baselines=maybe",
        "must be true or false",
    ),
    "a number out of range": (
        "train --config=synthetic --config.train.num_steps=-1",
        "train.num_steps -1: must be 1 or more",
    ),
    "a warm-up as long as the training": (
        "train --config=nyu --config.train.num_steps=6",
        "and below train.num_steps 6: set --config.optimizer.warmup_steps",
    ),
    "a field by its last part": ("train --min_depth=1", "did you mean --config.frame.min_depth?"),
    "an unknown mode": ("train --config=nyu --mode=lern", "must be one of train, evaluate"),
    "a configuration that fails": ("train --config=mine.py", "mine.py cannot be read (NameError"),
    "an old name": ("train --config=folder --config.data.root=x", "--config.data.folder.root"),
    "no model to evaluate": ("evaluate runs/none", "runs/none is no model directory"),
    "an unknown model to evaluate": ("evaluate indor_small", "did you mean indoor_small?"),
    "a model that ships to calibrate": ("calibrate indoor_small", "copy its folder"),
    "no input": ("predict --output=x --input=nowhere", "nowhere does not exist"),
    "an input without pictures": ("predict --input=empty --output=x", "empty holds no image"),
    "an unknown output": (
        "predict --input=photo.png --output=x --outputs=glbb",
        "did you mean glb?",
    ),
    "an unknown camera": (
        "predict --input=photo.png --output=x --camera=kity",
        "did you mean kitti?",
    ),
    "an output where none can be": ("predict --input=photo.png --output=photo.png/x", "photo.png"),
    "an unknown model": (
        "predict --input=photo.png --output=x --checkpoint=indor_small",
        "did you mean indoor_small?",
    ),
    "no PyTorch file": (
        "convert --checkpoint=x.pt --config=released_swin --output=x",
        "x.pt cannot be read (No such file or directory)",
    ),
    "no data": ("train --config=folder", "set --config.data.folder.root to the folder"),
    "data that are not there": (f"{FOLDER}=nowhere", "nowhere' does not exist"),
    "an empty folder": (f"{FOLDER}=empty", "empty' is empty"),
    "a folder above": (f"{FOLDER}=above", "give above/data as data.folder.root"),
    "a folder below": (f"{FOLDER}=above/data/rgb", "give above/data as data.folder.root"),
    "a depth folder without pictures": (f"{FOLDER}=half", "3 of 3 depth partners"),
    "nothing to prepare": ("prepare", "missing: --dataset, --source, --data_dir"),
    "an unknown data set": ("prepare --dataset=nyu --source=. --data_dir=x", "nyu_depth/SOURCE"),
    "an impossible port": ("app --port=99999", "port 99999: must be 1 to 65535"),
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a photo, and RGB-D data as people have them."""
    desk = tmp_path_factory.mktemp("desk")
    for folder in ("empty", "above/data/rgb", "above/data/depth", "half/rgb", "half/depth"):
        (desk / folder).mkdir(parents=True)
    Image.new("RGB", (48, 32)).save(desk / "photo.png")
    for index in range(3):
        for folder in ("above/data", "half"):
            Image.new("RGB", (48, 32)).save(desk / folder / f"rgb/{index}.png")
        depth = Image.fromarray(np.full((32, 48), 1500, np.uint16))
        depth.save(desk / f"above/data/depth/{index}.png")
    (desk / "mine.py").write_text("def get_config():\n    return defualt\n")
    return desk


# Before `flagsaver`, which would forget the flags that they define.
for module in {command.module for command in dispatcher.COMMANDS.values()}:
    importlib.import_module(f"diffdepth_jax.{module}")


@pytest.fixture
def run(desk, monkeypatch, capsys):
    """Types a command; returns its status and the lines of stderr."""

    def run(command):
        monkeypatch.chdir(desk)
        monkeypatch.setattr(entry, "keep_freed_memory", bool)  # that is for a whole process
        monkeypatch.setattr(sys, "argv", ["diffdepth", *shlex.split(command)])
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as stop:
            flags.FLAGS.unparse_flags()
            dispatcher.main()
        return stop.value.code, capsys.readouterr().err.splitlines()

    return run


def assert_one_line(status, lines, words):
    assert status == 2, lines
    (line,) = lines
    assert line.startswith("error: ") and words in line
    assert "\\" not in line and "Traceback" not in line and "[Errno" not in line


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_line(mistake, run):
    command, words = MISTAKES[mistake]
    assert_one_line(*run(command), words)


def test_the_names_of_configurations_are_listed(run):
    _, (line,) = run("train --config=mine")
    assert "mine.py cannot be read" in line  # a file of one's own comes first, without its .py
    _, (line,) = run("train --config=nowhere")
    assert "synthetic" in line and "nyu" in line and "kitti" in line


def test_no_permission_ends_in_one_line(run, desk, monkeypatch):
    """root may write everywhere: the system's answer is given in its place."""

    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    status, lines = run("predict --input=photo.png --output=locked")
    assert_one_line(status, lines, "locked: Permission denied: check that the path exists, is wri")


def typed(command, desk, **environment):
    """(status, lines of stderr) of a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "diffdepth_jax", *shlex.split(command)],
        cwd=desk,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cuda", "tpu", "cudda"])
@pytest.mark.parametrize(
    "command", ["predict --input=photo.png --output=x", "train --config=synthetic --workdir=x"]
)
def test_a_device_that_is_missing_is_named(desk, command, platform):
    if platform == "cuda" and os.path.exists("/proc/driver/nvidia"):
        pytest.skip("a GPU is here")
    found = typed(command, desk, JAX_PLATFORMS=platform)
    assert_one_line(*found, f"JAX_PLATFORMS={platform} asks for a device that JAX does not find")


@pytest.mark.slow
@pytest.mark.parametrize("mistake", ["an unknown field", "no number", "an unknown model"])
def test_a_process_of_its_own_says_the_same(desk, mistake):
    command, words = MISTAKES[mistake]
    assert_one_line(*typed(command, desk), words)
