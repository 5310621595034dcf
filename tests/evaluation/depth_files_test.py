"""Depth files of any program: found by name, checked, and scored as a model's predictions are."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import file_scores
from diffdepth_jax.evaluation.depth_files import DepthFiles, FileOptions
from diffdepth_jax.evaluation.file_scores import score_folders
from diffdepth_jax.media.orientation import turned
from tests.support import small_run

SIZE = (4, 6)


def _sample(name, metres=2.0, size=SIZE):
    depth = np.full((*size, 1), metres, np.float32)
    return {
        "name": name,
        "image": np.zeros((*size, 3), np.uint8),
        "depth": depth,
        "mask": np.ones(depth.shape, bool),
    }


def _write(path, metres, scale=None, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    if scale is None:
        np.save(path, np.full(size, metres, np.float32))
    else:
        Image.fromarray(np.full(size, round(metres * scale), np.uint16)).save(path)


def _read(files, *names):
    """Metres of each file's first pixel; None where there is none."""
    depths = files([_sample(name) for name in names], 0)
    return [None if depth is None else depth[0, 0].item() for depth in depths]


def test_files_are_found_by_the_samples_name_without_its_extension(tmp_path):
    _write(tmp_path / "drive" / "0000000005.npy", 1.5)
    _write(tmp_path / "rgb_1.5.npy", 2.5)
    _write(tmp_path / "b.npy", 3.5)
    files = DepthFiles(tmp_path)
    found = _read(files, "drive/0000000005", "rgb_1.5", "/b.jpg", "drive/0000000006.png")
    assert found == [1.5, 2.5, 3.5, None]
    assert files.missing == ["drive/0000000006.png"]


def test_files_of_images_that_differ_by_their_extensions_keep_it(tmp_path):
    for name, metres in (("a.jpg.npy", 1.5), ("a.png.npy", 2.5), ("a.npy", 9.5)):
        _write(tmp_path / name, metres)
    assert _read(DepthFiles(tmp_path), "a.jpg", "a.png", "a.bmp") == [1.5, 2.5, 9.5]


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".tiff", ".tif", ".pfm", ".png"])
def test_every_form_of_file_gives_its_metres(tmp_path, suffix):
    """Of 2.25 m; the forms of floats need no scale, and the archive holds more than depth."""
    path, metres = tmp_path / f"a{suffix}", np.full(SIZE, 2.25, np.float32)
    if suffix == ".npy":
        np.save(path, metres)
    elif suffix == ".npz":
        np.savez(path, spread=2 * metres, depth=metres)
    elif suffix == ".pfm":
        path.write_bytes(b"Pf\n6 4\n-1\n" + metres.astype("<f4").tobytes())
    else:
        Image.fromarray(metres if suffix != ".png" else np.uint16(1000 * metres)).save(path)
    assert _read(
        DepthFiles(tmp_path, FileOptions(1000 if suffix == ".png" else None)), "a.jpg"
    ) == [2.25]


def test_an_archive_without_depth_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", near=np.ones(SIZE), far=np.ones(SIZE))
    with pytest.raises(UserError, match=r"a\.npz holds near, far: expected one array"):
        _read(DepthFiles(tmp_path), "a.jpg")
    np.savez(tmp_path / "a.npz", far=np.full(SIZE, 3.0))
    assert _read(DepthFiles(tmp_path), "a.jpg") == [3.0]


def test_a_sample_without_name_is_found_by_its_index(tmp_path):
    _write(tmp_path / "0000000007.npy", 1.5)
    sample = _sample("")
    del sample["name"]
    (depth,) = DepthFiles(tmp_path)([sample], 7)
    assert depth.shape == (*SIZE, 1) and depth[0, 0] == 1.5


def test_pictures_hold_metres_times_the_scale_and_arrays_go_first(tmp_path):
    _write(tmp_path / "a.png", 1.5, scale=256)
    _write(tmp_path / "b.png", 1.5, scale=256)
    _write(tmp_path / "b.npy", 2.25)
    assert _read(DepthFiles(tmp_path, FileOptions(256.0)), "a", "b") == [1.5, 2.25]


def test_a_prediction_of_the_benchmark_crop_is_put_back_in_its_place(tmp_path):
    """In 354 x 1220 the crop's first pixel is (2, 2); beyond it the nearest value stands."""
    depth = np.ones((352, 1216), np.float32)
    depth[0, 0] = 7
    np.save(tmp_path / "a.npy", depth)
    (found,) = DepthFiles(tmp_path)([_sample("a", size=(354, 1220))], 0)
    rows, columns = np.nonzero(np.asarray(found)[..., 0] == 7)
    assert found.shape == (354, 1220, 1)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {
        (row, column) for row in range(3) for column in range(3)
    }


def test_integers_without_a_scale_are_refused(tmp_path):
    _write(tmp_path / "a.png", 1.5, scale=256)
    np.save(tmp_path / "b.npy", np.full(SIZE, 1500, np.uint16))
    for name in ("a.png", "b.npy"):
        with pytest.raises(UserError, match=f"{name} holds integers: give --predictions_scale"):
            _read(DepthFiles(tmp_path), name[0])
    assert _read(DepthFiles(tmp_path, FileOptions(1000.0)), "b") == [1.5]


def _turned_sample(orientation):
    """A frame whose ground truth numbers its pixels, and the numbers as the camera stored them."""
    stored = np.arange(1, 29, dtype=np.float32).reshape(4, 7, 1)
    depth = turned(stored, orientation)
    mask = np.ones(depth.shape, bool)
    return stored, {"depth": depth, "mask": mask, "name": "a", "orientation": orientation}


@pytest.mark.parametrize("lies", ["apply", "stored"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_files_lie_like_the_turned_or_the_stored_picture(orientation, lies, tmp_path):
    stored, sample = _turned_sample(orientation)
    np.save(tmp_path / "a.npy", stored if lies == "stored" else sample["depth"])
    (found,) = DepthFiles(tmp_path, FileOptions(orientation=lies))([sample], 0)
    np.testing.assert_array_equal(found, sample["depth"])


def test_the_size_of_a_file_goes_before_the_flag(tmp_path):
    stored, sample = _turned_sample(6)
    np.save(tmp_path / "a.npy", stored)
    (found,) = DepthFiles(tmp_path, FileOptions(orientation="apply"))([sample], 0)
    np.testing.assert_array_equal(found, sample["depth"])


def test_a_damaged_file_is_named(tmp_path):
    for name in ("a.png", "b.npy"):
        (tmp_path / name).write_bytes(b"no depth")
        with pytest.raises(UserError, match=f"depth file .*{name} cannot be read"):
            _read(DepthFiles(tmp_path), name[0])


def test_another_size_is_refused(tmp_path):
    _write(tmp_path / "a.npy", 1.5, size=(4, 5))
    with pytest.raises(UserError, match=r"a.npy is 4 x 5, its frame 4 x 6"):
        _read(DepthFiles(tmp_path), "a")


def test_a_prediction_of_the_benchmark_crop_in_a_smaller_frame_is_refused_by_name(tmp_path):
    """A frame of NYU does not hold KITTI's crop; no field of the configuration is at fault."""
    np.save(tmp_path / "a.npy", np.ones((352, 1216), np.float32))
    message = r"a\.npy is 352 x 1216, its frame 480 x 640: save predictions at the frame's size"
    with pytest.raises(UserError, match=message):
        DepthFiles(tmp_path)([_sample("a", size=(480, 640))], 0)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(tmp_path, scale):
    with pytest.raises(UserError, match=r"predictions_scale .*: must be positive"):
        DepthFiles(tmp_path, FileOptions(scale))


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere is no folder"):
        DepthFiles(tmp_path / "nowhere")


@pytest.fixture
def dataset(monkeypatch):
    """Sets `near` of three frames at 2 m and `far` of one at 20 m; returns the configuration."""
    near = [_sample(f"drive/{index}") for index in range(3)]
    sets = {"near": (None, near), "far": (None, [_sample("house.png", 20.0)])}
    monkeypatch.setattr(file_scores, "create_sources", lambda *_: (None, sets))
    return small_run.config()


def test_a_folder_is_scored_without_a_model(dataset, tmp_path):
    """abs_rel 1/2, 1/4 and 0 in one set, 1/2 in the other."""
    for index, metres in enumerate((3.0, 2.5, 2.0)):
        _write(tmp_path / f"depth/near/drive/{index}.npy", metres)
    _write(tmp_path / "depth/far/house.npy", 30.0)
    report = score_folders(dataset, [tmp_path / "depth"], tmp_path / "evaluation")
    table, shape = (part.splitlines() for part in report.split("\n\n"))
    assert [line.split()[:4] for line in shape[1:3]] == [
        [n, "-", "-", "-"] for n in ("near", "far")
    ]
    table = {line.split()[0]: line.split() for line in table}
    assert table["near"][1] == "0.2500" and table["near"][-1] == "3"
    assert table["far"][1] == "0.5000"
    assert report.splitlines()[-1].endswith(f"depth files of {tmp_path / 'depth'}")
    means = json.loads((tmp_path / "evaluation" / "near.json").read_text())["means"]
    assert means["abs_rel"] == pytest.approx(1 / 4)
    with open(tmp_path / "evaluation" / "near.csv", newline="") as file:
        rows = {row["name"]: float(row["abs_rel"]) for row in csv.DictReader(file)}
    assert rows == {"drive/0": 0.5, "drive/1": 0.25, "drive/2": 0.0}


@pytest.mark.parametrize("hole", [0.0, -1.0, np.nan])
def test_pixels_without_depth_are_left_out_and_counted(hole, dataset, tmp_path):
    """Half of one file of 24 pixels has no depth; the other half is off by a quarter."""
    for index in range(3):
        _write(tmp_path / f"near/drive/{index}.npy", 2.5)
    depth = np.full(SIZE, 2.5, np.float32)
    depth[:, :3] = hole
    np.save(tmp_path / "near/drive/1.npy", depth)
    _write(tmp_path / "far/house.npy", 20.0)
    lines = score_folders(dataset, [tmp_path], tmp_path / "evaluation").splitlines()
    near = next(line.split() for line in lines if line.startswith("near"))
    assert (near[1], near[-1]) == ("0.2500", "3")
    words = "left out: 12 of 72 pixels with ground truth (17 %), in 1 of 3 images"
    assert lines[-1].startswith(words)
    assert words in json.loads((tmp_path / "evaluation/near.json").read_text())["description"]
    with open(tmp_path / "evaluation/near.csv", newline="") as file:
        assert [row["holes"] for row in csv.DictReader(file)] == ["0", "12", "0"]


def test_a_picture_of_a_scene_beyond_its_range_is_scored_where_it_has_depth(dataset, tmp_path):
    """A PNG of metres x 1000 ends at 65.5 m; `predict` writes 0 beyond."""
    _write(tmp_path / "near/drive/0.png", 0, scale=1000)
    for index in (1, 2):
        _write(tmp_path / f"near/drive/{index}.png", 2.5, scale=1000)
    _write(tmp_path / "far/house.npy", 20.0)
    words = r"1 of 3 files in .*/near hold no depth .*: drive/0; predict them again, or"
    with pytest.raises(UserError, match=words):
        score_folders(dataset, [tmp_path], tmp_path / "evaluation", FileOptions(scale=1000))


def test_what_a_model_would_see_changes_nothing(monkeypatch, tmp_path):
    """A file of the whole frame, with a configuration whose models see a crop of it."""
    frame = _sample("a", size=(354, 1220))
    frame["depth"] = np.random.default_rng(0).uniform(1, 9, (354, 1220, 1)).astype(np.float32)
    sets = {"eval": (None, [frame])}
    monkeypatch.setattr(file_scores, "create_sources", lambda *_: (None, sets))
    np.save(tmp_path / "a.npy", frame["depth"][..., 0])
    score_folders(small_run.config(frame__input_crop="kb"), [tmp_path], tmp_path / "evaluation")
    assert json.loads((tmp_path / "evaluation/eval.json").read_text())["means"]["rmse"] == 0


def test_disparity_is_one_over_metres(tmp_path):
    _write(tmp_path / "a.npy", 0.25)
    _write(tmp_path / "b.png", 0.5, scale=100)
    _write(tmp_path / "c.npy", 0.0)
    files = DepthFiles(tmp_path, FileOptions(100, kind="disparity"))
    assert _read(files, "a", "b") == [4.0, 2.0]
    assert np.isnan(_read(files, "c")).all()


def test_numbers_without_a_unit_may_have_any_sign(tmp_path):
    """Of relative disparity -0.5 and 0 they stand for -2 and for infinitely far, until aligned."""
    _write(tmp_path / "a.npy", -0.5)
    _write(tmp_path / "b.npy", 0.0)
    assert _read(DepthFiles(tmp_path, FileOptions(kind="relative_disparity")), "a", "b") == [
        -2.0,
        np.inf,
    ]
    assert _read(DepthFiles(tmp_path, FileOptions(kind="relative_depth")), "a", "b") == [-0.5, 0.0]


@pytest.mark.parametrize("scale_shift", [(0.5, 0.1), (3.0, -2.0)])
def test_relative_disparity_is_scored_by_its_alignment(scale_shift, monkeypatch, tmp_path):
    """All errors are 0, also where a number is 0 or negative."""
    sample, (scale, shift) = _sample("a"), scale_shift
    truth = np.random.default_rng(0).uniform(1, 9, (*SIZE, 1)).astype(np.float32)
    sample["depth"] = truth
    monkeypatch.setattr(file_scores, "create_sources", lambda *_: (None, {"e": (None, [sample])}))
    np.save(tmp_path / "a.npy", (scale / truth + shift)[..., 0])
    options = FileOptions(kind="relative_disparity")
    with pytest.raises(UserError, match=r"has no unit: set evaluation\.alignment to scale_shift_d"):
        score_folders(small_run.config(), [tmp_path], tmp_path / "results", options)
    config = small_run.config(evaluation__alignment="scale_shift_disparity")
    report = score_folders(config, [tmp_path], tmp_path / "results", options)
    assert "ALIGNED to the ground truth (scale and shift of disparity" in report
    assert report.splitlines()[-1].endswith(f"files of {tmp_path}, relative disparity")
    means = json.loads((tmp_path / "results/e.json").read_text())["means"]
    assert means["abs_rel"] < 1e-5 and means["d105"] == 1


@pytest.mark.parametrize("rule", ["nearest", "bilinear", "bilinear_corners"])
def test_files_of_another_size_are_resized_as_told(rule, tmp_path):
    """Two columns become four: centres at 1/4 and 3/4 between, or corners kept."""
    np.save(tmp_path / "a.npy", np.array([[1, 5], [1, 5]], np.float32))
    with pytest.raises(UserError, match=r"is 2 x 2, its frame 4 x 4: .*--predictions_resize"):
        DepthFiles(tmp_path)([_sample("a", size=(4, 4))], 0)
    (found,) = DepthFiles(tmp_path, FileOptions(resize=rule))([_sample("a", size=(4, 4))], 0)
    row = {
        "nearest": [1, 1, 5, 5],
        "bilinear": [1, 2, 4, 5],
        "bilinear_corners": [1, 1 + 4 / 3, 1 + 8 / 3, 5],
    }[rule]
    np.testing.assert_allclose(found[..., 0], [row] * 4, rtol=1e-6)


@pytest.mark.parametrize("archive", [False, True])
def test_a_spread_and_an_interval_beside_the_depth_are_scored(archive, monkeypatch, tmp_path):
    """The interval holds at half of the pixels, and the spread grows with the error."""
    sample = _sample("a", 4.0)
    monkeypatch.setattr(file_scores, "create_sources", lambda *_: (None, {"e": (None, [sample])}))
    factor = np.linspace(1.01, 1.5, 24).reshape(SIZE)
    depth = (4 * factor).astype(np.float32)
    low = np.where(np.arange(24).reshape(SIZE) < 12, 3.9, 4.02).astype(np.float32)
    maps = {"spread": depth * (factor - 1), "low": low, "high": depth * 2}
    if archive:
        np.savez(tmp_path / "a.npz", depth=depth, **maps)
    else:
        np.save(tmp_path / "a.npy", depth)
        for part, values in maps.items():
            np.save(tmp_path / f"a_{part}.npy", values)
    options = FileOptions(spread=True, interval=0.8)
    score_folders(small_run.config(), [tmp_path], tmp_path / "results", options)
    means = json.loads((tmp_path / "results/e.json").read_text())["means"]
    assert means["coverage"] == 0.5 and means["crps"] is None
    assert means["spread_rank"] == pytest.approx(1) and means["ause"] == pytest.approx(0, abs=1e-6)
    width = np.log(2 * depth / low) + 2 / 0.2 * np.maximum(np.log(low / 4), 0)
    assert means["interval_score"] == pytest.approx(width.mean(), rel=1e-5)


def test_a_pixel_without_spread_or_with_an_end_behind_the_camera_counts(monkeypatch, tmp_path):
    sample = _sample("a", 4.0)
    monkeypatch.setattr(file_scores, "create_sources", lambda *_: (None, {"e": (None, [sample])}))
    spread = np.linspace(0, 1, 24, dtype=np.float32).reshape(SIZE)
    depth, low = np.full(SIZE, 4.5, np.float32), np.full(SIZE, 3.0, np.float32)
    low[0, 0] = -0.1
    np.savez(tmp_path / "a.npz", depth=depth, spread=spread, low=low, high=np.full(SIZE, 5.0))
    options = FileOptions(spread=True, interval=0.9)
    score_folders(small_run.config(), [tmp_path], tmp_path / "results", options)
    means = json.loads((tmp_path / "results/e.json").read_text())["means"]
    assert means["coverage"] == 1
    assert means["mean_spread"] == pytest.approx((spread / depth).mean(), rel=1e-5)
    nearest = small_run.config().frame.min_depth  # to which the protocol clamps
    width = np.log(5 / np.maximum(low, nearest)).mean()
    assert means["interval_score"] == pytest.approx(width, rel=1e-5)


def test_what_is_stated_must_be_there_and_make_sense(dataset, tmp_path):
    _write(tmp_path / "a.npy", 2.0)
    for options, part in ((FileOptions(spread=True), "spread"), (FileOptions(interval=0.9), "low")):
        with pytest.raises(UserError, match=rf"a\.npy has no {part} beside it: .*/a_{part}\.npy"):
            _read(DepthFiles(tmp_path, options), "a")
    with pytest.raises(UserError, match=r"predictions_interval 90\.0: must be between 0 and 1"):
        FileOptions(interval=90.0)
    with pytest.raises(UserError, match="predictions_kind disparity: a spread or an interval"):
        FileOptions(kind="disparity", spread=True)
    with pytest.raises(UserError, match=r"alignment median: .* that is not aligned"):
        FileOptions(spread=True).check_alignment("median")


def test_missing_files_are_named_and_left_out_only_if_told(dataset, tmp_path):
    (tmp_path / "near").mkdir()
    words = r"3 of 3 samples have no file in .*/near: drive/0, drive/1, drive/2; "
    for skip in (False, True):  # something there must be
        with pytest.raises(UserError, match=words):
            score_folders(
                dataset, [tmp_path], tmp_path / "evaluation", FileOptions(skip_missing=skip)
            )
    _write(tmp_path / "near/drive/1.npy", 3.0)
    _write(tmp_path / "far/house.npy", 20.0)
    with pytest.raises(UserError, match=r"2 of 3 samples .*: drive/0, drive/2; .*--skip_missing"):
        score_folders(dataset, [tmp_path], tmp_path / "evaluation")
    assert not (tmp_path / "evaluation").exists()
    report = score_folders(
        dataset, [tmp_path], tmp_path / "evaluation", FileOptions(skip_missing=True)
    )
    near = next(line.split() for line in report.splitlines() if line.startswith("near"))
    assert (near[1], near[-1]) == ("0.5000", "1")
    assert report.splitlines()[-1].startswith("left out: 2 of 3 samples have no file")
