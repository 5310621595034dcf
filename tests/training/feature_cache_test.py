"""Training from features on disk is training, and neither a stop nor another run spoils them."""

import json
import signal

import jax
import numpy as np
import pytest

from diffdepth_jax.configs import feed_forward
from diffdepth_jax.configuration import groups
from diffdepth_jax.distributed.preemption import EXIT_STATUS
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.training import batches, feature_cache, loop
from tests.support import small_run

FROZEN = {
    "model__backbone": "dinov2_nano",
    "optimizer__freeze": "backbone/.*",
    "model__drop_path_rate": 0.0,
    "cache_features": 1,
    "evaluate_every": 6,
    "data__synthetic__num_eval": 1,
}


def _config(**overrides):
    return groups.read(feed_forward.feed_forward(small_run.fields(**FROZEN | overrides)))


def _without_flips(cached, **overrides):
    return _config(cache_features=cached, augmentation__flip_probability=0.0, **overrides)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a finished run."""
    workdir = tmp_path_factory.mktemp("cached")
    loop.train(_config(), workdir)
    return workdir


def _losses(workdir):
    return [x["train/loss"] for x in small_run.read_metrics(workdir) if "train/loss" in x]


def test_the_folder_holds_a_row_for_each_view_and_what_they_are_of(run):
    state = json.loads((run / "features/features.json").read_text())
    assert state["done"] == 16 and state["facts"]["views"]["samples, crops, flips"] == [8, 1, 2]
    maps = [np.load(run / f"features/map{number}.npy", mmap_mode="r") for number in range(4)]
    assert {(x.shape, x.dtype.name) for x in maps} == {((16, 3, 4, 16), "float16")}
    assert all(np.abs(x).max(axis=(1, 2, 3)).min() > 0 for x in maps)


def test_it_learns_what_it_would_learn_from_the_backbone(tmp_path):
    """One crop that is the whole frame and no flip: both ways have the same batches."""
    for name, cached in (("with", 1), ("without", 0)):
        loop.train(_without_flips(cached), tmp_path / name)
    assert not (tmp_path / "without/features").exists()
    np.testing.assert_allclose(_losses(tmp_path / "with"), _losses(tmp_path / "without"), rtol=1e-3)
    ours, theirs = (
        small_run.read_state(tmp_path / name, 6)["variables"]["params"]
        for name in ("with", "without")
    )
    jax.tree.map(np.testing.assert_array_equal, ours["backbone"], theirs["backbone"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), ours, theirs)


def test_a_diffusion_model_trains_from_features_too(tmp_path):
    config = small_run.config(**FROZEN, model__neck="dpt")
    loop.train(config, tmp_path / "run")
    assert np.isfinite(_losses(tmp_path / "run")).all()


def test_a_run_that_was_cut_off_goes_on_exactly(run, tmp_path, monkeypatch):
    with small_run.power_cut_after(4, monkeypatch):
        loop.train(_config(), tmp_path)
    loop.train(_config(), tmp_path)
    ours, theirs = small_run.read_state(tmp_path, 6), small_run.read_state(run, 6)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_a_signal_stops_the_computation_of_features_and_the_next_run_goes_on(
    run, tmp_path, monkeypatch
):
    encoded = []
    create_encode = feature_cache.create_encode

    def create(*args):
        encode = create_encode(*args)

        def noting(images):
            encoded.append(len(images))
            if len(encoded) == 3:
                signal.raise_signal(signal.SIGTERM)
            return encode(images)

        return noting

    monkeypatch.setattr(loop, "create_encode", create)
    with pytest.raises(SystemExit) as stopped:
        loop.train(_config(), tmp_path)
    assert stopped.value.code == EXIT_STATUS
    assert json.loads((tmp_path / "features/features.json").read_text())["done"] == 6
    loop.train(_config(), tmp_path)
    assert sum(encoded) == 16
    for number in range(4):
        ours, theirs = (np.load(x / f"features/map{number}.npy") for x in (tmp_path, run))
        np.testing.assert_array_equal(ours, theirs)


def test_another_run_of_the_same_views_computes_none(run, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "create_encode", lambda *args: None)
    config = _config(features_dir=str(run / "features"), optimizer__learning_rate=1e-4)
    loop.train(config, tmp_path)


@pytest.mark.parametrize(
    "overrides, words",
    [
        ({"cache_features": 2}, "another views"),
        ({"model__position_interpolation": "scale_offset"}, "another backbone"),
        ({"augmentation__box": (0, 30, 0, 48)}, "another crop"),
    ],
)
def test_features_of_something_else_are_refused(run, tmp_path, overrides, words):
    with pytest.raises(UserError, match=words):
        loop.train(_config(features_dir=str(run / "features"), **overrides), tmp_path)


@pytest.mark.parametrize(
    "overrides, words",
    [
        ({"augmentation__rotation": 2.5}, "augmentation.rotation 2.5: must be 0"),
        ({"augmentation__zoom": 1.5}, "augmentation.zoom 1.5: must be 1"),
        ({"augmentation__color_probability": 0.5}, "augmentation.color_probability"),
        ({"augmentation__flip_probability": 0.3}, "augmentation.flip_probability"),
        ({"model__drop_path_rate": 0.1}, "model.drop_path_rate"),
        ({"optimizer__freeze": ""}, "optimizer.freeze"),
        ({"max_unreadable": 1}, "train.max_unreadable"),
    ],
)
def test_what_would_change_the_features_is_refused(overrides, words):
    with pytest.raises(UserError, match=words):
        _config(**overrides)


@pytest.mark.parametrize(
    "overrides, words",
    [
        ({"optimizer__freeze": "backbone/block1/.*"}, "must match the whole backbone"),
        ({"model__backbone": "efficientnet_lite0"}, "batch statistics of efficientnet_lite0"),
    ],
)
def test_a_backbone_that_changes_is_refused(tmp_path, overrides, words):
    config = _config(**overrides)
    model = create_model(config.model)
    with pytest.raises(UserError, match=words):
        batches.open_cache(config, [], model, abstract_variables(model), tmp_path)


def test_features_that_do_not_fit_into_float16_are_refused(tmp_path):
    with pytest.raises(UserError, match="views 4 to 7 are not finite, or too large"):
        feature_cache._as_float16(np.full((4, 2), 1e5, np.float32), slice(4, 8))


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda path: usage)
    shape = jax.ShapeDtypeStruct((1, 4, 4, 8), "float32")
    with pytest.raises(UserError, match=r"need 0\.0 GB"):
        feature_cache.FeatureCache(tmp_path / "features", [None] * 5, [shape], {})
    assert not list((tmp_path / "features").glob("*.npy"))
