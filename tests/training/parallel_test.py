"""One step, however it is spread: 1 or 8 devices, jit, pmap, sharded state, micro-batches."""

import json
import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.checkpoints.weights_file import read_weights
from diffdepth_jax.configs import depth_anything_v2, feed_forward
from diffdepth_jax.configuration import groups
from diffdepth_jax.distributed import sharding
from diffdepth_jax.method import diffusion
from diffdepth_jax.models.assembly import DiffusionDepth, create_model
from diffdepth_jax.models.backbones.dinov2 import DINOv2
from diffdepth_jax.models.backbones.efficientnet import EfficientNetLite, Stage
from diffdepth_jax.models.backbones.resnet import ResNet
from diffdepth_jax.models.codec import DepthCodec
from diffdepth_jax.models.detail import DetailPath
from diffdepth_jax.models.layers import resize_bilinear
from diffdepth_jax.models.necks.fpn import FPN
from diffdepth_jax.models.released import ReleasedCodec, ReleasedDenoiser
from diffdepth_jax.training import configured
from diffdepth_jax.training.state import TrainState
from tests.support import compile_flags, small_run, tiny
from tests.support.paths import ROOT

FLAGS = f"--xla_force_host_platform_device_count=8 {compile_flags.QUICK}"
STEPS = 5
SIZE = (13, 18)  # of the images
# name: (model, devices, train.parallel, train.accumulate), compared with that model's reference.
REFERENCES = {
    "plain": ("plain", 1, "jit", 1),
    "normed": ("normed", 1, "jit", 1),
    "feed-forward": ("feed-forward", 1, "jit", 1),
    "efficientnet": ("efficientnet", 1, "jit", 1),
    "dinov2": ("dinov2", 1, "jit", 1),
    "depth-anything": ("depth-anything", 1, "jit", 1),
    "samples": ("samples", 1, "jit", 1),
    "outputs": ("outputs", 1, "jit", 1),
    "details": ("details", 1, "jit", 1),
}
RUNS = {
    "jit": ("plain", 8, "jit", 1),
}
SLOW_RUNS = {
    "normed pmap": ("normed", 8, "pmap", 1),
    "fsdp": ("plain", 8, "fsdp", 1),
    "pmap": ("plain", 8, "pmap", 1),
    "accumulated pmap": ("plain", 8, "pmap", 2),
    "accumulated": ("plain", 1, "jit", 4),
    "accumulated jit": ("plain", 8, "jit", 2),
    "accumulated fsdp": ("plain", 8, "fsdp", 2),
    "normed jit": ("normed", 8, "jit", 1),
    "normed fsdp": ("normed", 8, "fsdp", 1),
    "feed-forward jit": ("feed-forward", 8, "jit", 1),
    "feed-forward pmap": ("feed-forward", 8, "pmap", 1),
    "feed-forward fsdp": ("feed-forward", 8, "fsdp", 1),
    "efficientnet jit": ("efficientnet", 8, "jit", 1),
    "efficientnet pmap": ("efficientnet", 8, "pmap", 1),
    "efficientnet fsdp": ("efficientnet", 8, "fsdp", 1),
    "dinov2 jit": ("dinov2", 8, "jit", 1),
    "dinov2 pmap": ("dinov2", 8, "pmap", 1),
    "dinov2 fsdp": ("dinov2", 8, "fsdp", 1),
    "depth-anything jit": ("depth-anything", 8, "jit", 1),
    "depth-anything pmap": ("depth-anything", 8, "pmap", 1),
    "depth-anything fsdp": ("depth-anything", 8, "fsdp", 1),
    "samples jit": ("samples", 8, "jit", 1),
    "samples pmap": ("samples", 8, "pmap", 1),
    "samples fsdp": ("samples", 8, "fsdp", 1),
    "samples accumulated pmap": ("samples", 8, "pmap", 2),
    "samples accumulated": ("samples", 1, "jit", 4),
    "outputs jit": ("outputs", 8, "jit", 2),
    "outputs pmap": ("outputs", 8, "pmap", 1),
    "outputs fsdp": ("outputs", 8, "fsdp", 1),
    "details jit": ("details", 8, "jit", 2),
    "details pmap": ("details", 8, "pmap", 1),
    "details fsdp": ("details", 8, "fsdp", 1),
}


def normed_model():
    """Batch norms in every part that can have them."""
    return DiffusionDepth(
        backbone=ResNet(depths=(1, 1), channels=(8, 8)),
        neck=FPN(8, batch_norm=True),
        codec=ReleasedCodec(latent_channels=4),
        denoiser=ReleasedDenoiser(latent_channels=4, features=8),
    )


def efficientnet_model():
    stages = Stage(1, 3, 1, 1, 8), Stage(1, 5, 2, 2, 8)
    return tiny.model().clone(backbone=EfficientNetLite(8, stages, drop_path_rate=0.0))


class _Sum(nn.Module):
    """A neck for maps of one size, at stride 14: their sum, brought to stride 2."""

    @nn.compact
    def __call__(self, maps, train=False):
        x = nn.Conv(8, (1, 1))(sum(maps))
        x = resize_bilinear(x, 7 * x.shape[1], 7 * x.shape[2])
        return (x[:, : -(-SIZE[0] // 2), : -(-SIZE[1] // 2)],)


def dinov2_model():
    backbone = DINOv2(8, 2, 2, (1, 2), num_registers=1, table_side=4)
    denoiser = tiny.denoiser(condition_levels=1)
    return tiny.model().clone(backbone=backbone, neck=_Sum(), denoiser=denoiser)


def depth_anything_model():
    return create_model(_depth_anything().model)


def model_with_outputs():
    """A Laplace scale and validity beside depth."""
    return tiny.model().clone(codec=DepthCodec(4, 8, laplace_scale=True, validity=True))


def detailed_model():
    """Light convolutions of the image beside the backbone."""
    model = tiny.model()
    return model.clone(detail=DetailPath(2), denoiser=model.denoiser.clone(detailed=True))


MODELS = {
    "plain": tiny.model,
    "normed": normed_model,
    "feed-forward": tiny.feed_forward_model,
    "efficientnet": efficientnet_model,
    "dinov2": dinov2_model,
    "depth-anything": depth_anything_model,
    "samples": tiny.model,
    "outputs": model_with_outputs,
    "details": detailed_model,
}
FIELDS = {
    "samples": {
        "sampler__global_noise": 0.5,
        "loss__samples": 2,
        "loss__own_noise": True,
        "loss__weights__crps": 1.0,
        "loss__weights__crps_pooled": 1.0,
    },
    "outputs": {
        "model__laplace_scale": True,
        "model__validity": True,
        "loss__weights": {"laplace": 1.0, "validity": 1.0},
    },
    "details": {"loss__weights": {"gradient_matching": 0.5, "crps": 1.0}},
}


def _batches():
    """Of 16 images: all valid, one pixel valid, none valid, and so on, unequal over 8 devices."""
    shares = np.array([1.0, 0.9, 0.01, 0.005, 0, 0, 0.4, 0.4, 0, 0.02, 1, 1, 0.3, 0.05, 0, 0.7])
    rng = np.random.default_rng(0)
    for seed in range(STEPS):
        batch = tiny.batch(len(shares), *SIZE, seed=seed)
        mask = rng.random(batch["mask"].shape) < shares[:, None, None, None]
        depth = np.where(mask, rng.uniform(0.5, 10, mask.shape), np.nan).astype(np.float32)
        hole = ~mask & (rng.random(mask.shape) < shares[::-1, None, None, None])
        yield {**batch, "mask": mask, "depth": depth, "surface": mask, "hole": hole}


def _depth_anything(**overrides):
    """A relative one, with its loss."""
    fields = feed_forward.feed_forward(small_run.fields(**overrides))
    fields.model.update(backbone="dinov2_nano", neck="depth_anything", codec="depth_anything")
    return groups.read(depth_anything_v2.relative(fields))


def _config(model, parallel, accumulate):
    make = _depth_anything if model == "depth-anything" else small_run.fields
    fields = make(
        num_steps=STEPS,
        parallel=parallel,
        accumulate=accumulate,
        optimizer__name="sgd",
        optimizer__schedule="constant",
        optimizer__learning_rate=1e-2,
        optimizer__warmup_steps=0,
        optimizer__momentum=0.9,
        **FIELDS.get(model, {}),
    )
    if model == "depth-anything":
        return fields
    return groups.read(feed_forward.feed_forward(fields) if model == "feed-forward" else fields)


def _run(model, devices, parallel, accumulate):
    """(first gradients, losses, variables after the last step), by SGD: no rounding is amplified.

    The optimizer's momentum after one step is the clipped gradient.
    """
    config, model = _config(model, parallel, accumulate), MODELS[model]()
    _, optimizer = configured.configured_optimizer(config)
    variables = tiny.init_model(model)
    layout = sharding.Layout(parallel, sharding.create_mesh(jax.devices()[:devices]))
    state = layout.place(
        TrainState(jnp.zeros((), jnp.int32), variables, optimizer.init(variables["params"]))
    )
    schedule = diffusion.create_schedule(**vars(config.diffusion))
    step_fn = configured.create_step(config, model, schedule, optimizer, layout, state)
    losses, gradients = [], None
    for batch in _batches():
        state, terms = step_fn(state, layout.shard_batch(batch), jax.random.key(0))
        losses.append({name: float(total) / float(count) for name, (total, count) in terms.items()})
        if gradients is None:
            gradients = layout.local(state.opt_state)
    return jax.device_get((gradients, losses, layout.local(state.variables)))


def _relative(ours, theirs, norm):
    """The largest difference of a leaf, relative to its norm.

    Leaves that hold nothing but rounding, such as a bias before a batch norm, may differ by 1e-6.
    """

    def difference(a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if norm(b) < 1e-6 and norm(a - b) < 1e-6:
            return 0.0
        return norm(a - b) / max(norm(b), 1e-6)

    return max(jax.tree.leaves(jax.tree.map(difference, ours, theirs)))


def _largest(x):
    return float(np.abs(x).max())


def _differences(runs):
    """{run: {what: relative difference from the reference}}."""
    sharding.MIN_SPLIT = 64
    references, found = {run[0]: _run(*REFERENCES[run[0]]) for run in runs.values()}, {}
    for name, run in runs.items():
        (gradients, losses, variables), reference = _run(*run), references[run[0]]
        found[name] = {
            "gradients": _relative(gradients, reference[0], lambda x: float(np.linalg.norm(x))),
            "losses": _relative(losses, reference[1], _largest),
            **{
                group: _relative(tree, reference[2][group], _largest)
                for group, tree in variables.items()
            },
        }
    return found


def _differences_on_virtual_devices(which):
    environment = os.environ | {"XLA_FLAGS": FLAGS, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.parallel_test", which],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def _assert_all_equal(differences, runs):
    limits = {"gradients": 1e-4, "losses": 1e-4, "params": 1e-5, "batch_stats": 1e-5}
    assert differences.keys() == runs.keys()
    for name, found in differences.items():
        statistics = {"batch_stats"} if name.split()[0] in ("normed", "efficientnet") else set()
        assert found.keys() == {"gradients", "losses", "params"} | statistics
        assert all(value <= limits[what] for what, value in found.items()), (name, found)


def test_a_step_is_the_same_however_it_is_spread():
    _assert_all_equal(_differences_on_virtual_devices("RUNS"), RUNS)


@pytest.mark.slow
def test_a_step_is_the_same_in_the_other_combinations():
    _assert_all_equal(_differences_on_virtual_devices("SLOW_RUNS"), SLOW_RUNS)


WRITE = """
import sys
from diffdepth_jax.distributed import sharding
from diffdepth_jax.training import configured, loop
from tests.support import small_run
sharding.MIN_SPLIT = 64
loop.train(small_run.config(parallel=sys.argv[1], num_steps=3), sys.argv[2])
"""


@pytest.mark.slow
def test_runs_of_all_kinds_write_the_same_model_directory(tmp_path):
    """On four devices; the values differ by rounding alone."""
    flags = f"--xla_force_host_platform_device_count=4 {compile_flags.QUICK}"
    environment = {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    written = []
    for kind in ("jit", "pmap", "fsdp"):
        command = [sys.executable, "-c", WRITE, kind, str(tmp_path / kind)]
        subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=True)
        assert (tmp_path / kind / "README.md").is_file()
        written.append(read_weights(tmp_path / kind))
    (reference, header), *others = written
    assert header.step == 3 and header.model["backbone"] == "swin_nano"
    for variables, other in others:
        assert (other.model, other.step) == (header.model, header.step)
        assert _relative(variables["params"], reference["params"], _largest) < 1e-3


if __name__ == "__main__":
    print(json.dumps(_differences({"RUNS": RUNS, "SLOW_RUNS": SLOW_RUNS}[sys.argv[1]]), indent=1))
