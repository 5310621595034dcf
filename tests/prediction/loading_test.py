"""A model is loaded to predict: its programs are taken from the disk if they were traced before."""

import dataclasses

import numpy as np
import pytest

from diffdepth_jax.method import diffusion
from diffdepth_jax.models import assembly
from diffdepth_jax.prediction import loading
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.prediction.loading import load_model, predict_function
from diffdepth_jax.program import compilation_cache, lowered_programs

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.fixture
def programs(monkeypatch, tmp_path):
    """The folder of the kept programs."""
    monkeypatch.setattr(compilation_cache, "own_directory", lambda: tmp_path)
    return tmp_path / "lowered"


def _refuse(*_):
    raise AssertionError("built")


@pytest.mark.parametrize(
    "options", [{}, {"num_steps": 3, "ensemble": 2, "trajectory": True, "interval": 0.9, "seed": 5}]
)
def test_a_kept_program_predicts_the_same_bits_without_a_model(
    directory, programs, monkeypatch, options
):
    traced = DepthEstimator(*load_model(directory))(IMAGE, **options)
    assert not programs.exists()  # what such a model is no configuration tells
    first = DepthEstimator.from_checkpoint(directory)(IMAGE, **options)
    assert len(list(programs.iterdir())) == 1
    monkeypatch.setattr(assembly, "create_model", _refuse)
    again = DepthEstimator.from_checkpoint(directory)(IMAGE, **options)
    for kept in (first, again):
        np.testing.assert_equal(vars(kept), vars(traced))


def test_each_configuration_and_schedule_has_its_own_programs(directory, monkeypatch):
    monkeypatch.setattr(lowered_programs, "kept", lambda create, identity: identity)
    _, config = loading.read_model(directory)
    schedule = diffusion.create_schedule(**vars(config.diffusion))

    def changed(group, **fields):
        return dataclasses.replace(
            config, **{group: dataclasses.replace(getattr(config, group), **fields)}
        )

    others = [
        changed("model", denoiser_blocks=2),
        changed("model", dtype="bfloat16"),
        changed("sampler", eta=1.0),
        changed("diffusion", beta_end=0.1),
    ]
    identities = [predict_function(None, schedule, each) for each in (config, *others)]
    for change in ({"prediction_type": "epsilon"}, {"alpha_bar": 0.999 * schedule.alpha_bar}):
        other = dataclasses.replace(schedule, **change)
        identities.append(predict_function(None, other, config))
    assert len(set(identities)) == 7
    assert identities[0] == predict_function(None, schedule, loading.read_model(directory)[1])
