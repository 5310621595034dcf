"""A folder of RGB-D data is recognised, what is odd about it is told, and its command trains."""

import shlex
import shutil

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.data.inspection import inspect
from diffdepth_jax.data.pairing import guess_patterns
from diffdepth_jax.datasets.folder import RGBDFolder
from diffdepth_jax.datasets.presets import PRESETS
from diffdepth_jax.errors import UserError
from tests.support import depth_forms

SIZE = (12, 16)


def picture(path, size=SIZE, value=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


def depth(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)


def ramp(low, high, dtype=np.float32, size=SIZE):
    return np.linspace(low, high, size[0] * size[1]).reshape(size).astype(dtype)


LAYOUTS = {
    ("image/{i:04d}.jpg", "depth/{i:04d}.png"): ("image/*.jpg", "depth/*.png"),
    ("s{s}/rgb_{i:05d}.jpg", "s{s}/sync_depth_{i:05d}.png"): (
        "**/rgb_*.jpg",
        "**/sync_depth_*.png",
    ),
    ("a/{s}/color/{i}.png", "a/{s}/depth/{i}.png"): ("**/color/*.png", "**/depth/*.png"),
    ("images/t/{i}.jpg", "depth/t/{i}.npy"): ("images/**/*.jpg", "depth/**/*.npy"),
    ("rgb/S/rgb/{i}.jpg", "depth/S/depth/{i}.png"): ("rgb/**/rgb/*.jpg", "depth/**/depth/*.png"),
    ("{i}_colors.png", "{i}_depth.png"): ("*_colors.png", "*_depth.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_are_found_by_their_numbers(tmp_path, layout):
    for s in range(2):
        for i in range(3):
            names = [name.format(s=s, i=10 * s + i) for name in layout]
            picture(tmp_path / names[0])
            depth(tmp_path / names[1], ramp(1000, 5000, np.uint16))
    found = guess_patterns(tmp_path)
    assert (found.image, found.depth, found.pairs) == (*LAYOUTS[layout], 6)
    assert len(RGBDFolder(str(tmp_path), found.image, found.depth)) == 6


def test_names_without_numbers_pair_up_by_their_stems(tmp_path):
    for name in ("kitchen", "office"):
        picture(tmp_path / f"image/{name}.jpg")
        depth(tmp_path / f"depth/{name}.npy", ramp(1, 5))
    assert guess_patterns(tmp_path).pairs == 2


def test_a_folder_of_pictures_alone_is_refused(tmp_path):
    picture(tmp_path / "data/a.jpg")
    with pytest.raises(UserError, match="no pictures and depth maps pair up"):
        inspect(tmp_path / "data", tmp_path / "sheet.png")


def test_the_sheet_is_not_put_among_the_data(look, tmp_path):
    look(ramp(1000, 5000, np.uint16))
    with pytest.raises(UserError, match="would lie in the folder that is looked at"):
        inspect(tmp_path / "data", tmp_path / "data/inspection.png")


def test_linked_folders_are_looked_into_once(look, tmp_path):
    look(ramp(1000, 5000, np.uint16))
    (tmp_path / "linked").mkdir()
    for name in ("image", "depth"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / "data" / name)
    (tmp_path / "linked/loop").symlink_to(tmp_path / "linked")
    assert (
        inspect(tmp_path / "linked", tmp_path / "sheet.png").splitlines()[1].startswith("3 pairs")
    )


@pytest.fixture
def look(tmp_path):
    """Writes pairs and inspects them; returns the lines of the report."""

    def look(values, suffix=".png", size=SIZE, **kwargs):
        for i in range(3):
            picture(tmp_path / f"data/image/{i}.png", size, **kwargs)
            depth(tmp_path / f"data/depth/{i}{suffix}", values)
        report = inspect(tmp_path / "data", tmp_path / "sheet.png")
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert min(sheet.size) > 10
        return report.splitlines()

    return look


def test_the_report_has_the_facts_and_a_command(look, tmp_path):
    lines = look(ramp(1000, 5000, np.uint16))
    assert lines[0] == "guess: pictures image/*.png and depth depth/*.png"
    assert lines[1] == "3 pairs; looked at 3:"
    assert lines[2].endswith("12 x 16") and "median 3 m" in lines[3]
    assert not [line for line in lines if line.startswith("odd")]
    words = shlex.split(lines[-1])
    assert f"--config.data.folder.root={tmp_path / 'data'}" in words
    assert "--config.data.folder.depth_pattern=depth/*.png" in words
    assert "--config.data.folder.holdout_every=2" in words  # of three pairs
    assert not [word for word in words if "max_depth" in word]


def test_the_command_reaches_as_far_as_the_depth(look):
    words = shlex.split(look(ramp(2000, 33000, np.uint16))[-1])
    assert "--config.frame.max_depth=40" in words
    assert "max_depth" not in look(ramp(1000, 5000), ".npy")[-1]  # millimetres, perhaps


@pytest.mark.parametrize(
    ("values", "suffix", "text"),
    [
        (ramp(10, 250, np.uint8), ".png", "8-bit depth, of which the scale is not known"),
        (ramp(1000, 5000), ".npy", "floats must be metres, and these may be millimetres"),
        (ramp(10, 50, np.uint16), ".png", "depth_scale may be another than 1000"),
        (ramp(1, 3).repeat(2, 0).repeat(2, 1)[:6, :8], ".npy", "another size than its picture"),
    ],
)
def test_what_is_odd_is_told(look, values, suffix, text):
    odd = [line for line in look(values, suffix) if line.startswith("odd: ")]
    assert len(odd) == 1 and text in odd[0]


def test_many_pixels_at_a_types_end_are_told(look):
    values = ramp(1000, 5000, np.uint16)
    values[:2] = 65535
    assert any("have the highest value 65535" in line for line in look(values))


def test_a_white_border_is_told(tmp_path):
    image = np.full((24, 32, 3), 90, np.uint8)
    image[[0, 1, -2, -1]] = image[:, [0, 1, -2, -1]] = 255
    for i in range(3):
        (tmp_path / "data/image").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / f"data/image/{i}.png")
        depth(tmp_path / f"data/depth/{i}.npy", ramp(1, 5, size=(24, 32)))
    report = inspect(tmp_path / "data", tmp_path / "sheet.png")
    assert "odd: the pictures have a white border" in report


@pytest.mark.parametrize("preset", PRESETS)
def test_known_layouts_are_recognised(tmp_path, preset):
    depth_forms.PRESETS[preset].write(tmp_path / "data")
    report = inspect(tmp_path / "data", tmp_path / "sheet.png")
    assert f"guess: the layout of preset {preset}" in report
    assert f"--config.data.folder.preset={preset}" in report


def test_distances_of_hypersim_are_told(tmp_path):
    depth_forms.hypersim(tmp_path / "data")
    report = inspect(tmp_path / "data", tmp_path / "sheet.png")
    assert "odd: Hypersim's depth_meters is the distance from the camera's centre" in report


def test_a_list_is_looked_at(tmp_path):
    picture(tmp_path / "a.jpg")
    depth(tmp_path / "a.npy", ramp(1, 5))
    (tmp_path / "pairs.txt").write_text("a.jpg a.npy\n")
    report = inspect(tmp_path / "pairs.txt", tmp_path / "sheet.png")
    assert "guess: the list" in report and "--config.data.folder.list_file=pairs.txt" in report


def test_two_data_sets_in_one_list_are_told(tmp_path):
    for name, suffix, values in (
        ("kitti", ".png", ramp(256, 9000, np.uint16)),
        ("sim", ".npy", ramp(1, 5)),
    ):
        picture(tmp_path / f"{name}/a.jpg")
        depth(tmp_path / f"{name}/a{suffix}", values)
    (tmp_path / "pairs.txt").write_text("kitti/a.jpg kitti/a.png\nsim/a.jpg sim/a.npy\n")
    report = inspect(tmp_path / "pairs.txt", tmp_path / "sheet.png")
    assert "odd: depth of several types (float32, uint16): two data sets in one list?" in report


def test_an_archive_is_extracted_and_looked_at(look, tmp_path):
    look(ramp(1000, 5000, np.uint16))
    shutil.make_archive(str(tmp_path / "scans"), "zip", tmp_path / "data")
    lines = inspect(tmp_path / "scans.zip", tmp_path / "sheet.png").splitlines()
    assert lines[1] == "3 pairs; looked at 3:"
    (root,) = (tmp_path / "extracted").iterdir()
    assert f"--config.data.folder.root={root}" in shlex.split(lines[-1])


@pytest.mark.parametrize(("name", "text"), [("x", "does not exist"), ("x.zip", "cannot be extr")])
def test_what_cannot_be_looked_at_is_named(tmp_path, name, text):
    if name.endswith("zip"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=text):
        inspect(tmp_path / name, tmp_path / "sheet.png")


@pytest.mark.parametrize("name", ["photo.jpg", "names.txt", "empty.txt"])
def test_one_file_that_is_no_list_of_pairs_is_refused(tmp_path, name):
    picture(tmp_path / "photo.jpg")
    (tmp_path / "names.txt").write_text("photo.jpg\n")
    (tmp_path / "empty.txt").touch()
    with pytest.raises(UserError, match=rf"{name} .*: give a folder, an archive, or a list of"):
        inspect(tmp_path / name, tmp_path / "sheet.png")
