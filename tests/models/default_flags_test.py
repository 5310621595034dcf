"""What is written for XLA's CPU backend, compiled as users compile it: other tests are quicker."""

import os
import subprocess
import sys

import pytest

from tests.support import compile_flags
from tests.support.paths import ROOT

FILES = [
    "models/layers_test.py",
    "models/linear_stack_test.py",
    "models/denoiser_test.py",
    "models/backbones/swin_test.py",
    "models/released_test.py",
    "method/refinement_test.py",
]
DEFAULTS = (
    "--xla_backend_optimization_level=3 --xla_cpu_use_fusion_emitters=true"
    " --xla_cpu_parallel_codegen_split_count=32"
)


def _names(flags):
    return {flag.partition("=")[0] for flag in flags.split()}


def test_each_flag_has_its_default_here():
    assert _names(DEFAULTS) == _names(compile_flags.QUICK)


@pytest.mark.slow
def test_these_pass_with_the_default_flags():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *(f"tests/{name}" for name in FILES)],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": DEFAULTS},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
