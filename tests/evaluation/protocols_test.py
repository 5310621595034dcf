"""Rectangles and limits of the protocols, worked out by hand."""

import numpy as np
import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import metrics, protocols
from diffdepth_jax.evaluation.alignment import ALIGNMENTS
from diffdepth_jax.evaluation.depth_kinds import KINDS
from tests.support.paths import ROOT


def _box(name, height, width):
    crop = protocols.create_protocol(name, 1e-3, 80.0).crop
    box, inside = crop.box(height, width), crop.mask(height, width)
    rows, columns = np.nonzero(inside[..., 0])
    assert box == (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
    assert inside.shape == (height, width, 1)
    return box


@pytest.mark.parametrize(
    ("name", "size", "box"),
    [
        ("nyu_eigen", (480, 640), (45, 471, 41, 601)),
        # At half size the bounds are halved and cut to whole pixels: 22.5, 235.5, 20.5, 300.5.
        ("nyu_eigen", (240, 320), (22, 235, 20, 300)),
        # .40810811 x 375 = 153.04, .99189189 x 375 = 371.96, .03594771 x 1242 = 44.6,
        # .96405229 x 1242 = 1197.4.
        ("kitti_garg_full", (375, 1242), (153, 371, 44, 1197)),
        # .99189189 x 370 = 366.9999993, which int() cuts; .40810811 x 370 = 151.0000007,
        # .03594771 x 1224 = 43.99999704, .96405229 x 1224 = 1180.00000296.
        ("kitti_garg_full", (370, 1224), (151, 366, 43, 1180)),
        # Of 352 x 1216, 143.7, 349.1, 43.7 and 1172.3; the crop lies at row 375 - 352 = 23 and
        # column (1242 - 1216) / 2 = 13.
        ("kitti_garg_kb", (375, 1242), (23 + 143, 23 + 349, 13 + 43, 13 + 1172)),
        # Column int((1241 - 1216) / 2) = 12.
        ("kitti_garg_kb", (376, 1241), (24 + 143, 24 + 349, 12 + 43, 12 + 1172)),
        ("kitti_garg_kb", (352, 1216), (143, 349, 43, 1172)),
        # .3324324 x 375 = 124.7, .91351351 x 375 = 342.6, .0359477 x 1242 = 44.6, 1197.4.
        ("kitti_eigen", (375, 1242), (124, 342, 44, 1197)),
        # Of the 352 x 1216 crop: .3324324 x 352 = 117.0, .91351351 x 352 = 321.6,
        # .0359477 x 1216 = 43.7, .96405229 x 1216 = 1172.3; the crop lies at (23, 13).
        ("marigold_kitti", (375, 1242), (23 + 117, 23 + 321, 13 + 43, 13 + 1172)),
        ("full", (5, 7), (0, 5, 0, 7)),
        ("kitti_official", (5, 7), (0, 5, 0, 7)),
    ],
)
def test_rectangles_by_hand(name, size, box):
    assert _box(name, *size) == box


def test_an_image_smaller_than_the_benchmark_crop_is_named():
    with pytest.raises(UserError, match=r"351 x 1216 is smaller than .* evaluation.protocol"):
        _box("kitti_garg_kb", 351, 1216)


def test_a_capped_protocol_has_the_configurations_limits():
    protocol = protocols.create_protocol("kitti_eigen", 1e-3, 80.0)
    assert protocol.truth == protocol.clamp == (1e-3, 80.0)
    assert protocol.tables == (metrics.NAMES,)


def test_the_benchmarks_own_protocol_has_no_cap_and_a_table_more():
    protocol = protocols.create_protocol("kitti_official", 1e-3, 80.0)
    assert protocol.truth == (0, np.inf)
    assert [limit * 256 for limit in protocol.clamp] == [1, 65535]
    assert protocol.tables == (metrics.NAMES, metrics.KITTI_NAMES)


def test_descriptions_tell_the_protocols_apart():
    every = [protocols.create_protocol(name, 1e-3, 80.0).describe() for name in protocols.NAMES]
    assert len(set(every)) == len(every)
    assert "Garg crop of the 352x1216 crop" in every[protocols.NAMES.index("kitti_garg_kb")]
    assert all("\n" not in text for text in every)
    assert "strictly within 0.001 to 80 m, predictions clamped to 0.001 to 80 m" in every[0]
    official = every[protocols.NAMES.index("kitti_official")]
    assert "of any depth, predictions clamped to 0.003906 to 256 m" in official


@pytest.mark.parametrize(
    ("name", "limits", "resize", "alignment"),
    [
        ("marigold_nyu", (1e-3, 10.0), "bilinear", "scale_shift"),
        ("marigold_kitti", (1e-5, 80.0), "bilinear", "scale_shift"),
        ("zoedepth_nyu", (1e-3, 10.0), "bilinear_corners", "none"),
        ("zoedepth_kitti", (1e-3, 80.0), "bilinear_corners", "none"),
        ("monodepth2_kitti", (1e-3, 80.0), "bilinear", "median"),
    ],
)
def test_another_programs_protocol_fixes_all_that_it_fixes(name, limits, resize, alignment):
    """Whatever the configuration's limits are; naming its own alignment again does no harm."""
    protocol = protocols.create_protocol(name, 0.5, 3.0, alignment)
    assert protocol.truth == protocol.clamp == limits
    assert (protocol.resize, protocol.alignment) == (resize, alignment)
    assert ("ALIGNED" in protocol.describe()) == (alignment != "none")
    assert protocols.create_protocol(name, 0.5, 3.0) == protocol
    with pytest.raises(UserError, match=f"protocol {name} has {alignment}: leave"):
        protocols.create_protocol(name, 0.5, 3.0, "scale_log")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("marigold_nyu", (480, 640), (375, 1242)), ("monodepth2_kitti", (375, 1242), (480, 640))],
)
def test_a_protocol_on_other_data_is_named(name, good, bad):
    protocol = protocols.create_protocol(name, 1e-3, 80.0)
    assert protocol.mask(*good).shape == (*good, 1)
    with pytest.raises(UserError, match=f"{bad[0]} x {bad[1]}: protocol {name} is for other data"):
        protocol.mask(*bad)


def test_any_alignment_goes_with_a_protocol_that_has_none_of_its_own():
    for name in ALIGNMENTS:
        assert protocols.create_protocol("nyu_eigen", 1e-3, 10.0, name).alignment == name
    with pytest.raises(UserError, match=r"evaluation.alignment 'affine': must be one of none"):
        protocols.create_protocol("nyu_eigen", 1e-3, 10.0, "affine")


def test_unknown_protocols_are_user_errors_and_the_known_ones_documented():
    with pytest.raises(UserError, match=r"evaluation.protocol 'garg': must be one of full, nyu_"):
        protocols.create_protocol("garg", 1e-3, 80.0)
    documented = (ROOT / "docs/evaluating.md").read_text()
    for name in (*protocols.NAMES, *ALIGNMENTS, *KINDS):
        assert f"| `{name}` |" in documented, name
