"""What the package offers at its top, and what importing it costs."""

import pathlib
import subprocess
import sys

import pytest

import diffdepth_jax
from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction import pipeline
from diffdepth_jax.prediction.depth_prediction import DepthPrediction
from diffdepth_jax.prediction.estimator import DepthEstimator


def test_the_names_are_listed_and_lead_to_the_things():
    assert dir(diffdepth_jax) == sorted(diffdepth_jax.__all__)
    for thing in (DepthEstimator, DepthPrediction, UserError, pipeline.pipeline):
        assert getattr(diffdepth_jax, thing.__name__) is thing
        assert thing.__name__ in dir(diffdepth_jax)
    with pytest.raises(AttributeError, match="no attribute 'Estimator'"):
        _ = diffdepth_jax.Estimator


def test_importing_the_package_imports_no_library():
    code = "import sys, diffdepth_jax; dir(diffdepth_jax); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert pathlib.Path(diffdepth_jax.__file__).name == "__init__.py"
