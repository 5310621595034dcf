"""Draws what every augmentation does, and measures whether image and depth stay together.

python -m benchmarks.augmentation_sheet OUTPUT.png

The picture has a row for each augmentation of a rendered room and of a street. A row shows the
image, the depth (black without ground truth), and both together. In the room, both together are the
image with depth edges in red and masked-out pixels darkened; in the street they are the image with
the LiDAR's points in the colours of depth.

For the numbers, the colours and the depths of a picture both encode where a pixel came from. The
numbers tell by how many pixels the two disagree after an augmentation.
"""

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from diffdepth_jax.datasets import transforms
from diffdepth_jax.datasets.samples import RGB, Sample
from diffdepth_jax.datasets.synthetic import SyntheticScenes
from diffdepth_jax.media import color_maps, drawing

SCENES = {"rooms": (11, (240, 320), (208, 272)), "streets": (3, (192, 640), (176, 352))}
SEED = 3  # -4.1 of 5 degrees
SPARSE = 0.3  # a lower fraction of valid pixels is drawn as points
EDGE = 1.08  # ratio of neighbouring depths
DARKENED = 0.35
CAPTION = 16  # pixels
MARGIN = 2  # pixels at a border, where black is mixed into the image
SIDE = 256  # of the picture that encodes positions, one grey level for each

Augment = Callable[[Any, np.random.Generator], Any]  # f(sample, rng) -> sample


def augmentations(crop_size: tuple[int, int]) -> dict[str, Augment]:
    """Returns {title: f(sample, rng)}; each augmentation is strong enough to be seen."""
    color = functools.partial(transforms.color_jitter, probability=1)
    return {
        "as it was": lambda s, rng: s,
        "rotation, up to 5 degrees": lambda s, rng: transforms.random_rotation(s, rng, 5),
        "zoom up to 1.5, whole": lambda s, rng: transforms.random_zoom(s, rng, 1.5),
        "crop": lambda s, rng: transforms.random_crop(s, rng, crop_size),
        "flip": lambda s, rng: transforms.random_flip(s, rng, 1),
        "gamma": lambda s, rng: color(s, rng, gamma=0.5, brightness=0, color=0),
        "brightness": lambda s, rng: color(s, rng, gamma=0, brightness=0.5, color=0),
        "colour": lambda s, rng: color(s, rng, gamma=0, brightness=0, color=0.3),
        "all of BTS": lambda s, rng: color(
            transforms.random_flip(
                transforms.random_crop(transforms.random_rotation(s, rng, 2.5), rng, crop_size), rng
            ),
            rng,
            gamma=0.1,
            brightness=0.25,
            color=0.1,
        ),
        "resize to half": lambda s, rng: transforms.resize(
            s, tuple(length // 2 for length in s["depth"].shape[:2])
        ),
    }


def overlay(sample: Sample, limits: Sequence[float]) -> RGB:
    """Draws depth onto the image; returns uint8 [H, W, 3]."""
    image, depth, mask = sample["image"], sample["depth"][..., 0], sample["mask"][..., 0]
    if mask.mean() < SPARSE:
        points = color_maps.colorize_depth(depth, *limits, mask=mask, dilate=1)
        return np.where(points.any(axis=-1, keepdims=True), points, image)
    drawn = np.where(mask[..., None], image, DARKENED * image).astype(np.uint8)
    log_depth = np.log(np.where(mask, depth, np.nan))
    edges = np.zeros(mask.shape, bool)
    for axis in (0, 1):
        jump = np.abs(np.diff(log_depth, axis=axis, append=np.nan)) > np.log(EDGE)
        edges |= jump
    return np.where(edges[..., None], np.uint8([255, 0, 0]), drawn)


def row(title: str, sample: Sample, limits: Sequence[float]) -> RGB:
    """Draws image, depth and overlay beside each other, under a title."""
    dilate = 1 if sample["mask"].mean() < SPARSE else 0
    depth = color_maps.colorize_depth(sample["depth"], *limits, sample["mask"], dilate)
    pictures = np.concatenate([sample["image"], depth, overlay(sample, limits)], axis=1)
    height, width = sample["mask"].shape[:2]
    caption = Image.new("RGB", (pictures.shape[1], CAPTION), "white")
    text = f"{title}: {height}x{width}, {sample['mask'].mean():.1%} valid"
    ImageDraw.Draw(caption).text((2, 2), text, "black")
    return np.concatenate([np.array(caption), pictures])


def rows(kind: str) -> Iterator[RGB]:
    """Yields the rows of one scene; its depths share the limits of their colours."""
    index, size, crop_size = SCENES[kind]
    scene = SyntheticScenes(kind, "eval", index + 1, *size)[index]
    limits = np.percentile(scene["depth"][scene["mask"]], (1, 99))
    for title, augment in augmentations(crop_size).items():
        yield row(title, augment(scene, np.random.default_rng(SEED)), limits)


def disagreement(augment: Augment) -> tuple[float, float, float]:
    """Returns (mean in x, mean in y, largest) distance in pixels of the two encoded places.

    The colours' place is averaged over rising and falling grey levels, because Pillow cuts
    fractions off.
    """
    y, x = np.mgrid[:SIDE, :SIDE]
    rising = np.stack([x, y, np.full_like(x, 255)], axis=-1).astype(np.uint8)
    depth = (1 + SIDE * y + x).astype(np.float32)[..., None]
    places = []
    for image in (rising, 255 - rising):
        sample = augment(
            {"image": image, "depth": depth, "mask": depth > 0}, np.random.default_rng(SEED)
        )
        inside = slice(MARGIN, -MARGIN)
        colors = sample["image"][inside, inside].astype(float)
        places.append(colors if image is rising else 255 - colors)
    mask = sample["mask"][inside, inside, 0] & (np.ptp(places, axis=0).max(axis=-1) <= 1)
    place = np.rint(sample["depth"][inside, inside, 0][mask] * sample["scale"]) - 1
    found = np.mean(places, axis=0)[mask]
    offsets = np.stack([found[:, 0] - place % SIDE, found[:, 1] - place // SIDE])
    return *offsets.mean(axis=1), np.abs(offsets).max()


def geometric() -> dict[str, Augment]:
    """Returns {title: f(sample, rng)}; the sample's `scale` undoes the change of depth."""

    def zoom(sample, rng):
        zoomed = transforms.random_zoom(sample, rng, 1.5)
        return zoomed | {"scale": zoomed["mask"].shape[1] / SIDE}

    def keep(augment):
        return lambda s, rng: augment(s, rng) | {"scale": 1}

    size = (SIDE * 3 // 4, SIDE // 2)
    return {
        "rotation": keep(lambda s, rng: transforms.random_rotation(s, rng, 5)),
        "zoom": zoom,
        "resize to half": keep(lambda s, rng: transforms.resize(s, (SIDE // 2, SIDE // 2))),
        "crop": keep(lambda s, rng: transforms.random_crop(s, rng, size)),
        "flip": keep(lambda s, rng: transforms.random_flip(s, rng, 1)),
    }


def main(path: str) -> None:
    sheet = [picture for kind in SCENES for picture in rows(kind)]
    drawing.write_png(path, drawing.stack_panels(sheet))
    print(f"{'pixels':<16}{'mean x':>10}{'mean y':>10}{'largest':>10}")
    for title, augment in geometric().items():
        values = disagreement(augment)
        print(f"{title:<16}" + "".join(f"{value:>10.3f}" for value in values))


if __name__ == "__main__":
    main(*sys.argv[1:])
