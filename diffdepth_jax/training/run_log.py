"""What a run leaves to be read: JSON lines, TensorBoard events, pictures."""

import contextlib
import functools
import json
import math
import pathlib
import sys
import time

import jax
import numpy as np
from absl import logging
from tensorboardX import SummaryWriter
from tqdm import tqdm

from diffdepth_jax.media import drawing


def _in_first_process(function):
    """Of several processes the first writes; in the others the function does nothing."""

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        if jax.process_index() == 0:
            function(*args, **kwargs)

    return wrapped


@_in_first_process
def inform(message):
    """A line for who watches the run."""
    logging.info("%s", message)


class RunLog:
    """Appends to WORKDIR/metrics.jsonl, WORKDIR/tensorboard and WORKDIR/panels; context manager.

    Of several processes only the first writes.
    """

    @_in_first_process
    def __init__(self, workdir):
        self._directory = pathlib.Path(workdir)
        (self._directory / "panels").mkdir(parents=True, exist_ok=True)
        drop_unfinished_line(self._directory / "metrics.jsonl")
        self._lines = open(self._directory / "metrics.jsonl", "a", buffering=1)  # noqa: SIM115
        # The library's own part of the file's name is a time in seconds.
        self._events = SummaryWriter(
            str(self._directory / "tensorboard"), filename_suffix=f".{time.time_ns()}"
        )

    def __enter__(self):
        return self

    @_in_first_process
    def __exit__(self, *_):
        self._lines.close()
        self._events.close()

    @_in_first_process
    def scalars(self, step, **values):
        """One line; what is not finite becomes null, for JSON has no word for it."""
        line = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._lines.write(json.dumps({"step": step, "time": time.time(), **line}) + "\n")
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    @_in_first_process
    def text(self, name, text):
        (self._directory / name).write_text(text + "\n")

    @_in_first_process
    def append(self, name, fields):
        """One more line of WORKDIR/NAME, as JSON."""
        with open(self._directory / name, "a") as file:
            file.write(json.dumps(fields) + "\n")

    @_in_first_process
    def panels(self, name, step, panels):
        """Stacks panels to panels/NAME.png, the newest step's replacing the one before."""
        picture = drawing.stack_panels(panels)
        drawing.write_png(self._directory / "panels" / f"{name}.png", picture)
        self._events.add_image(f"panels/{name}", picture, step, dataformats="HWC")


def drop_unfinished_line(path):
    """Cuts off what a killed process left of a line, which the next would be joined to."""
    if path.exists():
        with open(path, "rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def peak_memory(devices):
    """{name: GiB} of the fullest device at its fullest; empty where the backend does not tell."""
    stats = [device.memory_stats() or {} for device in devices]
    peaks = [each["peak_bytes_in_use"] for each in stats if "peak_bytes_in_use" in each]
    return {"train/device_memory_gib": max(peaks) / 2**30} if peaks else {}


def _mean(pairs):
    """Mean of (sum, count) pairs, of which those that are not finite are left out unless all are.

    Such an update was skipped; it must not hide what the others did.
    """
    sums, counts = np.asarray(pairs, np.float64).T
    finite = np.isfinite(sums)
    if not finite.any():
        return math.nan
    return float(sums[finite].sum() / max(counts[finite].sum(), 1.0))


class LossMeter:
    """Each loss's (sum, count) over the steps between two reports."""

    def __init__(self, log, rate, batch_size):
        self._log, self._rate, self._batch_size = log, rate, batch_size
        self._newest = None
        self._reset()
        self.postfix = {}

    def _reset(self):
        self._terms, self._since = [], time.time()

    def add(self, terms):
        """Takes a step's terms and returns those of the step before, fetched; None at first.

        One step late, the host stays one step ahead of the device.
        """
        before, self._newest = self.newest(), terms
        self._terms.append(terms)
        return before

    def newest(self):
        """The terms added last, fetched, for which it waits; None if there are none."""
        if self._terms:
            self._terms[-1] = self._newest = jax.device_get(self._newest)
        return self._newest

    @contextlib.contextmanager
    def paused(self):
        """What happens inside does not count as training time."""
        start = time.time()
        yield
        self._since += time.time() - start

    def flush(self, step):
        """Logs the means since the last report, the learning rate and the speed."""
        if not self._terms:
            return
        self.newest()
        means = {
            f"train/{name}": _mean([terms[name] for terms in self._terms])
            for name in self._terms[0]
        }
        speed = len(self._terms) * self._batch_size / (time.time() - self._since)
        extra = {
            "train/learning_rate": float(self._rate(step)),
            "train/images_per_second": speed,
            **peak_memory(jax.local_devices()),
        }
        self._log.scalars(step, **means, **extra)
        self.postfix = {"loss": f"{means['train/loss']:.3f}", "images/s": f"{speed:.1f}"}
        self._reset()


class _Stderr:
    """Where the bar goes: that nobody reads it any more, as after Ctrl-C to a pipe, ends no run."""

    def write(self, text):
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self):
        with contextlib.suppress(OSError):
            sys.stderr.flush()

    def isatty(self):
        return sys.stderr.isatty()


def progress(first, total, meter):
    """Yields first .. total under a bar of loss, images/s and time left; total is only the end."""
    silent = jax.process_index() != 0
    fields = {"desc": "train", "mininterval": 1, "disable": silent, "file": _Stderr()}
    with tqdm(initial=first, total=total, **fields) as bar:
        for step in range(first, total + 1):
            yield step
            bar.set_postfix(meter.postfix, refresh=False)
            bar.update(step < total)
