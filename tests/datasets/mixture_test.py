"""What training draws from a mixture, and what each part of it has for itself."""

import itertools

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.configs import default
from diffdepth_jax.configuration import groups
from diffdepth_jax.datasets import pipeline
from diffdepth_jax.datasets.canonical import CanonicalCamera
from diffdepth_jax.datasets.mixture import (
    Mixture,
    PartSource,
    TrainingPart,
    check_training_source,
    shares_of,
)
from diffdepth_jax.datasets.sources import create_sources
from diffdepth_jax.errors import UserError
from diffdepth_jax.training.batches import augmented_batches
from tests.support import small_run

SIZE = (4, 6)
# Samples of 100, 200 and 300 and more: the hundreds name the part.
LENGTHS = (5, 7, 3)
AUGMENTED = {
    "flip_probability": 0.5,
    "color_probability": 0.5,
    "gamma": 0.1,
    "brightness": 0.2,
    "color": 0.1,
    "rotation": 0.0,
    "zoom": 1.0,
    "crop_size": SIZE,
    "size": SIZE,
    "min_depth": 0.1,
    "max_depth": 1e6,
}


class Numbered:
    """Sample i has this many metres and i; `extra` is in each sample."""

    def __init__(self, length, first, **extra):
        self._length, self._first, self._extra = length, first, extra

    def __len__(self):
        return self._length

    def __getitem__(self, index):
        assert 0 <= index < self._length
        depth = np.full((*SIZE, 1), self._first + index, np.float32)
        image = np.random.default_rng(index).integers(0, 256, (*SIZE, 3), np.uint8)
        return {"image": image, "depth": depth, "mask": np.ones(depth.shape, bool), **self._extra}


def _mixture(*weights, lengths=LENGTHS, **fields):
    parts = enumerate(zip(weights, lengths, strict=False), start=1)
    return Mixture(
        [TrainingPart(f"p{n}", Numbered(size, 100 * n), w, **fields) for n, (w, size) in parts]
    )


def _batches(source, batch_size=4, num_threads=1, seed=0, **fields):
    reading = {"seed": seed, "batch_size": batch_size, "num_threads": num_threads}
    return pipeline.train_iterator(source, **reading, **AUGMENTED | fields)


def _drawn(batches, count):
    """The metres of the next `count` samples."""
    depths = (depth.max().item() for batch in batches for depth in batch["depth"])
    return [round(x) for x in itertools.islice(depths, count)]


def _parts(drawn):
    return [x // 100 for x in drawn]


def test_a_mixture_holds_the_samples_of_its_parts_one_after_the_other():
    source = _mixture(1.0, 1.0, 1.0)
    assert len(source) == 15
    metres = [source[index]["depth"].max().item() for index in range(15)]
    assert metres == [*range(100, 105), *range(200, 207), *range(300, 303)]
    assert source.shares == [(range(5), 1.0), (range(5, 12), 1.0), (range(12, 15), 1.0)]


@pytest.mark.parametrize("weights", [(3.0, 1.0), (0.75, 0.25), (1.0, 2.0, 1.0)])
def test_every_few_samples_have_the_proportions_of_the_weights(weights):
    """Four samples in a row, wherever they begin."""
    parts = _parts(_drawn(_batches(_mixture(*weights)), 40))
    expected = [4 * weight / sum(weights) for weight in weights]
    for start in range(len(parts) - 4):
        window = parts[start : start + 4]
        assert [window.count(n + 1) for n in range(len(weights))] == expected


@pytest.mark.parametrize("weights", [(0.7, 0.3), (0.1, 0.2, 0.7), (1.0, 0.013)])
def test_any_weights_are_kept_to_one_percent(weights):
    """Of N samples each part has its share N w, up to 1 % and one sample for rounding."""
    # grain shuffles few samples slowly, hence many.
    count, shares = 1000, _mixture(*weights, lengths=(20_000,) * 3).shares
    numbers = [number for number, (indices, _) in enumerate(shares) for _ in indices]
    views = [{"image": np.zeros((1, 1, 3), np.uint8), "depth": np.float32(x)} for x in numbers]
    stream = pipeline.view_iterator(views, shares, seed=0, batch_size=count // 4, num_threads=1)
    parts = [x for batch in itertools.islice(stream, 4) for x in batch["depth"]]
    for number, weight in enumerate(weights):
        share = count * weight / sum(weights)
        assert abs(parts.count(number) - share) <= 0.01 * share + 1


def test_each_part_has_epochs_and_orders_of_its_own():
    drawn = _drawn(_batches(_mixture(1.0, 2.0, lengths=(5, 5))), 75)
    orders = []
    for number in (1, 2):
        own = [x % 100 for x in drawn if x // 100 == number]
        epochs = [tuple(own[start : start + 5]) for start in range(0, 25 * number, 5)]
        assert all(sorted(epoch) == list(range(5)) for epoch in epochs)
        assert len(set(epochs)) > 3
        orders.append(epochs[:5])
    assert orders[0] != orders[1]
    assert drawn != _drawn(_batches(_mixture(1.0, 2.0, lengths=(5, 5)), seed=1), 75)


def test_a_mixture_of_one_part_is_that_part():
    alone, mixed = _batches(Numbered(5, 100)), _batches(_mixture(2.0))
    _assert_same(alone, mixed, 6)


def _assert_same(ours, theirs, count):
    for a, b in itertools.islice(zip(ours, theirs, strict=True), count):
        for name in ("image", "depth", "mask"):
            np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("first_step", [0, 1, 7])
def test_a_resumed_run_sees_the_batches_of_an_uninterrupted_one(first_step, num_threads):
    """Bit for bit, augmentation included, with any number of threads."""
    whole = itertools.islice(_batches(_mixture(3.0, 2.0, 1.0)), first_step, None)
    resumed = _batches(_mixture(3.0, 2.0, 1.0), first_step=first_step, num_threads=num_threads)
    _assert_same(resumed, whole, 8)


@pytest.mark.parametrize("count", [2, 4])
def test_processes_together_read_the_batches_of_one(count):
    parts = [
        _batches(_mixture(3.0, 1.0), 4 // count, process=(index, count)) for index in range(count)
    ]
    joined = (
        {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
        for batches in zip(*parts, strict=True)
    )
    _assert_same(joined, _batches(_mixture(3.0, 1.0)), 8)


def test_fixed_views_are_drawn_by_the_weights_too():
    """Two views of each sample; each view once in an epoch of its part."""
    source = _mixture(3.0, 1.0)
    views = [
        {"image": np.zeros((1, 1, 3), np.uint8), "depth": source[i // 2]["depth"] + i % 2 / 2}
        for i in range(24)
    ]
    shares = shares_of(source, views=2)
    assert shares == [(range(10), 3.0), (range(10, 24), 1.0)]
    stream = pipeline.view_iterator(views, shares, seed=0, batch_size=4, num_threads=2)
    drawn = [x.max().item() for batch in itertools.islice(stream, 28) for x in batch["depth"]]
    first, second = ([x for x in drawn if x // 100 == number] for number in (1, 2))
    assert (len(first), len(second)) == (84, 28)
    assert len(set(first[:10])) == 10 and len(set(second[:14])) == 14


def test_ground_truth_beyond_the_limits_of_a_part_is_masked_out():
    """100, 101 ... m and a limit of 103 m: what is left of the parts; the other has none."""
    near = TrainingPart("near", Numbered(5, 100), 1.0, (0.0, 103.0))
    source = Mixture([near, TrainingPart("far", Numbered(5, 100), 1.0)])
    assert [source[index]["mask"].any() for index in range(10)] == [True] * 3 + [False] * 2 + [
        True
    ] * 5
    assert source[4]["depth"].max() == 0


def test_a_part_without_known_holes_teaches_its_measured_pixels():
    known = {"surface": np.zeros((*SIZE, 1), bool), "hole": np.ones((*SIZE, 1), bool)}
    parts = [
        TrainingPart("p1", Numbered(5, 100, **known), 1.0),
        TrainingPart("p2", Numbered(5, 200), 1.0),
    ]
    batch = next(_batches(Mixture(parts), validity=True))
    for part, surface, hole in zip(
        _parts(_drawn([batch], 4)), batch["surface"], batch["hole"], strict=True
    ):
        assert (surface.all(), hole.all()) == ((False, True) if part == 1 else (True, False))
        assert surface.any() != hole.any()


def test_frames_of_a_part_have_its_camera_unless_they_know_their_own():
    sample = PartSource(Numbered(1, 100), "a", 50.0)[0]
    np.testing.assert_array_equal(sample["intrinsics"], [[50, 0, 2.5], [0, 50, 1.5], [0, 0, 1]])
    own = {"intrinsics": np.diag([9.0, 9.0, 1.0])}
    assert PartSource(Numbered(1, 100, **own), "a", 50.0)[0]["intrinsics"][0, 0] == 9
    assert "intrinsics" not in PartSource(Numbered(1, 100), "a", 0.0)[0]


def test_the_check_before_training_names_the_part_and_its_fields():
    fields = {"max_unreadable": 0}
    source = _mixture(1.0, 1.0, limits=(0.0, 150.0))
    message = r"training part 'p2' .* is within 1 and 150 m, data\.mixture\.p2\.min_depth and "
    with pytest.raises(UserError, match=message + r"data\.mixture\.p2\.max_depth: "):
        check_training_source(source, (1.0, 1000.0), **fields)
    check_training_source(_mixture(1.0, 1.0), (1.0, 1000.0), **fields)
    check_training_source(Numbered(3, 100), (1.0, 1000.0), **fields)


def test_a_part_whose_camera_is_unknown_is_named_although_the_model_has_one():
    """frame.focal_length belongs to one camera, and is not assumed for others."""
    canonical = {"frame__focal_length": 30.0, "frame__canonical_focal_length": 20.0}
    camera = CanonicalCamera.of(groups.read(small_run.mixture_fields(**canonical)))
    assert CanonicalCamera.of(small_run.config(**canonical)).assumed == 30
    known = PartSource(Numbered(5, 100), "known", 9.0)
    parts = [TrainingPart("known", known, 1.0), TrainingPart("other", Numbered(5, 100), 1.0)]
    message = r"is unknown, but .* data\.mixture\.other\.folder.* as focal_length of its part"
    with pytest.raises(UserError, match=message):
        check_training_source(Mixture(parts), (1.0, 1000.0), camera=camera)
    check_training_source(Mixture(parts[:1]), (1.0, 1000.0), camera=camera)


# From the configuration


def _write_pairs(root, metres):
    root.mkdir()
    for index in range(4):
        Image.new("RGB", (48, 32), (60 * index, 0, 0)).save(root / f"rgb_{index}.png")
        depth = np.full((32, 48), 1000 * metres, np.uint16)
        depth[:, :24] = 0
        Image.fromarray(depth).save(root / f"depth_{index}.png")


def _folder_part(root, **fields):
    part = default.get_part()
    part.source = "folder"
    part.folder.update(
        root=str(root), image_pattern="rgb_*.png", depth_pattern="depth_*.png", holdout_every=2
    )
    part.update(fields)
    return part


@pytest.fixture
def fields(tmp_path):
    """Rooms, streets, and a folder at 5 m."""
    _write_pairs(tmp_path / "pairs", 5)
    fields = small_run.mixture_fields()
    fields.data.mixture.desk = _folder_part(tmp_path / "pairs")
    return fields


def test_sets_are_called_as_their_parts(fields):
    source, sets = create_sources(groups.read(fields).data, 0)
    assert [part.name for part in source.parts] == ["desk", "rooms", "streets"]
    assert {name: (len(fitted), len(scored)) for name, (fitted, scored) in sets.items()} == {
        "rooms": (8, 3),
        "streets": (8, 3),
        "desk": (2, 2),
    }
    fields.data.mixture.rooms.synthetic.kind = "mixed"
    _, sets = create_sources(groups.read(fields).data, 0)
    assert list(sets) == ["desk", "rooms-rooms", "rooms-streets", "streets"]


def test_a_part_of_weight_zero_is_only_evaluated(fields):
    fields.data.mixture.desk.update(weight=0.0)
    fields.data.mixture.desk.folder.holdout_every = 0
    source, sets = create_sources(groups.read(fields).data, 0)
    assert [part.name for part in source.parts] == ["rooms", "streets"]
    assert len(sets["desk"][1]) == 4


def test_a_part_that_would_be_scored_on_its_training_samples_is_refused(fields):
    fields.data.mixture.desk.folder.holdout_every = 0
    message = r"'desk' would be .*: set data\.mixture\.desk\.folder\.eval_list_file or data\.mixt"
    with pytest.raises(UserError, match=message):
        create_sources(groups.read(fields).data, 0)


def test_errors_of_a_parts_source_name_its_fields(fields, tmp_path):
    fields.data.mixture.desk.folder.root = ""
    with pytest.raises(UserError, match=r"^data\.mixture\.desk\.folder\.root is empty: set --con"):
        create_sources(groups.read(fields).data, 0)
    fields.data.mixture.desk.folder.root = str(tmp_path / "pairs")
    Image.fromarray(np.full((16, 24), 900, np.uint16)).save(tmp_path / "pairs/depth_2.png")
    source, _ = create_sources(groups.read(fields).data, 0)
    with pytest.raises(UserError, match=r"set data\.mixture\.desk\.folder\.resize_depth"):
        source[1]


def test_gaps_of_a_dense_part_are_holes_and_those_of_others_unknown(fields):
    fields.model.validity, fields.loss.weights.validity = True, 0.1
    fields.data.mixture.desk.update(missing_depth="hole", weight=1.0)
    config = groups.read(fields)
    source, _ = create_sources(config.data, 0)
    sample = source[0]
    assert sample["hole"][:, :24].all() and sample["surface"][:, 24:].all()
    batch = next(augmented_batches(config, source, 0))
    assert batch["hole"].shape == batch["mask"].shape
