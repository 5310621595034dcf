"""A model as one file: what it returns, at which sizes, on what, and what is refused."""

import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from diffdepth_jax import export
from diffdepth_jax.errors import UserError
from diffdepth_jax.media import preprocessing
from diffdepth_jax.models.codec import Decoded
from diffdepth_jax.prediction import placement, stablehlo
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.prediction.loading import load_model
from tests.support import small_model, small_run, tiny
from tests.support.paths import ROOT

SCRIPT = ROOT / "docs/load_exported.py"
TARGET = (64, 96)
SIZES = [(64, 96), (128, 192), (32, 48), (480, 720), (30, 45), (200, 50), (50, 301), (1, 1)]


def _image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def _estimator(dtype=jnp.float32):
    model = tiny.model(dtype=dtype)
    return DepthEstimator(model, tiny.schedule(), tiny.init_model(model), small_run.config())


def _export(dtype=jnp.float32, target=small_run.SIZE, inside=True, **sampler):
    """What a file of the same model holds, read back, and the arrays beside it."""
    model = tiny.model(dtype=dtype)
    predict = stablehlo.depth_function(
        model, tiny.schedule(), {**vars(small_run.config().sampler), **sampler}, target
    )
    exported, arrays = stablehlo.export_depth(predict, tiny.init_model(model), target, inside)
    return jax.export.deserialize(exported.serialize()), arrays


@pytest.fixture(scope="module")
def exported():
    return _export()[0]


@pytest.fixture(scope="module")
def estimate():
    return _estimator()


@pytest.mark.parametrize("size", SIZES)
def test_letterboxing_is_the_librarys(size):
    image = _image(*size)
    placed = placement.Placement(size, preprocessing.letterbox_size(*size, TARGET), TARGET)
    assert tuple(map(int, stablehlo.content_size(*size, TARGET))) == placed.content
    found = jax.jit(stablehlo.letterbox, static_argnums=2)(image[None], placed.content, TARGET)[0]
    levels = np.abs(found - placement.place(image, placed))
    assert levels.max() <= 1  # Pillow's weights are rounded to 22 bits
    assert (levels > 0).mean() < 0.01


@pytest.mark.parametrize("size", SIZES)
def test_depth_returns_to_the_size_of_the_image_as_in_the_library(size):
    placed = placement.Placement(size, preprocessing.letterbox_size(*size, TARGET), TARGET)
    depth = np.random.default_rng(0).uniform(1, 9, TARGET).astype(np.float32)
    found = stablehlo.restore_size(depth[None], placed.content, *size)[0]
    np.testing.assert_allclose(found, placement.take_back(depth, placed), rtol=1e-5)


@pytest.mark.parametrize(("height", "width"), [small_run.SIZE, (64, 96), (480, 720), (16, 24)])
def test_one_file_serves_all_sizes(exported, estimate, height, width):
    image = _image(height, width)
    metres = exported.call(image[None], np.uint32(0))
    assert metres.shape == (1, height, width) and metres.dtype == np.float32
    np.testing.assert_allclose(metres[0], estimate(image).depth, rtol=1e-4)


@pytest.mark.parametrize("batch", [1, 3])
def test_one_file_serves_all_batches_and_seeds(exported, estimate, batch):
    images = np.stack([_image(*small_run.SIZE, seed) for seed in range(batch)])
    metres = exported.call(images, np.uint32(7))
    expected = [prediction.depth for prediction in estimate(list(images), seed=7)]
    np.testing.assert_allclose(metres, expected, rtol=1e-4)
    assert not np.allclose(metres, exported.call(images, np.uint32(8)), rtol=1e-3)


def test_a_file_that_gives_the_middle_needs_no_seed():
    middle, zeros = (_export(start=start)[0] for start in ("middle", "zeros"))
    image = _image(*small_run.SIZE)[None]
    expected = zeros.call(image, np.uint32(0))
    for seed in range(2):
        np.testing.assert_array_equal(middle.call(image, np.uint32(seed)), expected)


def test_native_size_takes_multiples_of_32(estimate):
    exported, _ = _export(target=None)
    image = _image(32, 64)
    metres = exported.call(image[None], np.uint32(0))[0]
    np.testing.assert_allclose(metres, estimate(image, native_size=True).depth, rtol=1e-4)
    with pytest.raises(ValueError, match=r"32\*rows"):
        exported.call(_image(40, 64)[None], np.uint32(0))


@pytest.mark.parametrize("options", [{"target": (40, 56)}, {"num_steps": 1}])
def test_another_network_size_and_number_of_steps(exported, options):
    image = _image(*small_run.SIZE)[None]
    default = exported.call(image, np.uint32(0))
    metres = _export(**options)[0].call(image, np.uint32(0))
    assert metres.shape == default.shape and (metres > 0).all()
    assert not np.allclose(metres, default, rtol=1e-3)


def test_bfloat16_computes_in_it(exported):
    half, _ = _export(dtype=jnp.bfloat16)
    assert "bf16" in half.mlir_module() and "bf16" not in exported.mlir_module()
    image = _image(*small_run.SIZE)
    metres = half.call(image[None], np.uint32(0))[0]
    np.testing.assert_allclose(metres, _estimator(jnp.bfloat16)(image).depth, rtol=0.02)


def test_parameters_beside_have_their_paths(exported):
    other, arrays = _export(inside=False)
    assert arrays["params/backbone/patch_embed/kernel"].shape == (4, 4, 3, 8)
    size = sum(array.nbytes for array in arrays.values())
    assert len(exported.serialize()) - len(other.serialize()) > size / 2
    image = _image(*small_run.SIZE)[None]
    metres = [other.call(arrays, image, np.uint32(0)), exported.call(image, np.uint32(0))]
    np.testing.assert_allclose(*metres, rtol=1e-4)


def test_the_file_is_for_three_platforms(exported):
    assert exported.platforms == ("cpu", "cuda", "tpu")


def _run_script(*arguments, cwd):
    """As where there is neither flax nor this package."""
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])\n"
        "assert not {'flax', 'diffdepth_jax', 'orbax'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, SCRIPT, *arguments]
    subprocess.run(command, cwd=cwd, check=True, timeout=300)


def _write(**values):
    """Runs the program with these flags."""
    with flagsaver.flagsaver():
        flags.FLAGS(["export", *(f"--{name}={value}" for name, value in values.items())])
        export.run()


@pytest.fixture(scope="module")
def model_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models") / "small"
    small_model.save(directory)
    return directory


@pytest.fixture(scope="module")
def model_file(model_directory, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model"
    _write(checkpoint=model_directory, output=path)
    return path


def test_another_process_with_jax_alone_returns_the_same(model_directory, model_file, tmp_path):
    np.save(tmp_path / "image.npy", _image(64, 96))
    _run_script(model_file, "image.npy", "depth.npy", cwd=tmp_path)
    expected = DepthEstimator.from_checkpoint(model_directory)(_image(64, 96)).depth
    np.testing.assert_allclose(np.load(tmp_path / "depth.npy"), expected, rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 20_000, 3), (0, 5, 3)])
def test_the_script_says_which_sizes_it_takes(model_file, tmp_path, shape):
    """JAX says "Error refining shapes" where a side is too long."""
    np.save(tmp_path / "image.npy", np.zeros(shape, np.uint8))
    command = [sys.executable, SCRIPT, model_file, "image.npy", "depth.npy"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "sides must be 1 to 16384" in done.stderr


@pytest.mark.parametrize("name", ["load_exported", "load_onnx"])
def test_a_script_without_its_arguments_says_which_it_takes(name):
    command = [sys.executable, ROOT / f"docs/{name}.py", "model"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith(f"usage: python {name}.py MODEL")


def test_a_canonical_model_exports_metres_of_the_focal_length_that_it_names(
    tmp_path, monkeypatch, capsys
):
    """It assumes 20 pixels and has learned as if through 40; a stand-in for it says 1."""

    def predict(model, variables, image, *_, **__):
        return Decoded(jnp.zeros_like(image[..., :1]))

    monkeypatch.setattr(stablehlo.refinement, "predict", predict)
    lens = {"frame__canonical_focal_length": 40.0, "frame__focal_length": 20.0}
    small_model.save(tmp_path / "canonical", small_run.config(**lens))
    _write(checkpoint=tmp_path / "canonical", output=tmp_path / "model")
    printed = capsys.readouterr().out
    assert "metres hold for a focal length of 20 pixels" in printed
    assert f"python docs/load_exported.py {tmp_path / 'model'} image.npy depth.npy`" in printed
    exported = jax.export.deserialize(bytearray((tmp_path / "model").read_bytes()))
    metres = exported.call(_image(*small_run.SIZE)[None], np.uint32(0))
    np.testing.assert_allclose(metres, np.full(metres.shape, 0.5), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_another_process_with_parameters_beside(model_directory, tmp_path, dtype):
    np.save(tmp_path / "image.npy", _image(64, 96))
    _write(checkpoint=model_directory, output=tmp_path / "model", parameters="beside", dtype=dtype)
    _run_script("model", "image.npy", "depth.npy", "model.npz", cwd=tmp_path)
    estimate = DepthEstimator(*load_model(model_directory, dtype=dtype))
    rtol = 1e-4 if dtype == "float32" else 0.02
    found = np.load(tmp_path / "depth.npy")
    np.testing.assert_allclose(found, estimate(_image(64, 96)).depth, rtol=rtol)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"checkpoint": "nowhere"}, "nowhere does not exist"),
        ({"format": "model", "num_steps": 3}, "--num_steps means nothing to --format=model"),
        ({"output": "missing/model"}, "missing is no folder that can be written"),
        ({"output": f"{__file__}/model"}, "is no folder that can be written"),
        ({"output": "depth.onxn"}, "end in .stablehlo or .onnx, or give --format; did you"),
        ({"output": "depth.bin"}, "depth.bin: must end in .stablehlo or .onnx, or give --format$"),
        ({"output": "."}, "is a folder: give the name of a file"),
        ({"network_size": "480"}, "network_size '480': must be model, native or HEIGHTxWIDTH"),
        ({"network_size": "0x32"}, "network_size '0x32'"),
        ({"network_size": "99999x32"}, "network_size '99999x32'"),
        ({"num_steps": 0}, "num_steps 0"),
        ({"num_steps": 1001}, "num_steps 1001: must be 1 to 1000"),
        ({"dtype": "float16"}, "dtype.*float32.*bfloat16"),
    ],
)
def test_refuses(model_directory, tmp_path, monkeypatch, values, message):
    monkeypatch.chdir(tmp_path)
    values = {"checkpoint": model_directory, "output": "model", **values}
    with pytest.raises((UserError, flags.Error), match=message):
        _write(**values)
    assert not list(tmp_path.iterdir())
