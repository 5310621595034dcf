"""Programs are traced and compiled once, in whatever state the place is where they are kept."""

import json
import os
import pathlib
import subprocess
import sys
import types
import warnings

import jax
import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.program import compilation_cache
from tests.support import small_model
from tests.support.paths import ROOT

# The command line, with JAX's own counts of what it asked its cache for, and got, and whether a
# model was built.
COUNTED = """
import collections, json, sys, jax
from diffdepth_jax import predict
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: counts.update([event.split("/")[-1]]))
try:
    predict.main()
finally:
    counts = [counts["compile_requests_use_cache"], counts["cache_hits"]]
    print(json.dumps([*counts, "flax" in sys.modules]))
"""


@pytest.fixture(scope="module")
def predict(tmp_path_factory):
    """Predicts photos of three sizes in a process of its own, with these environment variables.

    Returns (programs asked for, programs found, whether a model was built, depths, lines of
    stderr).
    """
    folder = tmp_path_factory.mktemp("predict")
    small_model.save(folder / "model")
    (folder / "photos").mkdir()
    for index, size in enumerate([(48, 32), (32, 48), (33, 47)]):
        pixels = np.random.default_rng(index).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"photos/{index}.png")

    def predict(photos="photos", **variables):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
        output = tmp_path_factory.mktemp("depth")
        flags = {
            "checkpoint": folder / "model",
            "input": folder / photos,
            "output": output,
            "num_steps": 1,
        }
        done = subprocess.run(
            [sys.executable, "-c", COUNTED, *(f"--{k}={v}" for k, v in flags.items())],
            cwd=ROOT,
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        counted = json.loads(done.stdout.splitlines()[-1])
        lines = done.stderr.replace("\r", "\n").splitlines()
        errors = [line for line in lines if line.startswith(("warning:", "error:"))]
        return *counted, [np.load(path) for path in sorted(output.glob("*.npy"))], errors

    return predict


def _contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*-cache")}


@pytest.fixture(scope="module")
def filled(predict, tmp_path_factory):
    """The user's cache directory after a first run, and what that returned."""
    directory = tmp_path_factory.mktemp("user")
    return directory, predict(XDG_CACHE_HOME=str(directory))


def test_the_second_run_traces_and_compiles_nothing_and_predicts_the_same(predict, filled):
    directory, (asked, found, built, depths, errors) = filled
    kept = _contents(directory)
    (folder,) = (directory / "diffdepth_jax/compiled").iterdir()
    compiled, traced = ([p for p in kept if p.parent == folder / d] for d in ("", "lowered"))
    # Two sizes, and that the model's parameters fit.
    assert (len(compiled), len(traced), len(kept)) == (asked, 2, asked + 3)
    assert (found, built, len(depths), errors) == (0, True, 3, [])
    assert folder.stat().st_mode & 0o777 == 0o700
    *counts, again, errors = predict(XDG_CACHE_HOME=str(directory))
    assert (counts, errors) == ([asked, asked, False], [])
    assert _contents(directory) == kept
    np.testing.assert_equal(again, depths)  # bit for bit


@pytest.mark.slow
def test_damaged_programs_are_compiled_anew_and_replaced(predict, filled):
    directory = filled[0]  # no copy: JAX's names of entries depend on where they lie
    for path, entry in _contents(directory).items():
        path.write_bytes(entry[: len(entry) // 2])
    asked, found, _, depths, (line,) = predict(XDG_CACHE_HOME=str(directory))
    assert line.startswith("warning: a compiled program could not be read and is compiled anew (")
    assert found == 0
    np.testing.assert_equal(depths, filled[1][3])
    assert predict(XDG_CACHE_HOME=str(directory))[:2] == (asked, asked)


def test_without_a_place_to_keep_them_programs_are_compiled_and_a_line_says_so(predict):
    # Not even root writes there.
    _, found, _, depths, (line,) = predict(photos="photos/0.png", XDG_CACHE_HOME="/proc")
    assert found == 0 and len(depths) == 1
    assert line.startswith("warning: compiled programs are not kept (") and "/proc" in line
    assert "JAX_COMPILATION_CACHE_DIR=DIR" in line


@pytest.fixture
def configuration(monkeypatch, tmp_path):
    """JAX's configuration, with no directory named; and the user's cache directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_enable_compilation_cache",
    )
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update(names[0], None)
    yield jax.config
    for name, value in before.items():
        jax.config.update(name, value)


def test_what_the_user_has_set_stays(configuration, monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "7")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 7)
    with compilation_cache.kept():
        assert configuration.jax_compilation_cache_dir.startswith(str(tmp_path))
        assert configuration.jax_persistent_cache_min_compile_time_secs == 7
    jax.config.update("jax_compilation_cache_dir", "/elsewhere")
    with compilation_cache.kept():
        assert configuration.jax_compilation_cache_dir == "/elsewhere"
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_enable_compilation_cache", False)
    with compilation_cache.kept():
        assert configuration.jax_compilation_cache_dir is None


def test_a_directory_that_others_may_write_to_is_not_used(configuration, monkeypatch, caplog):
    with compilation_cache.kept():
        directory = compilation_cache.own_directory()
    assert str(directory) == configuration.jax_compilation_cache_dir
    directory.chmod(0o777)
    assert compilation_cache.own_directory() is None
    configuration.update("jax_compilation_cache_dir", None)
    with compilation_cache.kept():
        assert configuration.jax_compilation_cache_dir is None
    directory.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: directory.stat().st_uid + 1)
    with compilation_cache.kept():
        assert configuration.jax_compilation_cache_dir is None
    others, another = (record.getMessage() for record in caplog.records)
    assert f"others may write to {directory}: chmod 700 it" in others
    assert f"{directory} belongs to another user" in another


def test_a_directory_that_the_user_named_is_not_the_own_one(configuration, monkeypatch, tmp_path):
    assert compilation_cache.own_directory() is None
    configuration.update("jax_compilation_cache_dir", str(tmp_path))
    assert compilation_cache.own_directory() is None
    monkeypatch.setattr(pathlib.Path, "home", _no_home)
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert compilation_cache.own_directory() is None


def _no_home():
    raise RuntimeError("Could not determine home directory.")


def test_without_an_absolute_directory_the_home_is_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert compilation_cache.root() == tmp_path / ".cache/diffdepth_jax/compiled"


def test_the_oldest_programs_make_room(configuration, monkeypatch, tmp_path):
    """Those of other machines too."""
    monkeypatch.setattr(compilation_cache, "LIMIT", 25)
    other = tmp_path / "diffdepth_jax/compiled/other"
    other.mkdir(parents=True)
    for age in range(5):
        path = other / f"jit_{age}-cache"
        path.write_bytes(bytes(10))
        os.utime(path, (1000 - age, 1000 - age))
    with compilation_cache.kept():
        assert sorted(path.name for path in other.iterdir()) == ["jit_0-cache", "jit_1-cache"]


def test_other_warnings_are_shown_as_ever_and_again_after_the_program():
    shown = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: shown.append(str(message))
        before = warnings.showwarning
        with compilation_cache.kept():
            warnings.warn("something else", stacklevel=1)
        assert warnings.showwarning is before
    assert shown == ["something else"]


def test_what_could_not_be_kept_is_said_once_and_only_that_program_is_discarded(
    configuration, tmp_path, caplog
):
    with compilation_cache.kept():
        folder = pathlib.Path(configuration.jax_compilation_cache_dir)
        for name in ("jit_a-1-cache", "jit_a-2-cache", "jit_b-1-cache"):
            (folder / name).write_bytes(b"half")
        for name in ("jit_a", "jit_c"):
            warnings.showwarning(
                f"Error writing persistent compilation cache entry for '{name}': disk full",
                UserWarning,
                "compiler.py",
                1,
            )
    assert [path.name for path in folder.iterdir()] == ["jit_b-1-cache"]
    (record,) = caplog.records
    assert record.getMessage().startswith("a compiled program could not be kept (disk full); JAX_")


def test_machines_that_execute_other_instructions_share_no_programs(monkeypatch):
    def named(text):
        path = types.SimpleNamespace(read_text=lambda: text)
        monkeypatch.setattr(compilation_cache.pathlib, "Path", lambda _: path)
        return compilation_cache._instructions()

    first = named("model name : A\nflags : sse avx\n")
    assert first == named("model name : B\nflags : sse avx\n")
    assert first != named("model name : A\nflags : sse\n")
