"""Depth and shadows have their closed forms, whatever the order of solids and their windows."""

import numpy as np
import pytest

from diffdepth_jax.datasets.scenes import renderer
from diffdepth_jax.datasets.scenes.projection import focal_length, intrinsics
from diffdepth_jax.datasets.scenes.renderer import trace
from diffdepth_jax.datasets.scenes.rooms import sample_room
from diffdepth_jax.datasets.scenes.scene import Light, Scene, Solid, look
from diffdepth_jax.datasets.scenes.streets import sample_street
from diffdepth_jax.datasets.scenes.textures import Material

GREY = Material("plain", 1.0, np.full(3, 0.5, np.float32), np.full(3, 0.5, np.float32), np.zeros(2))


def solid(shape, centre, half, yaw=0.0, casts_shadow=True):
    return Solid(shape, np.float32(centre), np.float32(half), yaw, GREY, casts_shadow)


FLOOR = solid("box", (0, 0, -1), (200, 200, 1))


@pytest.mark.parametrize("focal_per_width", [0.45, 0.9, 1.8])
def test_floor_has_the_closed_form_z_depth_and_unprojects_onto_itself(focal_per_width):
    camera = look((0.3, -0.2, 1.5), yaw=0.7, pitch=-0.3, roll=0.1)
    camera = camera._replace(focal_per_width=focal_per_width)
    depth, _ = trace(camera, [FLOOR], 33, 41)
    rows, columns = np.nonzero(np.isfinite(depth))
    pixels = np.stack([columns, rows, np.ones_like(rows)])
    rays = camera.rotation @ np.linalg.inv(intrinsics(camera, 33, 41)) @ pixels
    np.testing.assert_allclose(depth[rows, columns], -1.5 / rays[2], rtol=1e-4)
    assert (rays[2] < 0).all() and rows.size > 33 * 41 / 2


def test_a_square_is_twice_as_wide_through_twice_the_focal_length():
    """A face .94 m wide at 4 m: 14.1 pixels at a focal length of 60 pixels, 28.2 at 120."""
    cube = solid("box", (0, 4.47, 1.5), (0.47, 0.47, 0.47))
    for focal_per_width, side in ((0.6, 14), (1.2, 28)):
        camera = look((0, 0, 1.5), 0, 0, 0)._replace(focal_per_width=focal_per_width)
        depth, _ = trace(camera, [cube], 76, 100)
        expected = np.full((76, 100), np.inf)
        expected[38 - side // 2 : 38 + side // 2, 50 - side // 2 : 50 + side // 2] = 4
        np.testing.assert_allclose(depth, expected, rtol=1e-5)


def test_fronto_parallel_wall_has_one_z_depth():
    wall = solid("box", (0, 4, 1.5), (50, 1, 50))
    depth, _ = trace(look((0, 0, 1.5), 0, 0, 0), [wall], 24, 32)
    np.testing.assert_allclose(depth, 3, rtol=1e-6)  # 3 along the axis, up to 3.6 along the ray


@pytest.mark.parametrize("focal_per_width", [0.45, 0.9, 1.2])
@pytest.mark.parametrize("shape", ["sphere", "cylinder"])
def test_round_solids_have_the_closed_form_z_depth(shape, focal_per_width):
    ball = solid(shape, (0, 5, 1.5), (1, 1, 1))
    camera = look((0, 0, 1.5), 0, 0, 0)._replace(focal_per_width=focal_per_width)
    depth, _ = trace(camera, [ball], 61, 81)
    x = (np.arange(81) - 40) / (81 * focal_per_width)
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
    x = ((np.arange(81) - 40) / focal_length(from_above, 81) * 10).astype(np.float32)
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


@pytest.mark.parametrize("focal_per_width", [0.45, 0.9, 1.8])
@pytest.mark.parametrize("sampler", [sample_room, sample_street])
def test_bounding_windows_lose_nothing(sampler, focal_per_width, monkeypatch):
    sampled = [sampler(np.random.default_rng(seed)) for seed in range(4)]
    sampled = [
        scene._replace(camera=scene.camera._replace(focal_per_width=focal_per_width))
        for scene in sampled
    ]
    windowed = [renderer.render(scene, 30, 40) for scene in sampled]

    def whole_image(hulls, camera, height, width):
        return [(slice(0, height), slice(0, width))] * len(hulls)

    monkeypatch.setattr(renderer, "windows_of", whole_image)
    for scene, (image, depth) in zip(sampled, windowed, strict=True):
        full_image, full_depth = renderer.render(scene, 30, 40)
        np.testing.assert_array_equal(depth, full_depth)
        np.testing.assert_allclose(image, full_image, atol=1e-6)
