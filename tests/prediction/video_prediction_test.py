"""Videos through a stand-in for the estimator: frames, times, and what exists already."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.media.video import VideoReader
from diffdepth_jax.prediction.input_files import InputFile, find_inputs
from diffdepth_jax.prediction.photo_prediction import PhotoPredictor
from diffdepth_jax.prediction.report import Report
from diffdepth_jax.prediction.video_prediction import VideoPredictor
from tests.media.frame_times_test import shown, write_stamped
from tests.support import mean_estimator
from tests.support.mean_estimator import MeanEstimator, frames, photo, video

WRITTEN, SKIPPED = Report(1, written=1), Report(1, skipped=1)


def predict(file, output, *kinds, **options):
    """Predicts one video; anew, unless said otherwise."""
    options = {"overwrite": True, **options}
    return mean_estimator.predict(VideoPredictor, [file], output, *kinds, **options)


def _error(report):
    ((_, error),) = report.failures
    return str(error)


def test_a_video_that_fails_is_reported(tmp_path):
    report = predict(video(tmp_path, frames([1, 2, 250])), tmp_path / "out", "npy", "video")
    assert "too much memory" in _error(report)
    assert not (tmp_path / "out/v_depth.mp4").exists()
    assert len(list((tmp_path / "out/v").iterdir())) == 2


def test_a_still_scene_is_constant_in_depth_and_in_colour(tmp_path, capsys):
    scene = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    file = video(tmp_path, [scene] * 6)
    assert predict(file, tmp_path / "out", "npy", "video", batch_size=4) == WRITTEN
    depths = [np.load(tmp_path / f"out/v/{k:06d}.npy") for k in range(6)]
    assert np.ptp(depths) == 0
    assert "v: 6 frames; metres hold for a focal length of 50.0 pixels" in capsys.readouterr().out
    with VideoReader(tmp_path / "out/v_depth.mp4") as reader:
        pictures = np.stack([frame.image for frame in reader]).astype(int)
        assert reader.clock.rate == 10
    change = np.abs(np.diff(pictures, axis=0))[:, :, : 2 * 576]  # without the scale's fine letters
    assert len(pictures) == 6 and change.max() <= 16  # of the codec


def test_each_frame_of_depth_shows_when_its_frame_does(tmp_path):
    stamps = [20 * k + 600 * (k > 4) for k in range(9)]
    write_stamped(tmp_path / "v.mp4", stamps, Fraction(1, 600), last=900)
    file = InputFile(tmp_path / "v.mp4", "v")
    assert predict(file, tmp_path / "out", "video", batch_size=4) == WRITTEN
    times, end = shown(tmp_path / "out/v_depth.mp4")
    assert times == [Fraction(stamp, 600) for stamp in stamps]
    assert end == Fraction(stamps[-1] + 900, 600)


@pytest.mark.parametrize("kinds", [("video",), ("npy", "video")])
def test_no_folder_is_left_empty(kinds, tmp_path):
    file = InputFile(video(tmp_path, frames([1, 2])).path, "sub/v")
    predict(file, tmp_path / "out", "video")
    assert [path.name for path in (tmp_path / "out/sub").iterdir()] == ["v_depth.mp4"]
    refused = InputFile(video(tmp_path, frames([250])).path, "other/v")
    assert "too much memory" in _error(predict(refused, tmp_path / "out", *kinds))
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["sub"]


def test_colours_of_a_video_mean_one_depth_throughout(tmp_path, capsys):
    predict(video(tmp_path, frames([0, 255, 0])), tmp_path / "out", "video")
    note = "metres hold for a focal length of 50.0 pixels (the model's assumption)"
    assert f"v: 3 frames; {note}" in capsys.readouterr().out
    with VideoReader(tmp_path / "out/v_depth.mp4") as reader:
        first, far, last = (frame.image[5, 300:400].mean(axis=0) for frame in reader)
    assert np.abs(first - last).max() < 5 and np.abs(first - far).max() > 50


def test_a_video_that_breaks_off_is_predicted_up_to_there(tmp_path):
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(0, 256, (20, 16, 24, 3), np.uint8))
    file = video(tmp_path, pictures, movflags="faststart")
    content = file.path.read_bytes()
    file.path.write_bytes(content[: len(content) // 2])
    report = predict(file, tmp_path / "out", "npy", "video", batch_size=3)
    written = sorted((tmp_path / "out/v").iterdir())
    assert 3 < len(written) < 20 and report.written == 0
    assert f"after {len(written)} frames" in _error(report)
    with VideoReader(tmp_path / "out/v_depth.mp4") as reader:
        assert len(list(reader)) == len(written)


def test_frames_of_a_broken_video_are_not_taken_for_those_of_another(tmp_path):
    """Nor are frames beyond the end of one that is shorter."""
    output, short = tmp_path / "out", frames([30])
    assert predict(video(tmp_path, frames([10, 20, 250])), output, "npy").failures
    assert predict(video(tmp_path, short), output, "npy", overwrite=False) == WRITTEN
    (path,) = (output / "v").iterdir()
    assert np.load(path)[0, 0] == pytest.approx(1 + 30 / 255, abs=0.02)


def test_a_video_without_a_frame_leaves_nothing(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"no video")
    report = predict(InputFile(tmp_path / "v.mp4", "v"), tmp_path / "out", "npy", "video")
    assert "v.mp4 cannot be read" in _error(report) and not list((tmp_path / "out").iterdir())


def test_what_exists_of_a_video_is_skipped(tmp_path):
    file = video(tmp_path, frames([10, 20, 30]))

    def count(*kinds, overwrite=False):
        """The number of frames that were predicted."""
        estimator = MeanEstimator()
        options = {"estimator": estimator, "overwrite": overwrite}
        report, number = predict(file, tmp_path / "out", *kinds, **options), sum(estimator.batches)
        assert report == (WRITTEN if number else SKIPPED)
        return number

    assert count("video", overwrite=True) == 3
    assert count("video") == 0
    assert count("npy", "video") == 3
    (tmp_path / "out/v/000001.npy").unlink()
    assert count("npy", "video") == 1
    assert count("npy", "video") == 0
    assert count("npy", "video", overwrite=True) == 3


def test_what_exists_is_judged_by_all_frames_without_opening_the_video(tmp_path, monkeypatch):
    file, output = video(tmp_path, frames([10, 20, 30])), tmp_path / "out"
    assert predict(file, output, "npy") == WRITTEN
    opened = []
    init = VideoReader.__init__
    monkeypatch.setattr(
        VideoReader, "__init__", lambda self, path: (opened.append(path), init(self, path))[0]
    )
    assert predict(file, output, "npy", overwrite=False) == SKIPPED and not opened
    (output / "v/000002.npy").unlink()  # the last
    assert predict(file, output, "npy", overwrite=False) == WRITTEN and opened
    video(tmp_path, frames([77, 77, 77]))  # another content under the same name
    assert predict(file, output, "npy", overwrite=False) == WRITTEN
    assert np.load(output / "v/000001.npy")[0, 0] == pytest.approx(1 + 77 / 255, abs=0.02)


def test_a_video_and_a_folder_of_its_frames_never_share_results(tmp_path):
    """In one run, and in runs of their own in both orders."""
    folder = tmp_path / "in"
    (folder / "v").mkdir(parents=True)
    file = video(folder, frames([10, 20, 30]))
    for index in range(1, 4):  # as FFmpeg counts
        photo(folder / "v", f"{index:06d}", value=200 + index)
    pictures = [folder / f"v/{index:06d}.png" for index in range(1, 4)]
    for order in ("video first", "photos first", "together"):
        output = tmp_path / order
        inputs = {"v": [str(file.path)], "p": [f"{folder}/?/*.png"], "all": [str(folder)]}
        turns = {"video first": "vp", "photos first": "pv", "together": ["all"]}[order]
        written = 0
        for turn in [*turns, *turns]:  # the second time nothing is left to do
            found = find_inputs(inputs[turn], output).files
            for predictor, is_video in ((PhotoPredictor, False), (VideoPredictor, True)):
                chosen = [each for each in found if each.is_video == is_video]
                report = mean_estimator.predict(predictor, chosen, output, "npy")
                written += report.written
        assert written == 4, order
        depths = sorted(np.load(path)[0, 0] for path in output.rglob("*.npy"))
        expected = [*(1 + v / 255 for v in (10, 20, 30)), *(1 + v / 255 for v in (201, 202, 203))]
        np.testing.assert_allclose(depths, expected, atol=0.02)
    assert all(Image.open(path).getpixel((0, 0))[0] > 200 for path in pictures)
