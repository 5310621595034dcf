"""The rows of the speed benchmark: architectures, sizes, steps and batches, and their inputs.

This module needs no PyTorch and computes nothing on a device.
"""

import dataclasses
import itertools
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from benchmarks import earlier_recipe
from diffdepth_jax.configs import default, released_swin, synthetic
from diffdepth_jax.configuration import groups
from diffdepth_jax.configuration.groups import Configuration

# swin_micro has the widths of an earlier configs/synthetic.py; the command can be tried with it.
ARCHITECTURES = ("swin_micro", "swin_tiny", "swin_large", "released")
SIZES = ((228, 304), (480, 640), (352, 1216))
STEPS = (20, 5, 1)
BATCHES = (1, 8)
TASKS = ("predict", "train")
# Fields of the group `loss`; the peer lacks what they switch on.
UNSUPPORTED = {
    "pixel_losses_on_every_step": False,
    "random_timesteps": False,
    "samples": 1,
    "own_noise": False,
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement."""

    architecture: str
    size: tuple[int, int]
    num_steps: int
    batch_size: int
    task: str

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the row's name: swin_tiny 228x304 steps20 batch1 predict."""
        return (
            self.architecture,
            "x".join(map(str, self.size)),
            f"steps{self.num_steps}",
            f"batch{self.batch_size}",
            self.task,
        )

    @property
    def name(self) -> str:
        return " ".join(self.words)


def all_rows(sizes: Iterable[Sequence[int]] = SIZES) -> list[Row]:
    """Returns every row, the cheap ones first."""
    product = itertools.product(BATCHES, TASKS, sizes, ARCHITECTURES, STEPS)
    return [
        Row(architecture, tuple(size), steps, batch, task)
        for batch, task, size, architecture, steps in product
    ]


def select(rows: Iterable[Row], only: Iterable[str]) -> list[Row]:
    """Returns the rows whose names hold all of the words."""
    return [row for row in rows if set(only) <= set(row.words)]


def create_config(
    row: Row, dtype: str = "float32", changes: Mapping[str, Any] | None = None
) -> Configuration:
    """Returns the configuration of a row; `changes` are {"group.field": value}."""
    micro = row.architecture == "swin_micro"
    source = {"released": released_swin, "swin_micro": synthetic}.get(row.architecture, default)
    config = source.get_config()
    if not micro and row.architecture != "released":
        config.model.backbone = row.architecture
    if micro:
        config.update_from_flattened_dict(earlier_recipe.FIELDS)
        config.sampler.remat = True
    config.model.dtype = dtype
    config.frame.size = row.size
    config.sampler.num_steps = row.num_steps
    config.loss.update(UNSUPPORTED)
    config.update_from_flattened_dict(changes or {})
    return groups.read(config)


def peer_fields(
    config: Configuration,
    variant: Mapping[str, Any],
    alpha_bar: Iterable[float],
    timesteps: Iterable[int],
) -> dict[str, Any]:
    """Returns the plain values that make `torch_peer.Peer`.

    Args:
      config: see `create_config`.
      variant: the backbone's fields, see models/backbones/swin.py.
      alpha_bar: the forward process's signal level at each timestep.
      timesteps: the timesteps that the sampler visits.

    Raises:
      ValueError: the configuration asks for something that the peer lacks.
    """
    loss, sampler, optimizer = config.loss, config.sampler, config.optimizer
    demands = {
        **{name: getattr(loss, name) == value for name, value in UNSUPPORTED.items()},
        "eta": sampler.eta == 0,
        "global_noise": sampler.global_noise == 0,
        "outputs": not (config.model.laplace_scale or config.model.validity),
        "crps": not (loss.weights.crps or loss.weights.crps_pooled),
        "freeze": not optimizer.freeze,
        "layer_decay": optimizer.layer_decay == 1,
        "pixel_as_printed": not loss.weights.pixel_as_printed,
        "neck": config.model.neck != "released",
        "denoiser": config.model.denoiser != "released_plain",
    }
    if not all(demands.values()):
        raise ValueError(f"the peer lacks {[name for name, met in demands.items() if not met]}")
    return {
        "model": dict(vars(config.model)),
        "variant": variant,
        "alpha_bar": [float(x) for x in alpha_bar],
        "timesteps": [int(x) for x in timesteps],
        "prediction_type": config.diffusion.prediction_type,
        "start": sampler.start,
        "clip": sampler.clip,
        "gradient_steps": loss.gradient_steps,
        "target": loss.target,
        "silog_lambda": loss.silog_lambda,
        "clamp_depth": loss.clamp_depth,
        "weights": {name: weight for name, weight in vars(loss.weights).items() if weight},
        "optimizer": {**vars(optimizer), "boundaries": None, "factors": None},
    }


def leaf_values(path: str, size: int) -> Float32[np.ndarray, " size"]:
    """Returns float32 [size] for the leaf of this path, the same in every process."""
    if path.endswith(("/scale", "/var")):
        return np.ones(size, np.float32)
    rng = np.random.default_rng(zlib.crc32(path.encode()))
    return np.float32(0.05) * rng.standard_normal(size, np.float32)


def create_inputs(
    batch_size: int, size: Sequence[int], latent_shape: Sequence[int]
) -> dict[str, np.ndarray]:
    """Creates image [B, H, W, 3], depth and mask [B, H, W, 1], and noise [B, *latent_shape]."""
    rng = np.random.default_rng(0)
    shape = (batch_size, *size)
    mask = rng.random((*shape, 1)) < 0.4
    return {
        "image": rng.standard_normal((*shape, 3), np.float32),
        "depth": np.where(mask, rng.uniform(0.5, 10, mask.shape), 0).astype(np.float32),
        "mask": mask,
        "noise": rng.standard_normal((batch_size, *latent_shape), np.float32),
    }


def probe(depth: Float[np.ndarray, "batch height width"]) -> list[float]:
    """Returns log depth at 8x8 places of the first image of [B, H, W], to compare the sides."""
    height, width = depth.shape[1:]
    rows, columns = np.linspace(0, height - 1, 8), np.linspace(0, width - 1, 8)
    return np.log(depth[0][np.ix_(rows.astype(int), columns.astype(int))]).ravel().tolist()
