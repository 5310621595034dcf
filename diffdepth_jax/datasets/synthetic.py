"""The embedded dataset: procedural rooms and streets with exact depth, rendered by numpy alone.

Split, kind, index and seed of a scene seed its random stream, and nothing else does. So every order
of access and every number of workers give the same scenes, and no two splits share a scene. The
geometry and the colours do not depend on the resolution; the sensor's noise and the LiDAR's pattern
do.

'rooms' resemble NYU Depth v2: dense depth up to 10 m. 'streets' resemble KITTI: depth up to 80 m,
known only where a scanning LiDAR hits. 'mixed' alternates the two: mixed[2k] is rooms[k] and
mixed[2k + 1] is streets[k] of the same split and seed.

Each scene has a camera of its own focal length, from a range. Another range shows the same scenes
through other lenses.
"""

import math
import operator
from typing import SupportsIndex

import numpy as np
from jaxtyping import Bool, Float32, Float64

from diffdepth_jax.datasets.samples import RGB, Sample
from diffdepth_jax.datasets.scenes import projection, renderer
from diffdepth_jax.datasets.scenes.rooms import sample_room
from diffdepth_jax.datasets.scenes.scene import FOCAL_PER_WIDTH, Camera, look
from diffdepth_jax.datasets.scenes.streets import sample_street
from diffdepth_jax.errors import UserError

KINDS = ("rooms", "streets")
SPLITS = ("train", "eval")
MAX_DEPTH = {"rooms": 10.0, "streets": 80.0}  # metres
LIDAR_ELEVATIONS = np.radians((-24.8, 2.0))  # lowest and highest beam of KITTI's Velodyne HDL-64E
# Spacing of the beams in pixels (rows, columns). Because it is not in degrees, about 4 % of the
# pixels are valid at every resolution, as in KITTI's annotated depth. Cameras of short focal length
# look above and below all beams; there the beams are denser, and the share stays about the same.
LIDAR_SPACING = (4.0, 2.8)
LIDAR_REACH = 0.65  # radians to either side at the standard focal length
LIDAR_DROPOUT = 0.1  # fraction of the beams that do not return
NOISE = 0.008  # standard deviation of the sensor's noise, as a fraction of the full range
_STANDARD = look((0, 0, 0), 0, 0, 0)


def focal_length(width: int) -> float:
    """Returns the standard focal length in pixels of images `width` pixels wide."""
    return projection.focal_length(_STANDARD, width)


def intrinsics(height: int, width: int) -> Float64[np.ndarray, "3 3"]:
    """Returns the pinhole matrix of the standard focal length; the principal point is the centre.

    Integer coordinates are pixel centres: a pixel (row, column) of depth z is the point
    z * inverse(intrinsics) @ (column, row, 1), with x right, y down, z forward.
    """
    return projection.intrinsics(_STANDARD, height, width)


class SyntheticScenes:
    """Random-access source of rendered scenes; depth is 0 in the sky and beyond 80 m.

    A sample's `intrinsics` are the pinhole matrix of its own camera, see the function.

    Where the mask of a street is False, no LiDAR beam hit, but depth is there nevertheless; it is
    the street's `dense_depth`. The sky is a `hole`; everything else is a `surface`, also where no
    beam hit.
    """

    def __init__(
        self,
        kind: str,
        split: str,
        num_scenes: int,
        height: int,
        width: int,
        seed: int = 0,
        focal_range: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        """Renders nothing yet.

        Args:
          kind: rooms, streets or mixed.
          split: train or eval.
          num_scenes: length of the source.
          height: of the images, in pixels.
          width: of the images, in pixels.
          seed: of all scenes; not negative.
          focal_range: least and greatest factor of the standard focal length; the factor of a scene
            is log-uniform between them.
        """
        _check(kind, split, num_scenes=num_scenes, height=height, width=width)
        if seed < 0:
            raise UserError(f"synthetic scenes: seed {seed} must not be negative")
        if not 0 < focal_range[0] <= focal_range[1]:
            raise UserError(f"synthetic scenes: focal_range {focal_range} must be 0 < low <= high")
        self.kind, self.split, self.seed, self.focal_range = kind, split, seed, focal_range
        self.num_scenes, self.height, self.width = num_scenes, height, width

    def __len__(self) -> int:
        return self.num_scenes

    def __getitem__(self, index: SupportsIndex) -> Sample:
        number, kind = operator.index(index), self.kind
        if not 0 <= number < self.num_scenes:
            raise IndexError(f"scene {number} of {self.num_scenes}")
        if kind == "mixed":
            number, kind = number // 2, KINDS[number % 2]
        rng = _stream(kind, self.split, number, self.seed)
        return _sample(rng, kind, self.height, self.width, self.focal_range)


def _check(kind: str, split: str, **counts: int) -> None:
    if kind not in (*KINDS, "mixed"):
        raise UserError(f"synthetic kind {kind!r}: choose rooms, streets or mixed")
    if split not in SPLITS:
        raise UserError(f"synthetic split {split!r}: choose train or eval")
    for name, value in counts.items():
        if value < 1:
            raise UserError(f"synthetic scenes: {name} {value} must be positive")


def _stream(kind: str, split: str, index: int, seed: int) -> np.random.Generator:
    # The seed comes last because it may be longer than 32 bits and then counts as two numbers. In
    # front of the others it could give two scenes the same stream.
    return np.random.default_rng([SPLITS.index(split), KINDS.index(kind), index, seed])


def _sample(
    rng: np.random.Generator, kind: str, height: int, width: int, focal_range: tuple[float, float]
) -> Sample:
    # The factor comes from a stream of its own, so that every range has the same scenes.
    focal = FOCAL_PER_WIDTH * _log_uniform(rng.spawn(1)[0], *focal_range)
    scene = sample_room(rng) if kind == "rooms" else sample_street(rng)
    scene = scene._replace(camera=scene.camera._replace(focal_per_width=focal))
    exposure = rng.uniform(0.9, 1.1)
    light, depth = renderer.render(scene, height, width)
    surface = depth > 0
    depth[depth > MAX_DEPTH[kind]] = 0
    mask = depth > 0
    if kind == "streets":
        mask &= lidar_pattern(rng, scene.camera, height, width)
    image = _photograph(rng, light * np.float32(exposure))
    sample: Sample = {
        "image": image,
        "depth": depth[:, :, None],
        "mask": mask[:, :, None],
        "surface": surface[:, :, None],
        "hole": ~surface[:, :, None],
        "intrinsics": projection.intrinsics(scene.camera, height, width),
    }
    if kind == "streets":
        sample["dense_depth"] = sample["depth"]
    return sample


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low * (high / low) ** rng.random()


def _photograph(rng: np.random.Generator, light: Float32[np.ndarray, "height width 3"]) -> RGB:
    """Maps linear light to an image: a gamma of 2, noise, saturation."""
    light = np.maximum(light, 0)  # some textures swing a little below black
    image = np.sqrt(light) + np.float32(NOISE) * rng.standard_normal(light.shape, np.float32)
    return (np.clip(image, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def lidar_pattern(
    rng: np.random.Generator, camera: Camera, height: int, width: int
) -> Bool[np.ndarray, "height width"]:
    """Returns which pixels are hit by the beams of a level, scanning LiDAR at the camera."""
    focal = projection.focal_length(camera, width)
    rows, columns = np.sqrt(min(1, focal / focal_length(width))) * np.array(LIDAR_SPACING)
    reach = LIDAR_REACH + (_half_view(camera) - _half_view(_STANDARD))
    elevations = np.arange(*LIDAR_ELEVATIONS, rows / focal)
    forward = camera.rotation[:, 2]
    heading = np.arctan2(forward[0], forward[1])
    azimuths = heading + np.arange(-reach, reach, columns / focal)
    shape = (elevations.size, azimuths.size)
    elevations = elevations[:, None] + 0.15 / focal * rng.standard_normal(shape)
    azimuths = azimuths + 0.3 / focal * rng.standard_normal(shape)
    flat = np.cos(elevations)
    beams = np.stack([flat * np.sin(azimuths), flat * np.cos(azimuths), np.sin(elevations)])
    returned = camera.rotation.T @ beams[:, rng.random(shape) > LIDAR_DROPOUT]  # [3, beams]
    x, y, z = returned[:, returned[2] > 0]
    column = np.round(focal * x / z + (width - 1) / 2).astype(int)
    row = np.round(focal * y / z + (height - 1) / 2).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pattern = np.zeros((height, width), bool)
    pattern[row[inside], column[inside]] = True
    return pattern


def _half_view(camera: Camera) -> float:
    """Returns half of the horizontal field of view, in radians."""
    return math.atan(0.5 / camera.focal_per_width)
