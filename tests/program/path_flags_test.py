"""~ in flags and fields, which shells leave as it is behind a `=`."""

import importlib

import pytest
from absl import flags
from absl.testing import flagsaver

from diffdepth_jax.configuration import groups
from diffdepth_jax.errors import UserError
from diffdepth_jax.program.entry import parse_flags
from tests.support import small_run

PATHS = {
    "app": ["checkpoint"],
    "convert": ["checkpoint", "output"],
    "data.prepare": ["source", "depth_source", "data_dir", "train_list", "test_list"],
    "export": ["checkpoint", "output"],
    "main": ["workdir", "predictions", "checkpoint", "output"],
    "predict": ["checkpoint", "input", "output"],
}
FIELDS = [
    "data__folder__root",
    "data__folder__list_file",
    "data__folder__eval_list_file",
    "data__folder__depth_list_file",
    "data__folder__eval_depth_list_file",
    "data__records__data_dir",
    "model__backbone_weights",
    "train__initial_weights",
]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("program", "name"), [(p, n) for p, names in PATHS.items() for n in names])
def test_every_flag_that_is_a_path(home, program, name):
    module = importlib.import_module(f"diffdepth_jax.{program}")
    with flagsaver.flagsaver():
        parse_flags([program, f"--{name}=~/x y"])
        value = getattr(module, f"_{name.upper()}").value
        assert value == ([f"{home}/x y"] if name == "input" else f"{home}/x y")  # of several


def test_the_configuration_file(home):
    importlib.import_module("diffdepth_jax.main")
    (home / "mine.py").write_text("from diffdepth_jax.configs.synthetic import get_config\n")
    with flagsaver.flagsaver():
        parse_flags(["main", "--config=~/mine.py"])
        assert flags.FLAGS.config.data.source == "synthetic"


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_that_is_a_path(home, field):
    value = small_run.config(**{field: "~/x"})
    for name in field.split("__"):
        value = getattr(value, name)
    assert value == f"{home}/x"


def test_a_user_that_is_not_there_is_no_folder_name():
    importlib.import_module("diffdepth_jax.predict")
    with flagsaver.flagsaver(), pytest.raises(UserError, match=r"no home folder.*\./~nobody-here"):
        parse_flags(["predict", "--output=~nobody-here/x"])
    with pytest.raises(UserError, match="no home folder"):
        small_run.config(train__initial_weights="~nobody-here")
    assert isinstance(small_run.config(), groups.Configuration)
