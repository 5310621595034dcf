"""A relative model is trained, scored, predicted with, exported and published; it has no metres."""

import json
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

from diffdepth_jax import DepthEstimator
from diffdepth_jax.configs import depth_anything_v2, feed_forward
from diffdepth_jax.configuration import groups
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation.evaluator import evaluate_checkpoint
from diffdepth_jax.evaluation.report import describe
from diffdepth_jax.evaluation.scoring import resize_depth
from diffdepth_jax.evaluation.submission import submit
from diffdepth_jax.media import drawing
from diffdepth_jax.prediction import record
from diffdepth_jax.prediction.camera_choice import CameraChoice
from diffdepth_jax.prediction.command import predict_files
from diffdepth_jax.prediction.model_file import ExportOptions, export_model
from diffdepth_jax.prediction.options import Options
from diffdepth_jax.prediction.output_names import InputFile
from diffdepth_jax.prediction.outputs import OutputWriter
from diffdepth_jax.prediction.published_model import publish_model
from diffdepth_jax.prediction.report import Report
from diffdepth_jax.prediction.writers import create_writers
from diffdepth_jax.training import loop
from diffdepth_jax.training.pretrained import start_from
from tests.support import small_model, small_run


def fields(**overrides):
    config = feed_forward.feed_forward(small_run.fields(**overrides))
    config.model.update(backbone="dinov2_nano", neck="depth_anything", codec="depth_anything")
    return depth_anything_v2.relative(config)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A directory with random parameters."""
    directory = tmp_path_factory.mktemp("model")
    small_model.save(directory, groups.read(fields()))
    return directory


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "a.png"
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def predicted(model, photo, output, kinds=None, *, camera=None, options=None, **settings):
    options = options or Options()
    writers = create_writers(
        OutputWriter(pathlib.Path(output), (), **settings),
        kinds,
        ensemble=options.ensemble,
        trajectory=options.trajectory,
        interval=options.interval,
    )
    report = Report(1)
    arguments = [InputFile(photo, "a")], writers, camera or CameraChoice(), options, report
    return report, predict_files(str(model), *arguments, overwrite=False)


def test_files_hold_no_metres(model, photo, tmp_path, capsys):
    report, writers = predicted(model, photo, tmp_path)
    names = {path.name for path in tmp_path.iterdir()} - {record.FILE}
    assert names == {"a_color.png", "a_inverse_depth.npy"}
    inverse_depth = np.load(tmp_path / "a_inverse_depth.npy")
    assert inverse_depth.shape == (40, 50) and inverse_depth.dtype == np.float32
    assert inverse_depth.min() >= 0 and np.ptp(inverse_depth) > 0
    line = report.summary(writers.photos)
    assert "_inverse_depth.npy: of a relative model: float32 without unit" in line
    (other,) = DepthEstimator.from_checkpoint(model).relative([photo])
    np.testing.assert_array_equal(other.inverse_depth, inverse_depth)


@pytest.mark.parametrize("kind", ["npy", "png16", "tiff", "glb", "ply", "npz"])
def test_outputs_in_metres_are_refused(model, photo, tmp_path, kind):
    with pytest.raises(UserError, match=f"outputs {kind}: this model is relative"):
        predicted(model, photo, tmp_path, ["color", kind])


def test_a_range_of_metres_for_the_colours_is_refused(model, photo, tmp_path):
    with pytest.raises(UserError, match="color_range: this model is relative"):
        predicted(model, photo, tmp_path, color_range=(1.0, 2.0))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"camera": CameraChoice(fov=60.0)}, "knows no metres: leave the camera out"),
        ({"options": Options(interval=0.9)}, "interval: this model is relative"),
        ({"options": Options(ensemble=4)}, "ensemble 4: this model is a feed-forward one"),
        ({"options": Options(trajectory=True)}, "trajectory: this model is a feed-forward one"),
    ],
)
def test_what_means_nothing_to_it_is_refused_by_its_name(model, photo, tmp_path, chosen, message):
    with pytest.raises(UserError, match=message):
        predicted(model, photo, tmp_path, **chosen)


def test_a_metric_model_has_no_relative_output(photo, tmp_path):
    small_model.save(tmp_path / "metric")
    with pytest.raises(UserError, match="outputs inverse_depth: this model knows metres"):
        predicted(tmp_path / "metric", photo, tmp_path / "out", ["inverse_depth"])


def test_metres_are_refused_in_python_too(model, photo):
    with pytest.raises(UserError, match=r"call estimator\.relative"):
        DepthEstimator.from_checkpoint(model)(photo)


def test_colours_are_warm_where_it_is_near():
    inverse_depth = np.linspace(0, 1, 300, dtype=np.float32).reshape(1, -1).repeat(200, 0)
    limits = drawing.relative_limits(inverse_depth)
    picture = drawing.relative_picture(inverse_depth, limits).astype(int)
    near, far = picture[200, 590], picture[200, 10]  # it is drawn at twice its size
    assert near[0] > near[2] and far[0] < far[2]  # near: red above blue
    assert drawing.relative_picture(
        np.ones((9, 9), np.float32), drawing.relative_limits(np.ones((9, 9)))
    ).any()


def test_depth_is_resized_as_disparity():
    depth = np.array([1.0, 4.0], np.float32).reshape(1, 2, 1)
    found = resize_depth(depth, (1, 4), "bilinear_disparity")
    np.testing.assert_allclose(1 / found[0, :, 0], [1, 0.8125, 0.4375, 0.25], rtol=1e-6)


def test_a_run_trains_and_its_scores_are_aligned(tmp_path):
    """It starts from a metric model, of which the last layer is left out."""
    metric = fields()
    metric.model.max_depth = 5.0
    metric.loss.weights.update(scale_shift_invariant=0.0, silog=1.0)
    metric.evaluation.alignment = ""
    small_model.save(tmp_path / "metric", groups.read(metric))
    config = groups.read(fields(initial_weights=str(tmp_path / "metric"), num_steps=3))
    rows = loop.train(config, str(tmp_path / "run"))
    assert all(0 < row["abs_rel"] < 2 for row in rows.values())
    described = describe(config, ["rooms"])
    assert "ALIGNED to the ground truth (scale and shift of disparity" in described
    assert "predictions resized bilinear_disparity" in described
    assert any("scale_shift_invariant" in str(x) for x in small_run.read_metrics(tmp_path / "run"))
    card = (tmp_path / "run" / "README.md").read_text()
    assert "# Relative inverse depth from one image" in card and "It knows no metres" in card
    again = evaluate_checkpoint(config, tmp_path / "run")
    for name, row in again.items():
        assert row["abs_rel"] == pytest.approx(rows[name]["abs_rel"], rel=1e-5)
    with pytest.raises(UserError, match="a submission is of metres"):
        submit(config, tmp_path / "run", "a.zip")


def test_the_last_layer_is_new_where_the_other_kind_starts_it(model):
    config = groups.read(fields())
    variables = small_model.random_variables(loop.create_evaluator(config, {}).model)
    marked = jax.tree.map(lambda x: np.full_like(x, 9), variables)
    start = {"backbone_weights": "", "initial_weights": str(model)}
    for relative in (True, False):
        found, messages = start_from(
            marked, **start, position_interpolation="size", is_relative=relative
        )
        assert (found["params"]["codec"]["head"]["kernel"] == 9).all() != relative
        assert bool(messages) != relative
        assert not (found["params"]["codec"]["conv"]["kernel"] == 9).any()


def test_an_export_gives_inverse_depth(model, tmp_path):
    """Of an image of the model's size, which neither has to resize."""
    line = export_model(model, tmp_path / "a.stablehlo", ExportOptions())
    assert "relative inverse depth float32" in line and line.endswith("it knows no metres")
    exported = jax.export.deserialize((tmp_path / "a.stablehlo").read_bytes())
    image = np.random.default_rng(0).integers(0, 255, (*small_run.SIZE, 3), np.uint8)
    found = np.asarray(exported.call(image[None], np.uint32(0)))[0]
    (expected,) = DepthEstimator.from_checkpoint(model).relative([image])
    np.testing.assert_allclose(found, expected.inverse_depth, atol=1e-4 * found.max())


def test_a_published_copy_says_the_same(model, photo, tmp_path):
    publish_model(model, tmp_path / "copy")
    first, second = (
        DepthEstimator.from_checkpoint(each).relative([photo])[0].inverse_depth
        for each in (model, tmp_path / "copy")
    )
    np.testing.assert_allclose(first, second, atol=2e-3 * first.max())
    assert json.loads((tmp_path / "copy" / "config.json").read_text())["model"]["max_depth"] == 0
