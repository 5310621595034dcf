"""What a run leaves to be read: JSON lines, TensorBoard events, pictures."""

import contextlib
import json
import math
import pathlib
import time

import jax
import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from diffdepth_jax import visualize


class RunLog:
    """Appends to WORKDIR/metrics.jsonl, WORKDIR/tensorboard and WORKDIR/panels; context manager."""

    def __init__(self, workdir):
        self._directory = pathlib.Path(workdir)
        (self._directory / "panels").mkdir(parents=True, exist_ok=True)
        self._lines = open(self._directory / "metrics.jsonl", "a", buffering=1)  # noqa: SIM115
        self._events = SummaryWriter(str(self._directory / "tensorboard"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._lines.close()
        self._events.close()

    def scalars(self, step, **values):
        """One line; what is not finite becomes null, for JSON has no word for it."""
        line = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._lines.write(json.dumps({"step": step, "time": time.time(), **line}) + "\n")
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def text(self, name, text):
        (self._directory / name).write_text(text + "\n")

    def panels(self, name, step, panels):
        """Stacks panels to panels/NAME.png, the newest step's replacing the one before."""
        picture = visualize.stack_panels(panels)
        visualize.write_png(self._directory / "panels" / f"{name}.png", picture)
        self._events.add_image(f"panels/{name}", picture, step, dataformats="HWC")


class LossMeter:
    """Each loss's (sum, count) over the steps between two reports."""

    def __init__(self, log, rate, batch_size):
        self._log, self._rate, self._batch_size = log, rate, batch_size
        self._reset()
        self.postfix = {}

    def _reset(self):
        self._terms, self._since = [], time.time()

    def add(self, terms):
        """Fetches the terms of the step before: the host stays one step ahead of the device."""
        self._terms.append(terms)
        if len(self._terms) > 1:
            self._terms[-2] = jax.device_get(self._terms[-2])

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
        totals = jax.tree.map(lambda *values: float(np.sum(values)), *jax.device_get(self._terms))
        means = {f"train/{k}": total / max(count, 1.0) for k, (total, count) in totals.items()}
        speed = len(self._terms) * self._batch_size / (time.time() - self._since)
        extra = {
            "train/learning_rate": float(self._rate(step)),
            "train/images_per_second": speed,
        }
        self._log.scalars(step, **means, **extra)
        self.postfix = {"loss": f"{means['train/loss']:.3f}", "images/s": f"{speed:.1f}"}
        self._reset()


def progress(first, total, meter):
    """Yields first .. total under a bar of loss, images/s and time left; total is only the end."""
    with tqdm(initial=first, total=total, desc="train", mininterval=1) as bar:
        for step in range(first, total + 1):
            yield step
            bar.set_postfix(meter.postfix, refresh=False)
            bar.update(step < total)
