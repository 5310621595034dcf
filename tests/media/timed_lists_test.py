"""Files of two lists pair up by their times."""

import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.media.timed_lists import Timed, associate, read_times


def timed(**times):
    return [Timed(time, name) for name, time in times.items()]


def test_lines_hold_a_time_and_a_file(tmp_path):
    (tmp_path / "rgb.txt").write_text(
        "# color images\n1305031102.175304 rgb/a b.png\n2 c.png\n3\trgb\\d.png"
    )
    assert read_times(tmp_path / "rgb.txt") == [
        Timed(1305031102.175304, "rgb/a b.png"),
        Timed(2.0, "c.png"),
        Timed(3.0, "rgb/d.png"),
    ]


@pytest.mark.parametrize("line", ["rgb/a.png", "a.png depth/a.png", "1.5"])
def test_another_line_is_refused_with_its_number(tmp_path, line):
    (tmp_path / "rgb.txt").write_text(f"1 a.png\n{line}\n")
    with pytest.raises(UserError, match=r"rgb\.txt, line 2: expected 'time file'"):
        read_times(tmp_path / "rgb.txt")


def test_the_nearest_pair_up_each_once():
    """b is nearer to x than a is; a then takes y, and c has no partner within .02 s."""
    images = timed(a=1.000, b=1.010, c=2.000)
    depths = timed(y=0.985, x=1.012, z=2.021)
    assert associate(images, depths) == [("a", "y"), ("b", "x")]


def test_order_is_that_of_the_images_whatever_that_of_the_depths():
    images, depths = timed(a=3.0, b=1.0), timed(x=1.001, y=3.001)
    assert associate(images, depths) == [("a", "y"), ("b", "x")]
