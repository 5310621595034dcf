"""ONNX Runtime beside JAX: its turns, its medians, and that both sides compute the same."""

import time

import numpy as np
import pytest

from benchmarks import onnx_speed


def test_medians_and_ratios():
    times = {
        "jax": [(0.010, 0.020), (0.030, 0.040), (0.500, 0.060)],
        "onnx": [(0.060, 0.010), (0.015, 0.020), (0.900, 0.030)],
    }
    row = onnx_speed.row(times)
    assert row["jax_wall_ms"] == pytest.approx(30) and row["onnx_wall_ms"] == pytest.approx(60)
    assert row["jax_cpu_ms"] == pytest.approx(40) and row["onnx_cpu_ms"] == pytest.approx(20)
    assert row["wall_ratio"] == pytest.approx(2) and row["cpu_ratio"] == pytest.approx(0.5)


def test_the_sides_take_turns():
    ran = []
    calls = {side: lambda image, side=side: ran.append(side) for side in ("jax", "onnx")}
    times = onnx_speed.in_turns(calls, np.zeros((1, 2, 2, 3), np.uint8), 3)
    assert ran == ["jax", "onnx", "onnx", "jax", "jax", "onnx"]
    assert [len(times[side]) for side in calls] == [3, 3]


def test_wall_and_processor_time_differ_where_a_call_sleeps():
    wall, processor = onnx_speed.timed(lambda: time.sleep(0.05))
    assert wall >= 0.05 > processor


@pytest.mark.slow
def test_both_sides_compute_the_same():
    facts = onnx_speed.measure(repeats=1, cores=2)
    assert facts["greatest_relative_difference"] < 1e-4
    assert facts["jax_cpu_ms"] > 0 and facts["onnx_cpu_ms"] > 0
