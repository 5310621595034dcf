"""Small folders are written and read back; every way to get one wrong has its own message."""

import os
import pickle

import h5py
import numpy as np
import pytest
from PIL import ExifTags, Image

from diffdepth_jax.datasets.folder import RGBDFolder
from diffdepth_jax.errors import UserError
from diffdepth_jax.media.depth_reading import DepthForm
from diffdepth_jax.media.orientation import turned
from tests.support.paths import SHARED

REAL_FRAMES = SHARED / "real_frames"
DEPTH = np.array([[1500, 0, 2000], [1000, 65535, 1]], np.uint16)


def save(path, array):
    """Writes an array as the format that the name says, and makes the folders on the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        Image.fromarray(array).save(path)


def colored_image(value=7, height=2, width=3):
    return np.full((height, width, 3), value, np.uint8)


@pytest.fixture
def pairs(tmp_path):
    """Three pairs image/k.png and depth/k.png whose pixels hold k."""
    for k in (2, 1, 3):
        save(tmp_path / f"image/{k}.png", colored_image(k))
        save(tmp_path / f"depth/{k}.png", np.full((2, 3), 1000 * k, np.uint16))
    return tmp_path


def open_pairs(root, **arguments):
    return RGBDFolder(str(root), "image/*.png", "depth/*.png", **arguments)


def read_depth(tmp_path, array, suffix, **arguments):
    """Reads one pair with this depth, the image as large as the depth."""
    save(tmp_path / "image/a.png", colored_image(7, *array.shape[:2]))
    save(tmp_path / f"depth/a{suffix}", array)
    return RGBDFolder(str(tmp_path), "image/*.png", f"depth/*{suffix}", **arguments)[0]


def assert_one_line(caught, *parts):
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_pairs_come_sorted_with_the_layout_of_a_sample(pairs):
    source = open_pairs(pairs)
    assert len(source) == 3
    assert source.names == ["image/1.png", "image/2.png", "image/3.png"]
    for k, sample in enumerate((source[0], source[1], source[2]), start=1):
        assert sample["name"] == f"image/{k}.png"
        assert sample["image"].dtype == np.uint8 and sample["image"].shape == (2, 3, 3)
        assert sample["depth"].dtype == np.float32 and sample["depth"].shape == (2, 3, 1)
        assert sample["mask"].dtype == bool and sample["mask"].shape == (2, 3, 1)
        assert (sample["image"] == k).all() and (sample["depth"] == k).all()
        assert sample["mask"].all()


def test_select_is_a_subset_in_the_order_asked(pairs):
    source = open_pairs(pairs)
    subset = source.select(np.array([2, 0])).select([1, 0])
    assert isinstance(subset, RGBDFolder)
    assert subset.names == ["image/1.png", "image/3.png"]
    assert subset[1]["depth"][0, 0, 0] == 3
    assert len(source) == 3 and len(source.select([])) == 0


def test_a_source_travels_to_worker_processes_and_prints_the_same_each_time(pairs):
    source = open_pairs(pairs, depth_form=DepthForm(500.0))
    copied = pickle.loads(pickle.dumps(source))
    assert copied.names == source.names and copied[0]["depth"][0, 0, 0] == 2
    assert repr(copied) == repr(open_pairs(pairs, depth_form=DepthForm(500.0)))


def test_root_may_start_with_the_home_folder(pairs, monkeypatch):
    monkeypatch.setenv("HOME", str(pairs.parent))
    assert len(open_pairs(f"~/{pairs.name}")) == 3


@pytest.mark.parametrize(
    ("image_pattern", "depth_pattern", "image", "depth"),
    [
        ("**/rgb_*.jpg", "**/sync_depth_*.png", "a/b/rgb_00.jpg", "a/b/sync_depth_00.png"),
        ("**/rgb_*.jpg", "**/sync_depth_*.png", "rgb_00.jpg", "sync_depth_00.png"),
        ("**/rgb_*.jpg", "gt/**/d_*.npy", "a/b/rgb_7.jpg", "gt/a/b/d_7.npy"),
        ("*/rgb/*.png", "*/depth/*.png", "scene 1/rgb/x.png", "scene 1/depth/x.png"),
        ("*/**/*.png", "depth_*/**/*.npy", "a/b/c/d.png", "depth_a/b/c/d.npy"),
        ("*_*.png", "d/*_*.npy", "a_b_c.png", "d/a_b_c.npy"),
        ("[raw]/*(1).png", "[raw]/*.npy", "[raw]/x(1).png", "[raw]/x.npy"),
        ("rgb.png", "depth.png", "rgb.png", "depth.png"),
    ],
)
def test_wildcards_pair_files(tmp_path, image_pattern, depth_pattern, image, depth):
    save(tmp_path / image, colored_image())
    save(tmp_path / depth, DEPTH)
    source = RGBDFolder(str(tmp_path), image_pattern, depth_pattern)
    assert source.names == [image]
    assert source[0]["depth"][0, 0, 0] == 1.5


def test_the_same_names_in_two_scenes_are_not_confused(tmp_path):
    for scene, value in (("a", 1000), ("a/b", 2000), ("c", 3000)):
        save(tmp_path / scene / "rgb_0.png", colored_image(value // 1000))
        save(tmp_path / scene / "sync_depth_0.png", np.full((2, 3), value, np.uint16))
    source = RGBDFolder(str(tmp_path), "**/rgb_*.png", "**/sync_depth_*.png")
    assert source.names == ["a/b/rgb_0.png", "a/rgb_0.png", "c/rgb_0.png"]
    for index in range(3):
        assert source[index]["depth"][0, 0, 0] == source[index]["image"][0, 0, 0]


@pytest.mark.parametrize(
    ("image_pattern", "depth_pattern"),
    [("image/*.png", "depth/x.png"), ("*/*.png", "depth/*.png"), ("**/*.png", "*/*.png")],
)
def test_patterns_with_different_wildcards_are_refused(pairs, image_pattern, depth_pattern):
    with pytest.raises(UserError, match="same wildcards") as caught:
        RGBDFolder(str(pairs), image_pattern, depth_pattern)
    assert_one_line(caught, image_pattern, depth_pattern)


@pytest.mark.parametrize("pattern", ["image/**", "a**/*.png", "**.png"])
def test_a_double_star_inside_a_name_is_refused(pairs, pattern):
    with pytest.raises(UserError, match="must stand alone"):
        RGBDFolder(str(pairs), pattern, pattern)


def test_list_file_names_the_pairs_in_its_own_order(pairs):
    lines = "\ufeff# header\n/image/3.png /depth/3.png 518.8\n\nimage/1.png depth/2.png # odd\n"
    (pairs / "train.txt").write_text(lines + "image/2.png None 721.5\n", encoding="utf-8")
    for list_file in ("train.txt", str(pairs / "train.txt")):
        source = open_pairs(pairs, list_file=list_file)
        assert source.names == ["image/3.png", "image/1.png"]
        assert source[1]["depth"][0, 0, 0] == 2


@pytest.mark.parametrize(
    "line",
    [
        "{root}/living room/1.png\t{root}/living room/d.png",
        "living room/1.png\tliving room/d.png\t518.8",
        '"living room/1.png" "living room/d.png"',
        "living room\\1.png\tliving room\\d.png",
        "x/../living room/1.png\t/living room/d.png",
    ],
)
def test_lists_of_other_programs_are_read(pairs, line):
    save(pairs / "living room/1.png", colored_image())
    save(pairs / "living room/d.png", np.full((2, 3), 2000, np.uint16))
    (pairs / "x").mkdir()
    (pairs / "list.txt").write_bytes(f"{line.format(root=pairs)}\r\n".encode("utf-16"))
    source = open_pairs(pairs, list_file="list.txt")
    assert source[0]["depth"][0, 0, 0] == 2
    assert source.names == [source[0]["name"]] == ["living room/1.png"]


def test_a_listed_image_elsewhere_has_its_whole_path_as_name(pairs):
    (pairs / "root").mkdir()
    (pairs / "root/list.txt").write_text(f"{pairs}/image/1.png ../depth/1.png\n")
    source = open_pairs(pairs / "root", list_file="list.txt")
    assert source.names == [source[0]["name"]] == [f"{pairs}/image/1.png".lstrip("/")]


def test_names_with_spaces_get_a_sentence(pairs):
    (pairs / "list.txt").write_text("living room/1.png living room/d.png\n")
    with pytest.raises(UserError, match="spaces has to stand in double quotes") as caught:
        open_pairs(pairs, list_file="list.txt")
    assert_one_line(caught, "living")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image/1.png\n", "line 1"),
        ("# only a comment\n", "names no pair"),
        (b"\xff\xfe\x00", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_broken_list_file(pairs, content, message):
    path = pairs / "list.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message) as caught:
        open_pairs(pairs, list_file="list.txt")
    assert_one_line(caught, str(path))


def test_list_file_with_missing_files_counts_them(pairs):
    lines = [f"image/{k}.png depth/{k}.png" for k in range(1, 7)]
    (pairs / "list.txt").write_text("\n".join(lines))
    with pytest.raises(UserError, match="6 of 12 files") as caught:
        open_pairs(pairs, list_file="list.txt")
    assert_one_line(caught, "list.txt", "image/4.png, depth/4.png, image/5.png, ...")


def test_integer_png_is_divided_by_the_scale_and_zero_is_no_ground_truth(tmp_path):
    sample = read_depth(tmp_path, DEPTH, ".png")
    np.testing.assert_allclose(sample["depth"][..., 0], DEPTH / 1000, rtol=1e-6)
    np.testing.assert_array_equal(sample["mask"][..., 0], DEPTH > 0)
    kitti = read_depth(tmp_path, DEPTH, ".png", depth_form=DepthForm(256))
    np.testing.assert_allclose(kitti["depth"][..., 0], DEPTH / 256, rtol=1e-6)


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_other_integer_depth_is_divided_too(tmp_path, suffix, dtype):
    sample = read_depth(tmp_path, DEPTH.astype(dtype), suffix)
    np.testing.assert_allclose(sample["depth"][..., 0], DEPTH / 1000, rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_float_npy_holds_metres(tmp_path, shape, dtype):
    depth = np.array([[1.5, np.nan, np.inf], [-1, 0, 2.25]], dtype).reshape(shape)
    sample = read_depth(tmp_path, depth, ".npy")
    assert sample["depth"].dtype == np.float32
    assert sample["depth"][..., 0].tolist() == [[1.5, 0, 0], [0, 0, 2.25]]
    assert sample["mask"][..., 0].tolist() == [[True, False, False], [False, False, True]]


@pytest.mark.parametrize(
    ("array", "suffix", "message"),
    [
        (colored_image(), ".png", r"shape \(2, 3, 3\); expected \[H, W\]"),
        (DEPTH > 5, ".png", "dtype bool"),
        (DEPTH.astype(np.uint8), ".png", "8 bits"),
        (DEPTH.astype(np.uint8), ".npy", "8 bits"),
        (DEPTH > 5, ".npy", "dtype bool"),
        (DEPTH + 1j, ".npy", "dtype complex"),
        (np.ones((2, 3, 3)), ".npy", r"shape \(2, 3, 3\)"),
        (np.ones((2, 3, 1, 1)), ".npy", "shape"),
        (np.full((2, 3), None), ".npy", "Object arrays"),
        (np.zeros((2, 3), np.uint16), ".png", "no valid pixel.*depth_scale"),
        (np.full((2, 3), np.nan), ".npy", "no valid pixel"),
    ],
)
def test_depth_of_the_wrong_kind_is_refused(tmp_path, array, suffix, message):
    with pytest.raises(UserError, match=message) as caught:
        read_depth(tmp_path, array, suffix)
    assert_one_line(caught, str(tmp_path / f"depth/a{suffix}"))


def test_a_palette_is_refused_as_depth(pairs):
    Image.new("P", (3, 2)).save(pairs / "depth/1.png")
    with pytest.raises(UserError, match="8 bits"):
        open_pairs(pairs)[0]


def save_archive(path, **arrays):
    if path.suffix == ".npz":
        return np.savez(path, **arrays)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


ARCHIVES = ["1.npz", "1.h5", "1.hdf5"]


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_holds_depth_beside_other_arrays_or_alone(pairs, name):
    metres = DEPTH.astype(np.float32)
    for arrays in ({"depth": metres, "spread": 2 * metres}, {"dataset": metres}):
        save_archive(pairs / "depth" / name, **arrays)
        (sample,) = RGBDFolder(str(pairs), "image/1.png", f"depth/{name}")
        np.testing.assert_array_equal(sample["depth"][..., 0], metres)


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_of_other_arrays_is_refused(pairs, name):
    save_archive(pairs / "depth" / name, near=DEPTH, far=DEPTH)
    with pytest.raises(UserError, match=rf"{name} holds (near, far|far, near): expected one array"):
        RGBDFolder(str(pairs), "image/1.png", f"depth/{name}")[0]


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
@pytest.mark.parametrize("name", ARCHIVES)
def test_a_damaged_archive_is_named(pairs, name, share):
    save_archive(pairs / "depth" / name, depth=DEPTH)
    data = (pairs / "depth" / name).read_bytes()
    (pairs / "depth" / name).write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=f"depth/{name}"):
        RGBDFolder(str(pairs), "image/1.png", f"depth/{name}")[0]


def test_depth_of_eight_bits_is_read_by_its_own_scale_and_offset(tmp_path):
    """DenseDepth's metres are value / 25.5; of a file without invalid values 0 is half a step."""
    values = np.array([[0, 51, 255], [102, 1, 254]], np.uint8)
    form = DepthForm(1000, eight_bit_scale=25.5)
    sample = read_depth(tmp_path, values, ".png", depth_form=form)
    np.testing.assert_allclose(sample["depth"][..., 0], values / 25.5, rtol=1e-6)
    np.testing.assert_array_equal(sample["mask"][..., 0], values > 0)
    halves = DepthForm(1000, eight_bit_scale=25.5, eight_bit_offset=0.5)
    sample = read_depth(tmp_path, values, ".png", depth_form=halves)
    np.testing.assert_allclose(sample["depth"][..., 0], (values + 0.5) / 25.5, rtol=1e-6)
    assert sample["mask"].all()
    more_bits = read_depth(tmp_path, DEPTH, ".png", depth_form=halves)
    np.testing.assert_allclose(more_bits["depth"][..., 0], DEPTH / 1000, rtol=1e-6)


def test_smaller_depth_takes_the_nearest_value_and_is_never_mixed(tmp_path):
    """A picture of twice and of three times the sides: every value comes back in a block."""
    values = np.array([[1000, 0, 2000], [3000, 4000, 0]], np.uint16)
    save(tmp_path / "depth/a.png", values)
    for factor in (2, 3):
        save(tmp_path / "image/a.png", colored_image(1, 2 * factor, 3 * factor))
        sample = open_pairs(tmp_path, resize_depth=True)[0]
        blocks = np.kron(values, np.ones((factor, factor))) / 1000
        np.testing.assert_array_equal(sample["depth"][..., 0], blocks.astype(np.float32))
        np.testing.assert_array_equal(sample["mask"][..., 0], blocks > 0)


def test_tums_list_of_pairs_has_times(pairs):
    (pairs / "associations.txt").write_text("1.5 image/2.png 1.51 depth/2.png\n")
    source = RGBDFolder(str(pairs), "", "", list_file="associations.txt")
    assert source.names == ["image/2.png"] and source[0]["depth"].max() == 2


def test_two_lists_with_times_pair_up(pairs):
    """Of TUM's factor of 5000; the picture without a partner is left out."""
    (pairs / "rgb.txt").write_text("# images\n1.0 image/1.png\n2.0 image/2.png\n3.0 image/3.png\n")
    (pairs / "depth.txt").write_text("3.01 depth/1.png\n0.99 depth/3.png\n2.5 depth/2.png\n")
    form = DepthForm(5000)
    lists = {"list_file": "rgb.txt", "depth_list_file": "depth.txt", "depth_form": form}
    source = RGBDFolder(str(pairs), "", "", **lists)
    assert source.names == ["image/1.png", "image/3.png"]
    np.testing.assert_allclose([sample["depth"].max() for sample in source], [0.6, 0.2])


def test_lists_whose_times_are_far_apart_are_named(pairs):
    (pairs / "rgb.txt").write_text("1.0 image/1.png\n")
    (pairs / "depth.txt").write_text("1.03 depth/1.png\n")
    with pytest.raises(UserError, match=r"no time in .*rgb\.txt is within 0\.02 s of one in"):
        RGBDFolder(str(pairs), "", "", list_file="rgb.txt", depth_list_file="depth.txt")


def test_depth_of_a_list_may_lie_elsewhere(pairs):
    """As in BTS's lists of KITTI: two roots, two splits, and the focal length."""
    for split, k in (("train", 1), ("val", 2)):
        (pairs / f"annotated/{split}/drive").mkdir(parents=True)
        (pairs / f"depth/{k}.png").rename(pairs / f"annotated/{split}/drive/{k}.png")
    (pairs / "list.txt").write_text("image/1.png drive/1.png 700.5\n/image/2.png /drive/2.png\n")
    source = RGBDFolder(str(pairs), "", "", list_file="list.txt", depth_root="annotated/*")
    assert [sample["depth"].max() for sample in source] == [1, 2]
    assert source[0]["intrinsics"][0, 0] == 700.5 and "intrinsics" not in source[1]


def test_a_list_may_name_png_files_that_are_kept_as_jpeg(pairs):
    Image.open(pairs / "image/1.png").save(pairs / "image/1.jpg")
    (pairs / "image/1.png").unlink()
    (pairs / "list.txt").write_text("image/1.png depth/1.png\n")
    assert RGBDFolder(str(pairs), "", "", list_file="list.txt").names == ["image/1.jpg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth_root": "depth"}, "depth_root 'depth' means nothing without list_file"),
        ({"depth_list_file": "a.txt"}, "depth_list_file 'a.txt' means nothing without list_file"),
        (
            {"list_file": "a", "depth_list_file": "b", "depth_root": "depth"},
            "depth_root 'depth' means nothing beside depth_list_file",
        ),
        ({"list_file": "list.txt", "depth_root": "nowhere/*"}, "no such folder in"),
    ],
)
def test_arguments_of_lists_that_mean_nothing_are_refused(pairs, arguments, message):
    (pairs / "list.txt").write_text("image/1.png depth/1.png\n")
    with pytest.raises(UserError, match=message):
        RGBDFolder(str(pairs), "image/*.png", "depth/*.png", **arguments)


def test_depth_of_another_ratio_of_sides_is_refused_all_the_same(pairs):
    save(pairs / "image/1.png", colored_image(1, 4, 7))
    with pytest.raises(UserError, match=r"4 x 7 but .*2 x 3 .*one ratio of sides, set .*resize_d"):
        open_pairs(pairs, resize_depth=True)[0]


def test_a_list_may_have_commas(pairs):
    """As the CSV lists of DenseDepth and Kaggle; a comma within a name is part of it."""
    save(pairs / "image/a,b.png", colored_image(1))
    lines = ["image/1.png,depth/1.png", '"image/2.png","depth/2.png"', "image/a,b.png depth/3.png"]
    (pairs / "list.csv").write_text("\n".join(lines))
    source = RGBDFolder(str(pairs), "", "", list_file="list.csv")
    assert source.names == ["image/1.png", "image/2.png", "image/a,b.png"]
    assert [sample["depth"].max() for sample in source] == [1, 2, 3]


def test_image_and_depth_of_different_sizes_name_both(pairs):
    save(pairs / "image/1.png", colored_image(1, 4, 6))
    with pytest.raises(UserError, match=r"image/1.png is 4 x 6 but .*depth/1.png is 2 x 3"):
        open_pairs(pairs)[0]


def test_a_damaged_npy_header_is_named(pairs):
    save(pairs / "depth/1.npy", DEPTH)
    content = (pairs / "depth/1.npy").read_bytes()
    (pairs / "depth/1.npy").write_bytes(content.replace(b"}", b"("))
    with pytest.raises(UserError, match=r"depth/1.npy cannot be read"):
        RGBDFolder(str(pairs), "image/1.png", "depth/1.npy")[0]


@pytest.mark.parametrize("name", ["image/1.png", "depth/1.png", "depth/1.npy"])
@pytest.mark.parametrize("kept", [0, 1, 40])
def test_truncated_files_are_named(pairs, name, kept):
    save(pairs / "depth/1.npy", DEPTH)
    content = (pairs / name).read_bytes()
    (pairs / name).write_bytes(content[:kept])
    depth = name if name.startswith("depth") else "depth/1.png"
    source = RGBDFolder(str(pairs), "image/1.png", depth)
    with pytest.raises(UserError, match="cannot be read") as caught:
        source[0]
    assert_one_line(caught, str(pairs / name))


def test_a_file_that_disappears_is_named(pairs):
    source = open_pairs(pairs)
    os.remove(pairs / "image/1.png")
    with pytest.raises(UserError, match=r"image/1.png cannot be read"):
        source[0]


def test_images_without_depth_are_counted(pairs):
    for k in range(4, 9):
        save(pairs / f"image/{k}.png", colored_image())
    with pytest.raises(UserError, match="5 of 8 depth partners") as caught:
        open_pairs(pairs)
    assert_one_line(caught, "depth/4.png, depth/5.png, depth/6.png, ...", "depth/*.png")


def test_roots_that_cannot_hold_pairs(pairs):
    with pytest.raises(UserError, match="does not exist"):
        open_pairs(pairs / "nowhere")
    with pytest.raises(UserError, match="is not a folder"):
        open_pairs(pairs / "image/1.png")
    (pairs / "empty").mkdir()
    with pytest.raises(UserError, match="is empty"):
        open_pairs(pairs / "empty")
    with pytest.raises(UserError, match=r"no image matches 'img/\*\.jpg'") as caught:
        RGBDFolder(str(pairs), "img/*.jpg", "depth/*.png")
    assert_one_line(caught, str(pairs))


@pytest.mark.parametrize("depth_scale", [0, -1000.0, float("nan"), float("inf")])
def test_depth_scale_must_be_positive(pairs, depth_scale):
    with pytest.raises(UserError, match=r"depth_scale .* must be positive"):
        open_pairs(pairs, depth_form=DepthForm(depth_scale))


def test_images_with_more_than_8_bits_are_refused(pairs):
    save(pairs / "image/1.png", DEPTH)
    with pytest.raises(UserError, match=r"image/1.png has more than 8 bits per channel"):
        open_pairs(pairs)[0]


def _oriented_pair(folder, orientation, depth_lies, height=4, width=7):
    """Writes a pair whose red channel and depth agree once both are turned; returns the depth."""
    values = np.arange(1, height * width + 1, dtype=np.uint16).reshape(height, width)
    image = Image.fromarray(np.repeat(values[..., None].astype(np.uint8), 3, axis=-1))
    image.getexif()[ExifTags.Base.Orientation] = orientation
    for name in ("image", "depth"):
        (folder / name).mkdir(exist_ok=True)
    image.save(folder / "image/a.png", exif=image.getexif())
    right = turned(values, orientation)
    save(folder / "depth/a.png", values if depth_lies == "stored" else right)
    return right


@pytest.mark.parametrize("depth_lies", ["stored", "apply"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_image_and_depth_are_turned_so_that_they_fit(orientation, depth_lies, tmp_path):
    right = _oriented_pair(tmp_path, orientation, depth_lies)
    source = open_pairs(tmp_path, depth_form=DepthForm(1.0), depth_orientation=depth_lies)
    sample = source[0]
    np.testing.assert_array_equal(sample["image"][..., 0], right)
    np.testing.assert_array_equal(sample["depth"][..., 0], right)
    assert sample["mask"].all() and sample["orientation"] == orientation


@pytest.mark.parametrize(("depth_lies", "field"), [("stored", "apply"), ("apply", "stored")])
def test_the_size_of_the_depth_goes_before_the_field(depth_lies, field, tmp_path):
    right = _oriented_pair(tmp_path, 6, depth_lies)
    sample = open_pairs(tmp_path, depth_form=DepthForm(1.0), depth_orientation=field)[0]
    np.testing.assert_array_equal(sample["depth"][..., 0], right)


def test_masks_beside_the_depth_leave_pixels_out(tmp_path):
    """The layout of DIODE: where the mask is 0 the depth file holds numbers all the same."""
    depth = np.float32([[77, 2, 3], [77, 5, 77]])[..., None]
    save(tmp_path / "scan/a.png", colored_image())
    save(tmp_path / "scan/a_depth.npy", depth)
    save(tmp_path / "scan/a_depth_mask.npy", np.float32(depth[..., 0] < 77))
    patterns = ("**/*.png", "**/*_depth.npy")
    sample = RGBDFolder(str(tmp_path), *patterns, mask_pattern="**/*_depth_mask.npy")[0]
    assert sample["depth"][..., 0].tolist() == [[0, 2, 3], [0, 5, 0]]
    assert sample["mask"][..., 0].tolist() == [[False, True, True], [False, True, False]]
    with pytest.raises(UserError, match=r"1 of 1 mask partners .* are missing: scan/a_m.npy"):
        RGBDFolder(str(tmp_path), *patterns, mask_pattern="**/*_m.npy")
    with pytest.raises(UserError, match=r"mask_pattern '_m.npy' must have the same wildcards"):
        RGBDFolder(str(tmp_path), *patterns, mask_pattern="_m.npy")
    save(tmp_path / "scan/a_depth_mask.npy", np.ones((3, 3)))
    with pytest.raises(UserError, match=r"a_depth_mask.npy is 3 x 3 but .*a_depth.npy is 2 x 3"):
        RGBDFolder(str(tmp_path), *patterns, mask_pattern="**/*_depth_mask.npy")[0]


def test_masks_beside_a_list_are_refused(pairs):
    (pairs / "list.txt").write_text("image/1.png depth/1.png\n")
    with pytest.raises(UserError, match=r"mask_pattern .* means nothing beside a list file"):
        open_pairs(pairs, list_file="list.txt", mask_pattern="mask/*.png")


def test_values_for_nothing_measured_are_no_ground_truth(tmp_path):
    sample = read_depth(tmp_path, DEPTH, ".png", depth_form=DepthForm(invalid_values=(65535, 1)))
    assert sample["depth"][..., 0].tolist() == [[1.5, 0, 2], [1, 0, 0]]


def focal_lengths(source):
    """Of each sample, both axes; None: unknown."""
    matrices = [source[index].get("intrinsics") for index in range(len(source))]
    return [None if matrix is None else (matrix[0, 0], matrix[1, 1]) for matrix in matrices]


def test_the_camera_is_that_of_the_list_the_field_or_the_photo_in_this_order(pairs):
    """Pictures of 2 x 3 pixels; film has a diagonal of 43.27 mm."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 1  # Pillow takes the other as nothing without one of these
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    Image.open(pairs / "image/2.png").save(pairs / "image/2.png", exif=exif)
    by_exif = (pytest.approx(26 / 43.26662 * 13**0.5),) * 2
    assert focal_lengths(open_pairs(pairs)) == [None, by_exif, None]
    assert focal_lengths(open_pairs(pairs, focal_length=9.0)) == [(9, 9)] * 3

    lines = [f"image/{k}.png depth/{k}.png {third}" for k, third in ((1, 7.5), (2, 8), (3, "left"))]
    (pairs / "list.txt").write_text("\n".join(lines))
    listed = open_pairs(pairs, list_file="list.txt")
    assert focal_lengths(listed) == [(7.5, 7.5), (8, 8), None]
    assert focal_lengths(open_pairs(pairs, list_file="list.txt", focal_length=9.0))[2] == (9, 9)
    matrix = listed[0]["intrinsics"]
    assert matrix.dtype == np.float64
    assert matrix.tolist() == [[7.5, 0, 1], [0, 7.5, 0.5], [0, 0, 1]]


def test_the_camera_is_that_of_the_turned_photo(tmp_path):
    """4 x 7 stored, and 7 x 4 as it is seen."""
    _oriented_pair(tmp_path, 6, "stored")
    matrix = open_pairs(tmp_path, depth_form=DepthForm(1.0), focal_length=5.0)[0]["intrinsics"]
    assert matrix[:2, 2].tolist() == [1.5, 3]


@pytest.mark.skipif(not REAL_FRAMES.is_dir(), reason=f"the real frames are not at {REAL_FRAMES}")
def test_real_nyu_frames():
    source = RGBDFolder(str(REAL_FRAMES / "nyu"), "**/rgb_*.jpg", "**/sync_depth_*.png")
    assert source.names == ["rgb_00000.jpg", "rgb_00050.jpg"]
    for index, valid, nearest, farthest in ((0, 0.73, 1.39, 6.63), (1, 0.75, 0.89, 8.27)):
        sample = source[index]
        depth = sample["depth"][sample["mask"]]
        assert sample["image"].shape == (480, 640, 3)
        assert sample["mask"].mean() == pytest.approx(valid, abs=0.005)
        assert depth.min() == pytest.approx(nearest, abs=0.006)
        assert depth.max() == pytest.approx(farthest, abs=0.006)
