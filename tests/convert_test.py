"""Converted directories predict, evaluate and train; bad input leaves none."""

import dataclasses
import functools
import importlib
import math
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from diffdepth_jax.checkpoints.model_directory import load_variables, read_config
from diffdepth_jax.configuration import groups
from diffdepth_jax.convert import convert_file
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import evaluator
from diffdepth_jax.media import preprocessing
from diffdepth_jax.method import diffusion, refinement
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.backbones import resnet, swin
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.torch_import import conversion
from diffdepth_jax.torch_import.kinds import KINDS
from diffdepth_jax.training import loop
from tests.support import parity, small_run
from tests.support.paths import ROOT

KIND = {kind.name.split()[-1]: kind for kind in KINDS if not kind.backbone_only}
TINY = {
    "swin_large": (swin, {"embed_dim": 8, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 2, 4)}),
    "resnet18": (resnet, {"depths": (1, 1, 1, 1), "channels": (8, 8, 16, 16)}),
}


@pytest.fixture(autouse=True)
def tiny_variants(monkeypatch):
    for name, (module, fields) in TINY.items():
        monkeypatch.setitem(module.VARIANTS, name, fields)


def released_config(name):
    """A released architecture, smaller, with data and training of the small run."""
    released = importlib.import_module(f"diffdepth_jax.configs.{name}").get_config()
    fields = small_run.fields()
    with fields.unlocked():
        for group in ("model", "diffusion", "sampler", "loss"):
            fields[group] = released[group]
        fields.model.update(window_size=3, neck_features=8, latent_channels=4)
        fields.sampler.num_steps = 2
        fields.evaluation.baselines = False
    return groups.read(fields)


@dataclasses.dataclass(frozen=True)
class Released:
    """A checkpoint of random values in the layout of a published one, and what it stands for."""

    config: object
    tensors: dict
    variables: dict

    @property
    def model(self):
        return create_model(self.config.model)

    def write(self, path):
        return parity.write_checkpoint(path, self.tensors)


def create(config_name, kind, variant):
    config = released_config(config_name)
    abstract = abstract_variables(create_model(config.model))
    variables = parity.random_variables(abstract)
    tensors = parity.state_dict(variables, KIND[kind].rules, variant)
    return Released(config, tensors, variables)


@pytest.fixture
def swin_checkpoint(tiny_variants):
    return create("released_swin", "Swin", "swinl_hahi")


@pytest.fixture
def resnet_checkpoint(tiny_variants):
    return create("released_res18", "ResNet", "res18")


# What a converted directory is good for


def test_a_converted_directory_predicts_what_the_checkpoint_does(swin_checkpoint, tmp_path):
    path = swin_checkpoint.write(tmp_path / "a.pt")
    messages = convert_file(path, swin_checkpoint.config, tmp_path / "converted")
    assert messages == [
        f"{path}: released DiffusionDepth with Swin, {len(swin_checkpoint.tensors)} tensors"
    ]
    estimator = DepthEstimator.from_checkpoint(tmp_path / "converted")
    image = np.random.default_rng(0).integers(0, 256, (*small_run.SIZE, 3), np.uint8)
    depth = estimator(image, seed=3).depth
    model, config = swin_checkpoint.model, swin_checkpoint.config
    noise = jax.random.normal(jax.random.key(3), model.latent_shape(*small_run.SIZE))
    sampler = {name: value for name, value in vars(config.sampler).items() if name != "remat"}
    schedule = diffusion.create_schedule(**vars(config.diffusion))
    predict = functools.partial(refinement.predict_depth, model, schedule=schedule, **sampler)
    normalized = preprocessing.normalize_image(image)[None]
    expected = jax.jit(predict)(swin_checkpoint.variables, normalized, noise[None])
    assert depth.shape == small_run.SIZE and np.ptp(depth) > 0
    # The random model predicts depths down to 1e-35 m, whose logs have larger rounding errors.
    np.testing.assert_allclose(depth, expected[0, ..., 0], rtol=1e-4, atol=1e-12)


@pytest.fixture
def converted(resnet_checkpoint, tmp_path):
    path = resnet_checkpoint.write(tmp_path / "a.pt")
    convert_file(path, resnet_checkpoint.config, tmp_path / "converted")
    return tmp_path / "converted"


def test_a_converted_directory_holds_configuration_and_values(resnet_checkpoint, converted):
    assert sorted(path.name for path in converted.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert read_config(converted).model == resnet_checkpoint.config.model
    variables = load_variables(converted, lambda: abstract_variables(resnet_checkpoint.model))
    jax.tree.map(np.testing.assert_array_equal, variables, resnet_checkpoint.variables)


def test_a_converted_directory_is_evaluated(resnet_checkpoint, converted):
    rows = evaluator.evaluate_checkpoint(resnet_checkpoint.config, converted)
    assert set(rows) == {"rooms", "streets"}
    assert all(np.isfinite(row["abs_rel"]) for row in rows.values())


@pytest.mark.slow
def test_a_converted_directory_is_fine_tuned(resnet_checkpoint, converted, tmp_path):
    """From its values, and with batch statistics that follow the new data."""
    config = resnet_checkpoint.config
    every = {"log_every": 1, "evaluate_every": 1, "checkpoint_every": 1}
    once = dataclasses.replace(config.train, initial_weights=str(converted), num_steps=1, **every)
    slowly = dataclasses.replace(config.optimizer, warmup_steps=0, learning_rate=1e-5)
    loop.train(dataclasses.replace(config, train=once, optimizer=slowly), tmp_path / "run")
    (line,) = [line for line in small_run.read_metrics(tmp_path / "run") if "train/loss" in line]
    assert np.isfinite(line["train/loss"])
    after = small_run.read_state(tmp_path / "run", 1)["variables"]
    before = resnet_checkpoint.variables
    change = jax.tree.map(lambda a, b: np.abs(a - b).max(), after["params"], before["params"])
    assert 0 < max(jax.tree.leaves(change)) < 1e-4
    for ours, theirs in zip(*map(parity.leaves_of, (after, before)), strict=True):
        assert ours == theirs
    for path, leaf in parity.leaves_of(before["batch_stats"]).items():
        assert np.any(parity.leaves_of(after["batch_stats"])[path] != leaf), path


def swin_file(checkpoint, path):
    """Its backbone alone, in mmseg's naming."""
    prefix = "depth_backbone."
    named = {k.removeprefix(prefix): v for k, v in checkpoint.tensors.items() if prefix in k}
    safetensors.numpy.save_file({k: v.copy() for k, v in named.items()}, path)
    return path


def test_a_backbone_is_converted_alone_and_refused_for_prediction(swin_checkpoint, tmp_path):
    path = swin_file(swin_checkpoint, tmp_path / "a.safetensors")
    messages = convert_file(path, swin_checkpoint.config, tmp_path / "converted")
    assert len(messages) == 1 and "Swin, mmseg naming" in messages[0]
    variables = load_variables(tmp_path / "converted", None)
    expected = conversion.only_backbone(swin_checkpoint.variables)
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    with pytest.raises(UserError, match=r"converted/model\.safetensors does not fit the model"):
        DepthEstimator.from_checkpoint(tmp_path / "converted")


# Bad input


def assert_nothing_left(directory):
    assert not [path for path in directory.iterdir() if "converted" in path.name]


def spoil(checkpoint, **changes):
    return dataclasses.replace(checkpoint, tensors=checkpoint.tensors | changes)


def without(checkpoint, name):
    rest = {other: tensor for other, tensor in checkpoint.tensors.items() if other != name}
    return dataclasses.replace(checkpoint, tensors=rest)


BIAS = "depth_backbone.layers.0.0.bn1.bias"
BAD_CHECKPOINTS = {
    "missing": (lambda c: without(c, BIAS), "nothing in the file fills"),
    "extra": (
        lambda c: spoil(c, extra=np.zeros(1, np.float32)),
        "extra: is no tensor of this kind",
    ),
    "shape": (lambda c: spoil(c, **{BIAS: np.zeros((1, 8), np.float32)}), "giving"),
    "nan": (lambda c: spoil(c, **{BIAS: np.full(8, np.nan, np.float32)}), "not finite"),
}


@pytest.mark.parametrize(("change", "words"), BAD_CHECKPOINTS.values(), ids=BAD_CHECKPOINTS)
def test_a_bad_checkpoint_leaves_no_directory(resnet_checkpoint, tmp_path, change, words):
    path = change(resnet_checkpoint).write(tmp_path / "a.pt")
    with pytest.raises(UserError, match=words):
        convert_file(path, resnet_checkpoint.config, tmp_path / "converted")
    assert_nothing_left(tmp_path)


def test_a_checkpoint_of_another_variant_is_refused_with_all_that_differs(
    resnet_checkpoint, swin_checkpoint, tmp_path
):
    """One that lacks the HAHI neck has it listed, and nothing else."""
    path = resnet_checkpoint.write(tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"with ResNet.*do not fit") as caught:
        convert_file(path, swin_checkpoint.config, tmp_path / "converted")
    assert len(str(caught.value).splitlines()) > 100
    path = swin_checkpoint.write(tmp_path / "b.pt")
    with pytest.raises(UserError) as caught:
        convert_file(path, released_config("released_swin_add"), tmp_path / "converted")
    lines = str(caught.value).splitlines()[1:]
    assert lines and all("hahineck" in line and "the model has no" in line for line in lines)
    assert_nothing_left(tmp_path)


HOSTILE = b"\x80\x02cposix\nsystem\n(X\x0c\x00\x00\x00touch hostiletR."


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "it is empty"), (b"<html>404</html>", "no whole file"), (HOSTILE, "posix.system")],
    ids=["empty", "page", "call"],
)
def test_a_file_that_is_no_checkpoint_leaves_no_directory(
    resnet_checkpoint, tmp_path, monkeypatch, data, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pt").write_bytes(data)
    with pytest.raises(UserError, match=words):
        convert_file(tmp_path / "a.pt", resnet_checkpoint.config, tmp_path / "converted")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_a_truncated_checkpoint_leaves_no_directory(resnet_checkpoint, tmp_path):
    path = resnet_checkpoint.write(tmp_path / "a.pt")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UserError, match="download or save the file again"):
        convert_file(path, resnet_checkpoint.config, tmp_path / "converted")
    assert_nothing_left(tmp_path)


def test_a_directory_with_something_in_it_is_left_alone(resnet_checkpoint, tmp_path):
    path = resnet_checkpoint.write(tmp_path / "a.pt")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("mine")
    with pytest.raises(UserError, match="full exists and is not empty"):
        convert_file(path, resnet_checkpoint.config, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    assert not list(tmp_path.glob(".unfinished*"))


def test_an_empty_directory_is_filled(resnet_checkpoint, tmp_path):
    path = resnet_checkpoint.write(tmp_path / "a.pt")
    (tmp_path / "converted").mkdir()
    convert_file(path, resnet_checkpoint.config, tmp_path / "converted")
    assert (tmp_path / "converted/config.json").is_file()


# The real command, at full size


def run(module, *arguments):
    """(exit status, stdout, stderr)."""
    process = subprocess.run(
        [sys.executable, "-m", f"diffdepth_jax.{module}", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
        timeout=500,
    )
    return process.returncode, process.stdout, process.stderr


def random_tensor(rng, shape):
    """Kernels of unit gain; vectors, variances among them, around a half."""
    if len(shape) == 1:
        return rng.uniform(0.1, 0.9, shape)
    return rng.normal(0, math.prod(shape[1:]) ** -0.5, shape)


def full_size(variant, kind, path):
    """A file with a released checkpoint's names and shapes, and random values."""
    rng, tensors = np.random.default_rng(0), {}
    for name, shape, described in parity.manifest(variant):
        _, _, original = described.partition("alias of ")
        if original:
            tensors[name] = tensors[original]
        elif parity.match(KIND[kind].rules, name)[1] == "ignore":
            tensors[name] = np.full(shape, np.nan, np.float32)
        else:
            tensors[name] = random_tensor(rng, shape).astype(np.float32)
    return parity.write_checkpoint(path, tensors)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "kind", "config"),
    [("res50", "ResNet", "released_res50"), ("mpvit_small", "MPViT", "released_mpvit")],
)
def test_the_command_converts_a_checkpoint_of_full_size_that_predicts(
    tmp_path, variant, kind, config
):
    path, output = full_size(variant, kind, tmp_path / "a.pt"), tmp_path / "converted"
    arguments = (f"--config=configs/{config}.py", "--config.frame.size=(64, 96)")
    status, out, errors = run("convert", f"--checkpoint={path}", f"--output={output}", *arguments)
    assert (status, errors) == (0, "")
    assert f"released DiffusionDepth with {kind}" in out and f"written to {output}" in out
    Image.new("RGB", (96, 64), (90, 40, 10)).save(tmp_path / "photo.png")
    status, out, errors = run(
        "predict",
        f"--checkpoint={output}",
        f"--input={tmp_path / 'photo.png'}",
        f"--output={tmp_path / 'depth'}",
        "--num_steps=2",
    )
    assert status == 0, errors
    assert np.all(np.isfinite(np.load(tmp_path / "depth/photo.npy")))


def assert_error(result, directory, *words):
    status, out, errors = result
    assert (status, out) == (2, "")
    assert errors.startswith("error: ") and "Traceback" not in errors
    assert all(word in errors for word in words), errors
    assert_nothing_left(directory)


@pytest.mark.slow
def test_the_command_ends_on_bad_input_without_a_traceback(resnet_checkpoint, tmp_path):
    good = resnet_checkpoint.write(tmp_path / "good.pt")  # but smaller than the configuration's
    hostile = tmp_path / "hostile.pt"
    hostile.write_bytes(HOSTILE)
    config, output = "--config=configs/released_res18.py", f"--output={tmp_path / 'converted'}"
    for arguments, words in [
        ([f"--checkpoint={good}", config, output], ["do not fit in", "layers.0.0.conv1.weight"]),
        ([f"--checkpoint={hostile}", config, output], ["posix.system"]),
        ([f"--checkpoint={tmp_path}/none.pt", config, output], ["none.pt", "No such file"]),
        ([f"--checkpoint={good}", output], ["--config"]),
        ([config, output], ["checkpoint"]),
        ([f"--checkpoint={good}", config, output, "more"], ["unexpected argument more"]),
    ]:
        assert_error(run("convert", *arguments), tmp_path, *words)


@pytest.mark.slow
def test_the_command_ends_when_it_cannot_write(tmp_path):
    path = full_size("res18", "ResNet", tmp_path / "a.pt")
    config = "--config=configs/released_res18.py"
    for output in ("/proc/converted", tmp_path / "a.pt", tmp_path):
        result = run("convert", f"--checkpoint={path}", config, f"--output={output}")
        assert_error(result, tmp_path, str(output))
