"""Directories of older versions are read, and old names on the command line are refused."""

import dataclasses
import functools
import json
import operator
import pathlib
import shutil

import pytest
from absl import logging as absl_logging

from diffdepth_jax.checkpoints.model_directory import (
    check_directory,
    claim_directory,
    read_config,
    save_model,
)
from diffdepth_jax.configs import released_res18
from diffdepth_jax.configuration import groups, renamed
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


def _names(fields, prefix=""):
    for name, value in fields.items():
        if isinstance(value, dict) and value:  # a mixture without parts is a value
            yield from _names(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _without(fields, name):
    *path, field = name.split(".")
    fields = json.loads(json.dumps(fields))
    del functools.reduce(operator.getitem, path, fields)[field]
    return fields


EVERY_FIELD = sorted(_names(dataclasses.asdict(small_run.config())))


@pytest.fixture
def older_run(tmp_path, monkeypatch):
    """A run's directory from before a field, which is then added by its line in ADDED."""

    def make(name, value):
        fields = dataclasses.asdict(small_run.config())
        (tmp_path / "config.json").write_text(json.dumps(_without(fields, name)))
        (tmp_path / "checkpoints/3").mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(renamed, "ADDED", {name: value})
        return tmp_path

    return make


def test_a_run_from_before_any_field_is_resumed_and_says_so(older_run, caplog):
    """As any field may be added some day, tuples and free ones among them."""
    config = small_run.config()
    absl_logging.set_verbosity("info")
    for name in EVERY_FIELD:
        value = functools.reduce(getattr, name.split("."), config)
        workdir = older_run(name, value)
        with caplog.at_level("INFO"):
            claim_directory(workdir, config)
        check_directory(workdir, config, ("model", "diffusion"))
        shown = json.loads(json.dumps(value))
        line = f"is older than some fields; the run was trained as with {name}={shown!r}"
        assert caplog.messages[-1] == f"{workdir}/config.json {line}"
        assert len(caplog.messages) == 1
        caplog.clear()


def test_a_run_from_before_a_field_is_not_resumed_with_another_value(older_run):
    workdir = older_run("optimizer.b2", 0.5)
    with pytest.raises(UserError, match=r"\(optimizer\.b2 differ\)"):
        claim_directory(workdir, small_run.config())


def test_a_model_from_before_a_field_is_read(older_run):
    workdir = older_run("sampler.clip", 0.25)
    assert read_config(workdir).sampler.clip == 0.25


def test_a_run_of_today_is_resumed_in_silence(older_run, caplog):
    absl_logging.set_verbosity("info")
    workdir = older_run("optimizer.b2", 0.999)
    (workdir / "config.json").write_text(json.dumps(dataclasses.asdict(small_run.config())))
    with caplog.at_level("INFO"):
        claim_directory(workdir, small_run.config())
    assert caplog.messages == []


def test_every_added_field_exists_and_its_value_passes():
    fields = json.loads(json.dumps(dataclasses.asdict(small_run.config())))
    for name, value in renamed.ADDED.items():
        groups.read(renamed.with_new_names(_without(fields, name)))
        assert name in EVERY_FIELD, f"{name} {value!r}"


def test_what_should_be_a_group_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"data": 3}')
    with pytest.raises(UserError, match=r"config\.json is damaged \(data is no group of fields\)"):
        read_config(tmp_path)


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
