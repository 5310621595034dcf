"""Configurations by name, by file and by the directory of a run, from any folder."""

import json

import pytest
from absl import flags

from diffdepth_jax.checkpoints.model_directory import claim_directory
from diffdepth_jax.configuration import groups
from diffdepth_jax.configuration.paths import find_configuration, shipped_configurations
from diffdepth_jax.errors import UserError
from diffdepth_jax.program.config_flag import define_config, name_of
from tests.support import small_run

OWN = """
from diffdepth_jax.configs import synthetic

def get_config(steps="200"):
    config = synthetic.get_config()
    config.train.num_steps = int(steps)
    return config
"""


@pytest.fixture
def desk(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parse(*arguments, monkeypatch):
    """The configuration of a command line, and the name of its run."""
    values, argv = flags.FlagValues(), ["train", *arguments]
    monkeypatch.setattr("sys.argv", argv)
    define_config("", flag_values=values)
    values(argv)
    return values["config"].value, name_of(values["config"])


@pytest.mark.parametrize("name", ["synthetic", "synthetic.py", "configs/synthetic.py"])
def test_a_configuration_that_ships_from_any_folder(desk, name, monkeypatch):
    config, run = parse(f"--config={name}", "--config.train.num_steps=5", monkeypatch=monkeypatch)
    assert (config.data.source, config.train.num_steps, run) == ("synthetic", 5, "synthetic")


def test_every_configuration_is_found_by_its_name(desk):
    assert {"default", "synthetic", "nyu", "kitti", "folder"} <= {*shipped_configurations()}
    assert all(find_configuration(name).is_file() for name in shipped_configurations())


@pytest.mark.parametrize(
    ("name", "steps", "own"),
    [
        ("mine.py", 200, "mine"),
        ("mine", 200, "mine"),
        ("./mine.py:300", 300, "mine"),
        ("my-config.py", 200, "my-config"),  # which holds what a flag of a field begins with
    ],
)
def test_a_configuration_of_ones_own_inherits(desk, name, steps, own, monkeypatch):
    (desk / "my-config.py").write_text(OWN)
    config, run = parse(f"--config={name}", monkeypatch=monkeypatch)
    assert (config.data.source, config.train.num_steps, run) == ("synthetic", steps, own)
    assert groups.read(config).train.num_steps == steps


def test_a_file_of_ones_own_comes_before_one_that_ships(desk, monkeypatch):
    (desk / "nyu.py").write_text(OWN)
    assert parse("--config=nyu", monkeypatch=monkeypatch)[0].train.num_steps == 200


def test_the_directory_of_a_run_holds_its_configuration(desk, monkeypatch):
    """As training read it, with tuples where JSON has lists, and fields that can be replaced."""
    claim_directory("runs/small", small_run.config())
    config, run = parse(
        "--config=runs/small", "--config.evaluation.ensemble=2", monkeypatch=monkeypatch
    )
    assert groups.read(config) == small_run.config(evaluation__ensemble=2) and run == "small"


def test_a_damaged_configuration_of_a_run_is_named(desk, monkeypatch):
    (desk / "runs").mkdir()
    (desk / "runs/config.json").write_text(json.dumps([1]))
    with pytest.raises(UserError, match="is no configuration of a model"):
        parse("--config=runs", monkeypatch=monkeypatch)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def get_config(:", "SyntaxError"),
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("x = 1", "KeyError: 'get_config'"),
        ("def get_config():\n    return 7", "get_config.. returns int"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(desk, text, reason, monkeypatch):
    (desk / "broken.py").write_text(text)
    with pytest.raises(UserError, match=rf"broken\.py cannot be read \({reason}") as caught:
        parse("--config=broken.py", monkeypatch=monkeypatch)
    assert "\n" not in str(caught.value)


def test_an_empty_name_is_refused(desk, monkeypatch):
    with pytest.raises(UserError, match="does not exist"):
        parse("--config=", monkeypatch=monkeypatch)
