"""Rendered rooms and a folder in one run: trained, resumed, and each scored by its own rules."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.checkpoints.model_directory import load_variables
from diffdepth_jax.checkpoints.weights_file import read_weights
from diffdepth_jax.configs import default
from diffdepth_jax.configuration import groups
from diffdepth_jax.datasets.sources import create_sources
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation.calibration import collect_pixels
from diffdepth_jax.evaluation.evaluator import create_evaluator, evaluate_checkpoint
from diffdepth_jax.evaluation.file_scores import score_folders
from diffdepth_jax.evaluation.report import format_report
from diffdepth_jax.evaluation.scorer import Scorer
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.training import loop
from tests.support import small_run

CAP = 2.5  # metres of the rooms; many of their pixels lie beyond
TITLES = ("this model", "best constant", "mean map")


def _write_pairs(root):
    """Six pairs; depth rises from 4 m at the left to 12 m at the right."""
    root.mkdir()
    metres = np.broadcast_to(np.linspace(4, 12, 48), small_run.SIZE)
    for index in range(6):
        Image.new("RGB", (48, 32), (40 * index, 0, 0)).save(root / f"rgb_{index}.png")
        Image.fromarray(np.rint(1000 * metres).astype(np.uint16)).save(root / f"depth_{index}.png")


def _config(root, **overrides):
    fields = small_run.mixture_fields(
        num_steps=2, checkpoint_every=1, evaluate_every=2, log_every=1, **overrides
    )
    desk = default.get_part()
    desk.source, desk.max_depth, desk.protocol = "folder", 8.0, "kitti_garg_full"
    desk.folder.update(
        root=str(root), image_pattern="rgb_*.png", depth_pattern="depth_*.png", holdout_every=2
    )
    del fields.data.mixture.streets
    fields.data.mixture.rooms.max_depth = CAP
    fields.data.mixture.desk = desk
    return groups.read(fields)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "pairs"
    _write_pairs(root)
    return _config(root, optimizer__warmup_steps=1)


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    """(directory, table) of a finished run."""
    workdir = tmp_path_factory.mktemp("runs") / "mixture"
    return workdir, loop.train(config, workdir)


def test_each_part_is_scored_by_its_protocol_within_its_limits(config, finished):
    workdir, rows = finished
    assert list(rows) == [f"{name}: {title}" for name in ("desk", "rooms") for title in TITLES]
    assert [rows[f"{name}: this model"]["images"] for name in ("desk", "rooms")] == [3, 3]
    report = format_report(config, rows).splitlines()
    lines = [line for line in report if line.startswith("protocol")]
    assert len(lines) == 2
    assert lines[0].startswith("protocol kitti_garg_full: Garg crop of the whole image, ground tru")
    assert "strictly within 0.001 to 8 m, predictions clamped to 0.001 to 8 m" in lines[0]
    assert lines[1].startswith(
        "protocol full: whole image, ground truth strictly within 0.001 to 2"
    )
    for name, line in zip(("desk", "rooms"), lines, strict=True):
        saved = json.loads((workdir / f"evaluation/{name}.json").read_text())
        assert saved["description"] == line
        assert saved["means"] == rows[f"{name}: this model"]


def test_the_best_parameters_are_those_with_the_least_mean_over_the_parts(finished):
    workdir, rows = finished
    mean = np.mean([rows[f"{name}: this model"]["abs_rel"] for name in ("desk", "rooms")])
    assert read_weights(workdir)[1].score == pytest.approx(mean)
    card = (workdir / "README.md").read_text()
    assert "desk: a folder of RGB-D data; rooms: rendered rooms and streets" in card
    assert "The terms of the data hold" in card and "| desk | " in card and "| rooms | " in card
    assert "desk: protocol kitti_garg_full" in card and "rooms: protocol full" in card


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(config, finished, tmp_path, monkeypatch):
    workdir, rows = finished
    with small_run.power_cut_after(1, monkeypatch):
        loop.train(config, tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]
    assert loop.train(config, tmp_path) == rows
    states = (small_run.read_state(directory, 2) for directory in (tmp_path, workdir))
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_a_model_is_scored_on_a_mixture_again(config, finished, tmp_path):
    workdir, rows = finished
    shutil.copytree(workdir, tmp_path / "run")
    assert evaluate_checkpoint(config, tmp_path / "run") == rows


def test_only_pixels_within_the_limits_of_its_part_count(config):
    """The desk's are 4 to 8 m of 4 to 12: not the right half of the picture."""
    _, sets = create_sources(config.data, config.seed)
    scorer = Scorer(config, sets)

    def predict(samples, first):
        return [sample["depth"] + np.float32(0.01) for sample in samples]

    for name, least, greatest in (("desk", 4, 8), ("rooms", 0.001, CAP)):
        for index, row in enumerate(scorer.score(name, predict)):
            depth = sets[name][1][index]["depth"]
            if name == "desk":  # the Garg crop
                depth = depth[int(0.40810811 * 32) : int(0.99189189 * 32), 1:46]
            assert row["valid"] == np.sum((depth >= least) & (depth < greatest))


def test_calibration_sees_the_pixels_of_each_part_within_its_limits(config, finished):
    _, sets = create_sources(config.data, config.seed)
    variables = load_variables(finished[0], lambda: abstract_variables(create_model(config.model)))
    pixels = collect_pixels(config, create_evaluator(config, sets), variables)
    assert pixels.pictures == 6
    desk = pixels.picture < 3
    assert pixels.truth[desk].min() >= 4 and 7.5 < pixels.truth[desk].max() < 8
    assert 0.8 * CAP < pixels.truth[~desk].max() < CAP


def test_depth_files_lie_in_a_folder_for_each_part(config, tmp_path):
    """The ground truth itself, and 1.1 times it."""
    _, sets = create_sources(config.data, config.seed)
    for factor, program in ((1.0, "a"), (1.1, "b")):
        for name, (_, held_out) in sets.items():
            (tmp_path / program / name).mkdir(parents=True)
            for index in range(len(held_out)):
                sample = held_out[index]
                stem = sample.get("name", f"{index:010d}").removesuffix(".png")
                depth = factor * sample["depth"][..., 0]
                np.save(tmp_path / program / name / f"{stem}.npy", depth)
    report = score_folders(config, [tmp_path / "a"], tmp_path / "results")
    rows = [line.split()[:2] for line in report.splitlines()]
    assert ["desk", "0.0000"] in rows and ["rooms", "0.0000"] in rows
    both = [tmp_path / program for program in ("a", "b")]
    report = score_folders(config, both, tmp_path / "both")
    assert "desk: b minus a, 3 pictures" in report and "rooms: b minus a, 3 pictures" in report
    with pytest.raises(UserError, match=r"samples have no file in .*/c/desk"):
        (tmp_path / "c/desk").mkdir(parents=True)
        score_folders(config, [tmp_path / "c"], tmp_path / "results")


def test_an_unknown_protocol_of_a_part_is_named(config):
    fields = small_run.mixture_fields()
    fields.data.mixture.rooms.protocol = "garg"
    config = groups.read(fields)
    with pytest.raises(UserError, match=r"^data\.mixture\.rooms\.protocol 'garg': must be one of"):
        Scorer(config, create_sources(config.data, 0)[1])


def test_a_set_whose_depth_is_beyond_the_limits_of_its_part_is_refused(config):
    fields = small_run.mixture_fields()
    fields.data.mixture.rooms.update(min_depth=9.9, max_depth=10.0)
    config = groups.read(fields)
    message = r"evaluation set 'rooms' .* within 9\.9 and 10 m, data\.mixture\.rooms\.min_depth"
    with pytest.raises(UserError, match=message):
        Scorer(config, create_sources(config.data, 0)[1]).check_ground_truth()
