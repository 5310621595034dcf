"""The command that compares --help with importing numpy."""

import json
import sys

from benchmarks import help_speed
from diffdepth_jax.__main__ import COMMANDS


def test_every_command_is_measured_in_turns(monkeypatch, tmp_path, capsys):
    ran = []

    def seconds(command):
        ran.append(command)
        return 0.1 if "import numpy" in command else 0.15

    monkeypatch.setattr(help_speed, "seconds", seconds)
    output = tmp_path / "help.json"
    monkeypatch.setattr(sys, "argv", ["help_speed", "--repeats=2", f"--output={output}"])
    help_speed.main()
    measured = json.loads(output.read_text())["rows"]
    assert measured.keys() == {"import numpy", "--help", *(f"{x} --help" for x in COMMANDS)}
    assert abs(measured["predict --help"]["times_numpy"] - 1.5) < 1e-9
    size = len(measured)
    assert len(ran) == 3 * size and ran[:size] == ran[size : 2 * size]
    assert "at most 1.50 times import numpy" in capsys.readouterr().out


def test_a_process_is_timed():
    assert 0 < help_speed.seconds(["-c", "pass"]) < 60
