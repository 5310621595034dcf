"""What stands beside the bar: near and far as they are, three to five marks, clipped ends."""

import numpy as np
import pytest
from PIL import ImageDraw

from diffdepth_jax.media import color_maps, drawing, scale

VIRIDIS = color_maps.color_table(color_maps.depth_map())


def marks_of(texts):
    return {text for text in texts if text.endswith("m")}


@pytest.mark.parametrize(
    ("limits", "at_least"), [((0.8, 30), 4), ((2, 9), 4), ((1.01, 1.05), 3), ((0.02, 0.3), 3)]
)
def test_round_depths_within_the_limits(limits, at_least):
    depths = scale.round_depths(*limits)
    assert len(depths) >= at_least
    assert all(limits[0] <= depth <= limits[1] for depth in depths) and depths == sorted(depths)
    assert all(len(f"{depth:g}") <= 4 for depth in depths)


def test_round_depths_of_the_usual_ranges():
    assert scale.round_depths(0.8, 30) == [1, 2, 5, 10, 20]
    assert scale.round_depths(2, 9) == [2, 3, 4, 5, 6, 8]


@pytest.mark.parametrize("size", [(384, 576), (480, 640), (375, 1242), (3000, 4000), (640, 480)])
@pytest.mark.parametrize("ends", [(0.5, 9.5), (1.7, 5.9), (5, 80), (3, 3.3)])
def test_three_to_five_marks_with_near_and_far_at_any_size(size, ends, texts):
    depth = np.geomspace(*ends, 100)[None]
    wanted = scale.scale_of_depth(depth, drawing.depth_limits(depth), "turbo")
    picture = np.zeros((*size, 3), np.uint8)
    assert len(scale.add_scale(picture, wanted, scale.text_size(*size))) == size[0]
    marks = marks_of(texts)
    assert 3 <= len(marks) <= 5
    assert {f"near {ends[0]:.2f} m", f"far {ends[1]:.2f} m"} <= marks


def test_letters_grow_with_the_picture():
    parts = [scale.text_size(h, w) / h for h, w in ((480, 640), (3000, 4000), (1080, 1440))]
    assert min(parts) > 0.035 and max(parts) < 0.05
    assert scale.text_size(20, 30) == 12


def test_the_bar_runs_from_near_below_to_far_above_and_its_ends_are_pointed_where_clipped():
    depth = np.geomspace(1, 10, 480 * 640).reshape(480, 640)
    size = scale.text_size(480, 640)
    middle = 640 + size
    whole = drawing.depth_picture(depth, (1, 10))[:, middle].astype(int)
    np.testing.assert_allclose(whole[-2 * size - 3], VIRIDIS[0], atol=15)
    np.testing.assert_allclose(whole[2 * size + 3], VIRIDIS[-1], atol=15)
    assert (whole[[size, -size]] == 255).all()
    clipped = drawing.depth_picture(depth, (2, 5))[:, middle]
    np.testing.assert_array_equal(clipped[-2 * size + 4], VIRIDIS[0])
    np.testing.assert_array_equal(clipped[2 * size - 4], VIRIDIS[-1])
    far_only = drawing.depth_picture(depth, (1, 5))[:, middle]
    assert (far_only[-size] == 255).all() and (far_only[2 * size - 4] == VIRIDIS[-1]).all()


@pytest.mark.parametrize("ends", [(4, 4.05), (1, 1.001), (0.99, 10), (2, 3), (0.1, 99)])
@pytest.mark.parametrize("limits", [(1, 10), (3.9, 4.1)])
def test_marks_never_touch(ends, limits, monkeypatch):
    rows, draw = [], ImageDraw.ImageDraw.text

    def text(self, place, *rest, **options):
        rows.append(place[1])
        draw(self, place, *rest, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    picture = drawing.depth_picture(np.array([ends]), limits)
    letters = scale.text_size(384, 768)
    assert len(rows) >= 3 and np.diff(sorted(rows)).min() >= 1.2 * letters
    assert min(rows) > 0 and max(rows) < len(picture)


def test_depth_that_is_everywhere_the_same_has_one_mark(texts):
    drawing.depth_picture(np.full((48, 64), 2.0), (1, 4))
    assert "near 2.00 m" in texts and "far 2.00 m" not in texts


def test_pixels_without_depth_are_explained(texts):
    depth = np.full((480, 640), 2.0)
    drawing.depth_picture(depth, (1, 4))
    assert "none" not in texts
    depth[0, 0] = np.nan
    picture = drawing.depth_picture(depth, (1, 4))
    assert "none" in texts and (picture[460, 650] == 0).all()
    texts.clear()
    drawing.depth_picture(np.full((48, 64), np.nan), (1, 4))
    assert "none" in texts and not any("near" in text for text in texts)


def test_frames_with_other_depths_have_one_size():
    sizes = {
        drawing.depth_picture(np.full((48, 64), metres), (1, 4)).shape
        for metres in (0.001, 2, 39.99, np.nan)
    }
    assert len(sizes) == 1
