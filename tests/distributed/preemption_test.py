"""The first signal asks, the second ends; a training run answers by saving."""

import os
import signal
import subprocess
import sys

import pytest

from diffdepth_jax.distributed.preemption import Preemption


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
