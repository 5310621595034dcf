"""The codecs and denoisers of diffdepth_jax in PyTorch, for comparison; see `torch_networks`."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.torch_networks import LAST, MAX_LOG_DEPTH, TIME_STEPS, ChannelNorm, gelu, resize

# Codecs


def pool_valid(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean over the valid pixels of each 2x2 cell, and whether a cell has any."""
    pad = (0, x.shape[3] % 2, 0, x.shape[2] % 2)
    weight = mask.to(x.dtype)
    x = 4 * F.avg_pool2d(F.pad(torch.where(mask, x, 0), pad), 2)
    count = 4 * F.avg_pool2d(F.pad(weight, pad), 2)
    return x / count.clamp(min=1), count > 0


def fill_invalid(latent: Tensor, mask: Tensor) -> Tensor:
    """Gives invalid cells the mean of the nearest coarser cell that has some ground truth."""
    height, width = latent.shape[2:]
    if height == 1 and width == 1:
        return latent
    coarse = fill_invalid(*pool_valid(latent, mask))
    coarse = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return torch.where(mask, latent, coarse[:, :, :height, :width])


def log_depth_of(z: Tensor) -> Tensor:
    return (-z).clamp(max=MAX_LOG_DEPTH)


class DepthEncoder(nn.Module):
    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(1, channels, size, padding=size // 2)
        self.bottleneck = nn.Conv2d(channels, channels, size, padding=size // 2)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, depth: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x = gelu(self.expand(torch.where(mask, depth, 1.0).clamp(1e-6, 1e6).log()))
        x, mask = pool_valid(x + gelu(self.bottleneck(x)), mask)
        return torch.where(mask, self.project(x).tanh(), 0), mask


def pad_edges(x: Tensor) -> Tensor:
    """Repeats the edges once. F.pad's compiled gradient fails in channels_last (PyTorch 2.13)."""
    x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], 2)
    return torch.cat([x[..., :1], x, x[..., -1:]], 3)


class DepthDecoder(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, width, 1)
        self.up = nn.ConvTranspose2d(width, width // 2, 3, 2, padding=1, output_padding=1)
        self.head = nn.Conv2d(width // 2, 1, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        x = gelu(self.up(pad_edges(gelu(self.expand(latent)))))
        return log_depth_of(self.head(x)[:, :, 2:-2, 2:-2])


class ReleasedEncoder(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(1, channels, 3, 2, padding=1, bias=False)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm0, self.norm1 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, depth: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x = F.leaky_relu(self.norm0(self.conv0(torch.where(mask, depth, 0))), 0.2)
        pad = (0, mask.shape[3] % 2, 0, mask.shape[2] % 2)
        cells = F.max_pool2d(F.pad(mask.to(x.dtype), pad), 2) > 0
        return self.norm1(self.conv1(x)).tanh(), cells


class ReleasedDecoder(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels, 4, 2, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        return log_depth_of(self.head(F.relu(self.norm(self.up(latent)))))


class Codec(nn.Module):
    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder


# Denoisers


def timestep_embedding(timestep: Tensor, features: int) -> Tensor:
    half = features // 2
    steps = torch.arange(half, device=timestep.device)
    angles = timestep.float()[:, None] * torch.exp(-math.log(10_000) * steps / half)
    return torch.cat([angles.cos(), angles.sin()], -1)


class Attention(nn.Module):
    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (
            nn.Linear(features, features) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        q, k, v = (
            layer(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(x.shape))


class PooledAttention(nn.Module):
    def __init__(self, features: int, heads: int, cell: int = 8) -> None:
        super().__init__()
        self.cell = cell
        self.norm, self.attention = ChannelNorm(features), Attention(features, heads)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, self.cell, ceil_mode=True, count_include_pad=False)
        tokens = self.attention(self.norm(pooled).flatten(2).transpose(1, 2))
        y = tokens.transpose(1, 2).reshape(pooled.shape)
        y = resize(y, [self.cell * size for size in pooled.shape[2:]])
        return x + y[:, :, : x.shape[2], : x.shape[3]]


class ResidualBlock(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.time, self.mix = nn.Linear(features, features), nn.Linear(features, features)
        self.norm = ChannelNorm(features)
        self.conv = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        y = self.conv(self.norm(x) * (1 + self.time(time)[:, :, None, None]))
        return x + self.mix(gelu(y).permute(LAST)).permute(0, 3, 1, 2)


class Denoiser(nn.Module):
    """Our denoiser: `project` runs once for an image, `forward` in each step."""

    def __init__(
        self,
        channels: int,
        neck: int,
        features: int,
        blocks: int,
        heads: int,
        levels: int,
        self_attention: bool,
    ) -> None:
        super().__init__()
        self.levels, self.num_blocks, self.features = levels, blocks, features
        for level in range(levels):
            self.add_module(f"level_projections_{level}", nn.Linear(neck, features))
        self.condition_norm, self.out_norm = ChannelNorm(features), ChannelNorm(features)
        self.condition_conv = nn.Conv2d(features, features, 3, padding=1)
        self.stem = nn.Conv2d(3, features, 3, 2)
        self.time_in, self.time_out = nn.Linear(features, features), nn.Linear(features, features)
        self.latent_in = nn.Conv2d(channels, features, 3, padding=1)
        for block in range(blocks):
            self.add_module(f"blocks_{block}", ResidualBlock(features))
        self.attention = PooledAttention(features, heads) if self_attention else None
        self.out = nn.Conv2d(features, channels, 3, padding=1)

    def project(self, pyramid: list[Tensor], image: Tensor) -> Tensor:
        before = [size % 2 for size in image.shape[2:]]  # as Flax's SAME pads for stride 2
        stem = self.stem(F.pad(image, (before[1], 1, before[0], 1)))
        finest = pyramid[0].shape[2:]
        x = 0
        for level, features in enumerate(pyramid[: self.levels]):
            layer = self.get_submodule(f"level_projections_{level}")
            y = layer(features.permute(LAST)).permute(0, 3, 1, 2)
            x = x + (resize(y, finest) if level else y)
        x = resize(self.condition_norm(x), [2 * size for size in finest])
        return self.condition_conv(gelu(x[:, :, : stem.shape[2], : stem.shape[3]] + stem))

    def forward(self, latent: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        time = timestep_embedding(timestep, self.features)
        time = self.time_out(F.silu(self.time_in(time)))
        x = condition + time[:, :, None, None] + self.latent_in(latent)
        for index in range(self.num_blocks):
            x = self.get_submodule(f"blocks_{index}")(x, time)
            if index == 0 and self.attention is not None:
                x = self.attention(x)
        return self.out(gelu(self.out_norm(x)))


class Embedding(nn.Module):
    def __init__(self, channels: int, *features: int) -> None:
        super().__init__()
        for index, width in enumerate(features):
            self.add_module(f"conv{index}", nn.Conv2d(channels, width, 3, padding=1))
            self.add_module(f"norm{index}", nn.GroupNorm(4, width))
            channels = width

    def forward(self, x: Tensor) -> Tensor:
        for index in (0, 1):
            x = self.get_submodule(f"conv{index}")(x)
            x = F.relu(self.get_submodule(f"norm{index}")(x))
        return x


class ReleasedDenoiser(nn.Module):
    """The released denoiser; unless `hoisted`, it interpolates the condition in each step."""

    def __init__(self, channels: int, features: int, hoisted: bool) -> None:
        super().__init__()
        self.hoisted = hoisted
        self.noise_embedding = Embedding(channels, 64, features)
        self.time_embedding = nn.Embedding(TIME_STEPS, features)
        self.fusion_0 = nn.Conv2d(features, features, 3, padding=1)
        self.fusion_1 = nn.Conv2d(features, features, 3, padding=1)
        self.prediction = Embedding(features, 64, channels)

    def project(self, pyramid: list[Tensor], image: Tensor) -> Tensor:
        size = [-(-size // 2) for size in image.shape[2:]]
        return resize(pyramid[0], size, align_corners=True) if self.hoisted else pyramid[0]

    def forward(self, latent: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        x = condition + self.time_embedding(timestep)[:, :, None, None]
        if not self.hoisted:
            x = resize(x, latent.shape[2:], align_corners=True)
        return self.prediction(self.fusion_1(self.fusion_0(x + self.noise_embedding(latent))))
