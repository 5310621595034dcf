"""The file of weights comes back as it was, checks itself, and is read without Orbax."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from flax.traverse_util import flatten_dict

from diffdepth_jax.checkpoints import model_directory, weights_file
from diffdepth_jax.checkpoints.weights_file import Header, read_weights, write_weights
from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.program import compilation_cache
from tests.support import small_model

VARIABLES = {
    "params": {
        "backbone": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(())},
        "head": {"kernel": np.asfortranarray(np.arange(8, dtype=np.float32).reshape(4, 2))},
    },
    "batch_stats": {"count": jnp.int32(7)},
}
HEADER = Header({"kind": "diffusion", "layers": [1, 2]}, step=3, score=0.25)


@pytest.fixture
def written(tmp_path):
    write_weights(tmp_path, VARIABLES, HEADER)
    return tmp_path


def test_what_is_written_comes_back(written):
    variables, header = read_weights(written)
    jax.tree.map(np.testing.assert_array_equal, variables, VARIABLES)
    assert header == HEADER
    assert [path.name for path in written.iterdir()] == ["model.safetensors"]


def test_who_may_read_other_files_may_read_the_weights(written):
    """safetensors 0.8.0 leaves a file to its owner alone."""
    (written / "config.json").touch()
    modes = {path.stat().st_mode for path in written.iterdir()}
    assert len(modes) == 1


def test_other_programs_find_the_arrays_under_their_paths(written):
    arrays = safetensors.numpy.load_file(written / "model.safetensors")
    np.testing.assert_array_equal(
        arrays["params.head.kernel"], VARIABLES["params"]["head"]["kernel"]
    )


def test_what_another_program_wrote_is_read(tmp_path):
    """It has no header of ours, and no checksum."""
    arrays = {"params.head.kernel": np.ones((2, 2), np.float16)}
    safetensors.numpy.save_file(arrays, tmp_path / "model.safetensors", {"format": "pt"})
    variables, header = read_weights(tmp_path)
    assert header == Header() and variables["params"]["head"]["kernel"].dtype == np.float32


def test_halves_come_back_as_float32(tmp_path):
    write_weights(tmp_path, VARIABLES, Header(), half=True)
    arrays = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    assert {str(array.dtype) for array in arrays.values()} == {"float16", "int32"}
    variables, _ = read_weights(tmp_path)
    floats = jax.tree.leaves(variables["params"])
    assert {leaf.dtype for leaf in floats} == {np.dtype(np.float32)}
    jax.tree.map(np.testing.assert_array_equal, variables, VARIABLES)


def test_each_bit_of_the_file_is_checked(written):
    """A changed bit is an error that names the file, or it changes nothing that is read."""
    path = written / "model.safetensors"
    whole, same = path.read_bytes(), 0
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            variables, _ = read_weights(written)
        except UserError as error:
            assert str(path) in str(error) and "restore it from a backup" in str(error)
            continue
        jax.tree.map(np.testing.assert_array_equal, variables, VARIABLES)
        same += 1
    assert same < 0.1 * 8 * len(whole)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_named(written, share):
    path = written / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        read_weights(written)


def test_a_failed_write_leaves_the_older_file(written, monkeypatch):
    def full(arrays, path, texts):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights_file.safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        write_weights(written, VARIABLES, Header(step=4))
    assert read_weights(written)[1] == HEADER
    assert len(list(written.iterdir())) == 1


def test_a_model_is_loaded_without_orbax_and_without_tracing_its_initialisation(tmp_path):
    small_model.save(tmp_path / "model")
    code = """
import sys
from diffdepth_jax.models import variables
def refuse(*_): raise AssertionError("traced")
variables.draw_variables = refuse
from diffdepth_jax import DepthEstimator
DepthEstimator.from_checkpoint(sys.argv[1])
assert not any(name.split(".")[0] == "orbax" for name in sys.modules)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_weights_of_another_programs_file_are_compared_with_the_model(tmp_path):
    small_model.save(tmp_path / "model")
    arrays = {"params.head.kernel": np.ones((2, 2), np.float32)}
    safetensors.numpy.save_file(arrays, tmp_path / "model/model.safetensors")
    with pytest.raises(UserError, match=r"does not fit the model .* leaves differ"):
        DepthEstimator.from_checkpoint(tmp_path / "model")


def _spoiled(value, dtype=np.float32):
    kernel = np.ones((2, 3), dtype)
    kernel[1, 2] = value
    return {"params": {"head": {"kernel": kernel}}}


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.nan, np.float32),
        (np.inf, np.float32),
        (-np.inf, np.float16),
        (np.nan, ml_dtypes.bfloat16),
    ],
)
def test_a_number_that_is_not_finite_is_named(tmp_path, value, dtype, checksum):
    _write(tmp_path, _spoiled(value, dtype), checksum)
    message = r"model\.safetensors: 1 of 6 numbers of params/head/kernel are not finite"
    with pytest.raises(UserError, match=message):
        read_weights(tmp_path)


def test_bfloat16_comes_as_float32(tmp_path):
    _write(tmp_path, _spoiled(0.5, ml_dtypes.bfloat16), checksum=False)
    kernel = read_weights(tmp_path)[0]["params"]["head"]["kernel"]
    assert kernel.dtype == np.float32 and kernel[1, 2] == 0.5


def test_a_double_beyond_float32_is_not_finite(tmp_path):
    _write(tmp_path, _spoiled(1e300, np.float64), checksum=False)
    with pytest.raises(UserError, match="are not finite"):
        read_weights(tmp_path)


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("variables", [{}, {"batch_stats": {"mean": np.ones(2)}}])
def test_a_file_without_parameters_is_named(tmp_path, variables, checksum):
    _write(tmp_path, variables, checksum)
    with pytest.raises(UserError, match=r"model\.safetensors holds no parameters of a model"):
        read_weights(tmp_path)


@pytest.mark.parametrize("names", [("params.a", "params.a.b"), ("params.a.b", "params.a")])
def test_a_name_that_is_an_array_and_a_group_is_damage(tmp_path, names):
    arrays = {name: np.ones(2, np.float32) for name in names}
    safetensors.numpy.save_file(arrays, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="is an array and a group of arrays"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    "texts", [{"model": "3"}, {"step": "null"}, {"step": "[]"}, {"score": '"low"'}, {"model": "{"}]
)
def test_a_header_of_other_types_is_damage(tmp_path, texts):
    arrays = {"params.kernel": np.ones(2, np.float32)}
    safetensors.numpy.save_file(arrays, tmp_path / "model.safetensors", texts)
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        read_weights(tmp_path)


def _write(directory, variables, checksum):
    """As this program writes it, or as another one that copies the header but the checksum."""
    write_weights(directory, variables, Header())
    if not checksum:
        arrays = flatten_dict(variables, sep=".")
        safetensors.numpy.save_file(arrays, directory / "model.safetensors")


@pytest.fixture
def incomplete(tmp_path):
    """A model directory, and a function that writes what is left of its weights."""
    small_model.save(tmp_path / "model")
    variables, header = read_weights(tmp_path / "model")

    def write(change, checksum):
        change(variables["params"])
        write_weights(tmp_path / "model", variables, header)
        if not checksum:
            path = tmp_path / "model/model.safetensors"
            arrays = safetensors.numpy.load_file(path)
            safetensors.numpy.save_file(arrays, path, header.texts())
        return tmp_path / "model"

    return write


def _without_codec(params):
    del params["codec"]


def _with_integers(params):
    params["codec"] = jax.tree.map(lambda x: np.ones(x.shape, np.int32), params["codec"])


@pytest.mark.parametrize("change", [_without_codec, _with_integers])
@pytest.mark.parametrize("checksum", [True, False])
def test_parameters_that_are_missing_or_others_are_named(
    incomplete, monkeypatch, tmp_path, change, checksum
):
    """With a checksum by a program; one that keeps nothing trusts what this program wrote."""
    directory = incomplete(change, checksum)
    if checksum:
        monkeypatch.setattr(compilation_cache, "own_directory", lambda: tmp_path)
        monkeypatch.setattr(model_directory, "own_directory", lambda: tmp_path)
    for _ in range(2):  # that they do not fit is not kept
        with pytest.raises(UserError, match=r"does not fit the model .* params/codec/"):
            DepthEstimator.from_checkpoint(directory)


def test_what_fitted_is_not_compared_again(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation_cache, "own_directory", lambda: tmp_path)
    monkeypatch.setattr(model_directory, "own_directory", lambda: tmp_path)
    small_model.save(tmp_path / "model")
    made = []

    def abstract():
        made.append(None)
        return read_weights(tmp_path / "model")[0]

    for _ in range(2):
        model_directory.load_variables(tmp_path / "model", abstract)
    assert len(made) == 1
    path = tmp_path / "model/config.json"  # another model, so what fitted says nothing
    path.write_text(path.read_text().replace('"neck_features": 8', '"neck_features": 16'))
    model_directory.load_variables(tmp_path / "model", abstract)
    assert len(made) == 2
