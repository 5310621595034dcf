"""What a run says about where it ran."""

import json
import platform
import re
import subprocess
import sys

import jax
import pytest

from diffdepth_jax.program import environment
from tests.support.paths import ROOT


def test_the_packages_are_those_of_the_requirements():
    names = re.findall(r"^([\w-]+)==", (ROOT / "requirements.txt").read_text(), re.M)
    assert sorted({*names, "jaxlib"}) == sorted(environment.PACKAGES)


def test_environment_is_plain_and_knows_this_machine():
    found = json.loads(json.dumps(environment.describe_environment()))
    assert found["packages"]["jax"] == jax.__version__
    assert set(found["packages"]) == set(environment.PACKAGES)
    assert found["python"] == platform.python_version()
    assert found["command"] == sys.orig_argv
    assert (found["backend"], sum(found["devices"].values())) == (
        jax.default_backend(),
        jax.device_count(),
    )
    assert (found["process_index"], found["process_count"]) == (0, 1)
    assert platform.node() not in found.values()


def test_a_package_that_is_not_there_has_no_version(monkeypatch):
    monkeypatch.setattr(environment, "PACKAGES", ("jax", "no-such-package"))
    versions = environment.describe_environment()["packages"]
    assert versions == {"jax": jax.__version__, "no-such-package": None}


@pytest.fixture
def checkout(tmp_path):
    def git(*arguments):
        settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", *settings, "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        git("init")
    except FileNotFoundError:
        pytest.skip("no git")
    (tmp_path / "model.py").write_text("depth = 1\n")
    git("add", "model.py")
    git("commit", "-m", "one")
    return tmp_path, git("rev-parse", "HEAD")


def test_commit_and_whether_the_source_is_modified(checkout):
    source, commit = checkout
    (source / "runs").mkdir()
    (source / "runs/metrics.jsonl").write_text("what git does not know is no change of source\n")
    assert environment.describe_source(source) == {"commit": commit, "modified": False}
    (source / "model.py").write_text("depth = 2\n")
    assert environment.describe_source(source) == {"commit": commit, "modified": True}


def test_a_checkout_around_it_is_another_program(checkout):
    (checkout[0] / "site-packages").mkdir()
    unknown = {"commit": None, "modified": None}
    assert environment.describe_source(checkout[0] / "site-packages") == unknown


def test_without_git_the_source_is_not_known(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert environment.describe_source(checkout[0]) == {"commit": None, "modified": None}


def test_outside_a_checkout_the_source_is_not_known(tmp_path):
    assert environment.describe_source(tmp_path) == {"commit": None, "modified": None}
