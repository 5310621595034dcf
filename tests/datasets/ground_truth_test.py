"""What a look at a source finds: depth in another unit, samples without ground truth, damage."""

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.datasets.canonical import CanonicalCamera
from diffdepth_jax.datasets.ground_truth import NUM_SAMPLES, check_ground_truth
from diffdepth_jax.datasets.samples import Source
from diffdepth_jax.datasets.sources import DenselyMeasured
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation.evaluator import evaluate_checkpoint
from diffdepth_jax.training import loop
from tests.support import small_run

LIMITS = (1e-3, 10.0)


def _sample(depth, mask=True):
    depth = np.asarray(depth, np.float32) * np.ones((6, 8, 1), np.float32)
    return {
        "image": np.zeros((6, 8, 3), np.uint8),
        "depth": depth,
        "mask": np.broadcast_to(mask, depth.shape),
    }


class Recorded(Source):
    """Samples by index; an exception in their place is raised. Keeps what was read."""

    def __init__(self, samples):
        self._samples, self.read = samples, []

    def __len__(self):
        return len(self._samples)

    def __getitem__(self, index):
        self.read.append(index)
        if isinstance(self._samples[index], Exception):
            raise self._samples[index]
        return self._samples[index]

    def __repr__(self):
        return f"Recorded({len(self)})"


def _check(samples, limits=LIMITS, **fields):
    check_ground_truth(Recorded(samples), "training set", limits, **fields)


def _message(samples, limits=LIMITS):
    with pytest.raises(UserError) as error:
        _check(samples, limits)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_metres_within_the_limits_pass_in_silence(caplog):
    _check([_sample(2.5)] * 3)
    assert caplog.messages == []


def test_pictures_of_other_shapes_are_told(caplog):
    """Those of NYU and KITTI are in one list; a photo on its side has the same shape."""

    def picture(*size):
        return {**_sample(2.5), "image": np.zeros((*size, 3), np.uint8)}

    _check([picture(48, 64), picture(64, 48), picture(36, 64)])
    assert caplog.messages == []
    _check([picture(48, 64), picture(37, 124), picture(48, 64)])
    (message,) = caplog.messages
    assert "training set: it has pictures of 48 x 64 and of 37 x 124 (height x width)" in message
    assert "give each a list of its own" in message


@pytest.mark.parametrize(
    ("metres", "limits"), [(2734.0, LIMITS), (2734.0, (1e-3, 80.0)), (15_000.0, (1e-3, 80.0))]
)
def test_millimetres_are_named_with_median_limits_and_remedy(metres, limits):
    message = _message([_sample(metres)] * 3, limits)
    assert message.startswith("training set (Recorded(3)): the median of its ground truth is ")
    words = (
        f"{metres:.4g} m",
        f"{limits[1]:g} m, frame.min_depth and frame.max_depth",
        "looks like millimetres",
        "1000",
    )
    assert all(word in message for word in words), message


@pytest.mark.parametrize("metres", [15.0, 180.0, 2.7e-6, 1e9])
def test_depth_that_is_not_in_millimetres_is_not_called_so(metres):
    """Outdoors with the limits of a room; and a scale that is wrong by a million."""
    message = _message([_sample(metres)])
    assert f"the median of its ground truth is {metres:.4g} m" in message
    assert "millimetres" not in message and "check the unit of the depth files" in message


def test_a_few_pixels_within_the_limits_excuse_nothing():
    """A sensor's noise near 0 is no metres; one pixel in 48 is more than a hundredth."""
    depth = np.full((600, 8, 1), 2734.0, np.float32)
    depth[0] = 5
    sample = {"image": np.zeros((600, 8, 3), np.uint8), "depth": depth, "mask": depth > 0}
    assert "2734 m" in _message([sample])
    near = np.full((6, 8, 1), 50.0, np.float32)
    near[0, 0] = 5
    _check([_sample(near)])


def test_pixels_without_ground_truth_do_not_count():
    mask = np.zeros((6, 8, 1), bool)
    mask[2, 3] = True
    _check([_sample(np.where(mask, 5.0, np.nan), mask)])
    assert "2734 m" in _message([_sample(np.where(mask, 2734.0, 5.0), mask)])


def test_samples_without_ground_truth_get_one_warning(caplog):
    _check([_sample(5.0), _sample(5.0, False), _sample(50.0), _sample(5.0)])
    (line,) = caplog.messages
    assert line == (
        "training set: 2 of 4 samples looked at have no ground truth within 0.001 to 10 m"
    )


def test_no_ground_truth_at_all_is_refused():
    assert "no sample looked at has ground truth" in _message([_sample(5.0, False)] * 2)


@pytest.mark.parametrize("length", [1, 5, NUM_SAMPLES, 1000])
def test_few_samples_from_the_first_to_the_last_are_read_once_each(length):
    source = Recorded([_sample(2.5)] * length)
    check_ground_truth(source, "training set", LIMITS)
    assert len(source.read) == len(set(source.read)) == min(length, NUM_SAMPLES)
    assert (source.read[0], source.read[-1]) == (0, length - 1)
    again = Recorded([_sample(2.5)] * length)
    check_ground_truth(again, "training set", LIMITS)
    assert again.read == source.read


def test_as_many_samples_may_be_unreadable_as_the_run_allows():
    damaged = [UserError(f"depth_{index} is damaged") for index in range(2)]
    _check([damaged[0], _sample(2.5), damaged[1]], max_unreadable=2)
    _check(damaged, max_unreadable=2)
    with pytest.raises(UserError, match="depth_1 is damaged"):
        _check([damaged[0], _sample(2.5), damaged[1]], max_unreadable=1)


def _write_folder(root, scale):
    """Twelve pairs; rooms of 1 to 4 m as float files, times a scale."""
    rng = np.random.default_rng(0)
    for index in range(12):
        picture = rng.integers(0, 256, (*small_run.SIZE, 3), np.uint8)
        Image.fromarray(picture).save(root / f"rgb_{index}.png")
        metres = rng.uniform(1, 4, small_run.SIZE)
        np.save(root / f"depth_{index}.npy", (metres * scale(index)).astype(np.float32))
    return {
        "data__source": "folder",
        "data__folder__root": str(root),
        "data__folder__image_pattern": "rgb_*.png",
        "data__folder__depth_pattern": "depth_*.npy",
    }


def test_a_run_on_float_files_in_millimetres_ends_before_its_first_update(tmp_path):
    config = small_run.config(**_write_folder(tmp_path, lambda index: 1000))
    message = r"training set \(folder /\S+\): the median of its .* is 2\d\d\d m.*millimetres"
    with pytest.raises(UserError, match=message):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_without_the_focal_lengths_it_needs_ends_before_its_first_update(tmp_path):
    lens = {"frame__canonical_focal_length": 50.0, "frame__focal_length": 0.0}
    config = small_run.config(**_write_folder(tmp_path, lambda index: 1), **lens)
    with pytest.raises(UserError, match=r"sample rgb_0.png: its focal length is unknown"):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow  # another finished run takes as long as all tests of this file
def test_an_evaluation_set_in_millimetres_ends_a_run_and_an_evaluation(finished_run, tmp_path):
    """Only the sample that is held out: of the files 0, 1, 10, 11, 2, ... the tenth is 7."""
    config = small_run.config(**_write_folder(tmp_path, lambda index: 1000 if index == 7 else 1))
    with pytest.raises(UserError, match=r"evaluation set 'eval'.*millimetres"):
        loop.train(config, tmp_path / "run")
    with pytest.raises(UserError, match=r"evaluation set 'eval'.*millimetres"):
        evaluate_checkpoint(config, finished_run[0])


@pytest.mark.parametrize(("focal", "words"), [(1.0, "of 1 pixels"), (1.3e9, "of 1.3e.09 pixels")])
def test_an_absurd_focal_length_is_named_where_it_counts(focal, words):
    sample = {**_sample(2.0), "name": "a", "intrinsics": np.diag([focal, focal, 1.0])}
    sample["image"] = np.zeros((60, 80, 3), np.uint8)
    CanonicalCamera(0.0).check(sample)
    with pytest.raises(
        UserError, match=f"sample a: a focal length {words} does not fit an image 80"
    ):
        CanonicalCamera(50.0).check(sample)
    for plausible in (40.0, 400.0):
        CanonicalCamera(50.0).check({**sample, "intrinsics": np.diag([plausible, plausible, 1.0])})


# dense ground truth


def _with_hole(mask, hole):
    sample = _sample(2.5, mask)
    return {**sample, "hole": np.broadcast_to(hole, sample["mask"].shape)}


def test_gaps_of_sparse_ground_truth_are_not_taken_for_holes():
    """Every fourth column: a quarter of the pixels. One dense sample in four makes it 44 %."""
    lines = np.arange(8)[:, None] % 4 == 0
    dense = DenselyMeasured(Recorded([_sample(2.5, lines)] * 3))
    with pytest.raises(UserError, match=r"training set: only 25\.0% of its pixels have"):
        check_ground_truth(dense, "training set", LIMITS)
    check_ground_truth(
        DenselyMeasured(Recorded([_sample(2.5, lines)] * 3 + [_sample(2.5)])), "x", LIMITS
    )


def test_sparse_ground_truth_that_says_where_the_holes_are_passes():
    lines = np.arange(8)[:, None] % 4 == 0
    _check([_with_hole(lines, ~lines & (np.arange(6)[:, None, None] < 2))])


def test_dense_ground_truth_calls_its_gaps_holes():
    mask = np.arange(8)[:, None] > 1
    source = DenselyMeasured(Recorded([_sample(2.5, mask)]))
    np.testing.assert_array_equal(source[0]["hole"], ~source[0]["mask"])
    np.testing.assert_array_equal(source[0]["surface"], source[0]["mask"])
    assert len(source) == 1 and repr(source) == "DenselyMeasured(Recorded(1))"
