"""The embedded dataset: procedural rooms and streets with exact depth, by index, in numpy alone.

Scene i is a function of (split, kind, i, seed) and of nothing else: these seed its random stream,
so any order of access and any number of workers give the same scenes, and no scene of one split
has the stream of a scene of the other. The geometry and the colours do not depend on the
resolution; the sensor's noise and the LiDAR's pattern do.

'rooms' stand in for NYU Depth v2: dense depth up to 10 m. 'streets' stand in for KITTI: depth up to
80 m, known only where a scanning LiDAR hits. 'mixed' alternates the two: mixed[2k] is rooms[k] and
mixed[2k + 1] is streets[k] of the same split and seed.
"""

import operator

import numpy as np

from diffdepth_jax.datasets.scenes import renderer
from diffdepth_jax.datasets.scenes.layouts import sample_room, sample_street
from diffdepth_jax.errors import UserError

KINDS = ("rooms", "streets")
SPLITS = ("train", "eval")
MAX_DEPTH = {"rooms": 10.0, "streets": 80.0}  # metres
LIDAR_ELEVATIONS = np.radians((-24.8, 2.0))  # of the Velodyne HDL-64E, KITTI's
# Beam spacing in pixels (rows, columns), not in degrees, so that about 4 % of the pixels are valid
# at any resolution, as in KITTI's annotated depth.
LIDAR_SPACING = (4.0, 2.8)
LIDAR_DROPOUT = 0.1
NOISE = 0.008  # standard deviation of the sensor's noise, of the full range


def focal_length(width: int) -> float:
    """Focal length in pixels of images `width` pixels wide, the same for every kind and scene."""
    return renderer.focal_length(width)


def intrinsics(height: int, width: int) -> np.ndarray:
    """Pinhole matrix [3, 3] float32, the principal point in the image's centre.

    Integer coordinates are pixel centres: a pixel (row, column) of depth z is the point
    z * inverse(intrinsics) @ (column, row, 1) with x right, y down, z forward.
    """
    return renderer.intrinsics(height, width)


class SyntheticScenes:
    """Random-access source of {'image', 'depth', 'mask'}.

    image: uint8 [H, W, 3]. depth: float32 [H, W, 1], metres along the optical axis, 0 where there
    is none (sky, beyond 80 m). mask: bool [H, W, 1], the pixels whose depth is ground truth.
    """

    def __init__(
        self, kind: str, split: str, num_scenes: int, height: int, width: int, seed: int = 0
    ):
        _check(kind, split, num_scenes=num_scenes, height=height, width=width)
        if seed < 0:
            raise UserError(f"synthetic scenes: seed {seed} must not be negative")
        self.kind, self.split, self.seed = kind, split, seed
        self.num_scenes, self.height, self.width = num_scenes, height, width

    def __len__(self):
        return self.num_scenes

    def __getitem__(self, index):
        index = operator.index(index)
        if not 0 <= index < self.num_scenes:
            raise IndexError(f"scene {index} of {self.num_scenes}")
        kind = self.kind
        if kind == "mixed":
            index, kind = index // 2, KINDS[index % 2]
        return _sample(kind, self.split, index, self.height, self.width, self.seed)


def _check(kind, split, **counts):
    if kind not in (*KINDS, "mixed"):
        raise UserError(f"synthetic kind {kind!r}: choose rooms, streets or mixed")
    if split not in SPLITS:
        raise UserError(f"synthetic split {split!r}: choose train or eval")
    for name, value in counts.items():
        if value < 1:
            raise UserError(f"synthetic scenes: {name} {value} must be positive")


def _sample(kind, split, index, height, width, seed):
    # The seed comes last: only the last number may take several words of the stream's seed.
    rng = np.random.default_rng([SPLITS.index(split), KINDS.index(kind), index, seed])
    scene = sample_room(rng) if kind == "rooms" else sample_street(rng)
    exposure = rng.uniform(0.9, 1.1)
    light, depth = renderer.render(scene, height, width)
    depth[depth > MAX_DEPTH[kind]] = 0
    mask = depth > 0
    if kind == "streets":
        mask &= lidar_pattern(rng, scene.camera, height, width)
    image = _photograph(rng, light * np.float32(exposure))
    return {"image": image, "depth": depth[:, :, None], "mask": mask[:, :, None]}


def _photograph(rng, light):
    """Linear light [H, W, 3] to uint8: a gamma of 2, noise, saturation."""
    image = np.sqrt(light) + np.float32(NOISE) * rng.standard_normal(light.shape, np.float32)
    return (np.clip(image, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def lidar_pattern(rng, camera, height, width):
    """Pixels [H, W] that the beams of a level, scanning LiDAR at the camera's place fall on."""
    focal = focal_length(width)
    rows, columns = LIDAR_SPACING
    elevations = np.arange(*LIDAR_ELEVATIONS, rows / focal)
    forward = camera.rotation[:, 2]
    heading = np.arctan2(forward[0], forward[1])
    azimuths = heading + np.arange(-0.65, 0.65, columns / focal)
    shape = (elevations.size, azimuths.size)
    elevations = elevations[:, None] + 0.15 / focal * rng.standard_normal(shape)
    azimuths = azimuths + 0.3 / focal * rng.standard_normal(shape)
    flat = np.cos(elevations)
    beams = np.stack([flat * np.sin(azimuths), flat * np.cos(azimuths), np.sin(elevations)])
    x, y, z = camera.rotation.T @ beams[:, rng.random(shape) > LIDAR_DROPOUT]  # [3, beams]
    column = np.round(focal * x / z + (width - 1) / 2).astype(int)
    row = np.round(focal * y / z + (height - 1) / 2).astype(int)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (z > 0)
    pattern = np.zeros((height, width), bool)
    pattern[row[inside], column[inside]] = True
    return pattern
