"""Photos through a stand-in for the estimator: what is written, reported and passed over."""

import errno
import functools
import os
import time

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.prediction import photo_prediction
from diffdepth_jax.prediction.camera_choice import CameraChoice
from diffdepth_jax.prediction.input_files import InputFile, find_inputs
from diffdepth_jax.prediction.outputs import OutputWriter
from diffdepth_jax.prediction.photo_prediction import PhotoPredictor
from diffdepth_jax.prediction.report import Report, notes_on_denoising
from tests.support import mean_estimator
from tests.support.mean_estimator import MeanEstimator, photo

predict = functools.partial(mean_estimator.predict, PhotoPredictor)


def _stems(report):
    return [path.stem for path, _ in report.failures]


def test_batches_are_of_one_size_and_every_photo_is_written(tmp_path):
    sizes = [(24, 16), (20, 16), (24, 16), (24, 16), (20, 16)]
    files = [photo(tmp_path, f"p{k}", size, value=k) for k, size in enumerate(sizes)]
    estimator = MeanEstimator()
    report = predict(files, tmp_path / "out", estimator=estimator, batch_size=2)
    assert estimator.batches == [2, 2, 1] and report == Report(5, written=5)
    for value, (width, height) in enumerate(sizes):
        depth = np.load(tmp_path / f"out/p{value}.npy")
        assert depth.shape == (height, width) and depth[0, 0] == pytest.approx(1 + value / 255)


def test_photos_that_cannot_be_predicted_are_reported_and_passed_over(tmp_path):
    files = [photo(tmp_path, "a"), photo(tmp_path, "b", (13, 8)), photo(tmp_path, "c")]
    files.insert(1, InputFile(tmp_path / "missing.png", "missing"))
    report = predict(files, tmp_path / "out")
    assert report.written == 2 and _stems(report) == ["missing", "b"]


def test_a_batch_that_fails_is_reported_and_passed_over(tmp_path):
    files = [photo(tmp_path, f"p{k}", value=value) for k, value in enumerate([1, 250, 3])]
    report = predict(files, tmp_path / "out", batch_size=2)
    assert report.written == 1 and (tmp_path / "out/p2.npy").exists()
    assert _stems(report) == ["p0", "p1"]


def test_points_need_a_camera(tmp_path, capsys):
    files, unknown = [photo(tmp_path, "a")], MeanEstimator(focal_length=0.0)
    for cameras in (CameraChoice(), CameraChoice(name="exif")):  # the photo has no EXIF data
        report = predict(files, tmp_path / "out", "ply", estimator=unknown, cameras=cameras)
        assert "no focal length is known" in str(report.failures[0][1])
    cameras = CameraChoice(fov=60)
    report = predict(files, tmp_path / "out", "ply", estimator=unknown, cameras=cameras)
    assert report == Report(1, written=1)
    assert "(focal length not stated)" in capsys.readouterr().out  # it moves no metres


def test_a_photo_that_vanishes_or_breaks_while_others_are_read_ends_nothing(tmp_path, monkeypatch):
    files = [photo(tmp_path, name) for name in "abcd"]
    read = photo_prediction.read_photo

    def read_and_harm(path):
        (tmp_path / "b.png").unlink(missing_ok=True)
        (tmp_path / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        return read(path)

    monkeypatch.setattr(photo_prediction, "read_photo", read_and_harm)
    report = predict(files, tmp_path / "out")
    assert report.written == 2 and _stems(report) == ["b", "c"]
    assert all("\n" not in line and line.startswith("error: ") for line in report.errors())


def test_names_of_255_bytes_and_names_that_are_no_text_are_predicted(tmp_path, capsys):
    """Also names that would move the cursor, or end the line."""
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    names = [b"a" * 251, b"caf\xe9", b"red\x1b[31m", b"two\nlines", "é".encode() * 125 + b"x"]
    for index, name in enumerate(names):
        with open(os.path.join(os.fsencode(folder), name + b".png"), "wb") as file:
            Image.new("RGB", (24, 16), (index,) * 3).save(file, "PNG")
    files = find_inputs([str(folder)], output).files
    kinds = ("npy", "png16", "side_by_side")
    report = predict(files, output, *kinds)
    assert report == Report(5, written=5)
    printed = capsys.readouterr().out
    assert printed.isprintable() or set(printed) - {"\n"} == {c for c in printed if c.isprintable()}
    assert printed.count("\n") == 5 and r"red\x1b[31m" in printed and r"caf\udce9" in printed
    assert predict(find_inputs([str(folder)], output).files, output, *kinds).skipped == 5
    depths = {round(float(np.load(path)[0, 0] * 255 - 255)) for path in output.glob("*.npy")}
    assert depths == set(range(5))


def test_results_that_one_photo_cannot_have_do_not_end_the_others(tmp_path, monkeypatch):
    write = OutputWriter.write

    def fail(self, name, *rest):
        if name == "b":
            raise OSError(number, os.strerror(number), name)
        return write(self, name, *rest)

    monkeypatch.setattr(OutputWriter, "write", fail)
    files, number = [photo(tmp_path, name) for name in "abc"], errno.EILSEQ
    report = predict(files, tmp_path / "out")
    assert report.written == 2 and _stems(report) == ["b"]
    assert "its results b.* cannot be written" in report.errors()[0]
    number = errno.ENOSPC  # then none can be written
    with pytest.raises(OSError, match="No space"):
        predict(files, tmp_path / "out", overwrite=True)


def test_results_are_of_the_photo_whose_they_are(tmp_path):
    """Of a photo of the same name in another folder, or that was changed since, they are not."""
    for folder, value in (("one", 10), ("two", 200)):
        (tmp_path / folder).mkdir()
        photo(tmp_path / folder, "a", value=value)
    output = tmp_path / "out"

    def depth(name):
        return round(float(np.load(output / f"{name}.npy")[0, 0] - 1) * 255)

    def run(path):
        return predict(find_inputs([str(path)], output).files, output)

    assert run(tmp_path / "one/a.png") == Report(1, written=1)
    assert run(tmp_path / "two") == Report(1, written=1)
    assert (depth("a"), depth("a.png")) == (10, 200)
    assert run(tmp_path / "one") == run(tmp_path / "two/a.png") == Report(1, skipped=1)
    photo(tmp_path / "one", "a", value=99)
    assert run(tmp_path / "one") == Report(1, written=1) and depth("a") == 99
    (tmp_path / "two").rename(tmp_path / "three")
    assert run(tmp_path / "three") == Report(1, skipped=1)
    os.utime(tmp_path / "one/a.png")
    assert run(tmp_path / "one") == Report(1, skipped=1)
    (output / "a.npy").unlink()  # then the shorter name is free
    (tmp_path / "four").mkdir()
    photo(tmp_path / "four", "a", value=44)
    assert run(tmp_path / "four") == Report(1, written=1) and depth("a") == 44


def test_a_denoising_of_more_steps_than_the_depth_is_said():
    trajectory = np.zeros((11, 4, 5), np.float32)
    assert notes_on_denoising(trajectory, 1) == [
        "its denoising is shown in 10 steps, its depth takes 1"
    ]
    assert notes_on_denoising(trajectory, 10) == []


def test_large_photos_are_written_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(photo_prediction, "_LARGE", 24 * 16 - 1)
    files = [photo(tmp_path, f"p{k}", (24, 16)) for k in range(6)]
    write, writing, most = OutputWriter.write, [], []

    def count(self, *args):
        writing.append(args)
        most.append(len(writing))
        time.sleep(0.01)
        write(self, *args)
        writing.pop()

    monkeypatch.setattr(OutputWriter, "write", count)
    in_threads = functools.partial(photo_prediction.in_background, threads=3)
    monkeypatch.setattr(photo_prediction, "in_background", in_threads)
    report = predict(files, tmp_path / "out")
    assert report.written == 6 and max(most) == 1
