"""A device that is asked for and missing is named so by every program, whatever met it first."""

import os
import subprocess
import sys

import pytest

from diffdepth_jax.program.missing_device import sentence
from tests.support.paths import ROOT


@pytest.mark.parametrize("command", [["predict", "docs/photos", "-o", "{out}"], ["doctor"]])
def test_programs_that_load_a_model_first(tmp_path, command):
    arguments = [each.format(out=tmp_path / "out") for each in command]
    environment = {**os.environ, "JAX_PLATFORMS": "cuda"}
    done = subprocess.run(
        [sys.executable, "-m", "diffdepth_jax", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == (1 if command == ["doctor"] else 2)
    printed = done.stdout + done.stderr
    assert "JAX_PLATFORMS=cuda asks for a device that JAX does not find" in printed
    assert "does not fit" not in printed and "Traceback" not in printed


def test_other_errors_are_none_of_a_device(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(AssertionError) as caught:
        raise AssertionError
    assert sentence(caught.value) is None
