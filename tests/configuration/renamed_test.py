"""Directories of older versions are read, and old names on the command line are refused."""

import dataclasses
import json
import pathlib
import shutil

import pytest

from diffdepth_jax.checkpoints.model_directory import (
    check_directory,
    claim_directory,
    read_config,
    save_model,
)
from diffdepth_jax.configs import released_res18
from diffdepth_jax.configuration import groups
from diffdepth_jax.configuration.renamed import RENAMED, refuse_old_names, with_new_names
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.program.entry import parse_flags
from tests.support import small_model, small_run

# config.json of a run, and of a converted model, as version 0.1.0 wrote them.
STORED = pathlib.Path(__file__).parent / "stored"


def stored(name):
    return json.loads((STORED / f"{name}.json").read_text())


@pytest.mark.parametrize("name", ["run", "converted_model"])
def test_an_old_configuration_has_exactly_the_fields_of_today(name):
    config = groups.read(with_new_names(stored(name)))
    expected = small_run.config(model__backbone="swin_micro")
    if name == "converted_model":
        expected = groups.read(released_res18.get_config())
    assert config == expected


def test_every_renamed_field_is_in_a_stored_configuration_and_its_new_name_exists():
    old, new = stored("run"), with_new_names(stored("run"))
    for before, after in RENAMED.items():
        for fields, name in ((old, before), (new, after)):
            for part in name.split("."):
                fields = fields[part]


def test_a_configuration_of_today_comes_back_equal():
    fields = json.loads(json.dumps(dataclasses.asdict(small_run.config())))
    assert with_new_names(fields) == fields


def test_a_run_of_an_old_version_is_resumed(tmp_path):
    """Its directory is that of the same configuration; a saved step makes it worth keeping."""
    shutil.copy(STORED / "run.json", tmp_path / "config.json")
    (tmp_path / "checkpoints/3").mkdir(parents=True)
    config = small_run.config(model__backbone="swin_micro")
    claim_directory(tmp_path, config)
    check_directory(tmp_path, config)
    with pytest.raises(UserError, match=r"\(train\.batch_size differ\)"):
        claim_directory(tmp_path, small_run.config(model__backbone="swin_micro", batch_size=8))


def test_a_model_of_an_old_version_predicts(tmp_path):
    config = small_run.config(model__backbone="swin_micro")
    variables = small_model.random_variables(create_model(config.model))
    save_model(tmp_path / "model", config, variables)
    shutil.copy(STORED / "run.json", tmp_path / "model/config.json")
    assert read_config(tmp_path / "model").frame == config.frame
    estimator = DepthEstimator.from_checkpoint(tmp_path / "model")
    assert estimator.focal_length == config.frame.focal_length


def test_an_old_name_on_the_command_line_is_refused_with_the_new_one():
    for old, new in RENAMED.items():
        with pytest.raises(UserError, match=f"has another name now: give --config.{new}$"):
            refuse_old_names(["--config=configs/nyu.py", f"--config.{old}=1"])
        refuse_old_names([f"--config.{new}=1", old])


def test_programs_refuse_old_names():
    with pytest.raises(UserError, match=r"give --config\.data\.synthetic\.num_eval"):
        parse_flags(["main", "--config.data.num_eval=20"])
