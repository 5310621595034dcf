"""Vehicles, and what stands on the pavements of streets."""

from diffdepth_jax.datasets.scenes.items import Item, Part
from diffdepth_jax.datasets.scenes.materials import CLOTH, Range


def _vehicle(
    width: float, length: float, height: float, cabin: Range, hood: float
) -> tuple[Part, ...]:
    """Returns wheels, body and cabin; the cabin spans the part `cabin` (from, to) of the length."""
    start, stop = cabin
    middle, cabin_length = (start + stop - 1) / 2 * length, (stop - start) * length
    return (
        ("box", (0, -0.3 * length, 0.3), (width * 0.97, 0.62, 0.6), 1),
        ("box", (0, 0.3 * length, 0.3), (width * 0.97, 0.62, 0.6), 1),
        ("box", (0, 0, (0.3 + hood) / 2), (width, length, hood - 0.3), 0),
        ("box", (0, middle, hood + 0.22), (width * 0.88, cabin_length, 0.44), 1),
        (
            "box",
            (0, middle, (hood + 0.44 + height) / 2),
            (width * 0.88, cabin_length, height - hood - 0.44),
            0,
        ),
    )


VEHICLES = {
    "car": Item(("plain",), (2, 4), _vehicle(1.8, 4.3, 1.48, (0.2, 0.78), 0.88)),
    "hatchback": Item(("plain",), (2, 4), _vehicle(1.7, 3.7, 1.52, (0.25, 0.98), 0.9)),
    "van": Item(("plain",), (2, 4), _vehicle(2.0, 5.2, 2.3, (0.0, 0.85), 1.15)),
    "truck": Item(
        ("stripes", "plain"),
        (1, 3),
        (
            ("box", (0, 0, 0.5), (2.2, 7.0, 0.7), 1),
            ("box", (0, 0.9, 2.15), (2.4, 5.2, 2.6), 0),
            ("box", (0, -2.8, 1.5), (2.3, 1.6, 2.0), 2),
        ),
    ),
}
STREET_FURNITURE = {
    "lamp_post": Item(
        ("plain",),
        (1, 1),
        (
            ("cylinder", (0, 0, 3.0), (0.16, 0.16, 6.0), 1),
            ("box", (0, -0.5, 6.0), (0.2, 1.2, 0.12), 1),
        ),
    ),
    "sign": Item(
        ("stripes", "checker"),
        (0.5, 0.8),
        (
            ("cylinder", (0, 0, 1.3), (0.08, 0.08, 2.6), 1),
            ("box", (0, -0.05, 2.4), (0.6, 0.04, 0.6), 0),
        ),
    ),
    "tree": Item(
        ("plain",),
        (0.2, 0.4),
        (
            ("cylinder", (0, 0, 1.2), (0.3, 0.3, 2.4), 1),
            ("sphere", (0, 0, 3.7), (3.0, 3.0, 3.4), 4),
        ),
    ),
    "person": Item(
        CLOTH,
        (0.2, 0.5),
        (
            ("cylinder", (0, 0, 0.42), (0.32, 0.28, 0.84), 1),
            ("cylinder", (0, 0, 1.14), (0.46, 0.28, 0.62), 0),
            ("sphere", (0, 0, 1.6), (0.2, 0.22, 0.26), 2),
        ),
    ),
    "litter_bin": Item(
        ("plain", "stripes"), (0.3, 0.5), (("cylinder", (0, 0, 0.5), (0.5, 0.5, 1.0), 0),)
    ),
}
