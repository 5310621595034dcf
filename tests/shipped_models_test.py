"""The models that ship are whole, small, and say where they come from."""

import json
import re

import numpy as np
import pytest

from diffdepth_jax.checkpoints.calibration import load_calibration
from diffdepth_jax.checkpoints.fitting import check_leaves
from diffdepth_jax.checkpoints.model_directory import load_variables, read_config
from diffdepth_jax.checkpoints.model_names import find_model, shipped_names
from diffdepth_jax.checkpoints.weights_file import read_weights
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.identity import parameters_identity
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.program import default_model

SHIPPED = shipped_names()


def test_the_default_of_the_programs_ships():
    assert default_model.DEFAULT in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_its_files_are_whole_and_small(name):
    """Reading checks them, see weights_file_test.py."""
    directory = find_model(name)
    variables, header = read_weights(directory)
    assert header.model == json.loads((directory / "config.json").read_text())["model"]
    limit = 20e6 if name == default_model.DEFAULT else 26e6
    assert sum(path.stat().st_size for path in directory.iterdir()) <= limit
    calibration = load_calibration(directory)
    if calibration is not None:
        assert calibration.parameters == parameters_identity(variables)


@pytest.mark.parametrize("name", SHIPPED)
def test_its_weights_are_those_of_its_model(name):
    """So that a program that reads them need not compare, which takes a second."""
    directory = find_model(name)
    expected = abstract_variables(create_model(read_config(directory).model))
    check_leaves(read_weights(directory)[0], expected)
    load_variables(directory, pytest.fail)


@pytest.mark.parametrize("name", SHIPPED)
def test_its_configuration_names_no_place_of_a_machine(name):
    text = (find_model(name) / "config.json").read_text()
    assert not re.findall(r'"(?:/|~|\.\.)[^"]*"', text)


@pytest.mark.parametrize("name", SHIPPED)
def test_its_card_tells_data_terms_recipe_numbers_and_limits(name):
    card = (find_model(name) / "README.md").read_text()
    assert "pipeline_tag: depth-estimation" in card
    for heading in ("## Training data", "## Recipe", "## Scores", "## Limits"):
        assert heading in card


@pytest.mark.parametrize("name", SHIPPED)
def test_it_predicts(name):
    """A smooth picture has depth within the model's range, which differs from pixel to pixel."""
    rows, columns = np.mgrid[:120, :160]
    image = np.stack([rows, columns, rows + columns], axis=-1).astype(np.uint8)
    depth = DepthEstimator.from_pretrained(name)(image).depth
    assert depth.shape == (120, 160) and np.ptp(depth) > 0.01
    assert depth.min() > 0 and depth.max() < 2 * read_config(find_model(name)).frame.max_depth
