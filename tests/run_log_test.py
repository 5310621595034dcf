"""What a run leaves to be read, read back; and the means that it reports."""

import json
import struct
import types

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from diffdepth_jax.run_log import LossMeter, RunLog, progress
from tests import small_run


class _Recorder:
    """A log that keeps what it is told."""

    def __init__(self):
        self.lines = []

    def scalars(self, step, **values):
        self.lines.append((step, values))


def _events(workdir):
    """TensorBoard's records: length uint64, checksum uint32, message, checksum uint32."""
    for path in sorted((workdir / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            length = struct.unpack("<Q", data[:8])[0]
            yield Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def _meter(log):
    return LossMeter(log, rate=lambda step: step / 100, batch_size=4)


def test_meter_divides_sums_by_counts_once():
    """Steps of unequal counts: the mean of the steps' means would be 2.5."""
    log = _Recorder()
    meter = _meter(log)
    meter.add({"silog": (jnp.float32(4), jnp.int32(1)), "loss": (jnp.float32(3), 1.0)})
    meter.add({"silog": (jnp.float32(3), jnp.int32(3)), "loss": (jnp.float32(5), 1.0)})
    meter.flush(20)
    ((step, values),) = log.lines
    assert step == 20
    assert values["train/silog"] == pytest.approx(7 / 4)
    assert values["train/loss"] == pytest.approx(4)
    assert values["train/learning_rate"] == 0.2
    assert values["train/images_per_second"] > 0


def test_meter_starts_anew_after_a_report_and_reports_nothing_of_nothing():
    log = _Recorder()
    meter = _meter(log)
    meter.flush(0)
    meter.add({"loss": (100.0, 1.0)})
    meter.flush(1)
    meter.flush(1)
    meter.add({"loss": (2.0, 1.0)})
    meter.flush(2)
    assert [(step, values["train/loss"]) for step, values in log.lines] == [(1, 100), (2, 2)]


def test_a_loss_without_ground_truth_is_zero():
    log = _Recorder()
    meter = _meter(log)
    meter.add({"latent": (jnp.float32(0), jnp.int32(0)), "loss": (1.0, 1.0)})
    meter.flush(1)
    assert log.lines[0][1]["train/latent"] == 0


def test_a_resumed_run_appends_its_lines(tmp_path):
    for step, value in ((1, 0.5), (2, 0.25)):
        with RunLog(tmp_path) as log:
            log.scalars(step, **{"train/loss": value})
    lines = small_run.read_metrics(tmp_path)
    assert [(line["step"], line["train/loss"]) for line in lines] == [(1, 0.5), (2, 0.25)]


def test_tensorboard_gets_the_same_values(tmp_path):
    with RunLog(tmp_path) as log:
        log.scalars(1, **{"train/loss": 0.5})
        log.scalars(2, **{"train/loss": 0.25})
    logged = [
        (event.step, value.tag, value.simple_value)
        for event in _events(tmp_path)
        for value in event.summary.value
    ]
    assert logged == [(1, "train/loss", 0.5), (2, "train/loss", 0.25)]


def test_a_line_is_on_the_disk_before_the_log_is_closed(tmp_path):
    """What a killed run had reported can be read."""
    with RunLog(tmp_path) as log:
        log.scalars(7, loss=1.0)
        assert json.loads((tmp_path / "metrics.jsonl").read_text())["step"] == 7


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_loss_is_null_for_json_has_no_word_for_it(value, tmp_path):
    with RunLog(tmp_path) as log:
        log.scalars(1, loss=value, rate=0.5)
    (line,) = small_run.read_metrics(tmp_path)
    assert (line["loss"], line["rate"]) == (None, 0.5)


def test_panels_show_the_newest_step(tmp_path):
    with RunLog(tmp_path) as log:
        for step, grey in ((1, 10), (2, 200)):
            log.panels("rooms", step, [np.full((6, 8, 3), grey, np.uint8)] * 2)
    with Image.open(tmp_path / "panels/rooms.png") as picture:
        assert picture.width == 8 and picture.height >= 12
        assert picture.getpixel((4, 3)) == (200, 200, 200)
    images = [value for event in _events(tmp_path) for value in event.summary.value]
    assert [value.tag for value in images] == ["panels/rooms"] * 2


@pytest.mark.parametrize(("first", "total"), [(0, 3), (2, 5), (4, 4)])
def test_progress_counts_from_first_to_total(first, total):
    meter = types.SimpleNamespace(postfix={})
    assert list(progress(first, total, meter)) == list(range(first, total + 1))


def test_a_pause_is_no_training_time(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr("diffdepth_jax.run_log.time.time", lambda: now)
    with RunLog(tmp_path) as log:
        meter = LossMeter(log, lambda step: 0.0, 4)
        meter.add({"loss": (1.0, 1.0)})
        now += 10
        with meter.paused():
            now += 60
        now += 10
        meter.flush(1)
    (line,) = small_run.read_metrics(tmp_path)
    assert line["train/images_per_second"] == 4 / 20
