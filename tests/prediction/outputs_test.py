"""Depth read back from every format is the depth that was predicted."""

import dataclasses
import pathlib
import sys
import types
from fractions import Fraction

import numpy as np
import pytest
import trimesh
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera
from diffdepth_jax.media.frame_times import Span, clock
from diffdepth_jax.prediction import outputs
from diffdepth_jax.prediction.depth_prediction import DepthPrediction
from diffdepth_jax.prediction.outputs import OutputWriter, check_kinds, check_spread

SIZE = (40, 50)
# All but those that need a library which is no requirement.
APART = ("video", "mp4", "exr", "inverse_depth")
KINDS = tuple(kind for kind in outputs.KINDS if kind not in APART)
CAMERA = camera.centred(60.0, *SIZE, "test")


@pytest.fixture
def prediction():
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.5, 60, SIZE).astype(np.float32)
    image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    trajectory = rng.uniform(0.5, 60, (4, 20, 25)).astype(np.float32)
    return DepthPrediction(depth, 60.0, image, 0.1 * depth, trajectory, depth / 2, 2 * depth)


@pytest.fixture
def written(tmp_path, prediction):
    writer = OutputWriter(tmp_path, KINDS)
    writer.write("sub/a", prediction, CAMERA)
    return tmp_path / "sub"


def test_every_kind_is_written_and_nothing_is_left_over(written):
    writer = OutputWriter(written.parent, KINDS)
    assert set(written.iterdir()) == set(writer.paths("sub/a"))
    assert writer.exist("sub/a") and not writer.exist("sub/b")
    assert len(writer.paths("a")) == 13


def test_depth_is_read_back_from_each_format(written, prediction):
    depth = prediction.depth
    np.testing.assert_array_equal(np.load(written / "a.npy"), depth)
    archive = np.load(written / "a.npz")
    np.testing.assert_array_equal(archive["depth"], depth)
    np.testing.assert_array_equal(archive["spread"], prediction.spread)
    for name, metres in (("low", depth / 2), ("high", 2 * depth)):
        np.testing.assert_array_equal(archive[name], metres)
        np.testing.assert_array_equal(np.load(written / f"a_{name}.npy"), metres)
    np.testing.assert_allclose(archive["fx_fy_cx_cy"], [60, 60, 24.5, 19.5])
    with Image.open(written / "a.tiff") as picture:
        assert picture.mode == "F"
        np.testing.assert_array_equal(np.array(picture), depth)
    np.testing.assert_allclose(np.array(Image.open(written / "a.png")) / 1000, depth, atol=5.1e-4)
    np.testing.assert_array_equal(np.load(written / "a_spread.npy"), prediction.spread)
    points = np.asarray(trimesh.load(written / "a.ply").vertices, np.float32)
    np.testing.assert_array_equal(points[:, 2], depth.ravel())
    points = trimesh.load_scene(written / "a.glb").to_geometry().vertices
    np.testing.assert_array_equal(-np.float32(points)[:, 2], depth.ravel())


def test_pictures_are_pictures(written):
    sizes = [Image.open(written / f"a_{name}.png").size for name in ("color", "side_by_side")]
    assert sizes[1][0] > 1.5 * sizes[0][0] and sizes[0][1] == sizes[1][1]
    with Image.open(written / "a_trajectory.gif") as animation:
        assert animation.n_frames == 4


def test_png_holds_metres_times_scale(tmp_path):
    depth = np.array([[0.5, 3.2107, 255.9], [256.0, 300.0, 12.0]], np.float32)
    writer = OutputWriter(tmp_path, ("png16",), depth_scale=256.0)
    writer.write("x", DepthPrediction(depth, None, None), None)
    values = np.array(Image.open(tmp_path / "x.png"))
    assert values.dtype == np.uint16
    np.testing.assert_array_equal(values == 0, depth >= 256.0)
    assert outputs.count_beyond_png(depth, 256.0) == 2
    within = depth < 256.0
    np.testing.assert_allclose(values[within] / 256.0, depth[within], atol=0.5 / 256 + 1e-6)


def test_settings_reach_the_files(tmp_path, prediction):
    plain = OutputWriter(tmp_path / "a", ("ply", "color"))
    other = OutputWriter(
        tmp_path / "b", ("ply", "color"), color_range=(1.0, 2.0), surface=True, max_points=500
    )
    for writer in (plain, other):
        writer.write("x", prediction, CAMERA)
    meshes = [trimesh.load(writer.directory / "x.ply", process=False) for writer in (plain, other)]
    assert [len(mesh.vertices) for mesh in meshes] == [2000, 500]
    pictures = [np.array(Image.open(w.directory / "x_color.png")) for w in (plain, other)]
    assert other.limits(prediction) == (1.0, 2.0)
    assert len(np.unique(pictures[1][:, :200])) < len(np.unique(pictures[0][:, :200]))
    colored = dataclasses.replace(plain, colormap="grey")
    colored.write("y", prediction, CAMERA)
    inside = np.array(Image.open(tmp_path / "a/y_color.png"))[:400, :500].astype(int)
    assert np.ptp(inside, axis=-1).max() == 0 and inside.std() > 20


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_triangles": 0}, "max_triangles 0: must be 1 or more"),
        ({"colormap": "virids"}, "did you mean viridis"),
    ],
)
def test_settings_that_mean_nothing_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        OutputWriter(pathlib.Path("out"), ("color",), **fields)


def test_a_surface_has_at_most_so_many_triangles(tmp_path, prediction):
    flat = dataclasses.replace(prediction, depth=np.full(SIZE, 2, np.float32))
    writer = OutputWriter(tmp_path, ("glb", "ply"), surface=True, max_triangles=500)
    writer.write("x", flat, CAMERA)
    for name in ("x.glb", "x.ply"):
        assert 100 < len(trimesh.load(tmp_path / name, force="mesh").faces) <= 500


def test_the_denoising_is_an_mp4_too(tmp_path, prediction):
    av = pytest.importorskip("av")
    writer = OutputWriter(tmp_path, ("mp4",))
    writer.write("x", prediction, CAMERA)
    assert writer.exist("x") and outputs.trajectory_steps(("npy", "mp4")) == 10
    assert not outputs.trajectory_steps(("npy",))
    with av.open(tmp_path / "x_trajectory.mp4") as container:
        assert len(list(container.decode(video=0))) == 4


def test_exr_holds_metres(tmp_path, with_holes):
    library = pytest.importorskip("OpenEXR")
    OutputWriter(tmp_path, ("exr",)).write("x", with_holes, CAMERA)
    found = library.File(str(tmp_path / "x.exr")).channels()["Z"].pixels
    np.testing.assert_array_equal(found, with_holes.marked_depth)


def test_a_write_that_fails_leaves_nothing(tmp_path, prediction, monkeypatch):
    writer = OutputWriter(tmp_path, ("npy",))
    writer.write("a", prediction, None)
    before = (tmp_path / "a.npy").read_bytes()

    def fail(path, array):
        path.write_text("half")
        raise OSError("no space")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(OSError, match="no space"):
        writer.write("a", prediction, None)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    assert (tmp_path / "a.npy").read_bytes() == before


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (("npy", "jpg"), "outputs jpg: must be of npy"),
        ((), "empty"),
        (("interval",), "--interval=0.9"),
    ],
)
def test_kinds_that_cannot_be_are_refused(kinds, message):
    with pytest.raises(UserError, match=message):
        check_kinds(kinds)


@pytest.mark.parametrize(
    ("kind", "library", "message"),
    [("exr", "OpenEXR", r"pip install '\.\[exr\]'"), ("mp4", "av", r"pip install '\.\[video\]'")],
)
def test_a_missing_library_is_said_before_anything_is_predicted(
    kind, library, message, monkeypatch
):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=message):
        check_kinds(("npy", kind))


def test_the_spread_needs_an_ensemble_or_a_model_with_a_scale():
    of_diffusion, feed_forward, with_scale = (
        types.SimpleNamespace(has_scale=has_scale, diffuses=diffuses)
        for has_scale, diffuses in ((False, True), (False, False), (True, False))
    )
    with pytest.raises(UserError, match=r"outputs spread: .* give --ensemble=N of 2 or more, or"):
        check_spread(("npy", "spread"), 1, of_diffusion)
    with pytest.raises(UserError, match=r"has none; give a model that was trained with"):
        check_spread(("npy", "spread"), 1, feed_forward)
    check_spread(("npy",), 1, of_diffusion)
    check_spread(("spread",), 2, of_diffusion)
    check_spread(("spread",), 1, with_scale)


HOLES = np.zeros(SIZE, bool)
HOLES[:15], HOLES[20, 30] = True, True  # a sky, and a lone pixel


@pytest.fixture
def with_holes(prediction):
    return dataclasses.replace(prediction, valid=~HOLES)


def test_files_mark_the_holes_and_the_prediction_stays_finite(tmp_path, with_holes):
    OutputWriter(tmp_path, KINDS).write("a", with_holes, CAMERA)
    depth = with_holes.depth
    assert np.isfinite(depth).all()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.where(HOLES, np.nan, depth))
    for found in (np.load(tmp_path / "a.npz")["depth"], np.array(Image.open(tmp_path / "a.tiff"))):
        np.testing.assert_array_equal(found, np.where(HOLES, np.nan, depth))
    for name in ("spread", "low", "high"):
        expected = np.where(HOLES, np.nan, getattr(with_holes, name))
        np.testing.assert_array_equal(np.load(tmp_path / f"a_{name}.npy"), expected)
        np.testing.assert_array_equal(np.load(tmp_path / "a.npz")[name], expected)
    integers = np.array(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(integers == 0, HOLES)
    assert outputs.count_beyond_png(with_holes.marked_depth, 1000.0) == 0
    for suffix in ("_color.png", "_spread.png"):  # ten times as large, with a scale on the right
        picture = np.array(Image.open(tmp_path / f"a{suffix}"))[5::10, 5::10][: SIZE[0], : SIZE[1]]
        np.testing.assert_array_equal((picture == 0).all(-1), HOLES)


def test_points_and_surfaces_leave_the_holes_out(tmp_path, with_holes):
    OutputWriter(tmp_path, ("ply", "glb")).write("a", with_holes, CAMERA)
    kept = with_holes.depth[~HOLES]
    points = np.asarray(trimesh.load(tmp_path / "a.ply").vertices, np.float32)
    np.testing.assert_array_equal(points[:, 2], kept)
    points = trimesh.load_scene(tmp_path / "a.glb").to_geometry().vertices
    np.testing.assert_array_equal(-np.float32(points)[:, 2], kept)


def test_the_colours_of_a_video_are_those_of_its_first_frame_with_depth(
    tmp_path, prediction, monkeypatch
):
    pytest.importorskip("av")
    sky = dataclasses.replace(prediction, valid=np.zeros(SIZE, bool))
    near, far = (dataclasses.replace(prediction, depth=k * prediction.depth) for k in (1, 3))
    draw, drawn = outputs.drawing.depth_picture, []

    def depth_picture(depth, limits, image, **options):
        drawn.append(limits)
        return draw(depth, limits, image, **options)

    monkeypatch.setattr(outputs.drawing, "depth_picture", depth_picture)
    writer, second = OutputWriter(tmp_path, ("video",)), Fraction(1)
    with writer.open_video("a", clock(second, second)) as append:
        for number, frame in enumerate((sky, near, far, sky)):
            append(frame, Span(number * second, second))
    assert drawn[1:] == [writer.limits(near)] * 3 and drawn[0] != drawn[1]


def test_an_image_that_is_all_sky_is_written(tmp_path, prediction):
    sky = dataclasses.replace(prediction, valid=np.zeros(SIZE, bool))
    writer = OutputWriter(tmp_path, KINDS, surface=True)
    writer.write("a", sky, CAMERA)
    assert writer.exist("a") and sky.limits == "no depth" and sky.holes == "100.0% without depth"
    assert np.isnan(np.load(tmp_path / "a.npy")).all()
    assert len(trimesh.load_scene(tmp_path / "a.glb").geometry) == 0
    assert b"element vertex 0" in (tmp_path / "a.ply").read_bytes()


def test_the_video_is_no_file_of_an_image():
    writer = OutputWriter(pathlib.Path("out"), ("video", "npy"))
    assert writer.paths("a") == [pathlib.Path("out/a.npy")]
    assert writer.makes_video and writer.video_path("a") == pathlib.Path("out/a_depth.mp4")
