"""The record of which input results were made of, whatever became of it or of the input."""

import pathlib

import pytest

from diffdepth_jax.prediction.record import FILE, Made, Record, fingerprint


@pytest.fixture
def photo(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"one")
    return tmp_path / "a.jpg"


def _made(folder, name):
    return Record(folder).made(name, is_video=False)


def test_what_is_added_is_read_again_and_the_last_line_counts(tmp_path, photo):
    first, strange = (
        Made(fingerprint(photo), 0, {}, {"npy": False, "color": True}),
        "caf\udce9/\n\x1b",
    )
    Record(tmp_path).add("a", first)
    Record(tmp_path).add(strange, first)
    assert _made(tmp_path, "a") == _made(tmp_path, strange) == first
    photo.write_bytes(b"other")
    Record(tmp_path).add("a", again := Made(fingerprint(photo), 0))
    Record(tmp_path).add("a", Made(fingerprint(photo), 7))  # a video, whose files have other names
    assert again != first and _made(tmp_path, "a") == again and _made(tmp_path, "b") is None


def test_what_is_known_already_is_not_written_again(tmp_path, photo):
    for made in (Made(fingerprint(photo), 0), Made(fingerprint(photo), 7)):
        for _ in range(3):
            Record(tmp_path).add("a", made)
    assert (tmp_path / FILE).read_text().count("\n") == 2


@pytest.mark.parametrize(
    "damage", [b"\n{", b"\n[1]", b"\n" + b"[" * 100_000, b'\n{"name": "b"}', b"\n7\n\n"]
)
def test_a_damaged_line_spoils_no_other(tmp_path, photo, damage):
    made = Made(fingerprint(photo), 0)
    Record(tmp_path).add("a", made)
    with open(tmp_path / FILE, "ab") as file:
        file.write(damage)
    Record(tmp_path).add("c", made)
    record = Record(tmp_path)
    assert (
        record.made("a", is_video=False) == record.made("c", is_video=False) == made
        and record.made("b", is_video=False) is None
    )


def test_a_record_that_is_no_text_says_nothing(tmp_path):
    (tmp_path / FILE).write_bytes(b"\xff\xfe")
    assert _made(tmp_path, "a") is None


def test_results_are_of_a_file_that_was_touched_or_moved_and_not_of_one_that_was_changed(
    tmp_path, photo
):
    made = Made(fingerprint(photo), 0)
    assert made.is_of(photo) and not made.is_of_other(photo)
    moved = photo.rename(tmp_path / "b.jpg")
    moved.touch()
    assert made.is_of(moved) and not made.is_of_other(moved) and not made.is_of(photo)
    photo.write_bytes(b"two")  # of the same size
    assert not made.is_of(photo) and not made.is_of_other(photo)
    moved.write_bytes(b"other")
    assert made.is_of_other(moved)


def test_names_of_frames_are_shared_with_the_video(tmp_path, photo):
    record, made = Record(tmp_path), Made(fingerprint(photo), 2)
    record.add("sub/v", made)
    record.add("w/000001", Made(fingerprint(photo), 0))
    assert record.sharing_frames("sub/v/000000", is_video=False) == made
    assert record.sharing_frames("sub/v/frame_1", is_video=False) is None
    assert record.sharing_frames("w", is_video=True) is not None
    assert record.sharing_frames("sub/v", is_video=True) is None


def test_what_cannot_be_read_has_no_fingerprint(tmp_path):
    assert fingerprint(tmp_path / "missing.jpg") is fingerprint(pathlib.Path("a\0b")) is None
