"""GLB by another library's eyes: the photo lies on the surface, turned the right way."""

import json
import struct

import numpy as np
import pytest
import trimesh

from diffdepth_jax.media import camera, glb, point_cloud


@pytest.fixture
def written(tmp_path):
    """A wall whose photo is red on the left, green at the bottom, and blue elsewhere."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[..., 2], image[:, :30], image[20:, 30:] = 250, [250, 0, 0], [0, 250, 0]
    depth = np.full((40, 60), 3, np.float32)
    depth[0, 0] = np.nan
    cloud = point_cloud.create(depth, image, camera.centred(50.0, 40, 60, ""), surface=True)
    glb.write_glb(tmp_path / "a.glb", cloud, image)
    return tmp_path / "a.glb", image


def test_the_texture_shows_each_point_in_its_colour(written):
    path, image = written
    mesh = trimesh.load(path, force="mesh", process=False)
    texture = mesh.visual.material.baseColorTexture
    assert texture.size == (60, 40)
    colors = trimesh.visual.color.uv_to_color(mesh.visual.uv, texture)[:, :3].astype(int)
    columns = np.rint(50 * mesh.vertices[:, 0] / -mesh.vertices[:, 2] + 29.5).astype(int)
    rows = np.rint(50 * -mesh.vertices[:, 1] / -mesh.vertices[:, 2] + 19.5).astype(int)
    near_an_edge = (np.abs(columns - 29.5) < 9) | (np.abs(rows - 19.5) < 9)  # JPEG blurs them
    difference = np.abs(colors - image[rows, columns])[~near_an_edge]
    assert len(difference) > 800 and difference.max() < 30


def test_normals_are_of_unit_length_and_look_at_the_camera(written):
    mesh = trimesh.load(written[0], force="mesh", process=False)
    np.testing.assert_allclose(mesh.vertex_normals, np.tile([0, 0, 1], (2399, 1)), atol=1e-5)
    assert len(mesh.faces) == 2 * 39 * 59 - 1  # but for the corner without depth


def test_the_file_is_laid_out_as_the_specification_says(written):
    data = written[0].read_bytes()
    magic, version, length, size, kind = struct.unpack("<4sIII4s", data[:20])
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
    assert length % 4 == size % 4 == 0
    gltf = json.loads(data[20 : 20 + size])
    (buffer,), views = gltf["buffers"], gltf["bufferViews"]
    assert buffer["byteLength"] == len(data) - 28 - size
    ends = [0, *(view["byteOffset"] + view["byteLength"] for view in views)]
    assert [view["byteOffset"] for view in views] == ends[:-1] and buffer["byteLength"] - ends[
        -1
    ] < 4
    assert all(view["byteOffset"] % 4 == 0 for view in views[:-1])
    start = 28 + size + views[-1]["byteOffset"]
    assert data[start : start + 2] == b"\xff\xd8"  # where a JPEG begins
    assert gltf["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}


def test_a_large_photo_is_a_small_file(tmp_path):
    """The defaults of a photo of 12 megapixels: the budget holds, whatever the size."""
    image = np.zeros((3000, 4000, 3), np.uint8)
    depth = np.full((3000, 4000), 3, np.float32)
    cloud = point_cloud.create(depth, image, camera.centred(3000.0, 3000, 4000, ""), surface=True)
    glb.write_glb(tmp_path / "a.glb", cloud, image)
    assert 60_000 < len(cloud.faces) <= 100_000
    assert (tmp_path / "a.glb").stat().st_size < 4e6
    texture = trimesh.load(tmp_path / "a.glb", force="mesh").visual.material.baseColorTexture
    assert texture.size == (2048, 1536)


def test_colours_of_points_are_linear():
    """Middle grey of a screen, 188, has half the light of white."""
    colors = np.array([[0, 188, 255]], np.uint8)
    np.testing.assert_allclose(glb._linear_colors(colors), [[0, 0.503, 1]], atol=1e-3)
