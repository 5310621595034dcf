"""The first signal asks, the second ends; a training run answers by saving."""

import os
import signal
import subprocess
import sys

import jax
import pytest

from diffdepth_jax.distributed.preemption import EXIT_STATUS, Preemption


@pytest.mark.parametrize("number", Preemption.SIGNALS)
def test_the_first_signal_is_noted_and_handlers_come_back(number, capsys):
    before = signal.getsignal(number)
    with Preemption() as preemption:
        assert preemption.requested is None
        os.kill(os.getpid(), number)
        assert preemption.requested == signal.Signals(number).name
    assert signal.getsignal(number) is before
    assert "a second one ends at once" in capsys.readouterr().err


@pytest.mark.parametrize("number", Preemption.SIGNALS)
def test_the_second_signal_ends_the_process(number):
    program = (
        "import os\nfrom diffdepth_jax.distributed.preemption import Preemption\n"
        f"with Preemption():\n for _ in range(2): os.kill(os.getpid(), {int(number)})\n"
        " print('survived')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == -number
    assert done.stdout == ""


def test_a_signal_is_noted_when_nobody_reads_the_message():
    """Ctrl-C ends the other programs of a pipe too."""
    program = (
        "import os, sys\nfrom diffdepth_jax.distributed.preemption import Preemption\n"
        "with Preemption() as preemption:\n os.kill(os.getpid(), 2)\n"
        " sys.stdout.write(preemption.requested)\n"
    )
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=writing,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.stdout == "SIGINT"


AT_ONCE = """
import hashlib, os, subprocess, time
from diffdepth_jax.distributed.preemption import Preemption
def finish():
    time.sleep(0.3)
    print("finished", flush=True)
with Preemption() as preemption, preemption.ending_at_once(finish):
    subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -{number} {{os.getpid()}}"])
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
print("survived")
"""


@pytest.mark.parametrize("number", Preemption.SIGNALS)
def test_what_can_be_done_again_ends_at_once_even_in_a_library(number):
    """The hash stands for a compilation: Python's handlers run when it is done, in minutes."""
    program = AT_ONCE.format(number=int(number))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (EXIT_STATUS, "finished\n")
    assert done.stderr == f"{number.name}: ending; the same command goes on from the last save\n"


def test_a_signal_from_before_ends_it_too(capsys):
    with Preemption() as preemption:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit) as end, preemption.ending_at_once():
            pytest.fail("was entered")
    assert end.value.code == EXIT_STATUS


def test_afterwards_signals_are_noted_as_before(capsys):
    with Preemption() as preemption:
        with preemption.ending_at_once():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        assert preemption.requested == "SIGTERM"
    assert signal.set_wakeup_fd(-1) == -1
    assert "saving after this step" in capsys.readouterr().err


def test_of_several_processes_none_ends_alone(monkeypatch, capsys):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with Preemption() as preemption, preemption.ending_at_once():
        os.kill(os.getpid(), signal.SIGTERM)
        assert preemption.requested == "SIGTERM"
    assert "saving after this step" in capsys.readouterr().err
