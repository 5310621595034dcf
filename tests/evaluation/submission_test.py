"""Submissions to KITTI's benchmark: what is written, and what the check finds wrong."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import submission
from tests.support import small_model

SIZES = ((2, 3), (2, 3), (4, 3))


def _frames(names=None):
    """Three frames of SIZES; frame i is 1 + i metres everywhere."""
    for index, (height, width) in enumerate(SIZES):
        depth = np.full((height, width, 1), 1.0 + index, np.float32)
        name = {} if names is None else {"name": names[index]}
        yield index, {"depth": np.zeros_like(depth), **name}, depth


def _read(path):
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return {name: np.array(Image.open(io.BytesIO(data))) for name, data in files.items()}


def _png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG")
    return file.getvalue()


def _zip(path, **changes):
    """A right submission with files of other content, or without those that are None."""
    files = {f"{i:010d}.png": _png(np.ones(size, np.uint16)) for i, size in enumerate(SIZES)}
    files |= {f"{name}.png": content for name, content in changes.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            if content is not None:
                archive.writestr(name, content)
    return path


def test_files_hold_metres_times_256_at_the_images_size(tmp_path):
    assert submission.write_submission(tmp_path / "a.zip", _frames()) == 3
    files = _read(tmp_path / "a.zip")
    assert list(files) == ["0000000000.png", "0000000001.png", "0000000002.png"]
    for index, values in enumerate(files.values()):
        assert (values.dtype, values.shape) == (np.uint16, SIZES[index])
        assert (values == 256 * (1 + index)).all()
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_values_are_rounded_and_stay_within_what_the_file_can_hold():
    """3.3 m x 256 = 844.8; 0 would say that there is no prediction."""
    depth = np.array([3.3, 0.0, -1.0, 1e6, np.nan, np.inf], np.float32).reshape(2, 3, 1)
    values = np.array(Image.open(io.BytesIO(submission.encode_depth(depth))))
    assert values.ravel().tolist() == [845, 1, 1, 65535, 1, 65535]


def test_files_are_called_by_the_number_of_the_sample_in_any_order(tmp_path):
    names = ["image/0000000002", "image/0000000000.png", "0000000001"]
    submission.write_submission(tmp_path / "a.zip", _frames(names))
    files = _read(tmp_path / "a.zip")
    assert [files[f"000000000{i}.png"][0, 0] / 256 for i in range(3)] == [2, 3, 1]
    assert files["0000000001.png"].shape == SIZES[2]


def test_a_set_that_is_not_the_benchmarks_is_refused_and_nothing_left(tmp_path):
    names = ["0000000069", "0000000070", "0000000071"]
    with pytest.raises(UserError, match=r"a.zip would not be accepted: 0000000000.png is missing"):
        submission.write_submission(tmp_path / "a.zip", _frames(names))
    assert not list(tmp_path.iterdir())


def test_an_output_is_not_overwritten(tmp_path):
    (tmp_path / "a.zip").write_text("")
    with pytest.raises(UserError, match=r"a.zip exists"):
        submission.write_submission(tmp_path / "a.zip", _frames())


def test_a_right_zip_has_no_problems(tmp_path):
    assert submission.check_submission(_zip(tmp_path / "a.zip"), SIZES) == []


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"0000000001": None}, ["2 files, must be 3", "0000000001.png is missing"]),
        ({"0000000003": b""}, ["4 files, must be 3", "0000000003.png does not belong in the zip"]),
        (
            {"0000000001": None, "depth/0000000001": _png(np.ones((2, 3), np.uint16))},
            ["0000000001.png is missing", "depth/0000000001.png does not belong in the zip"],
        ),
        (
            {"0000000001": _png(np.ones((2, 3), np.uint8))},
            ["0000000001.png has mode L, must be one channel of 16 bits"],
        ),
        (
            {"0000000001": _png(np.ones((2, 3, 3), np.uint8))},
            ["0000000001.png has mode RGB, must be one channel of 16 bits"],
        ),
        (
            {"0000000002": _png(np.ones((2, 3), np.uint16))},
            ["0000000002.png is 2 x 3, must be 4 x 3"],
        ),
        (
            {"0000000000": _png(np.array([[0, 1, 1], [1, 0, 1]], np.uint16))},
            ["0000000000.png has 2 zeros, which say that nothing was predicted"],
        ),
    ],
)
def test_each_problem_of_a_zip_is_named(tmp_path, changes, problems):
    assert submission.check_submission(_zip(tmp_path / "a.zip", **changes), SIZES) == problems


@pytest.mark.parametrize("content", [b"", b"no picture", _png(np.ones((2, 3), np.uint16))[:40]])
def test_a_damaged_file_in_the_zip_is_named(tmp_path, content):
    path = _zip(tmp_path / "a.zip", **{"0000000001": content})
    (problem,) = submission.check_submission(path, SIZES)
    assert problem.startswith("0000000001.png is no readable PNG")


def test_what_is_no_zip_is_named(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no zip")
    for name in ("a.zip", "nowhere.zip"):
        (problem,) = submission.check_submission(tmp_path / name)
        assert f"{name} is no readable zip file" in problem


def test_the_benchmark_has_500_files(tmp_path):
    problems = submission.check_submission(_zip(tmp_path / "a.zip"))
    assert problems[:2] == ["3 files, must be 500", "0000000003.png is missing"]
    assert "0000000499.png is missing" in problems
    assert "0000000000.png is 2 x 3, must be 352 x 1216" in problems


class _Unlabelled:
    """Images without any ground truth."""

    def __init__(self, count):
        self._count = count

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        height, width = 40 + index, 60
        return {
            "image": np.full((height, width, 3), 50 * index, np.uint8),
            "depth": np.zeros((height, width, 1), np.float32),
            "mask": np.zeros((height, width, 1), bool),
        }


def test_a_model_directory_submits_a_set_without_ground_truth(tmp_path, monkeypatch):
    """Three images of three sizes, in batches of two."""
    config = small_model.save(tmp_path / "model")
    sources = None, {"test": (None, _Unlabelled(3))}
    monkeypatch.setattr("diffdepth_jax.evaluation.evaluator.create_sources", lambda *_: sources)
    text = submission.submit(config, tmp_path / "model", tmp_path / "out" / "a.zip")
    assert "3 predictions" in text and "the benchmark's test set has 500" in text
    files = _read(tmp_path / "out" / "a.zip")
    assert [values.shape for values in files.values()] == [(40, 60), (41, 60), (42, 60)]
    assert all(values.std() > 0 for values in files.values())


def test_submission_needs_an_output_and_one_set(tmp_path):
    config = small_model.save(tmp_path / "model")
    with pytest.raises(UserError, match="needs --output"):
        submission.submit(config, tmp_path / "model", None)
    with pytest.raises(UserError, match=r"2 evaluation sets \(rooms, streets\)"):
        submission.submit(config, tmp_path / "model", "a.zip")
