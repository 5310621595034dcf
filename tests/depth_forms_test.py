"""Every form in which depth data circulates: known metres come back, and a model trains on it."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest

from diffdepth_jax.configs import default
from diffdepth_jax.configuration import groups
from diffdepth_jax.datasets.records import Records
from diffdepth_jax.datasets.sources import create_sources
from tests.support import small_run
from tests.support.depth_forms import FOLDERS, RAW, SIZE, TEST, TRAIN, frame_of, metres
from tests.support.paths import ROOT
from tests.support.raw_datasets import prepare_small


def assert_known(samples, form, frames):
    """Each of the frames once, with the known metres up to half a step of the encoding."""
    assert sorted(frame_of(sample["image"]) for sample in samples) == sorted(frames)
    for sample in samples:
        truth = metres(frame_of(sample["image"]), form.top)
        factor = sample["image"].shape[0] // SIZE[0]
        truth = np.kron(truth, np.ones((factor, factor), np.float32))
        np.testing.assert_array_equal(sample["mask"][..., 0], truth > 0)
        np.testing.assert_allclose(sample["depth"][..., 0], truth, 0, form.step / 2 + 4e-6)


def folder_fields(form, root):
    """Of `data.folder`."""
    return {"holdout_every": 4, **form.fields, "root": str(root / form.fields.get("root", ""))}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_gives_known_metres_back(tmp_path, name):
    form = FOLDERS[name]
    form.write(tmp_path)
    config = default.get_config()
    config.data.source = "folder"
    config.data.folder.update(folder_fields(form, tmp_path))
    train, sets = create_sources(groups.read(config).data, seed=0)
    test = sets["eval"][1]
    if form.test:
        assert_known(list(train), form, form.train)
        assert_known(list(test), form, form.test)
    else:
        assert_known([*train, *test], form, form.train)


def raw_options(form, root):
    """Flags of `data.prepare` by name."""
    options = {"source": root / form.source}
    for name, value in form.options:
        options[name] = root / value if name == "test_depth" else value
    return options


def second_split(form):
    return "val" if form.dataset.endswith("depth_prediction") else "test"


@pytest.mark.parametrize("name", RAW)
def test_a_raw_download_gives_known_metres_back(tmp_path, capsys, name):
    form = RAW[name]
    form.write(tmp_path / "raw")
    options = raw_options(form, tmp_path / "raw")
    options["splits"] = ("train", second_split(form))
    prepare_small(form.dataset, options.pop("source"), tmp_path / "data", **options)
    printed = capsys.readouterr().out
    for part in form.says:
        assert part in printed
    for split, frames in (("train", TRAIN), (second_split(form), TEST)):
        assert_known(list(Records(form.dataset, split, tmp_path / "data")), form, frames)


# A model that trains on it


TINY = {
    **{name: value for name, value in small_run.OVERRIDES.items() if "data." not in name},
    "augmentation.box": (),
    "evaluation.baselines": False,
    "evaluation.protocol": "full",
    "frame.input_crop": "none",
    "frame.max_depth": 80.0,
    "model.backbone_weights": "none",
    "model.dtype": "float32",
    "optimizer.warmup_steps": 1,
    "train.num_steps": 2,
    "train.log_every": 1,
    "train.evaluate_every": 2,
    "train.checkpoint_every": 2,
    "train.num_threads": 2,
}


def run(*words):
    """Runs a program in a process of its own; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def train_and_evaluate(recipe, fields, workdir):
    """By the documented command; two finite losses, and a table with a finite error."""
    words = ["diffdepth_jax.main", f"--config=configs/{recipe}.py", f"--workdir={workdir}"]
    printed = run(*words, *(f"--config.{name}={value}" for name, value in (TINY | fields).items()))
    losses = [row["train/loss"] for row in small_run.read_metrics(workdir) if "train/loss" in row]
    assert len(losses) == 2 and all(map(math.isfinite, losses))
    lines = printed.splitlines()
    header = next(index for index, line in enumerate(lines) if line.split()[:1] == ["abs_rel"])
    assert math.isfinite(float(lines[header + 1].split()[1]))
    print(losses, lines[header + 1])


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_trains_and_is_scored(tmp_path, name):
    form = FOLDERS[name]
    form.write(tmp_path / "data")
    fields = {f"data.folder.{k}": v for k, v in folder_fields(form, tmp_path / "data").items()}
    train_and_evaluate("folder", fields, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("name", RAW)
def test_a_raw_download_trains_and_is_scored(tmp_path, name):
    form = RAW[name]
    form.write(tmp_path / "raw")
    flags = [f"--{key}={value}" for key, value in raw_options(form, tmp_path / "raw").items()]
    data_dir = tmp_path / "data"
    run("data.prepare", f"--dataset={form.dataset}", f"--data_dir={data_dir}", "--any_size", *flags)
    fields = {"name": form.dataset, "data_dir": data_dir, "eval_split": second_split(form)}
    fields = {f"data.records.{key}": value for key, value in fields.items()}
    recipe = form.dataset.split("_")[0]
    train_and_evaluate(recipe, fields, tmp_path / "run")
