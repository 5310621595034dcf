"""Ctrl-C in a program that runs: a line on what was done, status 130, and no traceback."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.evaluation.scorer import Scorer
from diffdepth_jax.program.entry import one_line_errors
from diffdepth_jax.program.interruption import telling
from tests.support.paths import ROOT


def test_the_innermost_tells_what_was_done(capsys):
    with (
        pytest.raises(SystemExit) as stop,
        one_line_errors(),
        telling(lambda: "nothing"),
        telling(lambda: "2 of 3 written"),
    ):
        raise KeyboardInterrupt
    assert stop.value.code == 130
    assert capsys.readouterr().err == "interrupted: 2 of 3 written\n"


def test_without_anything_to_tell(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "interrupted\n"


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(200):
        (tmp_path / "photos").mkdir(exist_ok=True)
        picture = rng.integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(picture).save(tmp_path / f"photos/{index:03}.png")
    return tmp_path


def start(desk, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "diffdepth_jax", *arguments],
        cwd=desk,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in its background without Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def interrupted(process):
    """(status, last line of stderr) after Ctrl-C."""
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    return process.returncode, errors.replace("\r", "\n").splitlines()[-1]


@pytest.mark.slow
def test_prediction_says_how_many_are_written(photos):
    process = start(photos, "predict", "--input=photos", "--output=out")
    deadline = time.monotonic() + 300
    while not list(photos.glob("out/*_color.png")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    status, line = interrupted(process)
    written = len(list(photos.glob("out/*_color.png")))
    assert status == 130
    assert line.startswith("interrupted: ") and " of 200 written" in line
    assert abs(int(line.split()[1]) - written) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_prediction_is_interrupted_while_it_starts(photos, seconds):
    process = start(photos, "predict", "--input=photos", "--output=out")
    time.sleep(seconds)
    status, line = interrupted(process)
    assert status == 130 and line.startswith("interrupted")


def test_an_evaluation_says_how_many_are_scored(monkeypatch):
    def images(*_, **__):
        yield SimpleNamespace(index=0, name="a", values={})
        raise KeyboardInterrupt

    scorer = object.__new__(Scorer)
    monkeypatch.setattr(Scorer, "sets", {"eval": 5})
    monkeypatch.setattr(Scorer, "images", images)
    with pytest.raises(KeyboardInterrupt, match="1 of 5 images of eval scored"):
        scorer.score("eval", None)
