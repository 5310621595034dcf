"""A prediction draws, measures and saves itself."""

import io

import numpy as np
import pytest
import trimesh
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import color_maps, drawing, marks, viewer
from diffdepth_jax.prediction.depth_prediction import DepthPrediction


@pytest.fixture
def prediction():
    """A wall at 3 m before a camera of 50 pixels, with a corner of sky, and its denoising."""
    depth = np.full((40, 60), 3, np.float32)
    depth[20:] = np.linspace(3, 1, 20, dtype=np.float32)[:, None]
    valid = np.ones((40, 60), bool)
    valid[:5, :10] = False
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    return DepthPrediction(
        depth, 50.0, image, 0.1 * depth, np.stack([depth + 1, depth]), valid=valid
    )


def test_its_text_is_a_line(prediction):
    assert repr(prediction) == (
        "DepthPrediction(40 x 60, 1.00 to 3.00 m, 2.1% without depth, focal length 50.0 px)"
    )
    unknown = DepthPrediction(prediction.depth, None, prediction.image)
    assert repr(unknown) == "DepthPrediction(40 x 60, 1.00 to 3.00 m)"


def test_points_project_onto_their_pixels(prediction):
    points = prediction.points()
    assert points.shape == (40, 60, 3) and points.dtype == np.float32
    np.testing.assert_array_equal(points[..., 2], prediction.marked_depth)
    x, y, z = points[30, 7]
    assert (50 * x / z + 29.5, 50 * y / z + 19.5) == pytest.approx((7, 30), abs=1e-4)
    assert points[0, 59, 0] > 0 and points[39, 0, 1] > 0  # x to the right, y down


def test_normals_look_at_the_camera(prediction):
    normals = prediction.normals()
    np.testing.assert_allclose(normals[10, 30], [0, 0, -1], atol=1e-6)
    assert normals[30, 30, 1] < -0.5  # the floor looks up
    assert np.isnan(normals[2, 2]).all()


def test_without_a_focal_length_there_are_no_points(prediction):
    unknown = DepthPrediction(prediction.depth, None, prediction.image)
    for ask in (unknown.points, unknown.normals):
        with pytest.raises(UserError, match="no focal length is known for points"):
            ask()


def test_a_folder_that_is_missing_is_named(prediction, tmp_path):
    with pytest.raises(UserError, match=r"x\.png: the folder \S+/nodir does not exist"):
        prediction.save(tmp_path / "nodir/x.png")
    assert not list(tmp_path.iterdir())


def test_colours_are_those_of_the_map_and_the_limits(prediction):
    limits = drawing.depth_limits(prediction.marked_depth)
    expected = color_maps.colorize_depth(prediction.marked_depth, *limits, colormap="turbo")
    np.testing.assert_array_equal(prediction.color("turbo"), expected)
    assert (prediction.color()[:5, :10] == 0).all()
    own = prediction.color(limits=(2.99, 10.0))
    np.testing.assert_array_equal(own[10, 30], color_maps.color_table(color_maps.depth_map())[0])
    with pytest.raises(UserError, match="colormap 'nope' is unknown"):
        prediction.color("nope")


def test_a_notebook_gets_a_png_of_both_pictures(prediction):
    with Image.open(io.BytesIO(prediction._repr_png_())) as picture:
        assert picture.format == "PNG" and picture.width <= 1280
        assert picture.width > 2 * picture.height


def test_show_opens_the_photo_and_its_depth(prediction, monkeypatch):
    shown = []
    monkeypatch.setattr(viewer, "show", shown.append)
    prediction.show("grey")
    expected = prediction.picture("grey", with_image=True)
    assert [picture.tobytes() for picture in shown] == [expected.tobytes()]


def test_the_extension_names_the_format(prediction, tmp_path):
    for end in ("png", "npy", "npz", "tiff", "ply", "glb", "gif"):
        prediction.save(tmp_path / f"a.{end}")
    marked = prediction.marked_depth
    for found in (
        np.load(tmp_path / "a.npy"),
        np.load(tmp_path / "a.npz")["depth"],
        np.array(Image.open(tmp_path / "a.tiff")),
    ):
        np.testing.assert_array_equal(found, marked)
    np.testing.assert_allclose(np.load(tmp_path / "a.npz")["fx_fy_cx_cy"], [50, 50, 29.5, 19.5])
    points = trimesh.load(tmp_path / "a.ply").vertices
    np.testing.assert_allclose(points, prediction.points()[prediction.valid], rtol=1e-6)
    mesh = trimesh.load(tmp_path / "a.glb", force="mesh")
    assert mesh.visual.material.baseColorTexture.size == (60, 40) and len(mesh.faces) > 4000
    expected = np.array(prediction.picture())
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "a.png")), expected)
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.n_frames == 2
    assert all(marks.is_marked(tmp_path / f"a.{end}") for end in ("png", "tiff", "gif"))


def test_an_mp4_is_written_with_pyav(prediction, tmp_path):
    pytest.importorskip("av")
    prediction.save(tmp_path / "A.MP4")
    assert marks.is_marked(tmp_path / "A.MP4")


def test_exr_is_read_back_by_its_own_library(prediction, tmp_path):
    library = pytest.importorskip("OpenEXR")
    prediction.save(tmp_path / "a.exr")
    found = library.File(str(tmp_path / "a.exr")).channels()["Z"].pixels
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, prediction.marked_depth)


def test_what_cannot_be_saved_is_said_and_leaves_nothing(prediction, tmp_path, monkeypatch):
    still = DepthPrediction(prediction.depth, None, prediction.image)
    for name, message in (
        ("a.bmp", r"a\.bmp: the extension must be one of \.png, \.npy"),
        ("a", "the extension must be one of"),
        ("a.gif", "shows the denoising: predict with trajectory=10"),
        ("a.glb", "no focal length is known"),
    ):
        with pytest.raises(UserError, match=message):
            still.save(tmp_path / name)
    monkeypatch.setitem(__import__("sys").modules, "OpenEXR", None)
    with pytest.raises(UserError, match="EXR needs OpenEXR: pip install OpenEXR"):
        still.save(tmp_path / "a.exr")
    still.save(tmp_path / "a.npz")
    assert "fx_fy_cx_cy" not in np.load(tmp_path / "a.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
