"""Views are the same whenever they are read, and lie in one known order."""

import numpy as np
import pytest

from diffdepth_jax.datasets import pipeline
from diffdepth_jax.datasets.synthetic import SyntheticScenes
from diffdepth_jax.datasets.views import FixedViews

FIELDS = {
    "size": (16, 24),
    "crop_size": (12, 16),
    "min_depth": 1e-3,
    "max_depth": 80.0,
    "rotation": 0.0,
    "zoom": 1.0,
    "color_probability": 0.0,
    "gamma": 0.0,
    "brightness": 0.0,
    "color": 0.0,
}
SCENES = SyntheticScenes("rooms", "train", 3, 16, 24)


def _views(seed=0, crops=2, flip_probability=0.5):
    return FixedViews(SCENES, seed, crops, flip_probability=flip_probability, **FIELDS)


def _assert_equal(a, b):
    assert a.keys() == b.keys() == {"image", "depth", "mask"}
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


def test_a_view_is_a_crop_and_is_followed_by_its_mirror_image():
    views = _views()
    assert views.shape == (3, 2, 2) and len(views) == 12
    for index in range(0, 12, 2):
        plain, mirrored = views[index], views[index + 1]
        _assert_equal({name: x[:, ::-1] for name, x in plain.items()}, mirrored)
        whole = SCENES[index // 4]["image"]
        windows = np.lib.stride_tricks.sliding_window_view(whole, (12, 16, 3))[:, :, 0]
        assert (windows == plain["image"]).all((2, 3, 4)).any()


def test_views_depend_on_the_seed_alone():
    _assert_equal(_views()[5], _views()[5])
    assert any((_views()[i]["image"] != _views(seed=1)[i]["image"]).any() for i in range(0, 12, 4))
    assert any((_views()[i]["image"] != _views()[i + 2]["image"]).any() for i in range(0, 12, 4))


def test_without_flips_there_are_half_as_many():
    views, both = _views(flip_probability=0.0), _views()
    assert views.shape == (3, 2, 1)
    for index in range(6):
        _assert_equal(views[index], both[2 * index])


@pytest.mark.parametrize("first_step", [0, 3])
def test_each_epoch_has_each_view_once(first_step):
    arguments = {"seed": 3, "batch_size": 4, "num_threads": 2}
    views, shares = _views(), [(range(12), 1.0)]
    seen = [views[index]["depth"].tobytes() for index in range(12)]
    assert len(set(seen)) == 12
    stream = pipeline.view_iterator(views, shares, first_step=first_step, **arguments)
    epoch = [next(stream) for _ in range(3)]
    found = [depth.tobytes() for batch in epoch for depth in batch["depth"]]
    assert sorted(found) == sorted(seen)
    later = pipeline.view_iterator(views, shares, first_step=first_step + 1, **arguments)
    _assert_equal(dict(epoch[1]), dict(next(later)))
