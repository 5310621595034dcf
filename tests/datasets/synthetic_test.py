"""The procedural dataset: reproducible, disjoint, geometrically exact and not too easy."""

import numpy as np
import pytest

from diffdepth_jax.datasets import synthetic
from diffdepth_jax.datasets.scenes import renderer
from diffdepth_jax.datasets.scenes.layouts import sample_room, sample_street
from diffdepth_jax.datasets.scenes.renderer import (
    Light,
    Scene,
    Solid,
    interval,
    look,
    to_unit,
    trace,
)
from diffdepth_jax.datasets.scenes.textures import PATTERNS, Material
from diffdepth_jax.datasets.synthetic import (
    SyntheticScenes,
    focal_length,
    intrinsics,
    lidar_pattern,
)
from diffdepth_jax.errors import UserError

GREY = Material("plain", 1.0, np.full(3, 0.5, np.float32), np.full(3, 0.5, np.float32), np.zeros(2))
KINDS = pytest.mark.parametrize("kind", ["rooms", "streets"])
SAMPLERS = pytest.mark.parametrize("sampler", [sample_room, sample_street])


def solid(shape, centre, half, yaw=0.0, casts_shadow=True):
    return Solid(shape, np.float32(centre), np.float32(half), yaw, GREY, casts_shadow)


FLOOR = solid("box", (0, 0, -1), (200, 200, 1))


def scenes(kind, split="train", size=(24, 32), num_scenes=1000, seed=0):
    return SyntheticScenes(kind, split, num_scenes, *size, seed=seed)


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
    assert set(sample) == {"image", "depth", "mask"}
    assert sample["image"].shape == (*size, 3) and sample["image"].dtype == np.uint8
    assert sample["depth"].shape == (*size, 1) and sample["depth"].dtype == np.float32
    assert sample["mask"].shape == (*size, 1) and sample["mask"].dtype == bool


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


def test_street_depth_is_finite_and_its_mask_like_that_of_a_lidar():
    samples = [scenes("streets", size=(96, 128))[i] for i in range(24)]
    valid = np.mean([sample["mask"].mean() for sample in samples])
    assert 0.02 < valid < 0.06
    for sample in samples:
        assert np.isfinite(sample["depth"]).all()
        assert sample["depth"].min() >= 0 and sample["depth"].max() <= 80
        assert (sample["depth"][sample["mask"]] > 0).all()


@pytest.mark.parametrize("size", [(48, 64), (192, 256)])
def test_share_of_valid_pixels_is_the_same_at_any_resolution(size):
    valid = np.mean([scenes("streets", size=size)[i]["mask"].mean() for i in range(12)])
    assert 0.02 < valid < 0.06


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


def test_floor_has_the_closed_form_z_depth_and_unprojects_onto_itself():
    camera = look((0.3, -0.2, 1.5), yaw=0.7, pitch=-0.3, roll=0.1)
    depth, _ = trace(camera, [FLOOR], 33, 41)
    rows, columns = np.nonzero(np.isfinite(depth))
    pixels = np.stack([columns, rows, np.ones_like(rows)])
    rays = camera.rotation @ np.linalg.inv(intrinsics(33, 41)) @ pixels
    np.testing.assert_allclose(depth[rows, columns], -1.5 / rays[2], rtol=1e-4)
    assert (rays[2] < 0).all() and rows.size > 33 * 41 / 2


def test_fronto_parallel_wall_has_one_z_depth():
    wall = solid("box", (0, 4, 1.5), (50, 1, 50))
    depth, _ = trace(look((0, 0, 1.5), 0, 0, 0), [wall], 24, 32)
    np.testing.assert_allclose(depth, 3, rtol=1e-6)  # 3 along the axis, up to 3.6 along the ray


@pytest.mark.parametrize("shape", ["sphere", "cylinder"])
def test_round_solids_have_the_closed_form_z_depth(shape):
    ball = solid(shape, (0, 5, 1.5), (1, 1, 1))
    depth, _ = trace(look((0, 0, 1.5), 0, 0, 0), [ball], 61, 81)
    x = (np.arange(81) - 40) / focal_length(81)
    inside = np.abs(x) < np.tan(np.arcsin(1 / 5))
    # |t (x, 1) - (0, 5)| = 1, the smaller root
    root = np.sqrt(np.where(inside, 25 - 24 * (1 + x**2), 0))
    expected = np.where(inside, (5 - root) / (1 + x**2), np.inf)
    np.testing.assert_allclose(depth[30], expected, rtol=1e-4)  # the row through the centre
    assert np.isinf(depth[0]).all()


def test_yaw_turns_a_box_edge_on():
    box = solid("box", (0, 5, 1.5), (1, 1, 1), yaw=np.pi / 4)
    depth, _ = trace(look((0, 0, 1.5), 0, 0, 0), [box], 31, 41)
    assert depth[15, 20] == pytest.approx(5 - np.sqrt(2), rel=1e-4)


def test_room_is_seen_from_inside():
    room = solid("room", (0, 1, 1), (2, 3, 1))
    depth, _ = trace(look((0, 0, 1), 0, 0, 0), [room], 31, 41)
    assert depth[15, 20] == pytest.approx(4, rel=1e-5)
    assert np.isfinite(depth).all()


def test_nearer_solid_hides_the_farther_whatever_their_order():
    far, near = solid("box", (0, 8, 1.5), (3, 1, 3)), solid("sphere", (0, 4, 1.5), (1, 1, 1))
    camera = look((0, 0, 1.5), 0, 0, 0)
    depth, owner = trace(camera, [far, near], 31, 41)
    reverse_depth, reverse_owner = trace(camera, [near, far], 31, 41)
    assert owner[15, 20] == 1 and depth[15, 20] == pytest.approx(3, rel=1e-5)
    assert owner[15, 8] == 0 and depth[15, 8] == pytest.approx(7, rel=1e-5)
    np.testing.assert_array_equal(depth, reverse_depth)
    np.testing.assert_array_equal(owner[owner >= 0], 1 - reverse_owner[owner >= 0])


@pytest.mark.parametrize("is_sun", [True, False])
def test_shadow_falls_opposite_the_light_and_only_there(is_sun):
    position = np.float32((0.6, 0, 0.8)) if is_sun else np.float32((3, 5, 4))
    plate = solid("box", (0, 5, 2), (0.5, 0.5, 0.001))
    from_above = look((0, 5, 10), yaw=0, pitch=-np.pi / 2, roll=0)
    light = Light(position, is_sun, np.ones(3), np.ones(3))
    scene = Scene(from_above, [plate], light, np.zeros((2, 3)), 1e6)
    x = ((np.arange(81) - 40) / focal_length(81) * 10).astype(np.float32)
    floor = np.stack([x, np.full_like(x, 5), np.zeros_like(x)]).reshape(3, 1, 81)
    # The light through the plate's edges, 2 m above the floor, meets the floor at these x.
    left, right = (-2.0, -1.0) if is_sun else (-4.0, -2.0)
    np.testing.assert_array_equal(renderer.shadowed(floor, scene)[0], (left < x) & (x < right))


def test_what_lies_beyond_a_lamp_casts_no_shadow():
    camera = look((0, 5, 10), yaw=0, pitch=-np.pi / 2, roll=0)
    light = Light(np.float32((0, 5, 2)), False, np.ones(3), np.ones(3))
    floor = np.float32([[0, 0.1, 0.2], [5, 5, 5], [0, 0, 0]]).reshape(3, 1, 3)
    for height, expected in ((1, True), (3, False)):
        plate = solid("box", (0, 5, height), (2, 2, 0.1))
        scene = Scene(camera, [plate], light, np.zeros((2, 3)), 1e6)
        assert (renderer.shadowed(floor, scene) == expected).all()


@SAMPLERS
def test_bounding_windows_lose_nothing(sampler, monkeypatch):
    sampled = [sampler(np.random.default_rng(seed)) for seed in range(6)]
    windowed = [renderer.render(scene, 30, 40) for scene in sampled]

    def whole_image(hulls, camera, height, width):
        return [(slice(0, height), slice(0, width))] * len(hulls)

    monkeypatch.setattr(renderer, "windows_of", whole_image)
    for scene, (image, depth) in zip(sampled, windowed, strict=True):
        full_image, full_depth = renderer.render(scene, 30, 40)
        np.testing.assert_array_equal(depth, full_depth)
        np.testing.assert_allclose(image, full_image, atol=1e-6)


@SAMPLERS
def test_camera_is_in_no_solid_and_at_the_height_of_eyes(sampler):
    for seed in range(150):
        scene = sampler(np.random.default_rng(seed))
        assert 1.2 <= scene.camera.position[2] <= 1.8
        for item in scene.solids:
            to_local = to_unit(item)
            origin = to_local @ (scene.camera.position - item.centre)
            near, far = interval(item.shape, origin, to_local @ scene.camera.rotation[:, 2])
            assert (near < 0 < far) == (item.shape == "room")


@pytest.mark.parametrize("name", PATTERNS)
def test_texture_stays_in_range_and_has_about_the_mean_it_fades_to(name):
    pattern, mean = PATTERNS[name]
    u, v = np.random.default_rng(0).uniform(0, 3, (2, 5000)).astype(np.float32)
    values = pattern(u, v)
    assert 0 <= values.min() < values.max() <= 1
    assert abs(values.mean() - mean) < 0.15


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
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        SyntheticScenes(*arguments)


def test_focal_length_is_a_constant_share_of_the_width():
    assert synthetic.focal_length(200) == 2 * synthetic.focal_length(100) == pytest.approx(180)
    np.testing.assert_allclose(intrinsics(3, 5), [[4.5, 0, 2], [0, 4.5, 1], [0, 0, 1]])
