"""Points go back to the pixels they came from, also through files and another library's eyes."""

import numpy as np
import pytest
import trimesh

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera, glb, point_cloud

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
    assert cloud.faces.shape == (0, 3) and (cloud.normals == [0, 0, -1]).all()
    places = np.floor(cloud.places * [31, 24]).astype(int)
    np.testing.assert_array_equal(image[places[:, 1], places[:, 0]], cloud.colors)
    np.testing.assert_array_equal(point_cloud.unproject(depth, CAMERA).reshape(-1, 3), cloud.points)


@pytest.mark.parametrize(("limit", "step"), [(744, 1), (743, 2), (192, 2), (100, 3), (1, 31)])
def test_large_images_give_every_kth_pixel(limit, step):
    depth, image = _scene()
    cloud = point_cloud.create(depth, image, CAMERA, max_points=limit)
    assert len(cloud.points) == len(cloud.colors) <= limit
    _assert_on_their_pixels(cloud.points, depth, step)


def _write(path, cloud, image):
    if path.suffix == ".ply":
        point_cloud.write_ply(path, cloud)
    else:
        glb.write_glb(path, cloud, image)


@pytest.mark.parametrize("name", ["a.ply", "a.glb"])
@pytest.mark.parametrize("size", [(24, 31), (1, 1)])
def test_files_hold_every_point_and_colour(name, size, tmp_path):
    depth, image = _scene(*size)
    cloud = point_cloud.create(depth, image, CAMERA)
    _write(tmp_path / name, cloud, image)
    loaded = trimesh.load_scene(tmp_path / name).to_geometry()
    assert isinstance(loaded, trimesh.PointCloud) and len(loaded.vertices) == depth.size
    flip = [1, -1, -1] if name == "a.glb" else [1, 1, 1]
    _assert_on_their_pixels(np.float32(loaded.vertices) * np.float32(flip), depth)
    colors = cloud.colors
    if name == "a.glb":
        colors = 255 * glb._linear_colors(colors)
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
    np.testing.assert_allclose(cloud.normals, np.broadcast_to([0, 0, -1], (744, 3)), atol=1e-5)
    _write(tmp_path / name, cloud, image)
    loaded = trimesh.load(tmp_path / name, force="mesh", process=False)
    assert len(loaded.vertices) == depth.size and len(loaded.faces) == 2 * quads
    np.testing.assert_allclose(loaded.area, cloud_area(corners), rtol=1e-5)


def cloud_area(corners):
    sides = corners[:, 1:] - corners[:, :1]
    return np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1).sum() / 2


@pytest.mark.parametrize("limit", [1, 10, 100, 1379, 1380])
def test_a_surface_keeps_its_budget_of_triangles(limit):
    depth, image = _scene()
    flat = np.full_like(depth, 3)
    cloud = point_cloud.create(flat, image, CAMERA, surface=True, max_triangles=limit)
    assert len(cloud.faces) <= limit and (limit < 10 or 2 * len(cloud.faces) > limit / 4)
    assert len(point_cloud.create(flat, image, CAMERA, max_triangles=1).points) == 744


def _plane():
    """Depth of the plane whose points p have normal . p = -4."""
    normal = np.array([0.3, -0.5, -0.8]) / np.linalg.norm([0.3, -0.5, -0.8])
    rays = point_cloud.unproject(np.ones((24, 31), np.float32), CAMERA)
    return (-4 / (rays @ normal)).astype(np.float32), normal


def test_normals_of_a_plane_are_its_own():
    depth, normal = _plane()
    image = np.zeros((24, 31, 3), np.uint8)
    of_pixels = point_cloud.surface_normals(point_cloud.unproject(depth, CAMERA))
    assert of_pixels.dtype == np.float32
    np.testing.assert_allclose(of_pixels, np.broadcast_to(normal, (24, 31, 3)), atol=1e-3)
    vertices = point_cloud.create(depth, image, CAMERA, surface=True).normals
    np.testing.assert_allclose(vertices, np.broadcast_to(normal, (744, 3)), atol=1e-3)


def test_normals_need_neighbours():
    depth, _ = _plane()
    depth[5, 5] = np.nan
    normals = point_cloud.surface_normals(point_cloud.unproject(depth, CAMERA))
    assert np.isnan(normals[[4, 5, 5, 6], [5, 4, 6, 5]]).all() and np.isfinite(normals[4, 4]).all()
    with pytest.raises(UserError, match="normals of 1 x 31 pixels: 2 x 2"):
        point_cloud.surface_normals(point_cloud.unproject(depth[:1], CAMERA))
