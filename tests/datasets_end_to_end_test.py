"""Each form of NYU and KITTI from its raw download to a trained, scored and submitted model.

Preparation runs as its documented command, training and scoring with the recipes in `configs/`,
of which only the model and the sizes are cut down.
"""

import csv
import dataclasses
import functools
import importlib
import json
import math
import os
import pathlib
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.configuration import groups
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import metrics
from diffdepth_jax.evaluation.depth_files import FileOptions
from diffdepth_jax.evaluation.evaluator import evaluate_checkpoint
from diffdepth_jax.evaluation.file_scores import score_folders
from diffdepth_jax.evaluation.report import format_report
from diffdepth_jax.evaluation.submission import check_submission, submit
from diffdepth_jax.training.loop import train
from tests.support import raw_datasets, small_run, tfds_nyu
from tests.support.paths import ROOT

REAL_FRAMES = ROOT.parent / "shared/real_frames/kitti"
KITTI_SIZE, SELECTED_SIZE = (375, 1242), (352, 1216)  # the recipes of KITTI cut 352x1216 out
TINY = {
    name: value for name, value in small_run.OVERRIDES.items() if not name.startswith("data.")
} | {
    "augmentation.box": (),  # these frames are smaller; see configuration/recipes_test.py
    "model.backbone_weights": "none",
    "model.dtype": "float32",
    "sampler.num_steps": 2,
    "train.batch_size": 2,
    "train.num_steps": 3,
    "train.log_every": 1,
    "train.num_threads": 2,
    "optimizer.warmup_steps": 1,
}
INPUT_SIZE = {"nyu": (36, 48), "kitti": (32, 112), "kitti_official": (32, 112)}


@dataclasses.dataclass(frozen=True)
class Source:
    """A raw download, the dataset it becomes, and the recipe for that.

    Attributes:
      write: makes the download below a folder; returns (source, frames as in `raw_datasets`).
      fields: of `data` that are not the recipe's.
    """

    recipe: str
    dataset: str
    write: object
    fields: tuple = ()


def _folder(write, **arguments):
    return lambda root: (root, write(root, **arguments))


SOURCES = {
    "sync": Source("nyu", "nyu_depth/sync", _folder(raw_datasets.nyu_sync)),
    "labeled": Source(
        "nyu", "nyu_depth/labeled", lambda root: (root, raw_datasets.nyu_labeled(root)[0])
    ),
    "labeled_filled": Source(
        "nyu", "nyu_depth/labeled_filled", lambda root: (root, raw_datasets.nyu_labeled(root)[1])
    ),
    "hdf5 folder": Source("nyu", "nyu_depth/hdf5", _folder(raw_datasets.nyu_hdf5)),
    "hdf5 tar": Source("nyu", "nyu_depth/hdf5", raw_datasets.nyu_hdf5_archive),
    "eigen": Source(
        "kitti", "kitti_depth/eigen", _folder(raw_datasets.kitti_eigen, size=KITTI_SIZE)
    ),
    "depth_prediction": Source(
        "kitti_official",
        "kitti_depth/depth_prediction",
        _folder(raw_datasets.kitti_depth_prediction, size=SELECTED_SIZE),
    ),
}
TITLES = {
    "nyu": "protocol nyu_eigen: Eigen crop, ground truth strictly within 0.001 to 10 m",
    "kitti": "protocol kitti_garg_kb: Garg crop of the 352x1216 crop, ground truth strictly within "
    "0.001 to 80 m",
    "kitti_official": "protocol kitti_official: whole image, ground truth of any depth",
}
QUICK = ("sync",)
CASES = [
    pytest.param(case, marks=[] if case in QUICK else pytest.mark.slow, id=case.replace(" ", "_"))
    for case in SOURCES
]


def _configuration(recipe, data_dir, **overrides):
    """configs/RECIPE.py with a tiny model; `overrides` by dotted name with __ for the dot."""
    config = importlib.import_module(f"diffdepth_jax.configs.{recipe}").get_config()
    size = INPUT_SIZE[recipe]
    fields = TINY | {"frame.size": size, "augmentation.crop_size": small_run.SIZE}
    fields |= {name.replace("__", "."): value for name, value in overrides.items()}
    config.update_from_flattened_dict(fields | {"data.records.data_dir": str(data_dir)})
    return groups.read(config)


def _command(module, *arguments):
    """(exit status, stdout, stderr) of a command of the README."""
    process = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    return process.returncode, process.stdout, process.stderr


def _prepare(dataset, source, data_dir, *arguments):
    status, printed, errors = _command(
        "data.prepare",
        f"--dataset={dataset}",
        f"--source={source}",
        f"--data_dir={data_dir}",
        "--any_size",
        "--num_workers=2",
        *arguments,
    )
    assert status == 0, errors
    assert f"written to {data_dir}/{dataset}/1.0.0" in printed


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """case -> (data_dir, {split: {name: depth}}), each prepared once."""

    @functools.cache
    def prepare(case):
        root = tmp_path_factory.mktemp(case.replace(" ", "_"))
        (root / "raw").mkdir()
        source, frames = SOURCES[case].write(root / "raw")
        _prepare(SOURCES[case].dataset, source, root / "data")
        return root / "data", frames

    return prepare


@dataclasses.dataclass(frozen=True)
class Run:
    """What a training run was given, left, returned and said."""

    config: groups.Configuration
    workdir: pathlib.Path
    rows: dict
    said: list[str]


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    """case -> its Run, each trained once."""

    @functools.cache
    def train_case(case):
        source = SOURCES[case]
        config = _configuration(
            source.recipe, prepared(case)[0], data__records__name=source.dataset
        )
        return _train(config, tmp_path_factory.mktemp("runs") / "run")

    return train_case


def _train(config, workdir):
    said = []
    with mock.patch("diffdepth_jax.training.loop.inform", said.append):
        rows = train(config, workdir)
    return Run(config, workdir, rows, said)


def _numbers(means):
    """Without the scores of edges where there are none, which pytest.approx does not compare."""
    return {name: value for name, value in means.items() if value is not None}


def _assert_trained_and_scored(run, names):
    """Finite losses; and of evaluation the table, protocol, JSON and a CSV with these names."""
    assert "backbone_weights is none: the backbone starts from random weights" in run.said[0]
    losses = [
        line["train/loss"] for line in small_run.read_metrics(run.workdir) if "train/loss" in line
    ]
    assert len(losses) == 3 and all(map(math.isfinite, losses))
    split = run.config.data.records.eval_split
    rows = evaluate_checkpoint(run.config, run.workdir)
    assert rows.keys() == {split} and _numbers(rows[split]) == pytest.approx(
        _numbers(run.rows[split]), rel=1e-6
    )
    assert rows[split]["images"] == len(names)
    header, values, *_ = format_report(run.config, rows).splitlines()
    assert header.split() == [*metrics.NAMES, "images"]
    assert values.split()[:2] == [split, f"{rows[split]['abs_rel']:.4f}"]
    report = json.loads((run.workdir / f"evaluation/{split}.json").read_text())
    assert report["means"] == rows[split]
    scored = _read_csv(run.workdir / f"evaluation/{split}.csv")
    assert sorted(scored) == sorted(names)
    mean = np.mean([float(row["rmse"]) for row in scored.values()])
    assert mean == pytest.approx(rows[split]["rmse"])


def _read_csv(path):
    with open(path, newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("case", CASES)
def test_every_source_trains_and_is_scored(prepared, trained, case):
    run, (_, frames) = trained(case), prepared(case)
    _assert_trained_and_scored(run, frames[run.config.data.records.eval_split])
    last = format_report(run.config, run.rows).splitlines()[-1]
    assert last.startswith(TITLES[SOURCES[case].recipe])
    crop = "none" if SOURCES[case].recipe == "nyu" else "kb"
    assert last.endswith(f"input crop {crop}, flip averaging off, one sample from noise, 2 steps")


@pytest.mark.slow
def test_the_benchmark_is_submitted(trained, tmp_path):
    """Two images of its anonymous test set, which has no depth."""
    run = trained("depth_prediction")
    records = dataclasses.replace(run.config.data.records, eval_split="test")
    data = dataclasses.replace(run.config.data, records=records)
    told = submit(
        dataclasses.replace(run.config, data=data), run.workdir, str(tmp_path / "submission.zip")
    )
    assert "2 predictions" in told and "the benchmark's test set has 500" in told
    assert check_submission(tmp_path / "submission.zip", [SELECTED_SIZE] * 2) == []


def test_a_missing_backbone_file_names_the_command_that_gets_it(prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = importlib.import_module("diffdepth_jax.configs.nyu")
    config = _configuration("nyu", prepared("sync")[0], model__backbone_weights=recipe.SWIN_LARGE)
    with pytest.raises(UserError) as error:
        train(config, tmp_path / "run")
    name = pathlib.Path(recipe.SWIN_LARGE).name
    (line,) = str(error.value).splitlines()
    assert f"{recipe.SWIN_LARGE} does not exist" in line
    assert f"`mkdir -p weights && curl -L -o {recipe.SWIN_LARGE} https://" in line
    assert f"/{name}`, or start from random weights" in line
    assert line.endswith("--config.model.backbone_weights=none")


@pytest.mark.slow
def test_nyu_as_tfds_prepares_it_trains(tmp_path):
    tfds_nyu.write(tmp_path / "data")
    config = _configuration(
        "nyu",
        tmp_path / "data",
        data__records__name="nyu_depth_v2",
        data__records__eval_split="validation",
    )
    run = _train(config, tmp_path / "run")
    _assert_trained_and_scored(
        run, [f"validation/{index:05d}" for index in range(tfds_nyu.NUM_FRAMES["validation"])]
    )


# From ../shared/real_frames/README.md, camera 02: protocol, and valid, silog, log10, abs_rel,
# sq_rel, rmse, rmse_log, d1 of 15 m everywhere.
KNOWN = {
    "kitti_garg_full": (87504, 58.1206, 0.2103, 0.5154, 5.4432, 12.2446, 0.5821, 0.2608),
    "kitti_garg_kb": (82930, 55.0338, 0.2013, 0.5124, 4.9294, 10.9349, 0.5558, 0.2702),
    "kitti_eigen": (82741, 56.2383, 0.2007, 0.4486, 5.1498, 12.9202, 0.5652, 0.2819),
}


@pytest.mark.skipif(not REAL_FRAMES.is_dir(), reason=f"the real frames are not at {REAL_FRAMES}")
def test_known_answers_on_real_frames_prepared_as_they_lie(tmp_path):
    """By the command, both cameras; scored as the files of another program, of both kinds."""
    data_dir, dataset = tmp_path / "data", "kitti_depth/depth_prediction"
    _prepare(dataset, REAL_FRAMES, data_dir, "--splits=train")
    names = [f"2011_09_26_drive_0001_sync/image_0{camera}/0000000005" for camera in (2, 3)]
    files = [tmp_path / "predictions" / name for name in names]
    for file in files:
        file.parent.mkdir(parents=True)
    picture = np.full(KITTI_SIZE, 15 * 256, np.uint16)
    Image.fromarray(picture).save(files[0].with_suffix(".png"))
    np.save(files[1].with_suffix(".npy"), np.full(SELECTED_SIZE, 15, np.float32))
    for protocol, expected in KNOWN.items():
        config = _configuration(
            "kitti",
            data_dir,
            data__records__name=dataset,
            data__records__eval_split="train",
            evaluation__protocol=protocol,
        )
        report = score_folders(
            config, [tmp_path / "predictions"], tmp_path / protocol, FileOptions(256)
        )
        assert f"protocol {protocol}: " in report
        scored = _read_csv(tmp_path / protocol / "train.csv")
        assert list(scored) == names
        columns = ("valid", "silog", "log10", "abs_rel", "sq_rel", "rmse", "rmse_log", "d1")
        for column, value in zip(columns, expected, strict=True):
            assert round(float(scored[names[0]][column]), 4) == value, (protocol, column)


@pytest.mark.slow
def test_the_documented_commands_train_score_and_submit(prepared, tmp_path):
    """configs/kitti_official.py on the command line, each mode in a process of its own."""
    data_dir, _ = prepared("depth_prediction")
    fields = TINY | {
        "frame.size": "32,112",
        "augmentation.crop_size": "32,48",
        "data.records.data_dir": data_dir,
    }
    common = ["--config=configs/kitti_official.py", f"--workdir={tmp_path / 'run'}"]
    common += [f"--config.{name}={value}" for name, value in fields.items()]
    zip_file = tmp_path / "submission.zip"
    modes = {
        "train": [],
        "evaluate": ["--mode=evaluate"],
        "submit": [
            "--mode=submit",
            "--config.data.records.eval_split=test",
            f"--output={zip_file}",
        ],
    }
    printed = {}
    for mode, flags in modes.items():
        status, printed[mode], errors = _command("diffdepth_jax.main", *common, *flags)
        assert status == 0, errors
    assert printed["evaluate"] in printed["train"]  # a line on what to do next comes after it
    assert printed["evaluate"].splitlines()[-1].startswith(TITLES["kitti_official"])
    headers = [line.split() for line in printed["evaluate"].splitlines() if line.startswith(" ")]
    assert headers == [[*metrics.NAMES, "images"], [*metrics.KITTI_NAMES, "images"]]
    assert "2 predictions" in printed["submit"]
    assert check_submission(zip_file, [SELECTED_SIZE] * 2) == []
