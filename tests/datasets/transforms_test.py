"""Pixels are followed through each transform in the image, the depth and the mask at once."""

import numpy as np
import pytest

from diffdepth_jax.datasets import transforms
from diffdepth_jax.errors import UserError
from diffdepth_jax.media import preprocessing


def numbered_sample(height=5, width=7):
    """Every pixel carries its own number, 1 to H * W, from which all masks follow."""
    number = np.arange(1, height * width + 1).reshape(height, width, 1)
    return {
        "image": np.repeat(number, 3, axis=-1).astype(np.uint8),
        "depth": number.astype(np.float32),
        "mask": number % 2 == 1,
        "surface": number % 3 == 1,
        "hole": number % 6 == 2,
    }


def random_sample(height=12, width=16, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        "depth": rng.uniform(0.5, 10, (height, width, 1)).astype(np.float32),
        "mask": rng.random((height, width, 1)) < 0.7,
    }


def assert_moved_together(sample):
    """Image, depth and masks of each pixel of a numbered sample still agree."""
    np.testing.assert_array_equal(sample["image"], np.repeat(sample["depth"], 3, axis=-1))
    np.testing.assert_array_equal(sample["mask"], sample["depth"] % 2 == 1)
    np.testing.assert_array_equal(sample["surface"], sample["depth"] % 3 == 1)
    np.testing.assert_array_equal(sample["hole"], sample["depth"] % 6 == 2)


def assert_layout(sample, height, width):
    assert sample["image"].shape == (height, width, 3) and sample["image"].dtype == np.uint8
    assert sample["depth"].shape == (height, width, 1) and sample["depth"].dtype == np.float32
    assert sample["mask"].shape == (height, width, 1) and sample["mask"].dtype == bool


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


@pytest.mark.parametrize(
    ("height", "width", "target", "expected"),
    [
        (480, 640, (480, 640), (480, 640)),
        (480, 640, (240, 640), (240, 320)),
        (480, 640, (480, 320), (240, 320)),
        (10, 10, (35, 70), (35, 35)),
        (375, 1242, (352, 1216), (352, 1166)),
        (3, 2, (2, 9), (2, 1)),
        (1, 10000, (256, 256), (1, 256)),
        (10000, 1, (256, 256), (256, 1)),
    ],
)
def test_letterbox_keeps_the_aspect_and_touches_one_side(height, width, target, expected):
    assert preprocessing.letterbox_size(height, width, target) == expected


def test_a_box_is_cut_out_of_a_resized_frame():
    """NYU's box without its white border; at half the size only whole pixels inside count."""
    sample = random_sample(480, 640)
    cropped = transforms.crop_box(sample, (45, 472, 43, 608), (480, 640))
    np.testing.assert_array_equal(cropped["image"], sample["image"][45:472, 43:608])
    np.testing.assert_array_equal(cropped["depth"], sample["depth"][45:472, 43:608])
    half = transforms.resize(sample, (240, 320))
    cropped = transforms.crop_box(half, (45, 472, 43, 608), (480, 640))
    np.testing.assert_array_equal(cropped["mask"], half["mask"][23:236, 22:304])
    assert transforms.crop_box(sample, (), (480, 640)) is sample
    with pytest.raises(UserError, match=r"box .* does not lie in a frame of 240 x 320"):
        transforms.crop_box(half, (45, 472, 43, 608), (240, 320))


def test_letterbox_never_exceeds_the_target():
    for height, width in np.random.default_rng(0).integers(1, 2000, (500, 2)).tolist():
        new_height, new_width = preprocessing.letterbox_size(height, width, (230, 311))
        assert 1 <= new_height <= 230 and 1 <= new_width <= 311
        assert new_height == 230 or new_width == 311


@pytest.mark.parametrize("size", [(0, 5), (5, -1)])
def test_sizes_that_are_not_positive_are_refused(size):
    with pytest.raises(UserError, match="must be positive"):
        preprocessing.letterbox_size(*size, (10, 10))
    with pytest.raises(UserError, match="must be positive"):
        preprocessing.letterbox_size(10, 10, size)
    with pytest.raises(UserError, match="must be positive"):
        transforms.resize(numbered_sample(), size)
    with pytest.raises(UserError, match="must be positive"):
        transforms.random_crop(numbered_sample(), np.random.default_rng(0), size)


def test_resize_to_the_same_size_changes_nothing():
    sample = random_sample()
    assert_same(transforms.resize(sample, (12, 16)), sample)


def test_resize_puts_a_marked_pixel_where_it_belongs_in_all_three():
    sample = random_sample(4, 6)
    for array in sample.values():
        array[:] = 0
        array[1, 4] = 1
    sample["image"] *= 200
    bigger = transforms.resize(sample, (12, 18))
    assert_layout(bigger, 12, 18)
    block = np.zeros((12, 18, 1), bool)
    block[3:6, 12:15] = True
    np.testing.assert_array_equal(bigger["mask"], block)
    np.testing.assert_array_equal(bigger["depth"], block)
    assert np.unravel_index(bigger["image"][..., 0].argmax(), (12, 18)) == (4, 13)


@pytest.mark.parametrize("size", [(5, 7), (1, 1), (25, 16), (12, 40), (31, 47)])
def test_nearest_never_invents_a_depth_or_parts_it_from_its_mask(size):
    sample = random_sample()
    resized = transforms.resize(sample, size)
    assert_layout(resized, *size)
    pairs = set(zip(sample["depth"].ravel(), sample["mask"].ravel(), strict=True))
    assert set(zip(resized["depth"].ravel(), resized["mask"].ravel(), strict=True)) <= pairs


def test_shrinking_takes_the_pixel_under_each_centre():
    smaller = transforms.resize(numbered_sample(3, 9), (1, 3))
    assert smaller["depth"].ravel().tolist() == [11, 14, 17]
    assert smaller["mask"].ravel().tolist() == [True, False, True]


def test_resize_antialiases_the_image():
    """A fine checkerboard turns grey; sampling single pixels would leave black and white."""
    sample = random_sample(32, 32)
    board = 255 * (np.indices((32, 32)).sum(axis=0) % 2)
    sample["image"] = np.repeat(board[..., None], 3, axis=-1).astype(np.uint8)
    smaller = transforms.resize(sample, (8, 8))["image"].astype(int)
    assert np.abs(smaller - 127).max() < 20


def test_padding_repeats_the_edge_and_has_no_ground_truth():
    sample = numbered_sample()
    padded = transforms.pad_to(sample, (8, 10))
    assert_layout(padded, 8, 10)
    assert_same({name: array[:5, :7] for name, array in padded.items()}, sample)
    assert not padded["mask"][5:].any() and not padded["mask"][:, 7:].any()
    assert not padded["depth"][5:].any() and not padded["depth"][:, 7:].any()
    assert (padded["image"][5:, :7] == sample["image"][4]).all()
    assert (padded["image"][:5, 7:] == sample["image"][:, 6:]).all()


def test_padding_leaves_longer_sides_alone():
    sample = numbered_sample()
    assert_same(transforms.pad_to(sample, (3, 7)), sample)
    assert_layout(transforms.pad_to(sample, (3, 9)), 5, 9)


def test_crop_keeps_pixels_together_and_reaches_every_position():
    sample = numbered_sample()
    rng = np.random.default_rng(0)
    corners = set()
    for _ in range(400):
        crop = transforms.random_crop(sample, rng, (3, 4))
        assert_layout(crop, 3, 4)
        assert_moved_together(crop)
        first = int(crop["depth"][0, 0, 0]) - 1
        np.testing.assert_array_equal(crop["depth"][:, 0, 0], first + 1 + 7 * np.arange(3))
        corners.add(divmod(first, 7))
    assert corners == {(row, column) for row in range(3) for column in range(4)}


def test_crop_larger_than_the_sample_pads():
    crop = transforms.random_crop(numbered_sample(), np.random.default_rng(0), (9, 4))
    assert_layout(crop, 9, 4)
    assert not crop["mask"][5:].any()
    assert_moved_together({name: array[:5] for name, array in crop.items()})


def test_flip_mirrors_all_three_and_twice_is_the_identity():
    sample = numbered_sample()
    rng = np.random.default_rng(0)
    flipped = transforms.random_flip(sample, rng, probability=1.0)
    assert_moved_together(flipped)
    np.testing.assert_array_equal(flipped["depth"], sample["depth"][:, ::-1])
    assert_same(transforms.random_flip(flipped, rng, probability=1.0), sample)


def test_flip_happens_as_often_as_asked():
    sample, rng = numbered_sample(), np.random.default_rng(0)
    flips = sum(transforms.random_flip(sample, rng)["depth"][0, 0, 0] == 7 for _ in range(1000))
    assert 430 < flips < 570
    assert_same(transforms.random_flip(sample, rng, probability=0.0), sample)


def test_color_jitter_leaves_depth_alone_and_stays_within_bounds():
    sample = random_sample()
    rng = np.random.default_rng(0)
    level = sample["image"] / 255
    low = np.floor(255 * np.clip(level**1.1 * 0.75 * 0.9, 0, 1))
    high = np.ceil(255 * np.clip(level**0.9 * 1.25 * 1.1, 0, 1))
    for _ in range(50):
        jittered = transforms.color_jitter(sample, rng, 1.0, 0.1, 0.25, 0.1)
        assert jittered["depth"] is sample["depth"] and jittered["mask"] is sample["mask"]
        assert_layout(jittered, 12, 16)
        assert (low <= jittered["image"]).all() and (jittered["image"] <= high).all()
        assert (jittered["image"] != sample["image"]).any()


def test_color_jitter_of_no_strength_or_no_probability_is_the_identity():
    sample, rng = random_sample(), np.random.default_rng(0)
    assert_same(transforms.color_jitter(sample, rng, 1.0, 0.0, 0.0, 0.0), sample)
    assert_same(transforms.color_jitter(sample, rng, 0.0, 0.5, 0.5, 0.5), sample)


def test_color_jitter_draws_each_channel_and_brightness_on_its_own():
    sample, rng = random_sample(), np.random.default_rng(0)
    sample["image"][:] = 100
    colored = transforms.color_jitter(sample, rng, 1.0, 0.0, 0.0, 0.5)["image"]
    brightened = transforms.color_jitter(sample, rng, 1.0, 0.0, 0.5, 0.0)["image"]
    assert len(np.unique(colored)) == 3
    assert len(np.unique(brightened)) == 1 and brightened.flat[0] != 100


def test_the_same_generator_state_gives_the_same_sample():
    def augment(seed):
        rng = np.random.default_rng(seed)
        sample = transforms.random_crop(random_sample(), rng, (6, 7))
        sample = transforms.random_flip(sample, rng)
        return transforms.color_jitter(sample, rng, 0.5, 0.1, 0.25, 0.1)

    assert_same(augment(3), augment(3))
    assert len({augment(seed)["image"].tobytes() for seed in range(10)}) == 10


def test_transforms_leave_their_argument_as_it_was_and_pass_other_keys_on():
    sample = {**random_sample(), "name": "frame"}
    for array in (sample["image"], sample["depth"], sample["mask"]):
        array.setflags(write=False)
    rng = np.random.default_rng(0)
    for result in (
        transforms.resize(sample, (6, 8)),
        transforms.pad_to(sample, (20, 20)),
        transforms.random_crop(sample, rng, (6, 8)),
        transforms.random_flip(sample, rng, 1.0),
        transforms.color_jitter(sample, rng, 1.0, 0.1, 0.1, 0.1),
        transforms.valid_range(sample, 1, 5),
    ):
        assert result["name"] == "frame"


def test_valid_range_is_strict_and_clears_everything_outside():
    depth = np.array([np.nan, np.inf, -np.inf, -1, 0, 1, 2, 9.5, 10, 11], np.float32)
    sample = {
        "image": np.zeros((1, 10, 3), np.uint8),
        "depth": depth.reshape(1, 10, 1),
        "mask": np.ones((1, 10, 1), bool),
    }
    sample["mask"][0, 7] = False
    result = transforms.valid_range(sample, 1, 10)
    assert_layout(result, 1, 10)
    assert result["mask"].ravel().tolist() == [False] * 6 + [True] + [False] * 3
    assert result["depth"].ravel().tolist() == [0] * 6 + [2] + [0] * 3


def test_nan_where_the_mask_is_false_passes_through_geometry():
    sample = numbered_sample()
    sample["depth"][~sample["mask"]] = np.nan
    rng = np.random.default_rng(0)
    moved = transforms.random_flip(transforms.resize(sample, (11, 17)), rng, 1.0)
    moved = transforms.random_crop(moved, rng, (20, 10))
    assert np.isfinite(moved["depth"][moved["mask"]]).all()
    assert np.isfinite(transforms.valid_range(moved, 0, 100)["depth"]).all()


def test_normalization_is_that_of_imagenet_and_inverts():
    image = np.stack([np.arange(256)] * 3, axis=-1).astype(np.uint8)
    normalized = preprocessing.normalize_image(image)
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalized[0], [-2.117904, -2.035714, -1.804444], rtol=1e-5)
    np.testing.assert_allclose(normalized[255], [2.248908, 2.428571, 2.64], rtol=1e-5)
    np.testing.assert_array_equal(preprocessing.denormalize_image(normalized), image)
    assert preprocessing.denormalize_image(np.full((1, 3), 99.0)).tolist() == [[255, 255, 255]]


def marked_sample(row, column, height=41, width=61):
    """Black and without ground truth but for a 5x5 mark of 7 m around one pixel."""
    image = np.zeros((height, width, 3), np.uint8)
    image[row - 2 : row + 3, column - 2 : column + 3] = 255
    mask = image[..., :1] > 0
    return {"image": image, "depth": np.where(mask, np.float32(7), 0), "mask": mask}


def centre(weights):
    rows, columns = np.indices(weights.shape)
    return np.array([(rows * weights).sum(), (columns * weights).sum()]) / weights.sum()


class Always:
    """A generator that draws one value."""

    def __init__(self, value):
        self.value = value

    def uniform(self, low, high):
        assert low <= self.value <= high
        return self.value


@pytest.mark.parametrize("degrees", [-30.0, -2.5, 5.0, 90.0])
def test_rotation_carries_a_mark_along_in_all_three(degrees):
    """Counter-clockwise about the centre, (20, 30): the mark starts 12 to its right."""
    turned = transforms.random_rotation(marked_sample(20, 42), Always(degrees), 90.0)
    assert_layout(turned, 41, 61)
    angle = np.radians(degrees)
    expected = (20 - 12 * np.sin(angle), 30 + 12 * np.cos(angle))
    for name in ("image", "depth", "mask"):
        np.testing.assert_allclose(centre(turned[name][..., 0].astype(float)), expected, atol=0.6)
    assert set(np.unique(turned["depth"])) == {0, 7}
    np.testing.assert_array_equal(turned["mask"], turned["depth"] > 0)


def test_what_a_rotation_brings_in_from_outside_has_no_ground_truth():
    sample = {**random_sample(40, 40), "mask": np.ones((40, 40, 1), bool)}
    turned = transforms.random_rotation(sample, Always(45.0), 45.0)
    assert not turned["mask"][0, 0] and not turned["mask"][-1, -1]
    assert turned["mask"][20, 20]


def test_no_rotation_and_no_zoom_are_the_identity():
    sample, rng = random_sample(), np.random.default_rng(0)
    assert_same(transforms.random_rotation(sample, rng, 0.0), sample)
    assert_same(transforms.random_zoom(sample, rng, 1.0), sample)


@pytest.mark.parametrize("zoom", [1.1, 1.5])
def test_zoom_moves_a_mark_outwards_and_divides_its_depth(zoom):
    zoomed = transforms.random_zoom(marked_sample(10, 42), Always(zoom), 1.5)
    height, width = round(41 * zoom), round(61 * zoom)
    assert_layout(zoomed, height, width)
    # Pixel centres scale: (10.5, 42.5) of 41 x 61.
    expected = (10.5 * height / 41 - 0.5, 42.5 * width / 61 - 0.5)
    for name in ("image", "depth", "mask"):
        np.testing.assert_allclose(centre(zoomed[name][..., 0].astype(float)), expected, atol=0.6)
    np.testing.assert_allclose(zoomed["depth"][zoomed["mask"]], 7 * 61 / width, rtol=1e-6)


def test_kb_crop_takes_the_bottom_and_the_middle():
    sample = marked_sample(100, 300, 375, 1242)
    cropped = transforms.kb_crop(sample)
    assert_layout(cropped, 352, 1216)
    np.testing.assert_array_equal(centre(cropped["mask"][..., 0]), (100 - 23, 300 - 13))
    with pytest.raises(UserError, match="480 x 640 is smaller"):
        preprocessing.kb_offset(480, 640)


# what is known of a pixel's depth


def test_ground_truth_that_is_taken_away_is_not_known_to_be_a_surface_any_more():
    """Of four pixels the first two are measured, the third is a surface nevertheless."""
    row = np.array([1, 1, 0, 0], bool).reshape(1, 4, 1)
    sample = {
        "image": np.zeros((1, 4, 3), np.uint8),
        "depth": np.float32([2, 99, 0, 0]).reshape(1, 4, 1),
        "mask": row,
        "surface": np.array([1, 1, 1, 0], bool).reshape(1, 4, 1),
        "hole": np.array([0, 0, 0, 1], bool).reshape(1, 4, 1),
    }
    within = transforms.valid_range(sample, 1, 10)
    assert within["surface"].ravel().tolist() == [True, False, True, False]
    thinned = transforms.thin_mask(sample, np.random.default_rng(0), 1e-9)
    assert thinned["surface"].ravel().tolist() == [False, False, True, False]
    for changed in (within, thinned):
        np.testing.assert_array_equal(changed["hole"], sample["hole"])
