"""A model as an argument, and the configuration that lies beside it."""

import json

import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.program.run_arguments import completed
from diffdepth_jax.program.shipped_models import FOLDER


@pytest.fixture
def desk(tmp_path, monkeypatch):
    (tmp_path / "runs/x").mkdir(parents=True)
    (tmp_path / "runs/x/config.json").write_text(json.dumps({}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_to_evaluate_brings_its_configuration(desk):
    flags = ["--config=runs/x", "--mode=evaluate", "--workdir=runs/x", "--config.seed=1"]
    assert completed(["--mode=evaluate", "runs/x", "--config.seed=1"]) == flags
    assert completed(flags[1:]) == flags
    two_words = ["--mode", "evaluate", "--workdir", "runs/x"]
    assert completed(two_words) == ["--config=runs/x", *two_words]


def test_a_configuration_that_is_given_stays(desk):
    given = ["--mode=evaluate", "--config", "nyu", "--workdir=runs/x"]
    assert completed(given) == given


def test_a_model_that_ships_is_scored_by_its_name(desk):
    config, *flags = completed(["--mode=evaluate", "indoor_small"])
    assert config == f"--config={FOLDER / 'indoor_small'}"
    assert flags == ["--mode=evaluate", "--checkpoint=indoor_small"]


def test_training_goes_on_with_a_run_by_its_directory_alone(desk):
    assert completed(["--workdir=runs/x"]) == ["--config=runs/x", "--workdir=runs/x"]
    new = ["--mode=train", "--workdir=runs/new"]
    assert completed(new) == new  # then --config is missing, and that is said


def test_nothing_is_nothing():
    assert completed([]) == []


def test_values_of_flags_are_no_models(desk):
    given = ["--mode=submit", "--config=nyu", "--output", "x.zip"]
    assert completed(given) == given


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode=evaluate", "runs/y"], r"runs/y is no model directory"),
        (["--mode=calibrate", "--workdir=runs/y"], r"runs/y is no model directory"),
        (["--mode=evaluate", "indoor_smal"], r"did you mean indoor_small\?"),
        (["--mode=submit", "indoor_small"], r"copy its folder"),
        (["--mode=train", "nyu"], r"did you mean --config=nyu\?"),
        (["--mode=train", "runs/x"], r"did you mean --workdir=runs/x\?"),
    ],
)
def test_what_is_no_model_is_named(desk, arguments, message):
    with pytest.raises(UserError, match=message):
        completed(arguments)
