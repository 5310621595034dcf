"""Which samples come in which order whatever reads them, sources, and limits."""

import itertools
import threading
import time

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.configs import folder as folder_config
from diffdepth_jax.configuration import groups
from diffdepth_jax.datasets import pipeline
from diffdepth_jax.datasets.canonical import CanonicalCamera
from diffdepth_jax.datasets.sources import Cached, create_sources
from diffdepth_jax.datasets.synthetic import SyntheticScenes
from diffdepth_jax.datasets.thinning import Thinned
from diffdepth_jax.errors import UserError
from diffdepth_jax.training.batches import augmented_batches
from tests.support import small_run

SIZE = (6, 8)
PLAIN = {
    "flip_probability": 0.0,
    "color_probability": 0.0,
    "gamma": 0.0,
    "brightness": 0.0,
    "color": 0.0,
    "rotation": 0.0,
    "zoom": 1.0,
}
RANDOM = {
    "flip_probability": 0.5,
    "color_probability": 0.5,
    "gamma": 0.1,
    "brightness": 0.2,
    "color": 0.1,
    "rotation": 5.0,
    "zoom": 1.5,
    "crop_size": (4, 4),
}


class Numbered:
    """Sample i has depth i + 1 everywhere and random colours; counts how often it is read."""

    def __init__(self, length):
        self.reads = [0] * length

    def __len__(self):
        return len(self.reads)

    def __getitem__(self, index):
        self.reads[index] += 1
        rng = np.random.default_rng(index)
        return {
            "image": rng.integers(0, 256, (*SIZE, 3), np.uint8),
            "depth": np.full((*SIZE, 1), index + 1, np.float32),
            "mask": np.ones((*SIZE, 1), bool),
        }


def _batches(source, seed=0, batch_size=1, num_threads=1, process=(0, 1), **fields):
    fields = {"size": SIZE, "crop_size": SIZE, "min_depth": 0.1, "max_depth": 100.0} | fields
    return pipeline.train_iterator(
        source,
        seed=seed,
        batch_size=batch_size,
        num_threads=num_threads,
        process=process,
        **PLAIN | fields,
    )


def _order(batches, count):
    """Indices of the next samples of a Numbered source."""
    taken = itertools.islice(batches, count)
    return [int(depth.max()) - 1 for batch in taken for depth in batch["depth"]]


def _assert_same(ours, theirs, count):
    for a, b in itertools.islice(zip(ours, theirs, strict=True), count):
        for name in ("image", "depth", "mask"):
            np.testing.assert_array_equal(a[name], b[name])


def test_each_sample_comes_once_an_epoch_in_a_new_order():
    order = _order(_batches(Numbered(6), batch_size=2), 9)
    epochs = [order[start : start + 6] for start in (0, 6, 12)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_batch_may_span_two_epochs():
    order = _order(_batches(Numbered(5), batch_size=2), 5)
    assert sorted(order[:5]) == sorted(order[5:]) == list(range(5))


def test_batches_follow_the_seed_and_not_the_threads():
    _assert_same(_batches(Numbered(7), **RANDOM), _batches(Numbered(7), num_threads=4, **RANDOM), 9)
    assert _order(_batches(Numbered(7)), 7) != _order(_batches(Numbered(7), seed=1), 7)


def test_augmentation_is_drawn_anew_each_epoch():
    batches = _batches(Numbered(1), **RANDOM)
    images = {next(batches)["image"].tobytes() for _ in range(8)}
    assert len(images) > 4


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("first_step", [0, 1, 4, 7])  # an epoch has 2.5 batches
def test_batches_are_a_function_of_the_step(first_step, num_threads):
    fields = {"batch_size": 2, **RANDOM}
    whole = itertools.islice(_batches(Numbered(5), **fields), first_step, None)
    resumed = _batches(Numbered(5), first_step=first_step, num_threads=num_threads, **fields)
    _assert_same(resumed, whole, 6)


def _together(count, batch_size, **fields):
    """The global batches that `count` processes read, each its part, put together."""
    parts = [
        _batches(Numbered(5), batch_size=batch_size // count, process=(index, count), **fields)
        for index in range(count)
    ]
    for batches in zip(*parts, strict=True):
        yield {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}


@pytest.mark.parametrize("first_step", [0, 3])
@pytest.mark.parametrize("count", [2, 4])
def test_processes_together_read_the_batches_of_one(count, first_step):
    fields = {"batch_size": 4, "first_step": first_step, **RANDOM}
    _assert_same(_together(count, **fields), _batches(Numbered(5), **fields), 5)


def test_processes_together_read_each_sample_once_an_epoch():
    order = _order(_together(2, 4), 10)  # an epoch has 1.25 batches
    assert all(sorted(order[start : start + 5]) == list(range(5)) for start in range(0, 40, 5))


def test_few_samples_are_read_ahead():
    """Two batches' worth, whatever the number of steps."""
    source = Numbered(1000)
    batches = _batches(source, batch_size=4, num_threads=2)
    next(batches)
    time.sleep(0.2)
    assert sum(source.reads) <= 4 + 2 * 4


class _OneDepthEach:
    """A pixel for each of these depths, all called valid."""

    depths = np.array([np.nan, -1, 0, 0.1, 0.2, 5, 10, 11, np.inf], np.float32)

    def __len__(self):
        return 1

    def __getitem__(self, index):
        depth = self.depths.reshape(1, -1, 1)
        image = np.zeros((*depth.shape[:2], 3), np.uint8)
        return {"image": image, "depth": depth.copy(), "mask": np.ones(depth.shape, bool)}


@pytest.mark.parametrize("training", [True, False])
def test_only_depth_strictly_between_the_limits_is_truth(training):
    limits = {"min_depth": 0.1, "max_depth": 10.0}
    if training:
        sample = next(_batches(_OneDepthEach(), size=(1, 9), crop_size=(1, 9), **limits))
    else:
        sample = pipeline.evaluation_sample(_OneDepthEach()[0], size=(1, 9), **limits)
    np.testing.assert_array_equal(sample["mask"].ravel(), [0, 0, 0, 0, 1, 1, 0, 0, 0])
    np.testing.assert_allclose(sample["depth"].ravel(), [0, 0, 0, 0, 0.2, 5, 0, 0, 0])


def test_training_images_are_normalised_and_fitted():
    batch = next(_batches(Numbered(3), batch_size=2, size=(3, 4), crop_size=(3, 4)))
    assert {name: (array.shape, array.dtype.name) for name, array in batch.items()} == {
        "image": ((2, 3, 4, 3), "float32"),
        "depth": ((2, 3, 4, 1), "float32"),
        "mask": ((2, 3, 4, 1), "bool"),
    }
    assert -2.2 < batch["image"].min() < 0 < batch["image"].max() < 2.7


def test_evaluation_sees_each_sample_once_in_order():
    batches = pipeline.evaluation_batches(
        Numbered(5), range(5), batch_size=2, size=SIZE, min_depth=0.1, max_depth=100.0
    )
    order = [[int(sample["depth"].max()) - 1 for sample in batch] for batch in batches]
    assert order == [[0, 1], [2, 3], [4]]


def test_evaluation_pads_the_image_and_keeps_the_truth_native():
    sample = pipeline.evaluation_sample(Numbered(1)[0], size=(6, 6), min_depth=0.1, max_depth=100.0)
    assert sample["image"].shape == (6, 6, 3)
    assert sample["content"].tolist() == [5, 6]  # 6 x 8 within 6 x 6: 4.5 rounds up
    assert sample["depth"].shape == sample["mask"].shape == (*SIZE, 1)
    np.testing.assert_array_equal(sample["picture"], Numbered(1)[0]["image"])


def test_cached_reads_each_sample_once():
    source = Numbered(4)
    cached = Cached(source)
    first = [cached[index] for index in range(len(cached))]
    again = [cached[index] for index in range(len(cached))]
    assert source.reads == [1] * 4
    assert all(a is b for a, b in zip(first, again, strict=True))


def test_cached_keeps_what_there_is_room_for():
    size = sum(np.asarray(value).nbytes for value in Numbered(1)[0].values())
    source = Numbered(3)
    cached = Cached(source, room=2 * size + 1)
    for index in (0, 1, 2, 0, 1, 2):
        np.testing.assert_array_equal(cached[index]["depth"], Numbered(3)[index]["depth"])
    assert source.reads == [1, 1, 2]


def test_augmentation_leaves_cached_samples_as_they_are():
    cached = Cached(Numbered(2))
    list(itertools.islice(_batches(cached, **RANDOM), 8))
    for index in range(2):
        fresh = Numbered(2)[index]
        assert all(np.array_equal(cached[index][name], fresh[name]) for name in fresh)


def test_cached_may_be_read_by_many_threads():
    cached, found = Cached(Numbered(20)), []

    def read():
        found.append([int(cached[index]["depth"].max()) for index in range(20)])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(range(1, 21))] * 4


def test_synthetic_baselines_are_fitted_to_scenes_of_their_own_kind():
    fields = folder_config.get_config().data
    fields.update(source="synthetic")
    fields.synthetic.update(num_train=5, num_eval=2, height=8, width=12)
    train, pairs = create_sources(groups.Data(**fields.to_dict()), seed=3)
    assert len(train) == 5 and {kind: len(pair[0]) for kind, pair in pairs.items()} == {
        "rooms": 3,
        "streets": 2,
    }
    for kind, (fitted, held_out) in pairs.items():
        for source, split, size in ((fitted, "train", len(fitted)), (held_out, "eval", 2)):
            scenes = SyntheticScenes(kind, split, size, 8, 12, seed=3)
            for index in range(size):
                np.testing.assert_array_equal(source[index]["depth"], scenes[index]["depth"])


def test_synthetic_scenes_are_evaluated_at_their_own_range_of_focal_lengths():
    fields = folder_config.get_config().data
    fields.update(source="synthetic")
    fields.synthetic.update(num_train=5, num_eval=2, height=8, width=10)
    fields.synthetic.update(focal_range=(2.0, 3.0), eval_focal_range=(0.5, 0.5))
    train, pairs = create_sources(groups.Data(**fields.to_dict()), seed=3)
    focal = [train[index]["intrinsics"][0, 0] for index in range(5)]
    assert 18 <= min(focal) < max(focal) <= 27
    for fitted, held_out in pairs.values():
        assert 18 <= fitted[0]["intrinsics"][0, 0] <= 27
        assert [held_out[index]["intrinsics"][0, 0] for index in range(2)] == [4.5, 4.5]


@pytest.fixture
def folder(tmp_path):
    """Seven pairs, and the `data` fields that find them."""
    for index in range(7):
        Image.new("RGB", (4, 3), (index, 0, 0)).save(tmp_path / f"rgb_{index}.png")
        depth = np.full((3, 4), 1000, np.uint16)
        Image.fromarray(depth).save(tmp_path / f"depth_{index}.png")
    fields = folder_config.get_config().data.to_dict()
    fields["folder"] |= {
        "root": str(tmp_path),
        "image_pattern": "rgb_*.png",
        "depth_pattern": "depth_*.png",
    }

    def create(**changes):
        return create_sources(groups.Data(**fields | {"folder": fields["folder"] | changes}), 0)

    return create


@pytest.mark.parametrize(("every", "held_out"), [(3, {2, 5}), (2, {1, 3, 5}), (7, {6})])
def test_held_out_samples_are_every_nth_and_not_trained_on(folder, every, held_out):
    train, sources = folder(holdout_every=every)
    fitted, evaluation = sources["eval"]
    names = [f"rgb_{index}.png" for index in range(7)]
    assert evaluation.names == [names[index] for index in sorted(held_out)]
    assert train.names == fitted.names == [n for n in names if n not in evaluation.names]


def test_without_held_out_samples_the_training_samples_are_scored(folder):
    train, sources = folder(holdout_every=0)
    assert sources == {"train": (train, train)} and len(train) == 7


def test_a_list_of_depth_files_needs_that_of_the_images(folder):
    with pytest.raises(UserError, match=r"depth\.txt means nothing without eval_list_file"):
        folder(eval_depth_list_file="depth.txt")


@pytest.mark.parametrize("every", [1, 8])
def test_refuses_to_hold_out_none_or_all(folder, every):
    remedy = r"set \S+holdout_every to 2 \(every second pair\) up to 7, or to 0"
    with pytest.raises(UserError, match=f"holdout_every {every} with 7 samples .*{remedy}"):
        folder(holdout_every=every)


def test_of_one_pair_nothing_can_be_held_out(folder, tmp_path):
    (tmp_path / "one.txt").write_text("rgb_0.png depth_0.png\n")
    with pytest.raises(UserError, match=r"with 1 samples .* set \S*holdout_every to 0, which"):
        folder(list_file="one.txt")
    train, _ = folder(list_file="one.txt", holdout_every=0)
    assert len(train) == 1


def test_a_pair_that_cannot_be_read_is_said_before_that_there_are_few(folder, tmp_path):
    Image.new("L", (4, 3), 100).save(tmp_path / "depth_0.png")
    with pytest.raises(UserError, match=r"depth_0\.png .*8"):
        folder(holdout_every=10)


def test_an_evaluation_list_comes_before_holding_out(folder, tmp_path):
    (tmp_path / "train.txt").write_text("rgb_0.png depth_0.png\nrgb_1.png depth_1.png\n")
    (tmp_path / "eval.txt").write_text("rgb_5.png depth_5.png\n")
    train, sources = folder(list_file="train.txt", eval_list_file="eval.txt")
    assert train.names == ["rgb_0.png", "rgb_1.png"]
    assert sources["eval"][1].names == ["rgb_5.png"]


def test_what_is_scored_is_not_trained_on(folder, tmp_path, caplog):
    """By patterns, which find all; a list that names some is the user's own, and is told of."""
    (tmp_path / "eval.txt").write_text("rgb_5.png depth_5.png\nrgb_6.png depth_6.png\n")
    train, _ = folder(eval_list_file="eval.txt")
    assert train.names == [f"rgb_{index}.png" for index in range(5)]
    (tmp_path / "train.txt").write_text("rgb_0.png depth_0.png\nrgb_5.png depth_5.png\n")
    train, _ = folder(list_file="train.txt", eval_list_file="eval.txt")
    assert len(train) == 2 and "1 of 2 training pairs are evaluated on, too" in caplog.text


def test_a_pair_that_is_listed_twice_is_held_out_twice(folder, tmp_path):
    lines = [f"rgb_{index}.png depth_{index}.png\n" for index in (0, 0, 1, 2, 2, 3)]
    (tmp_path / "list.txt").write_text("".join(lines))
    train, sources = folder(list_file="list.txt", holdout_every=2)
    assert not set(train.names) & set(sources["eval"][1].names)


@pytest.mark.parametrize(
    ("root", "message"), [("", "data.folder.root is empty"), ("/gone", "gone")]
)
def test_refuses_missing_data(folder, root, message):
    with pytest.raises(UserError, match=message):
        folder(root=root)


def test_a_sample_without_valid_pixels_stops_training_by_name(folder, tmp_path):
    """Raised on a reading thread, it reaches the loop as it is."""
    Image.fromarray(np.zeros((3, 4), np.uint16)).save(tmp_path / "depth_2.png")
    train, _ = folder(holdout_every=0)
    with pytest.raises(UserError, match=r"depth_2\.png has no valid pixel"):
        list(itertools.islice(_batches(train, size=(3, 4), crop_size=(3, 4)), 7))


class Damaged(Numbered):
    """A Numbered source that cannot read samples 1 and 3."""

    def __getitem__(self, index):
        if index in (1, 3):
            raise UserError(f"sample {index} is damaged")
        return super().__getitem__(index)


@pytest.mark.parametrize("num_threads", [1, 4])
def test_the_next_sample_stands_in_for_an_unreadable_one_up_to_the_limit(num_threads, caplog):
    batches = _batches(Damaged(5), max_unreadable=2, num_threads=num_threads)
    stands_in = {1: 2, 3: 4}
    whole = _order(_batches(Numbered(5)), 9)
    assert _order(batches, 9) == [stands_in.get(index, index) for index in whole]
    assert {"sample 1 is damaged", "sample 3 is damaged"} <= {
        record.args[-1].args[0] for record in caplog.records
    }


def test_an_unreadable_sample_does_not_shift_the_others():
    """Nor their augmentation, wherever the run goes on."""
    fields = {"max_unreadable": 2, **RANDOM}
    order = _order(_batches(Numbered(5)), 12)
    whole, damaged = (
        list(itertools.islice(_batches(source, **fields), 12))
        for source in (Numbered(5), Damaged(5))
    )
    resumed = itertools.islice(_batches(Damaged(5), first_step=5, **fields), 7)
    _assert_same(resumed, damaged[5:], 7)
    for index, ours, theirs in zip(order, damaged, whole, strict=True):
        if index not in (1, 3):
            np.testing.assert_array_equal(ours["image"], theirs["image"])


@pytest.mark.parametrize("limit", [0, 1])
def test_more_unreadable_samples_than_allowed_end_the_run_by_name(limit):
    batches = _batches(Damaged(5), max_unreadable=limit)
    with pytest.raises(UserError, match=rf"sample [13] is damaged .*: {limit + 1}, "):
        _order(batches, 9)


class Unreadable(Numbered):
    def __getitem__(self, index):
        raise UserError(f"sample {index} is damaged")


def test_a_source_in_which_nothing_is_readable_ends_the_run():
    with pytest.raises(UserError, match="is damaged"):
        next(_batches(Unreadable(3), max_unreadable=5))


def test_a_kept_fraction_is_the_same_pixels_each_time():
    source = SyntheticScenes("rooms", "train", 3, 30, 40)
    thinned = Thinned(source, 0.2, seed=0)
    first, again = thinned[1], thinned[1]
    np.testing.assert_array_equal(first["mask"], again["mask"])
    np.testing.assert_array_equal(first["depth"], source[1]["depth"])
    assert not np.any(first["mask"] & ~source[1]["mask"])
    assert 0.15 < first["mask"].sum() / source[1]["mask"].sum() < 0.25
    assert np.any(thinned[0]["mask"] != thinned[1]["mask"])
    other_seed = Thinned(source, 0.2, seed=1)
    assert np.any(other_seed[1]["mask"] != first["mask"])


def test_training_sees_the_kept_fraction_only():
    batches = _batches(Numbered(4), valid_pixel_fraction=0.25, batch_size=4)
    means = [next(batches)["mask"].mean() for _ in range(8)]
    assert 0.15 < np.mean(means) < 0.35


def test_training_never_sees_what_lies_outside_of_the_box():
    """A white border of two pixels around a black frame, and a random crop after the box."""

    class Bordered:
        def __len__(self):
            return 1

        def __getitem__(self, index):
            image = np.full((12, 16, 3), 255, np.uint8)
            image[2:-2, 2:-2] = 0
            ones = np.ones((12, 16, 1), np.float32)
            return {"image": image, "depth": ones, "mask": ones > 0}

    fields = {"size": (12, 16), "crop_size": (6, 8)}
    for box, white in (((2, 10, 2, 14), False), ((), True)):
        batches = itertools.islice(_batches(Bordered(), box=box, **fields), 20)
        brightest = max(batch["image"].max() for batch in batches)
        assert (brightest > 0) == white


class Lenses(Numbered):
    """A Numbered source; sample i has a focal length of 10 (i + 1) pixels, the first is unknown."""

    def __getitem__(self, index):
        sample = {**super().__getitem__(index), "name": f"{index}.png"}
        if index:
            focal = 10.0 * (index + 1)
            sample["intrinsics"] = np.array([[focal, 0, 3.5], [0, focal, 2.5], [0, 0, 1]])
        return sample


def test_depth_is_learned_in_the_units_of_the_canonical_camera():
    """Metres times 40 / focal length, of what the network sees: 6 x 8 fitted into 3 x 4."""
    camera = CanonicalCamera(focal_length=40.0, assumed=8.0)
    fields = {"batch_size": 3, "seed": 5, "size": (3, 4), "crop_size": (3, 4)}
    metres = next(_batches(Lenses(3), **fields))
    units = next(_batches(Lenses(3), camera=camera, **fields))
    factors = {1: 40 / 8, 2: 40 / 10, 3: 40 / 15}  # by metres; the first focal length is assumed
    expected = np.vectorize(factors.get)(metres["depth"]) * metres["depth"]
    np.testing.assert_allclose(units["depth"], expected, rtol=1e-6)
    assert units["depth"].dtype == np.float32
    np.testing.assert_array_equal(units["image"], metres["image"])


def test_the_configuration_reaches_the_units():
    """Scenes of 48 columns have a focal length of 43.2 pixels."""
    canonical = {"frame__canonical_focal_length": 86.4}
    metres, units = (
        next(augmented_batches(config, create_sources(config.data, 0)[0], 0))["depth"]
        for config in (small_run.config(), small_run.config(**canonical))
    )
    np.testing.assert_allclose(units, 2 * metres, rtol=1e-6)


def test_the_limits_are_metres_whatever_the_units():
    """1 and 2 m are 4 and 8 units; 3 m are beyond 2.5, of which no number of units is a sign."""
    camera = CanonicalCamera(focal_length=80.0, assumed=20.0)
    batch = next(_batches(Lenses(3), camera=camera, batch_size=3, max_depth=2.5))
    assert sorted(batch["mask"].mean(axis=(1, 2, 3))) == [0, 1, 1]
    np.testing.assert_allclose(np.unique(batch["depth"]), [0, 4, 8])


def test_without_a_canonical_camera_what_is_known_of_cameras_changes_nothing():
    """Not one bit, nor do the cameras reach the batch."""
    fields = {"size": (5, 7), "batch_size": 2, **RANDOM}
    theirs = _batches(Lenses(4), camera=CanonicalCamera(assumed=8.0), **fields)
    _assert_same(theirs, _batches(Numbered(4), **fields), 8)
    assert next(theirs).keys() == {"image", "depth", "mask"}


def test_units_that_need_an_unknown_camera_end_the_run_by_name():
    batches = _batches(Lenses(1), camera=CanonicalCamera(focal_length=40.0), max_unreadable=5)
    with pytest.raises(UserError, match=r"sample 0\.png: its focal length is unknown"):
        next(batches)


def test_evaluation_knows_the_focal_length_of_what_is_seen():
    """6 x 8 fitted into 3 x 9 is half of it; the frame's own camera stays as it is."""
    limits = {"min_depth": 0.1, "max_depth": 100.0}
    for index, focal_length in enumerate((0, 10)):
        frame = Lenses(2)[index]
        sample = pipeline.evaluation_sample(frame, size=(3, 9), **limits)
        assert sample["focal_length"] == pytest.approx(focal_length)
        assert sample.get("intrinsics") is frame.get("intrinsics")
