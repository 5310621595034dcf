"""Training from features on disk is training, and neither a stop nor another run spoils them."""

import errno
import functools
import json
import os
import signal

import jax
import numpy as np
import pytest

from diffdepth_jax.configs import feed_forward
from diffdepth_jax.configuration import groups
from diffdepth_jax.datasets.sources import create_sources
from diffdepth_jax.distributed import sharding
from diffdepth_jax.distributed.preemption import EXIT_STATUS
from diffdepth_jax.errors import UserError
from diffdepth_jax.media import preprocessing
from diffdepth_jax.method.refinement import refine
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.training import batches, configured, feature_cache, loop
from diffdepth_jax.training.state import create_train_state
from tests.support import small_run, tiny

FROZEN = {
    "model__backbone": "dinov2_nano",
    "optimizer__freeze": "backbone/.*",
    "model__drop_path_rate": 0.0,
    "cache_features": 1,
    "accumulate": 2,
    "augmentation__valid_pixel_fraction": 0.5,
    "evaluate_every": 6,
    "data__synthetic__num_eval": 1,
}


def _config(**overrides):
    return groups.read(feed_forward.feed_forward(small_run.fields(**FROZEN | overrides)))


@pytest.fixture(scope="module", autouse=True)
def random_backbone():
    """A frozen backbone of random weights, which `train` refuses, is as good as another here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "check_origin", lambda config: None)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a finished run."""
    workdir = tmp_path_factory.mktemp("cached")
    loop.train(_config(), workdir)
    return workdir


@pytest.fixture(scope="module")
def parts():
    """(source, model, variables) as the run has them at its start."""
    config = _config()
    model = create_model(config.model)
    source, _ = create_sources(config.data, config.seed)
    _, optimizer = configured.configured_optimizer(config)
    layout = sharding.Layout("jit", sharding.create_mesh())
    create = functools.partial(create_train_state, model, optimizer, jax.random.key(0), 0.0)
    return source, model, layout.create(create, layout.abstract(create)).variables


def test_the_folder_holds_a_row_for_each_view_and_what_they_are_of(run):
    state = json.loads((run / "features/features.json").read_text())
    assert state["done"] == 16 and [
        state["facts"][name] for name in ("samples", "crops", "flips")
    ] == [8, 1, 2]
    maps = [np.load(run / f"features/map{number}.npy", mmap_mode="r") for number in range(4)]
    assert {(x.shape, x.dtype.name) for x in maps} == {((16, 3, 4, 16), "float16")}
    assert all(np.abs(x).max(axis=(1, 2, 3)).min() > 0 for x in maps)


def test_the_backbone_stays_as_it_was(run, parts):
    saved = small_run.read_state(run, 6)["variables"]["params"]
    start = jax.device_get(parts[2]["params"])
    jax.tree.map(np.testing.assert_array_equal, saved["backbone"], start["backbone"])
    assert (saved["head"]["out"]["kernel"] != start["head"]["out"]["kernel"]).any()


def test_losses_are_those_of_the_backbone_itself(run, parts):
    source, model, variables = parts
    config = _config()
    cache = batches.open_cache(config, source, model, variables, run)
    assert cache.done == len(cache) == 16
    batch = next(batches.cached_batches(config, source, cache, 0))
    assert [x.dtype.name for x in batch["features"]] == ["float16"] * 4
    objective = configured.configured_objective(config, model, tiny.schedule())
    without = {name: batch[name] for name in ("image", "depth", "mask")}
    ours, theirs = (
        jax.jit(lambda batch: objective.terms(variables, batch, (), None)[0])(x)
        for x in (batch, without)
    )
    for name, (total, count) in theirs.items():
        assert ours[name][0] == pytest.approx(float(total), rel=1e-3), name
        assert ours[name][1] == count


def test_a_diffusion_model_refines_from_maps_too():
    model, batch = tiny.model(), tiny.batch(1)
    variables = tiny.init_model(model)
    noise = np.ones((1, *model.latent_shape(13, 18)), np.float32)
    sampler = {"schedule": tiny.schedule(), "num_steps": 1, "spacing": "trailing"}

    @jax.jit
    def latents(mixed):
        own = model.apply(variables, batch["image"], method="backbone_maps")
        maps = [x + mixed * x[..., ::-1] for x in own]
        choices = (None, maps)
        return [
            refine(model, variables, batch["image"], noise, maps=x, **sampler).latent
            for x in choices
        ]

    np.testing.assert_allclose(*latents(0.0), rtol=1e-4, atol=1e-5)
    without, other = latents(1.0)
    assert np.abs(without - other).max() > 1e-2


@pytest.mark.slow
def test_neither_a_signal_nor_a_power_cut_changes_the_run(run, tmp_path, monkeypatch):
    """The signal comes while features are computed, the power cut while the model learns."""
    encoded = []

    def create(*args):
        encode = feature_cache.create_encode(*args)

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
    with small_run.power_cut_after(4, monkeypatch):
        loop.train(_config(), tmp_path)
    loop.train(_config(), tmp_path)
    assert sum(encoded) == 16
    ours, theirs = small_run.read_state(tmp_path, 6), small_run.read_state(run, 6)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize(
    "overrides, words",
    [
        ({"cache_features": 2}, "other crops, 1 instead of 2"),
        ({"model__position_interpolation": "scale_offset"}, "other backbone"),
        ({"augmentation__crop_size": (30, 48)}, "other crop_size"),
        ({"augmentation__box": (0, 30, 0, 40)}, "other box"),
    ],
)
def test_features_of_something_else_are_refused(run, parts, tmp_path, overrides, words):
    config = _config(features_dir=str(run / "features"), **overrides)
    with pytest.raises(UserError, match=words):
        batches.open_cache(config, *parts, tmp_path)


def test_features_of_other_weights_are_refused(run, parts):
    source, model, variables = parts
    other = jax.tree.map(lambda x: x + 1, variables)
    with pytest.raises(UserError, match="of other weights"):
        batches.open_cache(_config(), source, model, other, run)


@pytest.mark.parametrize(
    "overrides, words",
    [
        ({"augmentation__rotation": 2.5}, "augmentation.rotation 2.5: must be 0"),
        ({"augmentation__zoom": 1.5}, "augmentation.zoom 1.5: must be 1"),
        ({"augmentation__color_probability": 0.5}, "augmentation.color_probability"),
        ({"augmentation__flip_probability": 0.3}, "augmentation.flip_probability"),
        ({"model__drop_path_rate": 0.1}, "model.drop_path_rate"),
        ({"max_unreadable": 1}, "train.max_unreadable"),
    ],
)
def test_what_would_change_the_features_is_refused(overrides, words):
    with pytest.raises(UserError, match=words):
        _config(**overrides)


@pytest.mark.parametrize(
    "overrides, words",
    [
        ({"optimizer__freeze": ""}, "must match the whole backbone"),
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


SHAPES = [jax.ShapeDtypeStruct((1, 2, 3, 4), "float32")]


class Pictures:
    """Five views of one colour each."""

    def __init__(self, levels=(0, 1, 2, 3, 4)):
        self.levels = levels

    def __len__(self):
        return len(self.levels)

    def __getitem__(self, index):
        return {"image": np.full((4, 6, 3), self.levels[index], np.uint8)}


def _filled(folder, views=None):
    cache = feature_cache.FeatureCache(folder, views or Pictures(), SHAPES, {"seed": 0})
    encode = lambda images: [images[:, :2, :3, :1] * np.ones(4, np.float32)]  # noqa: E731
    return cache, list(cache.fill(encode, 2))


def test_rows_are_counted_and_the_last_batch_is_filled_up(tmp_path):
    cache, done = _filled(tmp_path)
    assert done == [2, 4, 5] and cache.complete and cache.size == 2 * 5 * 24
    levels = preprocessing.normalize_image(np.stack([cache[i]["image"] for i in range(5)]))
    for index in range(5):
        (values,) = cache[index]["features"]
        np.testing.assert_allclose(values, levels[index, 0, 0, 0], rtol=1e-3)
    again, done = _filled(tmp_path)
    assert done == [] and again.complete


def test_a_complete_cache_is_read_where_nothing_may_be_written(tmp_path):
    _filled(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    cache, _ = _filled(tmp_path)
    assert not cache[3]["features"][0].base and not cache._maps[0].flags.writeable
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


def test_a_picture_that_changed_is_named(tmp_path):
    _filled(tmp_path)
    cache, _ = _filled(tmp_path, Pictures((0, 1, 9, 3, 4)))
    assert cache[1] and cache[3]
    with pytest.raises(UserError, match="view 2 of the training images has changed"):
        cache[2]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("features.json", b""),
        ("features.json", b"[]"),
        ("map0.npy", None),
        ("map0.npy", b"none"),
        ("checksums.npy", None),
    ],
)
def test_a_damaged_folder_is_named(tmp_path, name, content):
    _filled(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} is missing or damaged: delete"):
        _filled(tmp_path)


def test_a_full_disk_is_named_before_anything_is_computed(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(UserError, match=r"need 0\.0 GB, .* has no room \(No space left"):
        _filled(tmp_path)
    assert not list(tmp_path.glob("*.npy"))
