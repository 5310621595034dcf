"""The benchmark holds out whole blocks of neighbours, and keeps the test images for the end."""

import pytest

from benchmarks import nyu_labeled
from diffdepth_jax.errors import UserError

LINES = [f"rgb/{i}.jpg depth/{i}.png" for i in range(795)]


@pytest.fixture
def data(tmp_path):
    (tmp_path / "train.txt").write_text("\n".join(LINES) + "\n")
    return tmp_path


def test_blocks_of_neighbours_are_held_out():
    rest, held_out = nyu_labeled.split(LINES, (0, 19))
    assert held_out == LINES[:40] + LINES[760:] and rest == LINES[40:760]


def test_held_out_images_are_training_images(data, tmp_path):
    train, evaluation = nyu_labeled.lists(data, tmp_path / "run", held_out=True)
    rest, held_out = ((tmp_path / "run" / x).read_text().split("\n") for x in (train, evaluation))
    assert len(held_out) == 121 and sorted([*rest[:-1], *held_out[:-1]]) == sorted(LINES)


def test_without_a_hold_out_the_official_lists_count(data, tmp_path):
    expected = str(data / "train.txt"), str(data / "test.txt")
    assert nyu_labeled.lists(data, tmp_path / "run", held_out=False) == expected


def test_the_focal_length_is_that_of_the_networks_input(data, tmp_path):
    fields = {"frame.size": (252, 336), "model.neck": "fpn"}
    config = nyu_labeled.configuration(data, "none", tmp_path, False, fields)
    assert config.frame.focal_length == pytest.approx(518.8579 * 336 / 640)
    assert config.model.neck == "fpn" and config.evaluation.protocol == "nyu_eigen"
    assert config.train.evaluate_every == config.train.num_steps  # the test images: once
    with pytest.raises((UserError, KeyError, AttributeError)):
        nyu_labeled.configuration(data, "none", tmp_path, False, {"model.nonsense": 1})


def test_samples_start_from_a_run_on_the_same_images(data, tmp_path):
    fields = {"train.num_steps": 60, "train.evaluate_every": 20}
    config = nyu_labeled.configuration(data, "none", tmp_path / "run", True, fields, "a/run")
    assert config.model.kind == "diffusion" and config.train.initial_weights == "a/run"
    assert (config.loss.samples, config.train.evaluate_every) == (2, 20)
