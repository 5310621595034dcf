"""ONNX files: their depth is the library's at all batches, sizes and numbers of steps."""

import subprocess
import sys

import jax
import numpy as np
import onnxruntime
import pytest
from absl import flags
from absl.testing import flagsaver

from diffdepth_jax import export
from diffdepth_jax.checkpoints.model_names import find_model
from diffdepth_jax.configs import feed_forward
from diffdepth_jax.configuration import groups
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.prediction import model_file, onnx_operators, stablehlo
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.prediction.loading import load_model
from diffdepth_jax.prediction.onnx_graph import Graph
from diffdepth_jax.prediction.onnx_lowering import lower
from diffdepth_jax.prediction.onnx_model import onnx_model
from tests.support import small_model, small_run, tiny
from tests.support.paths import ROOT

SCRIPT = ROOT / "docs/load_onnx.py"


def _images(batch, height, width):
    return np.random.default_rng(batch).integers(0, 256, (batch, height, width, 3), np.uint8)


def _depth(model, images):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["depth"], {"images": images})[0]


def _write(**values):
    with flagsaver.flagsaver():
        flags.FLAGS(["export", *(f"--{name}={value}" for name, value in values.items())])
        export.run()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "small"
    small_model.save(path)
    return path


@pytest.fixture(scope="module")
def file(directory, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "small.onnx"
    _write(checkpoint=directory, output=path)
    return path


@pytest.mark.parametrize(
    ("batch", "size"), [(1, small_run.SIZE), (2, (64, 96)), (5, small_run.SIZE)]
)
def test_one_file_has_the_librarys_depth_at_all_batches(file, directory, batch, size):
    images = _images(batch, *size)
    expected = [made.depth for made in DepthEstimator.from_checkpoint(directory)(list(images))]
    np.testing.assert_allclose(_depth(file, images), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("num_steps", "size", "remat"),
    [(1, (30, 45), False), (4, (200, 50), False), (2, (30, 45), True)],
)
def test_numbers_of_steps_and_other_aspects(num_steps, size, remat):
    model, schedule = tiny.model(), tiny.schedule()
    sampler = {**vars(small_run.config().sampler), "num_steps": num_steps, "remat": remat}
    variables, arguments = tiny.init_model(model), (model, schedule)
    made = onnx_model(*arguments, variables, sampler, small_run.SIZE, 2.0)
    function = stablehlo.depth_function(*arguments, sampler, small_run.SIZE, 2.0)
    expected = jax.jit(function)(variables, _images(1, *size), np.uint32(0))
    found = _depth(made.SerializeToString(), _images(1, *size))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


FAMILIES = {
    "dinov2": {"backbone": "dinov2_nano", "neck": "dpt"},
    "released": {"neck": "released", "codec": "released", "denoiser": "released_plain"},
    "depth_anything": {
        "backbone": "dinov2_nano",
        "neck": "depth_anything",
        "codec": "depth_anything",
        "max_depth": 10.0,
    },
}


@pytest.mark.parametrize("family", FAMILIES)
def test_further_families_are_the_librarys_too(family):
    """They resize a table of positions, and with corners aligned."""
    fields = small_run.fields(sampler__num_steps=1)
    if family == "depth_anything":
        fields = feed_forward.feed_forward(fields)
    fields.model.update(FAMILIES[family])
    config = groups.read(fields)
    model, sampler = create_model(config.model), vars(config.sampler)
    variables, arguments = small_model.random_variables(model), (model, tiny.schedule())
    made = onnx_model(*arguments, variables, sampler, small_run.SIZE)
    function = stablehlo.depth_function(*arguments, sampler, small_run.SIZE)
    expected = jax.jit(function)(variables, _images(2, 30, 45), np.uint32(0))
    found = _depth(made.SerializeToString(), _images(2, 30, 45))
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_script_needs_onnx_runtime_alone(file, directory, tmp_path):
    (image,) = _images(1, *small_run.SIZE)
    np.save(tmp_path / "image.npy", image)
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])\n"
        "assert not {'jax', 'diffdepth_jax', 'onnx'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, SCRIPT, file, "image.npy", "depth.npy"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300)
    expected = DepthEstimator.from_checkpoint(directory)(image).depth
    np.testing.assert_allclose(np.load(tmp_path / "depth.npy"), expected, rtol=1e-4)
    assert len(SCRIPT.read_text().splitlines()) <= 20


def test_what_onnx_cannot_express_is_refused(directory, tmp_path):
    unknown = jax.make_jaxpr(jax.numpy.sort)(np.zeros(3, np.float32))
    with pytest.raises(UserError, match="does not know sort"):
        lower(Graph(), unknown, ["x"])
    for values, message in [
        ({"network_size": "native"}, "network_size native: ONNX export needs a size"),
        ({"dtype": "bfloat16"}, "--dtype means nothing to --format=onnx"),
        ({"parameters": "beside"}, "--parameters means nothing to --format=onnx"),
    ]:
        with pytest.raises(UserError, match=message):
            _write(checkpoint=directory, output=tmp_path / "model.onnx", **values)
    with pytest.raises(UserError, match=r"take 2\.0 GiB, and an ONNX file holds less than 2"):
        model_file._check_bytes({"a": np.broadcast_to(np.float32(0), 2**29)})
    sampler = {**vars(small_run.config().sampler), "eta": 1.0}
    with pytest.raises(UserError, match=r"sampler\.eta above 0"):
        onnx_model(tiny.model(), tiny.schedule(), {}, sampler, small_run.SIZE)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["indoor_small", "synthetic_small"])
def test_the_models_that_ship(name, tmp_path):
    path = find_model(name)
    _write(checkpoint=path, output=tmp_path / "model.onnx")
    height, width = load_model(path)[3].frame.size
    estimate = DepthEstimator.from_checkpoint(path)
    for batch in (1, 2, 5):
        images = _images(batch, height, width)
        expected = [made.depth for made in estimate(list(images))]
        np.testing.assert_allclose(_depth(tmp_path / "model.onnx", images), expected, rtol=1e-4)


def test_a_slice_whose_place_is_computed_is_refused():
    with pytest.raises(UserError, match="dynamic_slice at known places only"):
        onnx_operators._dynamic_slice(Graph(), None, "x", "start", slice_sizes=(1,))
