"""The benchmark of the time to the first depth map."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import first_depth, first_depth_worker
from diffdepth_jax.errors import UserError
from tests.support import small_model

PARTS = [
    "Python and imports",
    "finding the device",
    "reading the model",
    "reading and placing the photo",
    "tracing or reading a trace",
    "compiling or loading",
    "computing",
    "writing",
]


@pytest.mark.slow
def test_parts_are_those_of_the_program_and_a_filled_cache_saves_tracing_and_compiling(
    tmp_path, monkeypatch, capsys
):
    small_model.save(tmp_path / "model")
    photo, output = tmp_path / "photo.png", tmp_path / "result.json"
    Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(photo)
    arguments = [tmp_path / "model", photo, "--repeats=1", f"--output={output}"]
    monkeypatch.setattr(sys, "argv", ["first_depth", *map(str, arguments)])
    first_depth.main()
    result = json.loads(output.read_text())
    assert [list(parts) for parts in result.values()] == [PARTS, PARTS]
    assert all(seconds >= 0 for parts in result.values() for seconds in parts.values())
    for part in ("tracing or reading a trace", "compiling or loading"):
        assert result["warm"][part] < result["cold"][part]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["seconds", "cold", "warm"]
    assert printed[-1].split()[-1] == f"{sum(result['warm'].values()):.2f}"


def test_what_the_program_refuses_is_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere does not exist"):
        first_depth.measure(tmp_path, "nowhere", tmp_path)


def test_parts_add_up_to_the_whole(monkeypatch):
    times = iter([3.0, 3.5, 7.0])
    monkeypatch.setattr(first_depth_worker.time, "monotonic", lambda: next(times))
    clock = first_depth_worker.Clock(1.0)
    clock.mark("a")
    clock.marking("b", lambda: None)()
    clock.mark("c")
    assert clock.parts == {"a": 2.0, "b": 0.5, "c": 3.5}


def test_the_median_run_is_one_of_the_runs():
    runs = [{"a": 3, "b": 3}, {"a": 1, "b": 1}, {"a": 0, "b": 5}]
    assert first_depth.median_run(runs) == {"a": 0, "b": 5}
    assert first_depth.median_run(runs[:2]) == {"a": 1, "b": 1}
