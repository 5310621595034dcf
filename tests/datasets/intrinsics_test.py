"""Points in front of the camera are followed through each transform, and through all of them."""

import numpy as np
import pytest

from diffdepth_jax.datasets import intrinsics, pipeline, transforms
from diffdepth_jax.datasets.canonical import CanonicalCamera
from diffdepth_jax.errors import UserError

SIZE = (1500, 2000)
K = np.array([[1803.7, 0, 961.3], [0, 1799.2, 777.7], [0, 0, 1]])
TOLERANCE = 1e-4  # pixels


def sample(height, width, matrix=K):
    """The red level of a pixel is four times its column, the green level four times its row."""
    rows, columns = np.indices((height, width))
    levels = np.stack([4 * columns, 4 * rows, 0 * rows], axis=-1)
    one = np.ones((height, width, 1), np.float32)
    image = (levels % 256).astype(np.uint8)
    return {"image": image, "depth": one, "mask": one > 0, "intrinsics": matrix}


def project(matrix, points):
    """Pixels (column, row), [2, N], of points [3, N]."""
    x = matrix @ points
    return x[:2] / x[2]


@pytest.fixture(scope="module")
def points():
    """A thousand points between 0.5 and 80 m whose pixels lie in a frame of SIZE."""
    rng = np.random.default_rng(0)
    pixels = np.stack([rng.uniform(0, SIZE[1] - 1, 1000), rng.uniform(0, SIZE[0] - 1, 1000)])
    rays = np.linalg.solve(K, np.vstack([pixels, np.ones(1000)]))
    return rays * rng.uniform(0.5, 80, 1000)


class Draws:
    """A generator that draws these numbers one after the other."""

    def __init__(self, *values):
        self._values = iter(values)

    def uniform(self, low, high):
        return next(self._values)

    def integers(self, high):
        return next(self._values)

    def random(self):
        return next(self._values)


def turned(u, v):
    """Ten degrees counter-clockwise about the middle of the frame, in complex numbers.

    The imaginary axis points up, rows run downwards.
    """
    around = (u - 999.5) - 1j * (v - 749.5)
    around = around * np.exp(1j * np.pi / 18)
    return around.real + 999.5, -around.imag + 749.5


# Each transform, and where the pixel (u, v) of a frame of SIZE goes by hand.
CASES = {
    "halve": (
        lambda s: transforms.resize(s, (750, 1000)),
        lambda u, v: (u / 2 - 0.25, v / 2 - 0.25),
    ),
    "squeeze": (
        lambda s: transforms.resize(s, (1500, 1700)),
        lambda u, v: ((u + 0.5) * 0.85 - 0.5, v),
    ),
    "fit": (
        lambda s: pipeline.fit(s, (300, 5000)),
        lambda u, v: ((u + 0.5) / 5 - 0.5, (v + 0.5) / 5 - 0.5),
    ),
    "pad": (lambda s: transforms.pad_to(s, (1600, 2100)), lambda u, v: (u, v)),
    "kb_crop": (transforms.kb_crop, lambda u, v: (u - 392, v - 1148)),
    "box": (
        lambda s: transforms.crop_box(s, (45, 1472, 43, 1608), SIZE),
        lambda u, v: (u - 43, v - 45),
    ),
    "crop": (
        lambda s: transforms.random_crop(s, Draws(17, 234), (400, 600)),
        lambda u, v: (u - 234, v - 17),
    ),
    "flip": (lambda s: transforms.random_flip(s, Draws(0.0)), lambda u, v: (1999 - u, v)),
    "no flip": (lambda s: transforms.random_flip(s, Draws(0.7)), lambda u, v: (u, v)),
    "rotation": (lambda s: transforms.random_rotation(s, Draws(10.0), 10.0), turned),
    "zoom": (
        lambda s: transforms.random_zoom(s, Draws(1.5), 1.5),
        lambda u, v: (1.5 * u + 0.25, 1.5 * v + 0.25),
    ),
    "colours": (
        lambda s: transforms.color_jitter(s, np.random.default_rng(0), 1, 0.1, 0.1, 0.1),
        lambda u, v: (u, v),
    ),
    "limits": (lambda s: transforms.valid_range(s, 2.0, 3.0), lambda u, v: (u, v)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_point_appears_where_its_pixel_went(name, points):
    transform, expected = CASES[name]
    moved = transform(sample(*SIZE))
    assert moved["intrinsics"].dtype == np.float64
    found = project(moved["intrinsics"], points)
    np.testing.assert_allclose(found, expected(*project(K, points)), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_an_unknown_camera_stays_unknown(name):
    unknown = sample(*SIZE)
    del unknown["intrinsics"]
    assert "intrinsics" not in CASES[name][0](unknown)


FRAME, FITTED, CROP = (60, 61), (54, 80), (40, 36)  # 60 x 61 within 54 x 80: 54 x 55
AUGMENTATION = {
    "size": FITTED,
    "min_depth": 1e-3,
    "max_depth": 10.0,
    "rotation": 8.0,
    "zoom": 1.5,
    "crop_size": CROP,
    "flip_probability": 0.5,
    "color_probability": 0.0,
    "gamma": 0.0,
    "brightness": 0.0,
    "color": 0.0,
    "box": (2, 59, 3, 60),
}


def by_hand(seed, u, v):
    """The way of a pixel of the frame through the whole augmentation, with its own draws."""
    rng = np.random.default_rng(seed)
    u, v = (u + 0.5) * 55 / 61 - 0.5, (v + 0.5) * 54 / 60 - 0.5
    # The box begins at 2 x 54 / 60 = 1.8 and 3 x 55 / 61 = 2.7 and ends at 53.1 and 54.1.
    u, v, height, width = u - 3, v - 2, 51, 51
    angle = np.radians(rng.uniform(-8, 8))
    around = ((u - 25) - 1j * (v - 25)) * np.exp(1j * angle)
    u, v = around.real + 25, 25 - around.imag
    factor = rng.uniform(1, 1.5)
    zoomed = round(factor * height), round(factor * width)
    u, v = (u + 0.5) * zoomed[1] / width - 0.5, (v + 0.5) * zoomed[0] / height - 0.5
    top, left = rng.integers(zoomed[0] - 39), rng.integers(zoomed[1] - 35)
    u, v = u - left, v - top
    return (35 - u if rng.random() < 0.5 else u), v


@pytest.mark.parametrize("seed", range(8))
def test_the_whole_augmentation_keeps_points_and_pixels_together(seed):
    """By hand to 1e-4 pixels; and in the picture, whose colours say where each pixel came from."""
    rng, matrix = np.random.default_rng(seed), np.array([[70.0, 0, 28], [0, 68, 33], [0, 0, 1]])
    augmented = pipeline.augment(sample(*FRAME, matrix), rng, **AUGMENTATION)
    after = augmented["intrinsics"]
    points = np.random.default_rng(1).uniform((-1, -1, 2), (1, 1, 9), (100, 3)).T
    expected = by_hand(seed, *project(matrix, points))
    np.testing.assert_allclose(project(after, points), expected, atol=TOLERANCE, rtol=0)

    rows, columns = np.indices(CROP)
    pixels = np.stack([columns, rows, np.ones(CROP)]).reshape(3, -1)
    source = project(matrix, np.linalg.solve(after, pixels)).reshape(2, *CROP)
    # The filters repeat the frame's edge, and the rotation brings in black.
    inside = augmented["mask"][..., 0] & ((source > 4) & (source < 55)).all(axis=0)
    error = augmented["image"].transpose(2, 0, 1)[:2] / 4 - source
    assert inside.sum() > 800
    assert np.abs(error[:, inside]).max() < 0.8
    assert np.abs(error[:, inside].mean(axis=1)).max() < 0.3


def test_a_zoom_and_its_depth_say_the_same_as_the_lens_after_it():
    """Depth d through a lens f x zoom, or depth d / zoom through the lens f: the units agree."""
    camera = CanonicalCamera(focal_length=50.0)
    for seed in range(8):
        matrix = np.array([[70.0, 0, 28], [0, 68, 33], [0, 0, 1]])
        rng = np.random.default_rng(seed)
        augmented = pipeline.augment(sample(*FRAME, matrix), rng, camera=camera, **AUGMENTATION)
        units = 1.0 * 50 / intrinsics.focal_length(augmented)
        np.testing.assert_allclose(augmented["depth"][augmented["mask"]], units, rtol=1e-6)


def test_the_focal_length_is_the_mean_of_both_axes_however_the_picture_lies():
    frame = sample(30, 40, np.diag([80.0, 20.0, 1.0]))
    turned = transforms.random_rotation(frame, Draws(33.0), 45.0)
    for each in (frame, turned, transforms.random_flip(turned, Draws(0.0))):
        assert intrinsics.focal_length(each) == pytest.approx(40)
    assert intrinsics.focal_length(transforms.resize(frame, (15, 20))) == pytest.approx(20)
    assert intrinsics.focal_length({}) == 0


def test_units_of_a_canonical_camera_by_hand():
    """An object at 3 m through 500 pixels looks as one at 6 m through 1000."""
    camera = CanonicalCamera(focal_length=1000.0, assumed=250.0)
    assert 6 * camera.metres_per_unit(500.0, "a.png") == 3
    assert camera.metres_per_unit(0.0, "a.png") == 1 / 4
    assert CanonicalCamera(assumed=250.0).metres_per_unit(500.0, "a.png") == 1
    with pytest.raises(UserError, match=r"sample a\.png: its focal length is unknown") as caught:
        CanonicalCamera(focal_length=1000.0).metres_per_unit(0.0, "a.png")
    for remedy in ("third column", "data.folder.focal_length", "frame.focal_length"):
        assert remedy in str(caught.value)
