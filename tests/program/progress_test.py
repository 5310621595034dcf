"""Bars for a terminal, lines for a file, and a word where a program would be silent."""

import io
import sys
import time

import pytest
from tqdm import tqdm

from diffdepth_jax.program import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that go on by hand, for our lines and for tqdm."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_terminal_has_a_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(progress.bar(range(3), "predict")) == [0, 1, 2]
    assert "predict: 100%|" in sys.stderr.getvalue() and "\r" in sys.stderr.getvalue()


def test_messages_on_a_terminal_do_not_run_into_the_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.bar(total=2, desc="train"):
        before = len(sys.stderr.getvalue())
        tqdm.write("a message", file=sys.stderr)
    between, after = sys.stderr.getvalue()[before:].split("a message\n")
    assert between.strip(" \r") == ""  # the bar is wiped first
    assert "train:" in after  # and drawn again


def test_elsewhere_there_is_a_line_each_30_seconds(capsys, clock):
    with progress.bar(desc="train", total=100, initial=10) as bar:
        for _ in range(70):
            bar.set_postfix({"loss": "0.5"}, refresh=False)
            clock[0] += 1
            bar.update()
            bar.refresh()
            tqdm.write("a message", file=sys.stderr)
    lines = [x for x in capsys.readouterr().err.split("\n") if x not in ("a message", "")]
    assert [line[:14] for line in lines] == ["train: 40/100 ", "train: 70/100 "]
    assert all("loss=0.5" in line and "\r" not in line and "|" not in line for line in lines)


def test_a_long_wait_is_told_again_and_again(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.02)
    with progress.reminders("compiling"):
        time.sleep(0.2)
    told = capsys.readouterr().err.splitlines()
    assert len(told) > 1 and set(told) == {"compiling: 0 s so far"}
    time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_short_work_is_not_worth_a_line(capsys):
    assert list(progress.bar(range(1000), "check")) == list(range(1000))
    assert capsys.readouterr().err == ""


def test_a_wait_is_told_while_it_lasts_and_measured_when_it_ends(capsys, monkeypatch):
    monkeypatch.setattr(progress, "MOMENT", 0.05)
    with progress.awaited("compiling"):
        time.sleep(0.3)
        assert capsys.readouterr().err == "compiling ...\n"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("compiling: 0.") and line.endswith(" s")


def test_a_moment_is_not_told(capsys):
    with progress.awaited("loading"):
        pass
    assert capsys.readouterr().err == ""
