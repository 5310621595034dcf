"""Lists as they come: tabs, quotes, comments, absolute paths, other systems' text."""

import pathlib

import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.media.path_lists import (
    Line,
    find,
    name_below,
    names,
    read_csv,
    read_lines,
    read_pairs,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.jpg b.png 518.8", ["a.jpg", "b.png", "518.8"]),
        ("a.jpg\tb.png 518.8", ["a.jpg", "b.png", "518.8"]),
        ("a.jpg b.png\t518.8", ["a.jpg", "b.png", "518.8"]),
        ("a.jpg None\t518.8", ["a.jpg", "None", "518.8"]),
        ("my room/a.jpg\tmy room/b.png\t5.8", ["my room/a.jpg", "my room/b.png", "5.8"]),
        ("v1.0 x/a.jpg\tNone", ["v1.0 x/a.jpg", "None"]),
        ('"living room/a.jpg" "b #1.png" # odd', ["living room/a.jpg", "b #1.png"]),
        ("a#1.jpg o'b.png # c", ["a#1.jpg", "o'b.png"]),
    ],
)  # fmt: skip
def test_names_of_a_line(text, expected):
    assert names(text) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_of_any_system(tmp_path, encoding, end):
    text = end.join(["# header", "", "caf\u00e9\u2028.jpg", "b.jpg "])
    (tmp_path / "list.txt").write_bytes(text.encode(encoding))
    lines = [Line(3, "caf\u00e9\u2028.jpg"), Line(4, "b.jpg")]
    assert read_lines(tmp_path / "list.txt") == lines


def test_other_text_is_refused(tmp_path):
    (tmp_path / "list.txt").write_bytes("caf\u00e9.jpg".encode("latin-1"))
    with pytest.raises(UserError, match=r"list\.txt cannot be read"):
        read_lines(tmp_path / "list.txt")


def test_an_absolute_path_counts_if_it_exists_and_a_slash_is_else_the_folders(tmp_path):
    for name in ("a/x.png", "a/y.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in (str(tmp_path / "a/x.png"), "/a/x.png", "a/x.png", "a\\x.png", "\\a\\x.png"):
        assert find(name, tmp_path) == tmp_path / "a/x.png"
    assert find("/x.png", tmp_path) is None
    (tmp_path / "a\\x.png").touch()  # a name of its own here
    assert find("a\\x.png", tmp_path) == tmp_path / "a\\x.png"


def test_home_in_a_list(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.png").touch()
    assert find("~/x.png", "nowhere") == tmp_path / "x.png"


def test_names_are_relative_and_stay_below(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = str(tmp_path.resolve()).lstrip("/")
    assert name_below("in/a.jpg", "in") == name_below(tmp_path / "in/a.jpg", "in") == "a.jpg"
    assert name_below("in/../in/sub/a.jpg", "in") == "sub/a.jpg"
    assert name_below("in/../../a.jpg", "in") == str(pathlib.Path(whole).parent / "a.jpg")
    assert name_below("other/a.jpg", "in").endswith(f"{tmp_path.name}/other/a.jpg")


def test_a_word_too_many_gets_a_sentence_about_spaces(tmp_path):
    (tmp_path / "list.txt").write_text("a b.jpg a b.png\na.jpg b.png 5.1\na.jpg b.png\n")
    advice = [bool(pair.advice) for pair in read_pairs(tmp_path / "list.txt")]
    assert advice == [True, False, False]


@pytest.mark.parametrize(
    ("column", "focal_length"),
    [
        ("518.8579", 518.8579),
        ("7e2 left", 700),
        ("", 0),
        ("0", 0),
        ("-5", 0),
        ("nan", 0),
        ("inf", 0),
        ("1e999", 0),
        ("2011_09_26", 0),
        ("frame_17", 0),
        ("left 518.8579", 0),
    ],
)
def test_a_third_column_that_is_a_positive_number_is_a_focal_length(tmp_path, column, focal_length):
    (tmp_path / "list.txt").write_text(f"a.jpg b.png {column}\n")
    (pair,) = read_pairs(tmp_path / "list.txt")
    assert pair.focal_length == focal_length


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.jpg,1\nb c.jpg,2\n", ["a.jpg", "b c.jpg"]),
        ("id,image_path\n1,a.jpg\n2,b.jpg\n", ["a.jpg", "b.jpg"]),
        ("RGB\tdepth\na.jpg\ta.png\n\n# no\n", ["a.jpg"]),
        ('name;label\n"a;b.jpg";x\n', ["a;b.jpg"]),
        ("file_name,label\r\na.jpg,x\r\n", ["a.jpg"]),
        ('"two\nlines.jpg",1\na.jpg,2', ["two\nlines.jpg", "a.jpg"]),
        ("", []),
    ],
)
def test_tables_name_pictures_in_a_column(tmp_path, text, expected):
    (tmp_path / "list.csv").write_text(text, newline="")
    assert [line.text for line in read_csv(tmp_path / "list.csv")] == expected


def test_a_table_that_is_none_is_named(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UserError, match=r"list\.csv cannot be read"):
        read_csv(tmp_path / "list.csv")
    (tmp_path / "list.csv").write_text(f'a.jpg\n"{"x" * 200_000}"')
    with pytest.raises(UserError, match=r"list\.csv cannot be read \(field larger"):
        read_csv(tmp_path / "list.csv")


def test_a_name_that_is_too_long_is_not_found(tmp_path):
    assert find("x" * 5000, tmp_path) is None
