"""The benchmark of a GPU: it checks before it measures, and ends in time."""

import json

import pytest

from benchmarks import gpu, speed, speed_rows
from diffdepth_jax.errors import UserError

SIDES = ("ours", *speed.GPU_FORMS)


def measured(probe_of_compiled=2.0, **ours):
    """A row's result of `speed.measure`, with made-up times."""
    facts = {"median": 0.1, "ours_seconds": [0.1], "peak_bytes": 2**30, "probe": [1.0, 2.0]}
    sides = {name: dict(facts) for name in SIDES}
    sides[SIDES[-1]]["probe"] = [1.0, probe_of_compiled]
    sides["ours"] |= {"dtype": "bfloat16", "multiply_adds": 10, "compile_seconds": 1.0}
    sides["ours"] |= {"xla_bytes": {"temporary": 0}, "environment": {"devices": {"gpu": 1}}}
    return {"sides": {name: facts | ours for name, facts in sides.items()}, "product": 1e11}


@pytest.fixture
def clock(monkeypatch):
    """Seconds, which each measurement takes 60 of."""
    seconds = [0.0]

    def measure(row, peer, cores, rounds):
        seconds[0] += 60
        return measured()

    monkeypatch.setattr(speed, "measure", measure)
    monkeypatch.setattr(gpu.time, "monotonic", lambda: seconds[0])
    return seconds


def test_rows_that_would_not_end_in_time_are_left_out_and_named(clock, tmp_path, capsys):
    gpu.main([f"--output={tmp_path / 'gpu.json'}", "--minutes=3.5"])
    report = json.loads((tmp_path / "gpu.json").read_text())
    first, second, *others = (row.name for row in gpu.rows((228, 304), []))
    assert list(report["rows"]) == [first, second] and report["left_out"] == others
    assert report["differences"] == dict.fromkeys(speed.GPU_FORMS, 0.0)
    assert clock[0] <= 3.5 * 60
    printed = capsys.readouterr()
    assert first in printed.out and "compiled_bfloat16" in printed.out
    assert f"No time for: {', '.join(others)}" in printed.err


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (measured(probe_of_compiled=2.5), "log depths differ by more than 0.1"),
        (measured(probe_of_compiled=float("nan")), "log depths differ by more than 0.1"),
        (measured(error="out of memory"), "out of memory"),
    ],
)
def test_nothing_is_timed_where_the_depths_differ_or_a_side_fails(
    result, message, tmp_path, monkeypatch
):
    rows = []
    monkeypatch.setattr(speed, "measure", lambda row, *rest, **more: rows.append(row) or result)
    with pytest.raises(UserError, match=message):
        gpu.main([f"--output={tmp_path / 'gpu.json'}"])
    assert rows == [gpu.CHECKED] and not (tmp_path / "gpu.json").exists()


def test_rows_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(UserError, match="--only=swin_huge: no row"):
        gpu.main([f"--output={tmp_path / 'gpu.json'}", "--only=swin_huge"])


def test_every_row_is_one_of_the_benchmark_of_speed():
    every = {row.name for row in speed_rows.all_rows([(228, 304)])}
    assert {row.name for row in gpu.rows((228, 304), [])} <= every
    chosen = gpu.rows((48, 64), ["swin_tiny", "train"])
    assert [row.name for row in chosen] == ["swin_tiny 48x64 steps20 batch8 train"]


@pytest.mark.slow
def test_tiny_rows_on_this_device(tmp_path, capsys):
    pytest.importorskip("torch", reason="PyTorch, which is not among the requirements")
    output = tmp_path / "gpu.json"
    gpu.main([f"--output={output}", "--size=48x64", "--only=swin_micro", "--minutes=30"])
    report = json.loads(output.read_text())
    assert len(report["rows"]) == 2 and not report["left_out"]
    assert "failed" not in capsys.readouterr().out
