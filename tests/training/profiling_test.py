"""The trace of a run's steps: when one is written."""

import jax
import jax.numpy as jnp
import pytest

from diffdepth_jax.training.profiling import Trace


class _Profiler:
    """Notes calls in place of jax.profiler, whose traces take a second each."""

    def __init__(self):
        self.calls = []

    def start_trace(self, directory):
        self.calls.append(("start", directory.name))

    def stop_trace(self):
        self.calls.append("stop")


@pytest.fixture
def calls(monkeypatch):
    profiler = _Profiler()
    monkeypatch.setattr(jax, "profiler", profiler)
    return profiler.calls


def _run(trace, first, total, calls):
    """Steps of training between the calls of the profiler, as numbers."""
    for step in range(first, total + 1):
        trace.at(step)
        if step < total:
            calls.append(step)


@pytest.mark.parametrize(
    ("steps", "first", "traced"),
    [
        ((2, 4), 0, [2, 3]),
        ((0, 1), 0, [0]),
        ((0, 6), 0, [0, 1, 2, 3, 4, 5]),
        ((2, 5), 3, [3, 4]),  # resumed within
        ((2, 4), 4, None),  # and beyond
        ((0, 0), 0, None),
        ((3, 3), 0, None),
    ],
)
def test_the_steps_of_the_range_are_traced(steps, first, traced, tmp_path, calls):
    with Trace(tmp_path, *steps) as trace:
        _run(trace, first, 6, calls)
    if traced is None:
        assert calls == list(range(first, 6))
    else:
        start = calls.index(("start", "profile"))
        assert calls[start + 1 : calls.index("stop")] == traced
        assert (calls.count(("start", "profile")), calls.count("stop")) == (1, 1)


def test_a_run_that_ends_within_closes_its_trace(tmp_path, calls):
    with pytest.raises(SystemExit), Trace(tmp_path, 1, 5) as trace:
        _run(trace, 0, 2, calls)
        raise SystemExit
    assert calls == [0, ("start", "profile"), 1, "stop"]


def test_only_the_first_process_traces(tmp_path, monkeypatch, calls):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with Trace(tmp_path, 0, 2) as trace:
        _run(trace, 0, 3, calls)
    assert calls == [0, 1, 2]


def test_a_trace_lies_on_the_disk_with_the_work_in_it(tmp_path):
    work = jax.jit(lambda x: x @ x)
    x = work(jnp.ones((64, 64)))
    with Trace(tmp_path, 1, 2) as trace:
        for step in range(3):
            trace.at(step)
            x = work(x)
    files = [path for path in (tmp_path / "profile").rglob("*") if path.is_file()]
    assert {"".join(path.suffixes[-2:]) for path in files} >= {".xplane.pb", ".json.gz"}
    assert all(path.stat().st_size for path in files)
