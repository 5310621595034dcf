"""Photos and videos through a stand-in for the estimator, which tells what it was asked."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media.video import VideoReader
from diffdepth_jax.prediction import placement
from diffdepth_jax.prediction.camera_choice import CameraChoice
from diffdepth_jax.prediction.depth_prediction import DepthPrediction
from diffdepth_jax.prediction.file_prediction import FilePredictor
from diffdepth_jax.prediction.input_files import InputFile
from diffdepth_jax.prediction.options import Options
from diffdepth_jax.prediction.outputs import OutputWriter
from diffdepth_jax.prediction.report import Report, VideoOutcome
from tests.media.frame_times_test import shown, write_stamped
from tests.media.video_test import write_lossless


class MeanEstimator:
    """Depth is 1 m plus the mean brightness; remembers the sizes of its batches."""

    def __init__(self, focal_length=50.0):
        self.focal_length, self.batches = focal_length, []

    def placement(self, height, width, options):
        if width == 13:
            raise UserError("unlucky")
        return placement.native((height, width))

    def __call__(self, images, *, focal_length, **_):
        if any(image.mean() == 250 for image in images):
            raise UserError("too much memory")
        self.batches.append(len(images))
        depths = [np.full(i.shape[:2], 1 + i.mean() / 255, np.float32) for i in images]
        return [
            DepthPrediction(depth, self.focal_length or None, image)
            for depth, image in zip(depths, images, strict=True)
        ]


def _photo(folder, name, size=(24, 16), value=100):
    path = folder / f"{name}.png"
    Image.new("RGB", size, (value,) * 3).save(path)
    return InputFile(path, name)


def _frames(values, size=(16, 24)):
    return [np.full((*size, 3), value, np.uint8) for value in values]


def _video(folder, frames, **options):
    write_lossless(folder / "v.mp4", frames, **options)
    return InputFile(folder / "v.mp4", "v")


def _predictor(
    tmp_path, kinds=("npy",), estimator=None, cameras=None, *, overwrite=True, **options
):
    writer, options = OutputWriter(tmp_path / "out", kinds), Options(**options)
    estimator = estimator or MeanEstimator()
    cameras = cameras or CameraChoice()
    return FilePredictor(estimator, writer, cameras, options, overwrite=overwrite)


def test_batches_are_of_one_size_and_every_photo_is_written(tmp_path):
    sizes = [(24, 16), (20, 16), (24, 16), (24, 16), (20, 16)]
    files = [_photo(tmp_path, f"p{k}", size, value=k) for k, size in enumerate(sizes)]
    estimator = MeanEstimator()
    report = _predictor(tmp_path, estimator=estimator, batch_size=2).predict_photos(files)
    assert estimator.batches == [2, 2, 1] and report == Report(written=5)
    for value, (width, height) in enumerate(sizes):
        depth = np.load(tmp_path / f"out/p{value}.npy")
        assert depth.shape == (height, width) and depth[0, 0] == pytest.approx(1 + value / 255)


def test_photos_that_cannot_be_predicted_are_reported_and_passed_over(tmp_path):
    files = [_photo(tmp_path, "a"), _photo(tmp_path, "b", (13, 8)), _photo(tmp_path, "c")]
    files.insert(1, InputFile(tmp_path / "missing.png", "missing"))
    report = _predictor(tmp_path).predict_photos(files)
    assert report.written == 2
    assert [path.stem for path, _ in report.failures] == ["missing", "b"]


def test_a_batch_that_fails_is_reported_and_passed_over(tmp_path):
    files = [_photo(tmp_path, f"p{k}", value=value) for k, value in enumerate([1, 250, 3])]
    report = _predictor(tmp_path, batch_size=2).predict_photos(files)
    assert report.written == 1 and (tmp_path / "out/p2.npy").exists()
    assert [path.stem for path, _ in report.failures] == ["p0", "p1"]
    file = _video(tmp_path, _frames([1, 2, 250]))
    outcome = _predictor(tmp_path, ("npy", "video")).predict_video(file)
    assert outcome.frames == 2 and "too much memory" in str(outcome.error)
    assert not (tmp_path / "out/v_depth.mp4").exists()


def test_points_need_a_camera(tmp_path):
    files, unknown = [_photo(tmp_path, "a")], MeanEstimator(focal_length=0.0)
    for cameras in (CameraChoice(), CameraChoice(name="exif")):  # the photo has no EXIF data
        report = _predictor(tmp_path, ("ply",), unknown, cameras).predict_photos(files)
        assert "no focal length is known" in str(report.failures[0][1])
    report = _predictor(tmp_path, ("ply",), unknown, CameraChoice(fov=60)).predict_photos(files)
    assert report == Report(written=1)


def test_a_still_scene_is_constant_in_depth_and_in_colour(tmp_path, capsys):
    scene = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    file = _video(tmp_path, [scene] * 6)
    report = _predictor(tmp_path, ("npy", "video"), batch_size=4).predict_videos([file])
    depths = [np.load(tmp_path / f"out/v/{k:06d}.npy") for k in range(6)]
    assert report == Report(written=1) and np.ptp(depths) == 0
    assert "v: 6 frames; metres hold for a focal length of 50.0 pixels" in capsys.readouterr().out
    with VideoReader(tmp_path / "out/v_depth.mp4") as reader:
        frames = np.stack([frame.image for frame in reader]).astype(int)
        assert reader.clock.rate == 10
    assert len(frames) == 6 and np.abs(np.diff(frames, axis=0)).max() <= 16  # of the codec


def test_each_frame_of_depth_shows_when_its_frame_does(tmp_path):
    stamps = [20 * k + 600 * (k > 4) for k in range(9)]
    write_stamped(tmp_path / "v.mp4", stamps, Fraction(1, 600), last=900)
    file = InputFile(tmp_path / "v.mp4", "v")
    assert _predictor(tmp_path, ("video",), batch_size=4).predict_video(file).frames == 9
    times, end = shown(tmp_path / "out/v_depth.mp4")
    assert times == [Fraction(stamp, 600) for stamp in stamps]
    assert end == Fraction(stamps[-1] + 900, 600)


@pytest.mark.parametrize("kinds", [("video",), ("npy", "video")])
def test_no_folder_is_left_empty(kinds, tmp_path):
    file = InputFile(_video(tmp_path, _frames([1, 2])).path, "sub/v")
    _predictor(tmp_path, ("video",)).predict_video(file)
    assert [path.name for path in (tmp_path / "out/sub").iterdir()] == ["v_depth.mp4"]
    refused = InputFile(_video(tmp_path, _frames([250])).path, "other/v")
    outcome = _predictor(tmp_path, kinds).predict_video(refused)
    assert "too much memory" in str(outcome.error)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sub"]


def test_colours_of_a_video_mean_one_depth_throughout(tmp_path):
    file = _video(tmp_path, _frames([0, 255, 0]))
    outcome = _predictor(tmp_path, ("video",)).predict_video(file)
    note = "metres hold for a focal length of 50.0 pixels (the model's assumption)"
    assert outcome == VideoOutcome(3, (note,))
    with VideoReader(tmp_path / "out/v_depth.mp4") as reader:
        first, far, last = (frame.image[5, 300:400].mean(axis=0) for frame in reader)
    assert np.abs(first - last).max() < 5 and np.abs(first - far).max() > 50


def test_a_video_that_breaks_off_is_predicted_up_to_there(tmp_path):
    rng = np.random.default_rng(0)
    frames = list(rng.integers(0, 256, (20, 16, 24, 3), np.uint8))
    file = _video(tmp_path, frames, movflags="faststart")
    content = file.path.read_bytes()
    file.path.write_bytes(content[: len(content) // 2])
    outcome = _predictor(tmp_path, ("npy", "video"), batch_size=3).predict_video(file)
    written = sorted((tmp_path / "out/v").iterdir())
    assert outcome.frames == len(written) and 3 < len(written) < 20
    assert f"after {len(written)} frames" in str(outcome.error)
    assert outcome.report(file.path) == Report(failures=((file.path, outcome.error),))
    with VideoReader(tmp_path / "out/v_depth.mp4") as reader:
        assert len(list(reader)) == len(written)


def test_a_video_without_a_frame_leaves_nothing(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"no video")
    file = InputFile(tmp_path / "v.mp4", "v")
    outcome = _predictor(tmp_path, ("npy", "video")).predict_video(file)
    assert outcome.error is not None and outcome.frames == 0
    assert not (tmp_path / "out").exists()


def test_what_exists_of_a_video_is_skipped(tmp_path):
    file = _video(tmp_path, _frames([10, 20, 30]))

    def predict(*kinds, overwrite=False):
        """The number of frames that were predicted."""
        estimator = MeanEstimator()
        report = _predictor(tmp_path, kinds, estimator, overwrite=overwrite).predict_videos([file])
        count = sum(estimator.batches)
        assert report == (Report(written=1) if count else Report(skipped=1))
        return count

    assert predict("video", overwrite=True) == 3
    assert predict("video") == 0
    assert predict("npy", "video") == 3
    (tmp_path / "out/v/000001.npy").unlink()
    assert predict("npy", "video") == 1
    assert predict("npy", "video") == 0
    assert predict("npy", "video", overwrite=True) == 3


def test_a_choice_of_cameras_is_one():
    with pytest.raises(UserError, match="only one of"):
        CameraChoice(focal_length=3.0, name="exif")


def test_a_choice_that_was_left_to_the_model_is_completed():
    for choice in (CameraChoice(name="model"), CameraChoice(fov=60), CameraChoice(name="nyu")):
        for known in (True, False):
            assert choice.completed(has_canonical_camera=known) is choice
    assert CameraChoice().completed(has_canonical_camera=True) == CameraChoice(name="exif")
    assert not CameraChoice().completed(has_canonical_camera=False).is_given
