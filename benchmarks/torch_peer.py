"""The same model in PyTorch, with prediction and training step, in several forms.

This module needs PyTorch, which is not among the requirements, and no JAX. Plain values describe
the model, see `speed_rows.peer_fields`. The forms:
  eager          float32, as in the released code
  channels_last  memory laid out by pixels, PyTorch's fused attention and fused optimizer
  compiled       channels_last with torch.compile
  ..._bfloat16   each of them with autocast, for GPUs
All forms compute the same function. The released denoiser interpolates its condition in each step
in the eager form, as in the released code, and once in the other forms.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import torch_heads, torch_networks
from benchmarks.torch_heads import fill_invalid


@dataclasses.dataclass(frozen=True)
class Form:
    improved: bool = True
    compiled: bool = False
    bfloat16: bool = False

    def layout(self, tensor: Tensor) -> Tensor:
        """Lays an image or feature map out in memory as the form wants it."""
        return tensor.contiguous(memory_format=torch.channels_last) if self.improved else tensor


_FLOAT32 = {
    "eager": Form(improved=False),
    "channels_last": Form(),
    "compiled": Form(compiled=True),
}
FORMS = _FLOAT32 | {
    f"{name}_bfloat16": dataclasses.replace(form, bfloat16=True) for name, form in _FLOAT32.items()
}


class Peer(nn.Module):
    """The parts of `DiffusionDepth`, and the sampler that joins them."""

    def __init__(self, fields: dict[str, Any], form: Form) -> None:
        super().__init__()
        model, self.fields, self.form = fields["model"], fields, form
        channels, features = model["latent_channels"], model["neck_features"]
        self.backbone = torch_networks.SwinTransformer(
            **fields["variant"],
            window=model["window_size"],
            position=model["position_embedding"],
            drop_path_rate=model["drop_path_rate"],
            fused=form.improved,
        )
        widths = self.backbone.channels
        hahi = model["neck"] == "released_hahi"
        self.hahi = torch_networks.HAHI(widths) if hahi else nn.Identity()
        self.neck = torch_networks.FPN(widths, features, model["neck"] != "fpn")
        self.codec = _codec(model)
        if model["denoiser"] == "released":
            self.denoiser = torch_heads.ReleasedDenoiser(channels, features, form.improved)
        else:
            self.denoiser = torch_heads.Denoiser(
                channels,
                features,
                model["denoiser_features"],
                model["denoiser_blocks"],
                model["denoiser_heads"],
                model["condition_levels"],
                model["self_attention"],
            )
        if form.improved:
            self.to(memory_format=torch.channels_last)
        if form.compiled:
            for name in ("encode_image", "denoise", "decode_log_depth", "encode_depth"):
                setattr(self, name, torch.compile(getattr(self, name), dynamic=False))

    def _precision(self, image):
        if not self.form.bfloat16:
            return contextlib.nullcontext()
        return torch.autocast(image.device.type, torch.bfloat16)

    def encode_image(self, image: Tensor) -> Tensor:
        """Encodes a normalised image [B, 3, H, W] to the condition."""
        with self._precision(image):
            pyramid = self.neck(self.hahi(self.backbone(image)))
            return self.denoiser.project(pyramid, image).float()

    def denoise(self, latent: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        with self._precision(latent):
            return self.denoiser(latent, timestep, condition).float()

    def encode_depth(self, depth: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.codec.encoder(depth, mask)

    def decode_log_depth(self, latent: Tensor) -> Tensor:
        return self.codec.decoder(latent)

    def sample(self, noise: Tensor, condition: Tensor) -> Tensor:
        """Returns the refined latent; gradients flow through the last `gradient_steps` steps."""
        fields = self.fields
        latent = torch.zeros_like(noise) if fields["start"] == "zeros" else noise
        alpha_bars = [fields["alpha_bar"][step] for step in fields["timesteps"]] + [1.0]
        detached = len(fields["timesteps"]) - (fields["gradient_steps"] or len(fields["timesteps"]))
        for index, timestep in enumerate(fields["timesteps"]):
            learns = torch.is_grad_enabled() and index >= detached
            with torch.set_grad_enabled(learns):
                steps = torch.full((len(latent),), timestep, device=latent.device)
                prediction = self.denoise(latent, steps, condition)
                latent = self._ddim_step(latent, prediction, *alpha_bars[index : index + 2])
        return latent

    def _ddim_step(self, latent, prediction, alpha_bar, following):
        a, s = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
        kind, bound = self.fields["prediction_type"], self.fields["clip"]
        x0 = {
            "epsilon": lambda: (latent - s * prediction) / a,
            "sample": lambda: prediction,
            "v_prediction": lambda: a * latent - s * prediction,
        }[kind]()
        if bound:
            x0 = x0 + (x0.clamp(-bound, bound) - x0).detach()
        predicts_noise = kind == "epsilon" and not bound
        epsilon = prediction if predicts_noise else (latent - a * x0) / s
        return following**0.5 * x0 + (1 - following) ** 0.5 * epsilon

    @torch.no_grad()
    def predict(self, image: Tensor, noise: Tensor) -> Tensor:
        """Returns metres [B, 1, H, W]."""
        latent = self.sample(noise, self.encode_image(image))
        return self.decode_log_depth(latent)[..., : image.shape[2], : image.shape[3]].exp()


def _codec(model):
    channels = model["latent_channels"]
    if model["codec"] == "released":
        pair = torch_heads.ReleasedEncoder(channels), torch_heads.ReleasedDecoder(channels)
    else:
        pair = (
            torch_heads.DepthEncoder(channels, model["encoder_kernel"]),
            torch_heads.DepthDecoder(channels, model["decoder_width"]),
        )
    return torch_heads.Codec(*pair)


# Variables


def leaves(peer: Peer) -> Iterator[tuple[str, Tensor, Callable]]:
    """Yields (path of our leaf, tensor, f): f(array, shape) turns our array into the tensor."""
    for name, module in peer.named_modules():
        path = name.replace(".", "/")
        if isinstance(module, torch_networks.WindowAttention):
            table = "relative_position_bias_table"
            yield f"params/{path}/{table}", module.relative_position_bias_table, np.reshape
            continue
        names = _NAMES.get(type(module), _NORM if isinstance(module, nn.LayerNorm) else {})
        for attribute, (leaf, order) in names.items():
            tensor = getattr(module, attribute)
            if tensor is not None:
                collection = "batch_stats" if leaf in ("mean", "var") else "params"
                yield f"{collection}/{path}/{leaf}", tensor, order


def _of_dense(array, shape):
    """Turns a dense kernel; also one of an attention, which has another axis for the heads."""
    return array.reshape(shape[::-1]).T


def _of_conv(array, shape):
    features, inputs, *kernel = shape
    return array.reshape(*kernel, inputs, features).transpose(3, 2, 0, 1)


def _of_transposed(array, shape):
    inputs, features, *kernel = shape
    return array.reshape(*kernel, inputs, features).transpose(2, 3, 0, 1)


_BIAS = {"bias": ("bias", np.reshape)}
_NORM = {"weight": ("scale", np.reshape), **_BIAS}
_NAMES = {
    nn.Linear: {"weight": ("kernel", _of_dense), **_BIAS},
    nn.Conv2d: {"weight": ("kernel", _of_conv), **_BIAS},
    nn.ConvTranspose2d: {"weight": ("kernel", _of_transposed), **_BIAS},
    nn.Embedding: {"weight": ("embedding", np.reshape)},
    nn.GroupNorm: _NORM,
    nn.BatchNorm2d: {
        **_NORM,
        "running_mean": ("mean", np.reshape),
        "running_var": ("var", np.reshape),
    },
}


@torch.no_grad()
def load(peer: Peer, variables: Mapping[str, np.ndarray]) -> None:
    """Fills the model from {path: array}, arrays flat or not.

    Raises:
      ValueError: a path is missing on one side.
    """
    targets = {path: (tensor, order) for path, tensor, order in leaves(peer)}
    if targets.keys() != variables.keys():
        raise ValueError(f"not on both sides: {sorted(targets.keys() ^ variables.keys())}")
    for path, (tensor, order) in targets.items():
        array = order(np.asarray(variables[path]), tuple(tensor.shape))
        tensor.copy_(torch.tensor(np.ascontiguousarray(array)))


# Training


def _total(values):
    return values.flatten(1).sum(1)


def _mean(values, mask, scale_invariance=0.0):
    """Mean over images of 1/T sum d^2 - lambda/T^2 (sum d)^2; with lambda None of 1/T sum |d|."""
    values = torch.where(mask, values, 0)
    count = _total(mask.float())
    divisor = count.clamp(min=1)
    if scale_invariance is None:
        per_image = _total(values.abs()) / divisor
    else:
        per_image = _total(values**2) / divisor
        per_image = per_image - scale_invariance * (_total(values) / divisor) ** 2 * (count > 0)
    return per_image.sum() / (count > 0).sum().clamp(min=1)


def loss(peer: Peer, batch: dict[str, Tensor], draws: dict[str, Tensor]) -> Tensor:
    """Returns the objective: the weighted sum of the terms that have a weight."""
    fields, mask = peer.fields, batch["mask"]
    depth = torch.where(mask, batch["depth"], 1.0)
    condition = peer.encode_image(batch["image"])
    latent = peer.sample(draws["start"], condition)
    encoded, cells = peer.encode_depth(batch["depth"], mask)
    height, width = mask.shape[2:]

    def decode(latent):
        return peer.decode_log_depth(latent)[..., :height, :width]

    log_depth = decode(latent)
    bound = fields["clamp_depth"] or float("inf")
    error = log_depth.exp().clamp(max=bound) - depth.clamp(max=bound)
    everywhere = cells.expand_as(encoded)
    terms = {
        "silog": lambda: _mean(log_depth - depth.log(), mask, fields["silog_lambda"]),
        "l1": lambda: _mean(error, mask, None),
        "l2": lambda: _mean(error, mask),
        "latent": lambda: _mean(latent - encoded, everywhere),
        "reconstruction": lambda: _mean(
            decode(fill_invalid(encoded, cells)) - depth.log(), mask, None
        ),
        "ddim": lambda: _denoising_loss(peer, latent, condition, encoded, everywhere, draws),
    }
    return sum(weight * terms[name]() for name, weight in fields["weights"].items())


def _denoising_loss(peer, latent, condition, encoded, cells, draws):
    target, noise = peer.fields["target"], draws["noise"]
    x0, mask = latent, torch.ones_like(cells)
    if target == "ground_truth":
        x0, mask = encoded, cells
    if target != "self_attached":
        x0 = x0.detach()
    alpha_bar = torch.tensor(peer.fields["alpha_bar"], device=noise.device)[draws["timestep"]]
    a, s = alpha_bar.sqrt()[:, None, None, None], (1 - alpha_bar).sqrt()[:, None, None, None]
    prediction = peer.denoise(a * x0 + s * noise, draws["timestep"], condition)
    goals = {"epsilon": noise, "sample": x0, "v_prediction": a * noise - s * x0}
    return _mean(prediction - goals[peer.fields["prediction_type"]], mask)


def draw(
    peer: Peer, size: int, latent_shape: Sequence[int], device: torch.device | str
) -> dict[str, Tensor]:
    """Draws the random start, noise and timesteps of one step."""
    shape = (size, *latent_shape)
    return {
        "start": torch.randn(shape, device=device),
        "noise": torch.randn(shape, device=device),
        "timestep": torch.randint(len(peer.fields["alpha_bar"]), (size,), device=device),
    }


def create_optimizer(peer: Peer) -> torch.optim.Optimizer:
    """Creates the optimizer with constant peak learning rates; a schedule would cost no time."""
    fields, groups = peer.fields["optimizer"], {}
    for path, tensor, _ in leaves(peer):
        if path.startswith("params/"):
            key = path.startswith("params/backbone/"), path.endswith("/kernel")
            groups.setdefault(key, []).append(tensor)
    rate, decay = fields["learning_rate"], fields["weight_decay"]
    groups = [
        {
            "params": tensors,
            "lr": rate * (fields["backbone_multiplier"] if in_backbone else 1),
            "weight_decay": decay if is_kernel else 0.0,
        }
        for (in_backbone, is_kernel), tensors in groups.items()
    ]
    fused = {"fused": True} if peer.form.improved else {}
    if fields["name"] == "sgd":
        return torch.optim.SGD(groups, momentum=fields["momentum"], **fused)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[fields["name"]]
    return kind(groups, betas=(fields["b1"], fields["b2"]), eps=fields["eps"], **fused)


def train_step(
    peer: Peer, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor], draws: dict[str, Tensor]
) -> Tensor:
    """Updates the model once; returns the loss before the update."""
    optimizer.zero_grad(set_to_none=True)
    value = loss(peer, batch, draws)
    value.backward()
    if peer.fields["optimizer"]["clip_norm"]:
        nn.utils.clip_grad_norm_(peer.parameters(), peer.fields["optimizer"]["clip_norm"])
    optimizer.step()
    return value.detach()
