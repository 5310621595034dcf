"""The evaluation of a configuration, with a model that always says three metres."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax import diffusion, sharding
from diffdepth_jax.evaluator import Evaluator
from tests import small_run

METRES = {"near": (2.0, 4.0), "far": (20.0, 25.0)}  # of a set's training and evaluation samples


class ThreeMetres:
    """The model's interface without its network."""

    def latent_shape(self, height, width):
        return height, width, 1

    def apply(self, variables, x, *args, method, **kwargs):
        if method == "decode_log_depth":
            return jnp.full((*x.shape[:3], 1), jnp.log(3.0))
        return x


class Log:
    def __init__(self):
        self.values, self.pictures = {}, {}

    def scalars(self, step, **values):
        self.values |= {name: (step, value) for name, value in values.items()}

    def panels(self, name, step, panels):
        self.pictures[name] = (step, panels)


def _samples(metres, count):
    shape = (64, 80, 1)
    sample = {
        "image": np.zeros((*shape[:2], 3), np.uint8),
        "depth": np.full(shape, metres, np.float32),
        "mask": np.ones(shape, bool),
    }
    return [sample] * count


@pytest.fixture
def config():
    return small_run.config(num_panels=2)


@pytest.fixture
def evaluator(config):
    sources = {name: (_samples(fit, 2), _samples(held, 3)) for name, (fit, held) in METRES.items()}
    schedule = diffusion.create_schedule(**config.diffusion)
    return Evaluator(config, ThreeMetres(), schedule, sources, sharding.create_mesh())


def test_every_set_is_scored_and_logged_under_its_name(evaluator):
    log = Log()
    results = evaluator.evaluate({}, log, step=7)
    assert results["near"]["abs_rel"] == pytest.approx(1 / 4)
    assert results["far"]["abs_rel"] == pytest.approx(22 / 25)
    assert all(values["images"] == 3 for values in results.values())
    for name, values in results.items():
        assert log.values[f"{name}/abs_rel"] == (7, values["abs_rel"])


def test_pictures_are_of_the_first_images_at_their_own_size(evaluator):
    log = Log()
    evaluator.evaluate({}, log)
    for name in METRES:
        _, panels = log.pictures[name]
        assert len(panels) == 2
        assert all(panel.shape[0] >= 64 and panel.shape[1] >= 4 * 80 for panel in panels)


def test_baselines_are_fitted_to_training_samples_of_their_set(evaluator):
    """Samples are alike: constant and mean map are the training depth."""
    results = evaluator.evaluate({})
    rows = evaluator.with_baselines(results)
    for name, (fitted, held_out) in METRES.items():
        assert rows[f"{name}: this model"] == results[name]
        for title in ("best constant", "mean map"):
            expected = abs(held_out - fitted) / held_out
            assert rows[f"{name}: {title}"]["abs_rel"] == pytest.approx(expected, rel=1e-5)
    assert len(rows) == 6


def test_without_baselines_the_results_are_the_table(evaluator, config):
    with config.unlocked():
        config.evaluation.baselines = False
    results = {"near": {"abs_rel": 0.1}}
    assert evaluator.with_baselines(results) is results
