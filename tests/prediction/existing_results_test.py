"""Results of other settings are never taken for those of these, nor replaced unasked."""

import functools

import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.camera_choice import CameraChoice
from diffdepth_jax.prediction.existing_results import ExistingResults
from diffdepth_jax.prediction.options import Options
from diffdepth_jax.prediction.outputs import OutputWriter
from diffdepth_jax.prediction.record import Record, fingerprint
from diffdepth_jax.prediction.settings import settings
from tests.support.mean_estimator import frames, photo, video


@pytest.fixture
def results(tmp_path):
    """Makes `ExistingResults` of a run, of which most is as in other runs."""
    (tmp_path / "out").mkdir()

    def of(*, kinds=("npy",), model="1", camera=None, overwrite=False, colormap="viridis", **flags):
        writer = OutputWriter(tmp_path / "out", kinds, colormap=colormap)
        values = settings({"": model}, 1, writer, camera or CameraChoice(), Options(**flags))
        return ExistingResults(writer, Record(writer.directory), overwrite, values)

    return of


def write(results, file, count=0):
    """As a run that predicts the file."""
    for path in results.writer.paths(file.frame_name(0) if count else file.name):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    results.finish(file, fingerprint(file.path), count)


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({"model": "2"}, "--checkpoint"),
        ({"camera": CameraChoice(fov=66.0)}, "--fov"),
        ({"camera": CameraChoice(name="exif"), "seed": 3}, "--camera, --seed"),
        ({"native_size": True}, "--size"),
    ],
)
@pytest.mark.parametrize("kind", ["npy", "glb"])
def test_results_of_other_settings_are_refused(tmp_path, results, flags, names, kind):
    file = photo(tmp_path, "a")
    write(results(), file)
    with pytest.raises(UserError, match=f"out/a.* made with another {names}: add --overwrite"):
        results(kinds=(kind,), **flags).check([file])
    results(overwrite=True, **flags).check([file])


def test_those_of_a_video_are_refused_too(tmp_path, results):
    file = video(tmp_path, frames([7]))
    write(results(), file, count=1)
    with pytest.raises(UserError, match=r"another --checkpoint"):
        results(model="2").check([file])


def test_frames_of_a_run_that_was_stopped_are_known_by_their_settings(tmp_path, results):
    file = video(tmp_path, frames([7, 8]))
    first = results()
    first.begin(file, fingerprint(file.path))
    path = first.writer.paths(file.frame_name(0))[0]
    path.parent.mkdir()
    path.write_bytes(b"")
    again = results()
    again.check([file])
    again.begin(file, fingerprint(file.path))
    assert path.exists() and not again.of_video(file)  # it goes on after the frame
    with pytest.raises(UserError, match=r"another --seed"):
        results(seed=3).check([file])
    other = results(seed=3, overwrite=True)
    other.begin(file, fingerprint(file.path))
    assert not path.exists()  # else a stopped run would leave frames of two seeds


def test_a_photo_whose_writing_was_stopped_is_predicted_again(tmp_path, results):
    file = photo(tmp_path, "a")
    write(results(), file)
    assert results().of_photo(file)
    results(seed=3, overwrite=True).begin(file, fingerprint(file.path))
    assert not results(seed=3).of_photo(file)


def test_older_kinds_are_not_finished_by_a_run_that_writes_fewer(tmp_path, results):
    """Seed 3 was stopped before its colours, which are those of seed 0."""
    file, both = photo(tmp_path, "a"), ("npy", "color")
    write(results(kinds=both), file)
    results(kinds=both, seed=3, overwrite=True).begin(file, fingerprint(file.path))
    results(seed=3).finish(file, fingerprint(file.path))
    assert results(seed=3).of_photo(file)
    assert not results(kinds=both, seed=3).of_photo(file)


def test_kinds_that_an_overwriting_run_leaves_out_are_made_again_later(tmp_path, results):
    file, both = photo(tmp_path, "a"), ("npy", "color")
    write(results(kinds=both), file)
    write(results(seed=3, overwrite=True), file)
    assert not results(kinds=both, seed=3).of_photo(file)


def test_a_depth_video_of_before_a_stopped_run_does_not_count(tmp_path, results):
    file = video(tmp_path, frames([7]))
    of = functools.partial(results, kinds=("video",))
    (tmp_path / "out/v_depth.mp4").touch()
    of().finish(file, fingerprint(file.path), 1)
    assert of().of_video(file)
    of(seed=3, overwrite=True).begin(file, fingerprint(file.path))
    assert not of(seed=3).of_video(file) and not of(seed=3).has_video(file)


def test_further_kinds_may_be_added_and_what_they_depend_on_counts_for_them(tmp_path, results):
    file = photo(tmp_path, "a")
    write(results(colormap="turbo"), file)  # which no output shows
    colored = results(kinds=("npy", "color"))
    colored.check([file])
    write(colored, file)
    write(results(), file)  # what is known of the colours stays known
    with pytest.raises(UserError, match=r"another --colormap:"):
        results(kinds=("color",), colormap="turbo").check([file])


def test_settings_matter_where_results_would_stay(tmp_path, results):
    file = photo(tmp_path, "a")
    write(results(), file)
    (tmp_path / "out/a.npy").unlink()
    results(model="2").check([file])  # nothing is there any more
    write(results(model="2", overwrite=True), file)
    results(model="2").check([file])
    photo(tmp_path, "a", value=7)  # another photo, which is predicted again
    results(model="3").check([file])


def test_results_of_older_versions_stay(tmp_path, results):
    file = photo(tmp_path, "a")
    write(ExistingResults(results().writer, Record(tmp_path / "out"), False), file)
    results(model="2").check([file])


def test_what_stays_of_other_flags_or_another_photo_is_named(tmp_path, results, caplog):
    file = photo(tmp_path, "a")
    write(results(kinds=("npy", "glb", "spread")), file)

    def warnings(**flags):
        caplog.clear()
        results(**flags).check([file])
        return [record.getMessage() for record in caplog.records]

    assert not warnings()
    assert not warnings(overwrite=True)  # the same flags and photo: they fit together
    (text,) = warnings(model="2", overwrite=True)
    assert f"{tmp_path}/out/a_spread.npy and 2 more: made with" in text  # its picture, the GLB
    assert not warnings(kinds=("npy", "glb", "spread"), model="2", overwrite=True)
    photo(tmp_path, "a", value=7)
    (text,) = warnings()
    assert "another input" in text


def test_what_stays_of_a_videos_frames_is_named_too(tmp_path, results, caplog):
    file = video(tmp_path, frames([7]))
    write(results(kinds=("npy", "spread")), file, count=1)
    results(model="2", overwrite=True).check([file])
    (record,) = caplog.records
    assert "000000_spread.npy and 1 more" in record.getMessage()
