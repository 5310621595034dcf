"""Depth that does not lie on its pictures is noticed, on rendered rooms whose depth is exact."""

import numpy as np
import pytest

from diffdepth_jax.data.registration import misplacement
from diffdepth_jax.datasets.synthetic import SyntheticScenes

HEIGHT, WIDTH = 96, 144


@pytest.fixture(scope="module")
def rooms():
    scenes = SyntheticScenes("rooms", "eval", 8, HEIGHT, WIDTH)
    return [scenes[index] for index in range(len(scenes))]


def _moved(samples, move):
    return [{**x, "depth": move(x["depth"]), "mask": move(x["mask"])} for x in samples]


def test_pairs_that_fit_are_not_accused(rooms):
    assert misplacement(rooms) == ""
    assert misplacement(rooms[:3]) == ""


@pytest.mark.parametrize(
    ("move", "words"),
    [
        (lambda x: x[:, ::-1], "mirrored against the pictures"),
        (lambda x: x[::-1], "upside down against the pictures"),
        (lambda x: x[::-1, ::-1], "turned by 180 degrees against the pictures"),
        (lambda x: np.roll(x, 6, 1), "shifted against the pictures, about 6 pixels right"),
        (
            lambda x: np.roll(x, (-5, -3), (0, 1)),
            "shifted against the pictures, about 5 pixels up and 3 pixels left",
        ),
    ],
)
def test_depth_that_lies_elsewhere_is_told(move, words, rooms):
    assert misplacement(_moved(rooms, move)) == words


def test_nothing_is_said_of_sparse_depth_or_noise(rooms):
    streets = SyntheticScenes("streets", "eval", 4, HEIGHT, WIDTH)
    assert misplacement([streets[index] for index in range(4)]) == ""
    rng = np.random.default_rng(0)
    noise = [{**x, "depth": rng.uniform(1, 9, x["depth"].shape).astype(np.float32)} for x in rooms]
    assert misplacement(noise) == ""
    flat = [{**x, "depth": np.full_like(x["depth"], 3)} for x in rooms]
    assert misplacement(flat) == ""
