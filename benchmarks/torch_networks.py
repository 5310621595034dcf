"""The networks of diffdepth_jax in PyTorch, for comparison. Modules have our parameters' names.

This module needs PyTorch, which is not among the requirements. Feature maps are [B, C, H, W], and
[B, H, W, C] inside the Swin Transformer. `fused` chooses PyTorch's fused attention and caches the
tensors that depend on sizes only. Without it both are done as in the released code.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAST, FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
MASKED = -100.0
MAX_LOG_DEPTH = math.log(1 / 1e-6 - 1)
TIME_STEPS = 1280  # rows of the released code's table
gelu = functools.partial(F.gelu, approximate="tanh")


def resize(x: Tensor, size: Iterable[int], align_corners: bool = False) -> Tensor:
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=align_corners)


# Swin Transformer


@functools.cache
def position_index(window: int) -> Tensor:
    """Returns [T, T]: for each pair of a window's T = w * w tokens a row of the bias table."""
    grid = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    coordinates = torch.stack(grid).flatten(1)
    relative = coordinates[:, :, None] - coordinates[:, None, :] + window - 1
    return relative[0] * (2 * window - 1) + relative[1]


def partition(x: Tensor, window: int) -> Tensor:
    """[B, H, W, C] -> [B * windows, w * w, C]."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // window, window, width // window, window, channels)
    return x.transpose(2, 3).reshape(-1, window * window, channels)


def merge(x: Tensor, window: int, height: int, width: int) -> Tensor:
    """[B * windows, w * w, C] -> [B, H, W, C]."""
    x = x.view(-1, height // window, width // window, window, window, x.shape[-1])
    return x.transpose(2, 3).reshape(-1, height, width, x.shape[-1])


def shift_mask(
    height: int, width: int, window: int, shift: int, device: torch.device | str
) -> Tensor:
    """Returns [windows, T, T], which is added to the logits of a cyclically shifted map."""
    regions = torch.zeros(1, height, width, 1, device=device)
    slices = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for row, rows in enumerate(slices):
        for column, columns in enumerate(slices):
            regions[:, rows, columns] = 3 * row + column
    regions = partition(regions, window)[..., 0]
    different = regions[:, :, None] != regions[:, None, :]
    return torch.zeros(different.shape, device=device).masked_fill(different, MASKED)


_cached_shift_mask = functools.cache(shift_mask)


@torch.compiler.assume_constant_result
def kept_shift_mask(*arguments: Any) -> Tensor:
    """Returns `shift_mask`, cached; torch.compile takes it for a constant."""
    return _cached_shift_mask(*arguments)


class WindowAttention(nn.Module):
    def __init__(self, channels: int, heads: int, window: int, fused: bool) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        self.qkv, self.proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("index", position_index(window).flatten(), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x: [B * windows, T, C]; mask: [windows, T, T] or None."""
        count, tokens, channels = x.shape
        qkv = self.qkv(x).view(count, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.index].view(tokens, tokens, -1)
        bias = bias.permute(2, 0, 1)[None]  # [1, heads, T, T]
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(count // len(mask), 1, 1, 1)
        if self.fused:
            bias = bias.to(qkv.dtype)
            y = F.scaled_dot_product_attention(*qkv, attn_mask=bias)
        else:
            q, k, v = qkv
            y = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(count, tokens, channels))


class SwinBlock(nn.Module):
    def __init__(
        self, channels: int, heads: int, window: int, shift: int, drop_path_rate: float, fused: bool
    ) -> None:
        super().__init__()
        self.window, self.shift, self.drop_path_rate = window, shift, drop_path_rate
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, window, fused)
        self.fc1, self.fc2 = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.create_mask = kept_shift_mask if fused else shift_mask

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attend(self.norm1(x)))
        return x + self.drop_path(self.fc2(F.gelu(self.fc1(self.norm2(x)))))

    def attend(self, x: Tensor) -> Tensor:
        _, height, width, _ = x.shape
        x = F.pad(x, (0, 0, 0, -width % self.window, 0, -height % self.window))
        size, mask = x.shape[1:3], None
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
            mask = self.create_mask(*size, self.window, self.shift, x.device)
        x = merge(self.attn(partition(x, self.window), mask), self.window, *size)
        if self.shift:
            x = torch.roll(x, (self.shift, self.shift), (1, 2))
        return x[:, :height, :width]

    def drop_path(self, x: Tensor) -> Tensor:
        """Drops the branch for random images (stochastic depth)."""
        if not self.training or not self.drop_path_rate:
            return x
        keep = 1 - self.drop_path_rate
        return x * (torch.rand(len(x), 1, 1, 1, device=x.device) < keep) / keep


class PatchMerging(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(parts, -1)))


def coordinate_features(height: int, width: int, device: torch.device | str) -> Tensor:
    """Returns [h, w, 14], see models/backbones/swin.py."""
    y = (torch.arange(height, device=device) + 0.5) / height * 2 - 1
    x = (torch.arange(width, device=device) + 0.5) / width * 2 - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1)
    waves = [f(math.pi * k * grid) for k in (0.5, 1, 2) for f in (torch.sin, torch.cos)]
    return torch.cat([grid, *waves], -1)


class SwinTransformer(nn.Module):
    """[B, 3, H, W] -> four maps [B, C_i, h_i, w_i], the finest first."""

    def __init__(
        self,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        window: int,
        position: bool,
        drop_path_rate: float,
        fused: bool,
    ) -> None:
        super().__init__()
        self.depths = depths
        self.patch_embed = nn.Conv2d(3, embed_dim, 4, 4)
        self.patch_embed_norm = nn.LayerNorm(embed_dim)
        self.position = nn.Linear(14, embed_dim) if position else None
        rates = iter(torch.linspace(0, drop_path_rate, sum(depths)).tolist())
        for stage, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            channels = embed_dim * 2**stage
            if stage:
                self.add_module(f"downsample{stage}", PatchMerging(channels // 2))
            for block in range(depth):
                shift = window // 2 if block % 2 else 0
                module = SwinBlock(channels, heads, window, shift, next(rates), fused)
                self.add_module(f"stage{stage}_block{block}", module)
            self.add_module(f"norm{stage}", nn.LayerNorm(channels))
        self.channels = [embed_dim * 2**stage for stage in range(len(depths))]

    def forward(self, image: Tensor) -> list[Tensor]:
        image = F.pad(image, (0, -image.shape[3] % 4, 0, -image.shape[2] % 4))
        x = self.patch_embed_norm(self.patch_embed(image).permute(LAST))
        if self.position is not None:
            x = x + self.position(coordinate_features(*x.shape[1:3], x.device))
        maps = []
        for stage, depth in enumerate(self.depths):
            if stage:
                x = self.get_submodule(f"downsample{stage}")(x)
            for block in range(depth):
                x = self.get_submodule(f"stage{stage}_block{block}")(x)
            maps.append(self.get_submodule(f"norm{stage}")(x).permute(FIRST))
        return maps


# Necks


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of [B, C, H, W], with Flax's epsilon."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(LAST)).permute(FIRST)


class FPN(nn.Module):
    def __init__(self, channels: Sequence[int], features: int, batch_norm: bool) -> None:
        super().__init__()
        self.activation = F.relu if batch_norm else gelu
        norm = nn.BatchNorm2d if batch_norm else ChannelNorm
        for level, width in enumerate(channels):
            lateral = nn.Conv2d(width, features, 3, padding=1, bias=False)
            self.add_module(f"lateral{level}", lateral)
            self.add_module(f"lateral{level}_norm", norm(features))
            if level < len(channels) - 1:
                up = nn.ConvTranspose2d(features, features, 2, 2, bias=False)
                self.add_module(f"up{level}", up)
                self.add_module(f"up{level}_norm", norm(features))

    def apply_named(self, name: str, x: Tensor) -> Tensor:
        x = self.get_submodule(name)(x)
        return self.activation(self.get_submodule(f"{name}_norm")(x))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        last = len(features) - 1
        pyramid = [self.apply_named(f"lateral{last}", features[last])]
        for level in reversed(range(last)):
            x = self.apply_named(f"up{level}", pyramid[0])
            if x.shape[2:] != features[level].shape[2:]:
                x = F.adaptive_avg_pool2d(x, features[level].shape[2:])
            pyramid.insert(0, self.apply_named(f"lateral{level}", features[level]) + x)
        return pyramid


class ConvBatchNorm(nn.Module):
    def __init__(self, channels: int, features: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, features, size, padding=size // 2, bias=False)
        self.norm = nn.BatchNorm2d(features)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class HAHI(nn.Module):
    """The HAHI neck without its attentions, which the released code switches off."""

    def __init__(self, channels: Sequence[int], embedding: int = 512) -> None:
        super().__init__()
        for level, width in enumerate(channels):
            self.add_module(f"lateral{level}", ConvBatchNorm(width, width, 1))
            self.add_module(f"projection{level}", ConvBatchNorm(width, embedding, 1))
            self.add_module(f"fusion{level}", ConvBatchNorm(width + embedding, width, 3))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [self.level(level, x) for level, x in enumerate(features)]

    def level(self, level: int, x: Tensor) -> Tensor:
        lateral, projection, fusion = (
            self.get_submodule(f"{name}{level}") for name in ("lateral", "projection", "fusion")
        )
        x = lateral(x)
        pair = (projection(x), x) if level == 0 else (x, projection(x))
        return fusion(torch.cat(pair, 1))
