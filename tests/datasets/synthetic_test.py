"""The procedural dataset: reproducible, disjoint, of the right form and not too easy."""

import numpy as np
import pytest

from diffdepth_jax.datasets import synthetic
from diffdepth_jax.datasets.scenes.renderer import trace
from diffdepth_jax.datasets.scenes.scene import look
from diffdepth_jax.datasets.scenes.streets import sample_street
from diffdepth_jax.datasets.synthetic import (
    SyntheticScenes,
    focal_length,
    intrinsics,
    lidar_pattern,
)
from diffdepth_jax.errors import UserError

KINDS = pytest.mark.parametrize("kind", ["rooms", "streets"])


def scenes(kind, split="train", size=(24, 32), num_scenes=1000, seed=0, focal_range=(1.0, 1.0)):
    return SyntheticScenes(kind, split, num_scenes, *size, seed=seed, focal_range=focal_range)


def same(a, b):
    return all(np.array_equal(a[name], b[name]) for name in ("image", "depth", "mask"))


@pytest.mark.parametrize("kind", ["rooms", "streets", "mixed"])
def test_scene_depends_on_its_index_alone(kind):
    forward, other = scenes(kind), scenes(kind, num_scenes=7)
    expected = [forward[i] for i in range(4)]
    assert all(same(other[i], expected[i]) for i in (3, 1, 0, 2, 1))
    assert not any(same(expected[i], expected[j]) for i in range(4) for j in range(i))


@KINDS
def test_splits_and_seeds_are_disjoint(kind):
    sources = [scenes(kind, split, seed=seed) for split in ("train", "eval") for seed in (0, 1)]
    depths = {source[i]["depth"].tobytes() for source in sources for i in range(6)}
    assert len(depths) == 24


def test_mixed_alternates_rooms_and_streets():
    mixed, rooms, streets = (scenes(kind, "eval", seed=3) for kind in ("mixed", "rooms", "streets"))
    for k in range(3):
        assert same(mixed[2 * k], rooms[k])
        assert same(mixed[2 * k + 1], streets[k])


@pytest.mark.parametrize("size", [(1, 1), (17, 31), (40, 20)])
@pytest.mark.parametrize("kind", ["rooms", "streets", "mixed"])
def test_shapes_and_types_at_any_resolution(kind, size):
    sample = scenes(kind, size=size)[np.int64(1)]
    dense = () if kind == "rooms" else ("dense_depth",)  # scene 1 of mixed is a street
    names = {"image", "depth", "mask", "surface", "hole", "intrinsics", *dense}
    assert set(sample) == names
    assert sample["image"].shape == (*size, 3) and sample["image"].dtype == np.uint8
    assert sample["depth"].shape == (*size, 1) and sample["depth"].dtype == np.float32
    assert sample["mask"].shape == (*size, 1) and sample["mask"].dtype == bool
    for name in ("surface", "hole"):
        assert sample[name].shape == (*size, 1) and sample[name].dtype == bool


def test_the_sky_is_a_hole_and_what_the_lidar_misses_is_a_surface():
    streets = [scenes("streets")[i] for i in range(20)]
    for sample in (*streets, scenes("rooms")[0]):
        np.testing.assert_array_equal(sample["surface"], ~sample["hole"])
        assert not (sample["hole"] & (sample["depth"] > 0)).any()
    assert not sample["hole"].any()  # of the room
    assert 0.1 < np.mean([street["hole"] for street in streets]) < 0.6
    assert np.mean([street["surface"] & ~street["mask"] for street in streets]) > 0.3


def test_rooms_are_dense_and_within_ten_metres():
    source = scenes("rooms")
    for i in range(100):
        sample = source[i]
        assert sample["mask"].all()
        assert sample["depth"].min() > 0.2 and sample["depth"].max() <= 10


def test_images_are_exposed_and_varied():
    for kind in ("rooms", "streets"):
        images = np.stack([scenes(kind)[i]["image"] for i in range(40)]).astype(float)
        brightness = images.mean(axis=(1, 2, 3))
        assert brightness.min() > 40 and brightness.max() < 245
        assert brightness.std() > 5
        assert np.median(images.std(axis=(1, 2))) > 10


@pytest.mark.filterwarnings("error")
def test_a_surface_darker_than_black_is_black():
    """A texture of this scene has pixels with light below 0, whose root is nan."""
    image = SyntheticScenes("rooms", "train", 1000, 64, 96, seed=11)[654]["image"]
    assert image[33, 20, 1] < 20


def test_street_depth_is_finite_and_its_mask_like_that_of_a_lidar():
    samples = [scenes("streets", size=(96, 128))[i] for i in range(24)]
    valid = np.mean([sample["mask"].mean() for sample in samples])
    assert 0.02 < valid < 0.06
    for sample in samples:
        assert np.isfinite(sample["depth"]).all()
        assert sample["depth"].min() >= 0 and sample["depth"].max() <= 80
        assert (sample["depth"][sample["mask"]] > 0).all()
        np.testing.assert_array_equal(sample["dense_depth"], sample["depth"])
        assert (sample["dense_depth"] > 0).mean() > 0.5


@pytest.mark.parametrize(
    ("size", "factor"), [((48, 64), 1), ((192, 256), 1), ((48, 64), 0.5), ((48, 64), 2)]
)
def test_share_of_valid_pixels_is_the_same_at_any_resolution_and_focal_length(size, factor):
    source = scenes("streets", size=size, focal_range=(factor, factor))
    valid = np.mean([source[i]["mask"].mean() for i in range(12)])
    assert 0.03 < valid < 0.055


def test_no_ground_truth_on_the_sky():
    sky_pixels = 0
    for i in range(12):
        scene = sample_street(np.random.default_rng([0, 1, i, 0]))
        _, owner = trace(scene.camera, scene.solids, 48, 64)
        sample = scenes("streets", size=(48, 64))[i]
        sky_pixels += (owner < 0).sum()
        assert not sample["mask"][owner < 0].any()
        assert (sample["depth"][owner < 0] == 0).all()
    assert sky_pixels > 1000


def test_lidar_beams_have_the_elevations_of_the_scanner():
    camera = look((0, 0, 1.7), yaw=0.2, pitch=-0.15, roll=0.05)
    rows, columns = np.nonzero(lidar_pattern(np.random.default_rng(0), camera, 240, 320))
    pixels = np.stack([columns, rows, np.ones_like(rows)])
    x, y, z = camera.rotation @ np.linalg.inv(intrinsics(240, 320)) @ pixels
    elevation = np.degrees(np.arctan2(z, np.hypot(x, y)))
    assert -25.3 < elevation.min() < -24 and 1 < elevation.max() < 2.5
    assert np.unique(np.round(elevation / np.degrees(4 / focal_length(320)))).size < 40


@KINDS
def test_depth_does_not_depend_on_the_resolution(kind):
    for i in range(4):
        coarse = scenes(kind, size=(48, 64))[i]["depth"]
        fine = scenes(kind, size=(144, 192))[i]["depth"][1::3, 1::3]
        error = np.abs(coarse - fine) / np.maximum(fine, 0.1)
        assert np.median(error) < 1e-5
        assert np.mean(error > 1e-3) < 0.01  # rounding may move a pixel across an edge


def best_constant(depths):
    """The constant with the least mean of |g - p| / g: the median with weights 1 / g."""
    depths = np.sort(np.concatenate(depths).astype(float))
    weights = np.cumsum(1 / depths)
    return depths[np.searchsorted(weights, weights[-1] / 2)]


@pytest.mark.parametrize(("kind", "least"), [("rooms", 0.30), ("streets", 0.18)])
def test_neither_a_constant_nor_the_mean_map_predicts_depth(kind, least):
    train = [scenes(kind)[i] for i in range(60)]
    held_out = [scenes(kind, "eval")[i] for i in range(20)]
    constant = best_constant([sample["depth"][sample["mask"]] for sample in train])
    counts = sum(sample["mask"].astype(float) for sample in train)
    sums = sum(sample["depth"] * sample["mask"] for sample in train)
    mean_map = np.where(counts > 0, sums / np.maximum(counts, 1), constant)
    for prediction in (np.full_like(mean_map, constant), mean_map):
        errors = [
            np.mean((np.abs(prediction - s["depth"])[s["mask"]]) / s["depth"][s["mask"]])
            for s in held_out
        ]
        assert np.mean(errors) > least


def test_length_and_range_of_the_index():
    source = scenes("rooms", num_scenes=3)
    assert len(source) == 3
    for index in (3, -1):
        with pytest.raises(IndexError, match=str(index)):
            source[index]
    assert len(list(scenes("rooms", num_scenes=3, size=(2, 2)))) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("caves", "train", 1, 2, 2), "'caves': choose rooms, streets or mixed"),
        (("rooms", "test", 1, 2, 2), "'test': choose train or eval"),
        (("rooms", "train", 0, 2, 2), "num_scenes 0 must be positive"),
        (("rooms", "train", 1, 0, 2), "height 0 must be positive"),
        (("rooms", "train", 1, 2, -5), "width -5 must be positive"),
        (("rooms", "train", 1, 2, 2, -1), "seed -1 must not be negative"),
        (("rooms", "train", 1, 2, 2, 0, (2, 1)), r"focal_range \(2, 1\) must be 0 < low <= high"),
        (("rooms", "train", 1, 2, 2, 0, (0, 1)), r"focal_range \(0, 1\) must be 0 < low <= high"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        SyntheticScenes(*arguments)


def test_standard_focal_length_is_a_constant_share_of_the_width():
    assert synthetic.focal_length(200) == 2 * synthetic.focal_length(100) == pytest.approx(180)
    np.testing.assert_allclose(intrinsics(3, 5), [[4.5, 0, 2], [0, 4.5, 1], [0, 0, 1]])


# focal lengths from a range


@pytest.mark.parametrize(
    ("kind", "brightness", "depth", "valid"),
    [("rooms", 90.1953, 3.64483, 768), ("streets", 129.549, 11.0792, 34)],
)
def test_scenes_of_the_standard_camera_are_those_of_version_0_1(kind, brightness, depth, valid):
    sample = scenes(kind)[3]
    assert sample["image"].mean() == pytest.approx(brightness, abs=0.05)
    assert sample["depth"].mean() == pytest.approx(depth, rel=1e-5)
    assert sample["mask"].sum() == valid
    np.testing.assert_array_equal(sample["intrinsics"], intrinsics(24, 32))


@KINDS
def test_factors_are_log_uniform_and_belong_to_the_scene(kind):
    source = scenes(kind, size=(2, 10), focal_range=(0.5, 2.0))
    matrices = [source[i]["intrinsics"] for i in range(80)]
    assert matrices[0].dtype == np.float64
    factors = np.array([matrix[0, 0] for matrix in matrices]) / 9
    assert factors.min() >= 0.5 and factors.max() <= 2
    shares = np.histogram(np.log2(factors), 4, (-1, 1))[0] / 80
    np.testing.assert_allclose(shares, 0.25, atol=0.12)
    wider = scenes(kind, size=(4, 20), focal_range=(0.25, 4.0))
    assert wider[5]["intrinsics"][0, 0] / 18 == pytest.approx(factors[5] ** 2)


def seen_in(other, sample):
    """(z of each pixel's point, the z and the RGB that the point's pixel in `other` holds)."""
    z = sample["depth"][..., 0]
    rows, columns = np.nonzero(z)
    z = z[rows, columns]
    points = np.linalg.inv(sample["intrinsics"]) @ [columns, rows, np.ones_like(z)] * z
    columns, rows, _ = np.round(other["intrinsics"] @ points / z).astype(int)
    assert rows.min() >= 0 and columns.min() >= 0
    return z, other["depth"][rows, columns, 0], other["image"][rows, columns]


@KINDS
def test_other_focal_lengths_show_the_same_scene(kind):
    """All that a long lens sees is, by the two matrices, on the surfaces in a shorter one's view.

    A few points at edges, and far ones on the ground, are off by a pixel of the shorter lens.
    """
    for index in range(3):
        wide, standard, long = (
            scenes(kind, size=(96, 128), focal_range=(factor, factor))[index]
            for factor in (0.5, 1, 2)
        )
        for narrow, other in ((standard, wide), (long, standard), (long, wide)):
            z, found, colours = seen_in(other, narrow)
            error = np.abs(found - z) / z
            assert np.median(error) < 0.02 and np.mean(error > 0.1) < 0.08
            shift = np.abs(colours - narrow["image"][narrow["depth"][..., 0] > 0].astype(float))
            # In rooms the flash is another with each lens.
            assert kind == "rooms" or np.median(shift) < 8
