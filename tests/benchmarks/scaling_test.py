"""The benchmark of scaling: its points, turns, file and plot."""

import json
import math
import os

import pytest

from benchmarks import scaling, scaling_plot, speed, speed_rows
from diffdepth_jax.errors import UserError

SERIES = scaling.all_series("swin_micro")
POINTS = [point for points in SERIES for point in points]


def test_each_sweep_changes_one_thing():
    assert len({point.name for point in POINTS}) == len(POINTS) == 3 * 2 * 5 + 2 * 4
    base = {"architecture": "swin_micro", **scaling.BASE}
    for points in SERIES:
        fields = [{**point.row.__dict__, "devices": point.num_devices} for point in points]
        changed = {name for name in fields[0] if len({field[name] for field in fields}) > 1}
        assert len(changed) == 1
        if points[0].sweep != "devices":
            assert any(base.items() <= field.items() for field in fields)
        assert [point.x for point in points] == sorted({point.x for point in points})


def test_a_point_is_the_default_objective_on_its_devices():
    point = POINTS[-1]
    request = json.loads(json.dumps(point.request))
    assert (request["num_devices"], request["changes"]["train.parallel"]) == (8, "fsdp")
    assert not speed_rows.create_config(point.row).loss.pixel_losses_on_every_step
    config = speed_rows.create_config(point.row, changes=request["changes"])
    assert config.loss.pixel_losses_on_every_step and config.loss.random_timesteps
    assert config.train.parallel == "fsdp"
    assert point.variables["XLA_FLAGS"].endswith("device_count=8")


# Measuring


class FakeProcess:
    """A millisecond for each sampler step and image."""

    calls: list = []  # noqa: RUF012
    devices = {"cpu": 1}  # noqa: RUF012
    failing = None

    def __init__(self, side, cores, **variables):
        self.row = None

    def ask(self, do, **command):
        if do == "prepare":
            self.row = speed_rows.Row(**command["request"]["row"])
        self.calls.append((self.row.name, do))
        if self.failing == self.row.name:
            return {"error": "no"}
        seconds = 1e-3 * self.row.num_steps * self.row.batch_size
        if do == "time":
            return {"seconds": [seconds] * command["calls"]}
        work = self.row.num_steps * self.row.batch_size * math.prod(self.row.size)
        return {
            "first_seconds": 1 + seconds,
            "second_seconds": seconds,
            "multiply_adds": work,
            "xla_bytes": {"temporary": 2**20, "arguments": 2**21},
            "probe": [1.0],
            "environment": {"backend": "cpu", "devices": self.devices},
        }

    def close(self):
        self.calls.append((self.row.name, "close"))


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(speed, "Process", FakeProcess)
    monkeypatch.setattr(FakeProcess, "calls", [])
    return FakeProcess


def test_the_points_of_a_sweep_take_turns(fake):
    points = SERIES[2][:2]
    names = [point.row.name for point in points]
    found = scaling.measure(points, [0])
    turns = [name for name, do in fake.calls if do == "time"]
    assert turns == [*names, *reversed(names), *names, *reversed(names), *names]
    assert found[points[1].name]["median"] == pytest.approx(2e-3)
    assert [name for name, do in fake.calls if do == "close"] == names


def test_points_of_the_file_are_not_measured_again(fake, tmp_path, capsys):
    output = tmp_path / "scaling.json"
    scaling.main([f"--output={output}"])
    table = capsys.readouterr().out
    assert sum(do == "prepare" for _, do in fake.calls) == len(POINTS)
    report = json.loads(output.read_text())
    report["rows"].pop(POINTS[7].name)
    output.write_text(json.dumps(report))
    fake.calls.clear()
    scaling.main([f"--output={output}"])
    assert [name for name, do in fake.calls if do == "prepare"] == [POINTS[7].row.name]
    assert capsys.readouterr().out == table
    facts = json.loads(output.read_text())["rows"][POINTS[7].name]
    assert facts["xla_bytes"]["temporary"] == 2**20 and "probe" not in facts


def test_each_sweep_is_in_the_file_when_the_next_one_starts(fake, tmp_path, monkeypatch):
    def measure(points, cores):
        if points[0].sweep == "steps":
            raise KeyboardInterrupt
        return {point.name: {"median": 1.0} for point in points}

    monkeypatch.setattr(scaling, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        scaling.main([f"--output={tmp_path / 'scaling.json'}"])
    rows = json.loads((tmp_path / "scaling.json").read_text())["rows"]
    assert list(rows) == [point.name for point in POINTS[:10]]


def test_a_point_that_fails_is_told_and_measured_again(fake, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fake, "failing", POINTS[9].row.name)
    output, plot = tmp_path / "scaling.json", tmp_path / "scaling.png"
    scaling.main([f"--output={output}", f"--plot={plot}"])
    assert f"{POINTS[9].name:<60}  no" in capsys.readouterr().out.splitlines()
    assert json.loads(output.read_text())["rows"][POINTS[9].name] == {"error": "no"}
    assert plot.stat().st_size > 10_000
    monkeypatch.setattr(fake, "failing", None)
    fake.calls.clear()
    scaling.main([f"--output={output}"])
    assert [name for name, do in fake.calls if do == "prepare"] == [POINTS[9].row.name]
    assert "error" not in json.loads(output.read_text())["rows"][POINTS[9].name]


def test_nothing_measured_is_nothing_to_draw(tmp_path, monkeypatch):
    failed = lambda points, cores: {point.name: {"error": "no"} for point in points}  # noqa: E731
    monkeypatch.setattr(scaling, "measure", failed)
    with pytest.raises(UserError, match="nothing to draw"):
        scaling.main([f"--output={tmp_path / 'scaling.json'}", f"--plot={tmp_path / 'plot.png'}"])


def test_points_of_other_devices_are_refused(fake, tmp_path, monkeypatch):
    output = f"--output={tmp_path / 'scaling.json'}"
    scaling.main([output])
    monkeypatch.setattr(fake, "devices", {"gpu": 1})
    with pytest.raises(UserError, match="name another --output"):
        scaling.main([output, "--architecture=swin_tiny"])


# What is expected


def facts(multiply_adds, median, temporary):
    return {"multiply_adds": multiply_adds, "median": median, "xla_bytes": {"temporary": temporary}}


def test_expected_times_follow_multiply_adds_through_the_largest_point():
    found = [facts(1, 0.5, 8), facts(4, 1.0, 8), facts(2, 0.7, 8)]
    assert scaling_plot.expected_times(SERIES[0][:3], found, True) == [0.25, 1.0, 0.5]


def test_expected_times_of_devices_are_less_only_where_these_are_real():
    found = [facts(8, 1.0, 8), facts(8, 1.5, 8), facts(8, 2.0, 8)]
    assert scaling_plot.expected_times(SERIES[-1][:3], found, True) == [1.0, 1.0, 1.0]
    assert scaling_plot.expected_times(SERIES[-1][:3], found, False) == [1.0, 0.5, 0.25]


def test_expected_memory_is_in_proportion_through_the_first_point():
    found = [facts(1, 1.0, 8), facts(1, 1.0, 8), facts(1, 1.0, 8)]
    assert scaling_plot.expected_memory(SERIES[2][:3], found) == [8, 16, 40]
    assert scaling_plot.expected_memory(SERIES[-1][:3], found) == [8, 4, 2]


# Really measured


@pytest.mark.slow
def test_virtual_devices_divide_the_state(monkeypatch):
    monkeypatch.setattr(scaling, "ROUNDS", 1)
    row = speed_rows.Row("swin_micro", (48, 64), 1, 2, "train")
    points = [scaling.Point("devices", count, row, count, "fsdp") for count in (1, 2)]
    cores = sorted(os.sched_getaffinity(0))[:1]
    whole, halves = scaling.measure(points, cores).values()
    assert "error" not in whole | halves
    assert len(halves["environment"]["devices"]) == 1 and whole["dtype"] == "float32"
    assert whole["multiply_adds"] == halves["multiply_adds"] > 0
    arguments = [facts["xla_bytes"]["arguments"] for facts in (whole, halves)]
    assert 0.5 <= arguments[1] / arguments[0] < 0.55
