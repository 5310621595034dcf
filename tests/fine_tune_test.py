"""configs/fine_tune.py: the model that ships is its start, for any folder of a dozen pairs."""

import numpy as np
import pytest

from diffdepth_jax.checkpoints.model_directory import read_config
from diffdepth_jax.checkpoints.model_names import find_model
from diffdepth_jax.configs import fine_tune, indoor_small
from diffdepth_jax.configuration import groups
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation.model_card import model_card
from diffdepth_jax.evaluation.protocols import create_protocol
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.program.config_flag import find_configuration
from diffdepth_jax.training.pretrained import check_origin, licences, origins, start_from
from tests.support.paths import ROOT


@pytest.fixture
def fields():
    return fine_tune.get_config()


def test_it_starts_from_all_weights_of_the_model_that_ships(fields):
    config = groups.read(fields)
    check_origin(config)
    assert config.train.initial_weights == "indoor_small"
    assert config.model == read_config(find_model("indoor_small")).model
    variables, messages = start_from(
        abstract_variables(create_model(config.model)), **origins(config)
    )
    kernel = variables["params"]["codec"]["decoder"]
    assert not messages and all(isinstance(x, np.ndarray) for x in _leaves(kernel))


def _leaves(tree):
    return [leaf for x in tree.values() for leaf in (_leaves(x) if isinstance(x, dict) else [x])]


def test_it_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_configuration("fine_tune").samefile(ROOT / "configs/fine_tune.py")


def test_it_is_gentler_than_the_training_of_the_model(fields):
    theirs = indoor_small.get_config()
    assert fields.optimizer.learning_rate < theirs.optimizer.learning_rate
    assert fields.train.num_steps < theirs.train.num_steps
    assert fields.optimizer.warmup_steps < 3 and fields.train.batch_size <= 10


def test_pictures_of_any_size_are_scored(fields):
    protocol = create_protocol(fields.evaluation.protocol, 1e-3, fields.frame.max_depth)
    assert protocol.mask(37, 53).all() and protocol.mask(2000, 1000).all()
    assert fields.data.folder.holdout_every == 10


def test_the_terms_of_the_model_go_into_the_card(fields):
    config = groups.read(fields)
    card = model_card(config, "", licence=licences(config))
    assert "license: other" in card and "`other`: NYU Depth V2" in card
    assert "cameras like those of the training data" in card


def test_several_cameras_are_learned_through_the_camera_of_the_model(fields):
    fields.frame.canonical_focal_length = 259.43
    check_origin(groups.read(fields))
    fields.frame.canonical_focal_length = 500.0
    with pytest.raises(UserError, match=r"is of frame\.canonical_focal_length 0\.0, not 500\.0"):
        check_origin(groups.read(fields))
