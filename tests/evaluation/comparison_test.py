"""Several programs' files in one table, with paired differences over the same pictures."""

import json

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import file_scores
from diffdepth_jax.evaluation.comparison import bootstrap_interval
from diffdepth_jax.evaluation.depth_files import FileOptions
from diffdepth_jax.evaluation.file_scores import score_folders
from tests.support import small_run

SIZE = (4, 6)


@pytest.fixture
def dataset(monkeypatch):
    """Four frames at 2 m; returns the configuration."""
    frames = [
        {
            "name": f"{index}",
            "image": np.zeros((*SIZE, 3), np.uint8),
            "depth": np.full((*SIZE, 1), 2.0, np.float32),
            "mask": np.ones((*SIZE, 1), bool),
        }
        for index in range(4)
    ]
    monkeypatch.setattr(file_scores, "create_sources", lambda *_: (None, {"eval": (None, frames)}))
    return small_run.config()


def write(folder, *metres):
    folder.mkdir(parents=True)
    for index, value in enumerate(metres):
        np.save(folder / f"{index}.npy", np.full(SIZE, value, np.float32))


def test_programs_are_rows_and_the_others_are_compared_with_the_first(dataset, tmp_path):
    """abs_rel of a: 1/2 everywhere; of b: 1/4 everywhere; each picture differs by 1/4."""
    write(tmp_path / "a", 3, 3, 3, 3)
    write(tmp_path / "b", 2.5, 2.5, 2.5, 2.5)
    report = score_folders(dataset, [tmp_path / "a", tmp_path / "b"], tmp_path / "results")
    table = {tuple(line.split()[:2]): line.split()[2] for line in report.splitlines()[1:3]}
    assert table == {("eval:", "a"): "0.5000", ("eval:", "b"): "0.2500"}
    words = "eval: b minus a, 4 pictures: abs_rel -0.2500 (-0.2500 to -0.2500), rmse -0.5000"
    assert report.splitlines()[-2].startswith(words)
    assert report.splitlines()[-1].endswith("results/eval_b_and_a.png")
    with Image.open(tmp_path / "results/eval_b_and_a.png") as sheet:
        assert sheet.height > 4 * 2 * 190  # for each of four pictures two panels, one above another
    means = json.loads((tmp_path / "results/b/eval.json").read_text())["means"]
    assert means["abs_rel"] == pytest.approx(0.25)


def test_only_pictures_that_both_have_are_compared(dataset, tmp_path):
    write(tmp_path / "a", 3, 3, 3, 3)
    write(tmp_path / "b", 2, 2)
    folders, options = [tmp_path / "a", tmp_path / "b"], FileOptions(skip_missing=True)
    report = score_folders(dataset, folders, tmp_path / "results", options)
    assert "b minus a, 2 pictures: abs_rel -0.5000" in report
    assert "left out: 2 of 4 samples have no file" in report


def test_programs_that_share_no_picture_are_named(dataset, tmp_path):
    write(tmp_path / "a", 3)
    write(tmp_path / "b", 3, 3)
    (tmp_path / "b/0.npy").unlink()
    folders, options = [tmp_path / "a", tmp_path / "b"], FileOptions(skip_missing=True)
    with pytest.raises(UserError, match="eval: a and b have no picture in common"):
        score_folders(dataset, folders, tmp_path / "results", options)


def test_two_folders_of_one_name_are_refused(dataset, tmp_path):
    for place in ("x", "y"):
        write(tmp_path / place / "depth", 3, 3, 3, 3)
    with pytest.raises(UserError, match="two folders have the same name"):
        score_folders(dataset, [tmp_path / "x/depth", tmp_path / "y/depth"], tmp_path / "results")


def test_the_interval_of_a_mean_is_that_of_theory():
    """Of 400 normal numbers the mean's deviation is 1/20."""
    values = np.random.default_rng(0).normal(3, 1, 400)
    low, high = bootstrap_interval(values, seed=0)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert bootstrap_interval(values, seed=0) == (low, high)
