"""The record of a run: JSON lines, TensorBoard events, pictures, and a progress bar."""

import contextlib
import json
import math
import os
import pathlib
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, Self

import jax
import numpy as np
import optax
from tensorboardX import SummaryWriter
from tqdm import tqdm

from diffdepth_jax.arrays import Term
from diffdepth_jax.distributed.processes import is_first, only_in_first
from diffdepth_jax.media import drawing
from diffdepth_jax.program.progress import bar
from diffdepth_jax.training.stuck_loss import StuckLoss
from diffdepth_jax.whole_files import whole_file


class RunLog:
    """Appends to WORKDIR/metrics.jsonl, WORKDIR/tensorboard and WORKDIR/panels; context manager.

    Of several processes only the first writes.
    """

    @only_in_first
    def __init__(
        self,
        workdir: str | os.PathLike,
        resumed: int | None = None,
        *,
        evaluated_again: bool = False,
    ):
        """Opens the record and, for a resumed run, takes out what will be written once more.

        Args:
          workdir: the run's directory.
          resumed: the step that the run goes on from; lines of later steps are left by a killed
            run. None: every line stays.
          evaluated_again: whether that step itself will be evaluated; its evaluation goes too.
        """
        self._directory = pathlib.Path(workdir)
        (self._directory / "panels").mkdir(parents=True, exist_ok=True)
        metrics = self._directory / "metrics.jsonl"
        drop_unfinished_line(metrics)
        if resumed is not None:
            drop_later_lines(metrics, resumed, evaluated_again=evaluated_again)
        self._lines = open(metrics, "a", buffering=1)  # noqa: SIM115
        # The library names the file by the second; two starts within one would share a file.
        self._events = SummaryWriter(
            str(self._directory / "tensorboard"),
            filename_suffix=f".{time.time_ns()}",
            # TensorBoard hides what older files have of this step and of later ones.
            purge_step=None if resumed is None else resumed + 1,
        )

    def __enter__(self) -> Self:
        return self

    @only_in_first
    def __exit__(self, *_: Any) -> None:
        self._lines.close()
        self._events.close()

    @only_in_first
    def flush(self) -> None:
        """Brings all to the disk; lines are there at once, events now and then."""
        self._events.flush()

    @only_in_first
    def scalars(self, step: int, **values: float) -> None:
        """Writes one line; a value that is not finite becomes null, as JSON has no word for it."""
        line = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._lines.write(json.dumps({"step": step, "time": time.time(), **line}) + "\n")
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    @only_in_first
    def text(self, name: str, text: str) -> None:
        """Writes WORKDIR/NAME."""
        (self._directory / name).write_text(text + "\n")

    @only_in_first
    def append(self, name: str, fields: dict[str, Any]) -> None:
        """Appends a line of JSON to WORKDIR/NAME."""
        with open(self._directory / name, "a") as file:
            file.write(json.dumps(fields) + "\n")

    @only_in_first
    def panels(self, name: str, step: int, panels: Sequence[np.ndarray]) -> None:
        """Stacks panels to panels/NAME.png; the newest step replaces the one before."""
        picture = drawing.stack_panels(panels)
        drawing.write_png(self._directory / "panels" / f"{name}.png", picture)
        self._events.add_image(f"panels/{name}", picture, step, dataformats="HWC")


def drop_unfinished_line(path: pathlib.Path) -> None:
    """Cuts off the part of a line that a killed process left; the next line would join it."""
    if path.exists():
        with open(path, "rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def drop_later_lines(path: pathlib.Path, step: int, *, evaluated_again: bool) -> None:
    """Takes the lines of later steps out of a file, and `step`'s own evaluation if it comes again.

    The file is written whole or not at all, and only if it loses a line.
    """
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    kept = [line for line in lines if not _comes_again(line, step, evaluated_again)]
    if len(kept) < len(lines):
        with whole_file(path) as unfinished:
            unfinished.write_bytes(b"".join(kept))


def _comes_again(line: bytes, step: int, evaluated_again: bool) -> bool:
    """Whether a run that goes on from `step` will write this line; not if no run wrote it."""
    try:
        fields = json.loads(line)
        of_training = "train/loss" in fields
        return fields["step"] > step - (evaluated_again and not of_training)
    except (ValueError, KeyError, TypeError):
        return False


def peak_memory(devices: Sequence[jax.Device]) -> dict[str, float]:
    """{name: GiB}: the largest peak of any device; empty where the backend does not tell."""
    stats = [device.memory_stats() or {} for device in devices]
    peaks = [each["peak_bytes_in_use"] for each in stats if "peak_bytes_in_use" in each]
    return {"train/device_memory_gib": max(peaks) / 2**30} if peaks else {}


def _mean(pairs: Sequence[Term]) -> float:
    """Mean of (sum, count) pairs; pairs that are not finite are left out, unless all are.

    An update that is not finite was skipped; it must not hide the others.
    """
    sums, counts = np.asarray(pairs, np.float64).T
    finite = np.isfinite(sums)
    if not finite.any():
        return math.nan
    return float(sums[finite].sum() / max(counts[finite].sum(), 1.0))


class LossMeter:
    """Each loss's (sum, count) over the steps between two reports."""

    def __init__(self, log: RunLog, rate: optax.Schedule, batch_size: int):
        self._log, self._rate, self._batch_size = log, rate, batch_size
        self._newest: dict[str, Term] | None = None
        self._stuck = StuckLoss()
        self._reset()
        self.postfix: dict[str, str] = {}

    def _reset(self) -> None:
        self._terms: list[dict[str, Term]] = []
        self._since = time.time()

    def add(self, terms: dict[str, Term]) -> dict[str, Term] | None:
        """Takes a step's terms and returns the terms of the step before, fetched; None at first.

        Fetching one step late keeps the host one step ahead of the device.
        """
        before, self._newest = self.newest(), terms
        self._terms.append(terms)
        return before

    def newest(self) -> dict[str, Term] | None:
        """Waits for the terms added last and returns them, fetched; None if there are none."""
        return self._fetched() if self._terms else self._newest

    def _fetched(self) -> dict[str, Term]:
        self._terms[-1] = self._newest = jax.device_get(self._terms[-1])
        return self._newest

    @contextlib.contextmanager
    def paused(self) -> Generator[None]:
        """The time inside does not count as training time."""
        start = time.time()
        yield
        self._since += time.time() - start

    def flush(self, step: int) -> None:
        """Logs the means since the last report, the newest update's learning rate, the speed."""
        if not self._terms:
            return
        skipped = int(self._fetched()["skipped_so_far"][0])
        means = {
            f"train/{name}": _mean([terms[name] for terms in self._terms])
            for name in self._terms[0]
        }
        speed = len(self._terms) * self._batch_size / (time.time() - self._since)
        extra = {
            "train/skipped_so_far": skipped,
            # The optimizer counts the updates that were not skipped, from 0.
            "train/learning_rate": np.asarray(self._rate(max(step - skipped - 1, 0))).item(),
            "train/images_per_second": speed,
            **peak_memory(jax.local_devices()),
        }
        self._log.scalars(step, **means | extra)
        if is_first():
            norm = means.get("train/gradient_norm", math.nan)
            self._stuck.see(step, means["train/loss"], norm)
        self.postfix = {"loss": f"{means['train/loss']:.3f}", "images/s": f"{speed:.1f}"}
        self._reset()


def progress(first: int, total: int, meter: LossMeter) -> Iterator[int]:
    """Yields first .. total under a bar of loss, images/s and time left.

    No update follows after `total`.
    """
    with _bar("train", first, total) as steps:
        for step in range(first, total + 1):
            yield step
            steps.set_postfix(meter.postfix, refresh=False)
            steps.update(step < total)


def counted(numbers: Iterable[int], name: str, first: int, total: int) -> Iterator[int]:
    """Yields rising numbers under a bar of how many of `total` are reached, from `first` on."""
    with _bar(name, first, total) as reached:
        for number in numbers:
            reached.update(number - reached.n)
            yield number


def _bar(name: str, first: int, total: int) -> tqdm:
    return bar(desc=name, initial=first, total=total, mininterval=1, disable=not is_first())
