"""What a run leaves to be read, read back; and the means that it reports."""

import json
import math
import struct
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from diffdepth_jax.training.run_log import LossMeter, RunLog, peak_memory, progress
from tests.support import small_run


class _Recorder:
    """A log that keeps what it is told."""

    def __init__(self):
        self.lines = []

    def scalars(self, step, **values):
        self.lines.append((step, values))


NONE_SKIPPED = {"skipped_so_far": (np.int32(0), 1)}


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
    meter.add(
        {**NONE_SKIPPED, "silog": (jnp.float32(4), jnp.int32(1)), "loss": (jnp.float32(3), 1.0)}
    )
    meter.add(
        {**NONE_SKIPPED, "silog": (jnp.float32(3), jnp.int32(3)), "loss": (jnp.float32(5), 1.0)}
    )
    meter.flush(20)
    ((step, values),) = log.lines
    assert step == 20
    assert values["train/silog"] == pytest.approx(7 / 4)
    assert values["train/loss"] == pytest.approx(4)
    assert values["train/learning_rate"] == 0.19  # of the newest update, from step 19 to 20
    assert values["train/images_per_second"] > 0


def test_meter_starts_anew_after_a_report_and_reports_nothing_of_nothing():
    log = _Recorder()
    meter = _meter(log)
    meter.flush(0)
    meter.add({**NONE_SKIPPED, "loss": (100.0, 1.0)})
    meter.flush(1)
    meter.flush(1)
    meter.add({**NONE_SKIPPED, "loss": (2.0, 1.0)})
    meter.flush(2)
    assert [(step, values["train/loss"]) for step, values in log.lines] == [(1, 100), (2, 2)]


def test_the_logged_rate_is_the_one_the_optimizer_used():
    """Skipped updates do not count in the optimizer's schedule, wherever they are."""
    rate = optax.linear_schedule(0.0, 1.0, 10)
    optimizer, log = optax.sgd(rate), _Recorder()
    meter, state, so_far, used = (
        LossMeter(log, rate, batch_size=4),
        optimizer.init(jnp.float32(0)),
        0,
        0.0,
    )
    for step, finite in enumerate((True, False, True, False, True, True, False), start=1):
        so_far += not finite
        if finite:
            update, state = optimizer.update(jnp.float32(1), state)
            used = -float(update)
        _add(meter, 1.0, not finite, so_far)
        meter.flush(step)
        values = log.lines[-1][1]
        assert values["train/learning_rate"] == pytest.approx(used)
        assert values["train/skipped_so_far"] == so_far


def test_the_skipped_updates_are_counted_up_to_the_report():
    """The mean over the steps of the report would be 4/3."""
    log = _Recorder()
    meter = _meter(log)
    for so_far in (1, 1, 2):
        _add(meter, 1.0, so_far=so_far)
    meter.flush(3)
    assert log.lines[0][1]["train/skipped_so_far"] == 2


def test_a_loss_without_ground_truth_is_zero():
    log = _Recorder()
    meter = _meter(log)
    meter.add({**NONE_SKIPPED, "latent": (jnp.float32(0), jnp.int32(0)), "loss": (1.0, 1.0)})
    meter.flush(1)
    assert log.lines[0][1]["train/latent"] == 0


def _add(meter, loss, skipped=0.0, so_far=0, **terms):
    counters = {"skipped": (jnp.float32(skipped), 1.0), "skipped_so_far": (jnp.int32(so_far), 1)}
    return meter.add({"loss": (loss, 1.0), **counters, **terms})


def test_terms_come_back_fetched_one_step_late_across_reports():
    meter = _meter(_Recorder())
    assert meter.newest() is None
    assert _add(meter, jnp.float32(1)) is None
    before = _add(meter, jnp.float32(2))
    assert before["loss"] == (1, 1) and isinstance(before["loss"][0], np.ndarray | np.generic)
    meter.flush(2)
    assert meter.newest()["loss"] == (2, 1)
    assert _add(meter, jnp.float32(3), skipped=1)["loss"] == (2, 1)
    assert meter.newest()["skipped"] == (1, 1)


def test_adding_a_step_does_not_wait_for_it():
    """Only what was added before is fetched."""
    fetched = []

    class Pending:
        def __array__(self, dtype=None, copy=None):
            fetched.append(self)
            return np.float32(1)

    meter, terms = _meter(_Recorder()), [Pending(), Pending(), Pending()]
    for term in terms:
        meter.add({**NONE_SKIPPED, "loss": (term, 1.0)})
    assert fetched == terms[:2]


def test_a_skipped_step_does_not_hide_what_the_others_did():
    log = _Recorder()
    meter = _meter(log)
    for loss, skipped in ((1.0, 0), (math.nan, 1), (3.0, 0), (math.inf, 1)):
        _add(meter, jnp.float32(loss), skipped, latent=(jnp.float32(4), jnp.int32(2)))
    meter.flush(4)
    values = log.lines[0][1]
    assert (values["train/loss"], values["train/skipped"], values["train/latent"]) == (2, 0.5, 2)


def test_where_no_step_was_finite_there_is_no_mean():
    log = _Recorder()
    meter = _meter(log)
    for _ in range(2):
        _add(meter, jnp.float32(math.nan), 1)
    meter.flush(2)
    assert math.isnan(log.lines[0][1]["train/loss"]) and log.lines[0][1]["train/skipped"] == 1


def _device(**stats):
    return types.SimpleNamespace(memory_stats=lambda: stats or None)


def test_memory_is_the_fullest_devices_peak():
    devices = [_device(peak_bytes_in_use=2**30), _device(peak_bytes_in_use=3 * 2**29)]
    assert peak_memory(devices) == {"train/device_memory_gib": 1.5}
    assert peak_memory([*devices, _device(), _device(bytes_limit=1)]) == peak_memory(devices)
    assert peak_memory([_device(), _device(bytes_limit=1)]) == {}


def test_memory_is_in_the_report_where_the_backend_tells_it(monkeypatch):
    log = _Recorder()
    meter = _meter(log)
    for devices in ([_device(peak_bytes_in_use=2**31)], [_device()]):
        monkeypatch.setattr(jax, "local_devices", lambda devices=devices: devices)
        _add(meter, 1.0)
        meter.flush(1)
    assert [values.get("train/device_memory_gib") for _, values in log.lines] == [2, None]


def test_names_with_a_slash_keep_it_in_json_and_tensorboard(tmp_path):
    names = ["train/gradient_norm", "train/gradient_norm/backbone", "train/gradient_norm/neck"]
    with RunLog(tmp_path) as log:
        meter = _meter(log)
        _add(meter, 1.0, **{name.removeprefix("train/"): (jnp.float32(0.5), 1.0) for name in names})
        meter.flush(1)
    (line,) = small_run.read_metrics(tmp_path)
    assert [line[name] for name in names] == [0.5] * 3
    tags = [value.tag for event in _events(tmp_path) for value in event.summary.value]
    assert set(names) < set(tags)
    assert all(tag.startswith("train/") for tag in tags)


def test_only_the_first_process_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with RunLog(tmp_path / "run") as log:
        meter = _meter(log)
        _add(meter, 1.0)
        meter.flush(1)
        log.text("parameters.txt", "one")
        log.append("environment.jsonl", {})
        log.panels("rooms", 1, [np.zeros((6, 8, 3), np.uint8)] * 2)
        assert list(progress(0, 2, meter)) == [0, 1, 2]
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().err == ""


def test_runs_of_one_second_have_files_of_their_own(tmp_path):
    for step in (1, 2):
        with RunLog(tmp_path) as log:
            log.scalars(step, loss=1.0)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    assert [event.step for event in _events(tmp_path) if event.summary.value] == [1, 2]


def test_each_start_adds_a_line(tmp_path):
    for commit in ("a", None):
        with RunLog(tmp_path) as log:
            log.append("environment.jsonl", {"commit": commit})
    lines = (tmp_path / "environment.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"commit": "a"}, {"commit": None}]


def test_a_resumed_run_appends_its_lines(tmp_path):
    for step, value in ((1, 0.5), (2, 0.25)):
        with RunLog(tmp_path) as log:
            log.scalars(step, **{"train/loss": value})
    lines = small_run.read_metrics(tmp_path)
    assert [(line["step"], line["train/loss"]) for line in lines] == [(1, 0.5), (2, 0.25)]


def _training_and_evaluation(log, *steps):
    for step in steps:
        log.scalars(step, **{"train/loss": 1.0})
        log.scalars(step, **{"train/abs_rel": 0.5})  # a set may be called "train"


@pytest.mark.parametrize("again", [True, False])
def test_a_resumed_run_leaves_each_step_once(again, tmp_path):
    """Steps 3 and 4 were done by the killed run; of step 2 it saved the state."""
    with RunLog(tmp_path) as log:
        _training_and_evaluation(log, 1, 2, 3, 4)
    with RunLog(tmp_path, 2, evaluated_again=again) as log:
        if again:
            log.scalars(2, **{"train/abs_rel": 0.25})
        _training_and_evaluation(log, 3)
    lines = small_run.read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [1, 1, 2, 2, 3, 3]
    assert lines[3]["train/abs_rel"] == (0.25 if again else 0.5)


def test_lines_of_others_and_whole_logs_stay_as_they_are(tmp_path):
    text = 'no json\n{"step": 1, "loss": 1}\n{"note": 3}\n7\n'
    path = tmp_path / "metrics.jsonl"
    path.write_text(text + '{"step": 2}\n')
    with RunLog(tmp_path, 1):
        assert path.read_text() == text
    changed = path.stat().st_ino
    with RunLog(tmp_path, 1):
        assert path.read_text() == text
    assert path.stat().st_ino == changed


def test_tensorboard_is_told_from_which_step_on_older_files_do_not_count(tmp_path):
    with RunLog(tmp_path, 6):
        pass
    starts = [event for event in _events(tmp_path) if event.session_log.status]
    assert [event.step for event in starts] == [7]


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
    monkeypatch.setattr("diffdepth_jax.training.run_log.time.time", lambda: now)
    with RunLog(tmp_path) as log:
        meter = LossMeter(log, lambda step: 0.0, 4)
        meter.add({**NONE_SKIPPED, "loss": (1.0, 1.0)})
        now += 10
        with meter.paused():
            now += 60
        now += 10
        meter.flush(1)
    (line,) = small_run.read_metrics(tmp_path)
    assert line["train/images_per_second"] == 4 / 20
