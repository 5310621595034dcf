"""Points go back to the pixels they came from, also through files and another library's eyes."""

import numpy as np
import pytest
import trimesh

from diffdepth_jax.media import camera, point_cloud

CAMERA = camera.Camera(50.0, 60.0, 14.0, 11.0, "test")


def _scene(height=24, width=31, seed=0):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 20, (height, width)).astype(np.float32)
    return depth, rng.integers(0, 256, (height, width, 3), np.uint8)


def _pixels(points):
    """(u, v) of points in the camera's axes."""
    x, y, z = np.asarray(points, np.float64).T
    return CAMERA.fx * x / z + CAMERA.cx, CAMERA.fy * y / z + CAMERA.cy


def _assert_on_their_pixels(points, depth, step=1):
    rows, columns = np.meshgrid(*(np.arange(0, n, step) for n in depth.shape), indexing="ij")
    u, v = _pixels(points)
    np.testing.assert_allclose(u, columns.ravel(), atol=0.01)
    np.testing.assert_allclose(v, rows.ravel(), atol=0.01)
    np.testing.assert_allclose(points[:, 2], depth[::step, ::step].ravel(), rtol=1e-6)


def test_points_project_onto_their_pixels():
    depth, image = _scene()
    cloud = point_cloud.create(depth, image, CAMERA)
    _assert_on_their_pixels(cloud.points, depth)
    np.testing.assert_array_equal(cloud.colors, image.reshape(-1, 3))
    assert cloud.faces.shape == (0, 3)


@pytest.mark.parametrize(("limit", "step"), [(744, 1), (743, 2), (192, 2), (100, 3), (1, 31)])
def test_large_images_give_every_kth_pixel(limit, step):
    depth, image = _scene()
    cloud = point_cloud.create(depth, image, CAMERA, max_points=limit)
    assert len(cloud.points) == len(cloud.colors) <= limit
    _assert_on_their_pixels(cloud.points, depth, step)


@pytest.mark.parametrize("name", ["a.ply", "a.glb"])
@pytest.mark.parametrize("size", [(24, 31), (1, 1)])
def test_files_hold_every_point_and_colour(name, size, tmp_path):
    depth, image = _scene(*size)
    cloud = point_cloud.create(depth, image, CAMERA)
    write = {"a.ply": point_cloud.write_ply, "a.glb": point_cloud.write_glb}[name]
    write(tmp_path / name, cloud)
    loaded = trimesh.load_scene(tmp_path / name).to_geometry()
    assert isinstance(loaded, trimesh.PointCloud) and len(loaded.vertices) == depth.size
    flip = [1, -1, -1] if name == "a.glb" else [1, 1, 1]
    _assert_on_their_pixels(np.float32(loaded.vertices) * np.float32(flip), depth)
    colors = cloud.colors
    if name == "a.glb":
        colors = 255 * point_cloud._linear_colors(colors)
    np.testing.assert_allclose(loaded.colors[:, :3], colors, atol=1)


@pytest.mark.parametrize("name", ["a.ply", "a.glb"])
def test_a_surface_joins_neighbours_but_not_over_edges(name, tmp_path):
    depth, image = _scene()
    depth[:, :12], depth[:, 12:] = 2.0, 5.0  # a wall before another
    cloud = point_cloud.create(depth, image, CAMERA, surface=True)
    quads = 23 * 11 + 23 * 18
    assert cloud.faces.shape == (2 * quads, 3)
    corners = cloud.points[cloud.faces]
    assert (np.ptp(corners[..., 2], axis=1) == 0).all()
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[:, 2] < 0).all()  # towards the camera
    write = {"a.ply": point_cloud.write_ply, "a.glb": point_cloud.write_glb}[name]
    write(tmp_path / name, cloud)
    loaded = trimesh.load(tmp_path / name, force="mesh", process=False)
    assert len(loaded.vertices) == depth.size and len(loaded.faces) == 2 * quads
    np.testing.assert_allclose(loaded.area, cloud_area(corners), rtol=1e-5)


def cloud_area(corners):
    sides = corners[:, 1:] - corners[:, :1]
    return np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1).sum() / 2


def test_colours_of_glb_are_linear():
    """Middle grey of a screen, 188, has half the light of white."""
    colors = np.array([[0, 188, 255]], np.uint8)
    np.testing.assert_allclose(point_cloud._linear_colors(colors), [[0, 0.503, 1]], atol=1e-3)
