"""Results stay in the output folder, and none takes another's place, whatever the inputs are."""

import itertools
import os
import pathlib

import numpy as np
import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction import output_kinds
from diffdepth_jax.prediction.input_files import find_inputs
from diffdepth_jax.prediction.output_names import InputFile, named
from diffdepth_jax.prediction.outputs import OutputWriter

KINDS = tuple(output_kinds.KINDS)


def _names(output, *insides):
    return [file.name for file in named([(pathlib.Path("in", x), x) for x in insides], output)]


def test_names_are_paths_without_extension(tmp_path):
    assert _names(tmp_path, "a.jpg", "sub/a.png", "a.b.jpg", "v.mp4") == ["a", "sub/a", "a.b", "v"]


@pytest.mark.parametrize(
    "insides",
    [
        ("a.jpg", "a.png"),
        ("a.jpg", "A.webp"),  # the output folder may be on a disk that does not tell them apart
        ("caf\u00e9.jpg", "cafe\u0301.png"),
        ("a.jpg", "a_color.jpg"),  # a_color.png would be written for both
        ("a.mp4", "a/000012.jpg"),  # a frame of the video
        ("a.jpg", "a.npy/b.jpg"),  # a file and a folder of one name
    ],
)
def test_inputs_that_would_share_a_result_keep_their_extensions(tmp_path, insides):
    changed = [inside for inside in insides if inside != "a.npy/b.jpg"]
    names = _names(tmp_path, "other.jpg", *insides)
    assert names[0] == "other" and set(changed) <= set(names)


def test_letters_of_two_cases_still_give_two_names(tmp_path):
    names = _names(tmp_path, "A.jpg", "a.jpg")
    assert len({name.casefold() for name in names}) == 2
    assert names == _names(tmp_path, "A.jpg", "a.jpg")


def test_a_new_photo_of_another_name_renames_nothing(tmp_path):
    before = _names(tmp_path, "a.jpg", "a.png", "b.jpg")
    assert _names(tmp_path, "a.jpg", "a.png", "b.jpg", "a_1.jpg", "c.jpg")[:3] == before


def test_a_photo_is_not_overwritten_by_its_own_result(tmp_path):
    files = [(tmp_path / "a.png", "a.png"), (tmp_path / "b.jpg", "b.jpg")]
    assert [file.name for file in named(files, tmp_path)] == ["a.png", "b"]


def test_a_photo_behind_a_link_gets_its_results_into_the_output(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/link").symlink_to(tmp_path / "elsewhere")
    (file,) = named([(tmp_path / "out/link/a.jpg", "link/a.jpg")], tmp_path / "out")
    assert file.name.startswith("link_a.jpg-")


def test_names_that_no_rule_helps_are_refused(tmp_path):
    files = [(tmp_path / name, name) for name in ("a.png", "a.png.png")]
    for _ in range(2):
        last = named(files, tmp_path)[0].name
        assert last.startswith("a.png-")
        files.append((tmp_path / f"{last}.png", f"{last}.png"))
    with pytest.raises(UserError, match="rename it, or give another --output"):
        named(files, tmp_path)


STEMS = ("a", "A", "b", "a_color", "v", "000001", "b.jpg", "living room", "\u00e9")
EXTENSIONS = (".jpg", ".png", ".PNG", ".jpeg", ".tiff", ".gif", ".mp4", ".txt")
FOLDERS = ("in", "in/a", "in/sub", "in/a.npy", "in/v", "far", "far/in")


def _tree(rng, root):
    """Makes folders with files, links to files, and links to folders, some of which are loops."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    places = [root / folder for folder in FOLDERS]
    for _ in range(rng.integers(2, 16)):
        path = rng.choice(places) / f"{rng.choice(STEMS)}{rng.choice(EXTENSIONS)}"
        if rng.random() < 0.25 and not os.path.lexists(path):
            path.symlink_to(rng.choice([path, *root.rglob("*.jpg"), *root.rglob("*.png")]))
        elif not path.is_symlink():
            path.touch()
    for name in rng.choice(["link", "loop", "sub/link"], rng.integers(0, 3), replace=False):
        (root / "in" / name).symlink_to(rng.choice(places))


def _spelled(rng, path, folder):
    """Writes the path in one of the ways of lists."""
    relative = os.path.relpath(path, folder)
    ways = [str(path), relative, f"./{relative}", f"{folder}/../{folder.name}/{relative}"]
    return f'"{rng.choice(ways)}"' if rng.random() < 0.2 else rng.choice(ways)


def _list(rng, root):
    pictures = [path for path in root.rglob("*.*") if path.is_file()]
    lines = [_spelled(rng, rng.choice(pictures), root / "in") for _ in range(rng.integers(1, 9))]
    (root / "in/list.txt").write_text("\n".join(lines))
    return root / "in/list.txt"


def _written(file, output):
    """All paths of a file, as they are on disk; with two frames of a video."""
    writer = OutputWriter(output, KINDS)
    paths = writer.paths(file.first_image)
    paths += [*writer.paths(file.frame_name(1)), writer.video_path(file.name)] * file.is_video
    return [pathlib.Path(os.path.realpath(path.parent), path.name) for path in paths]


@pytest.mark.parametrize("seed", range(40))
def test_no_tree_of_inputs_makes_results_leave_or_collide(tmp_path, seed):
    """Folders and lists with links, `..`, equal names; the output apart, inside, or the same."""
    rng = np.random.default_rng(seed)
    _tree(rng, tmp_path)
    (tmp_path / "in/one.jpg").touch()
    given = tmp_path / "in" if rng.random() < 0.5 else _list(rng, tmp_path)
    output = tmp_path / rng.choice(["out", "in", "in/out", "far", "."])
    files = find_inputs([str(given)], output).files
    results = [_written(file, output) for file in files]
    root = output.resolve()
    every = list(itertools.chain(*results))
    assert files and all(path.is_relative_to(root) for path in every)
    folded = [str(path).casefold() for path in every]
    assert len(set(folded)) == len(folded)
    places = {pathlib.Path(os.path.realpath(file.path.parent), file.path.name) for file in files}
    assert not places & set(every) and not set(every) & {path.parent for path in every}
    assert find_inputs([str(given)], output).files == files
    assert all(isinstance(file, InputFile) for file in files)
