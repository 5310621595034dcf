"""CONTRIBUTING.md: its examples pass their tests in a copy of the checkout; its tables are true."""

import re
import shutil
import subprocess
import sys
import tomllib

import pytest

from tests.support.pages import blocks, code_blocks
from tests.support.paths import ROOT

PAGE = ROOT / "CONTRIBUTING.md"
COPIED = ("benchmarks", "configs", "data", "diffdepth_jax", "tests")
# What else a reader of an example is told to run: a field is in all places, and known to be new.
FIELDS = (
    "tests/configuration/groups_test.py::test_groups_and_defaults_have_the_same_fields",
    "tests/configuration/renamed_test.py::test_an_old_configuration_has_exactly_the_fields_of_today",
)


def edits():
    """(language, file, text) of each block that begins with the name of a file."""
    for language, text in code_blocks(PAGE):
        if language in ("python", "diff"):
            first, text = text.split("\n", 1)
            yield language, first.removeprefix("# "), text


def extended(before, text):
    """A file with a `python` block at its end; a new file is the block."""
    return f"{before}\n\n{text}" if before else text


def patched(before, text):
    """A file with the changes of a `diff` block, whose old lines stand in it exactly once."""
    for hunk in text.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        old, new = ("".join(x[1:] for x in lines if x[0] in signs) for signs in (" -", " +"))
        assert f"\n{before}".count(f"\n{old}") == 1, f"not once in the file:\n{old}"
        before = f"\n{before}".replace(f"\n{old}", f"\n{new}")[1:]
    return before


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of this checkout in which all examples are done."""
    root = tmp_path_factory.mktemp("checkout")
    for name in COPIED:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, root / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, root)
    for language, name, text in edits():
        path = root / name
        before = path.read_text() if path.exists() else ""
        path.write_text((extended if language == "python" else patched)(before, text))
    return root


def run(checkout, *command):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=checkout, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.mark.slow
def test_examples_pass_their_tests(checkout):
    tests = sorted({name for _, name, _ in edits() if name.endswith("_test.py")})
    quick = [name for name in tests if not name.endswith("objective_test.py")]
    run(checkout, "pytest", "-q", "-x", "-p", "no:cacheprovider", *quick, *FIELDS)


@pytest.mark.slow
def test_the_other_tests_pass_too(checkout):
    rooms = ("configuration", "evaluation", "method", "training")
    run(checkout, "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/{name}" for name in rooms))


def test_examples_pass_the_static_checks(checkout):
    changed = sorted({name for _, name, _ in edits()})
    run(checkout, "ruff", "check", *changed)
    run(checkout, "ruff", "format", "--check", *changed)
    run(checkout, "ty", "check", *(name for name in changed if not name.startswith("tests")))


def test_rooms_are_those_that_are_checked():
    """Each row of the table is a layer of pyproject.toml, from top to bottom."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    rows = re.findall(r"^\| (`.*?) \| ", PAGE.read_text(), re.MULTILINE)
    assert [re.findall(r"`(\w+)`", row) for row in rows] == [re.findall(r"\w+", x) for x in layers]


def test_files_of_the_second_table_exist():
    """Paths in it are relative to the package, or to the checkout; for NAME its folder counts."""
    rows = re.findall(r"^\| (?:a|an|names|something|data|colours) .*$", PAGE.read_text(), re.M)
    paths = {path for row in rows for path in re.findall(r"`([\w/]+(?:\.py|/))`", row)}
    assert len(paths) > 30
    for path in paths:
        known = path.partition("NAME")[0]
        assert (ROOT / "diffdepth_jax" / known).exists() or (ROOT / known).exists(), path


def test_ci_runs_what_the_page_says():
    checks = (ROOT / ".ci/run").read_text().partition("requirements-dev.txt\n")[2]
    assert checks in blocks(PAGE, "sh")
