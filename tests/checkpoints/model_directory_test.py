"""What is saved comes back, and what does not belong together is refused by name."""

import contextlib
import dataclasses
import functools
import itertools
import json
import math
import operator
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from absl import logging as absl_logging

from diffdepth_jax.checkpoints import model_directory, weights_file
from diffdepth_jax.checkpoints.model_directory import load_variables
from diffdepth_jax.checkpoints.run_checkpoints import RunCheckpoints
from diffdepth_jax.checkpoints.weights_file import Header
from diffdepth_jax.configs import default, mixture
from diffdepth_jax.configuration import groups
from diffdepth_jax.errors import UserError
from diffdepth_jax.method import diffusion
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.program.entry import one_line_errors
from tests.support import small_model, small_run


def _state(value):
    return {"step": jnp.int32(value), "params": {"kernel": jnp.full((2, 3), value, jnp.float32)}}


def _save(workdir, *steps):
    with RunCheckpoints(workdir) as checkpoints:
        for step in steps:
            checkpoints.save(step, _state(step))


def _steps(directory):
    return sorted(int(path.name) for path in directory.iterdir())


def test_restores_the_newest_state(tmp_path):
    _save(tmp_path, 2, 5)
    with RunCheckpoints(tmp_path) as checkpoints:
        state = checkpoints.restore(_state(0))
    jax.tree.map(np.testing.assert_array_equal, state, _state(5))


def test_without_a_checkpoint_training_starts_as_given(tmp_path):
    state = _state(0)
    with RunCheckpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(state) is state


def test_keeps_the_newest_two(tmp_path):
    _save(tmp_path, 1, 2, 3)
    assert _steps(tmp_path / "checkpoints") == [2, 3]


def test_saving_a_step_again_changes_nothing(tmp_path):
    """A run that was resumed at its last step saves it a second time."""
    _save(tmp_path, 3)
    before = small_run.read_state(tmp_path, 3)
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(3, _state(99))
    jax.tree.map(np.testing.assert_array_equal, small_run.read_state(tmp_path, 3), before)


def test_keeps_the_best_variables_across_sessions(tmp_path):
    scores = {0: math.nan, 1: 0.5, 2: 0.7, 3: 0.3, 4: 0.3, 5: math.nan}
    for step, score in scores.items():
        with RunCheckpoints(tmp_path) as checkpoints:
            checkpoints.save_best(step, _state(step), score)
    assert int(load_variables(tmp_path, lambda: _state(0))["step"]) == 3
    assert weights_file.read_weights(tmp_path)[1] == Header(None, 3, 0.3)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    _save(tmp_path, 1)
    other = {"step": jnp.int32(0), "params": {"kernel": jnp.zeros((4, 3))}}
    message = "checkpoints/1 cannot be restored .*with the version that wrote them"
    with RunCheckpoints(tmp_path) as checkpoints, pytest.raises(UserError, match=message):
        checkpoints.restore(other)
    assert _steps(tmp_path / "checkpoints") == [1]


def test_a_resumed_run_says_from_where(tmp_path, caplog):
    _save(tmp_path, 1)
    absl_logging.set_verbosity("info")
    with caplog.at_level("INFO"), RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.restore(_state(0))
    assert "resuming from checkpoints/1" in caplog.messages


def _full(*args, **kwargs):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("best", [False, True])
def test_a_full_disk_names_the_checkpoint_and_the_remedy(tmp_path, monkeypatch, best):
    monkeypatch.setattr(ocp.CheckpointManager, "save", _full)
    monkeypatch.setattr(weights_file.safetensors.numpy, "save_file", _full)
    name = "model.safetensors" if best else "checkpoints/2"
    message = rf"{name} could not be written .*No space left.* same command again to resume"
    with RunCheckpoints(tmp_path) as checkpoints, pytest.raises(UserError, match=message):
        if best:
            checkpoints.save_best(2, _state(2), 0.5)
        else:
            checkpoints.save(2, _state(2))


def test_a_claimed_directory_takes_the_same_configuration_again(tmp_path):
    """As JSON reads it back, with lists for tuples."""
    workdir = tmp_path / "made" / "run"
    for _ in range(2):
        model_directory.claim_directory(workdir, small_run.config())
    assert [path.name for path in workdir.iterdir()] == ["config.json"]
    assert model_directory.read_config(workdir).frame.size == small_run.SIZE


@pytest.mark.parametrize("text", ['{"my": "settings"}', "no JSON", '{"model": {}}'])
def test_a_config_of_another_program_is_not_replaced(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json was not written by this program: move it"):
        model_directory.claim_directory(tmp_path, small_run.config())
    assert (tmp_path / "config.json").read_text() == text


def test_a_directory_of_another_configuration_is_refused_by_field(tmp_path):
    model_directory.claim_directory(tmp_path, small_run.config())
    _save(tmp_path, 1)
    other = small_run.config(num_steps=5, batch_size=8)
    for verb in (model_directory.claim_directory, model_directory.check_directory):
        with pytest.raises(UserError, match=r"\(train\.batch_size, train\.num_steps differ\)"):
            verb(tmp_path, other)


def test_how_a_run_is_watched_may_change_when_it_is_resumed(tmp_path):
    model_directory.claim_directory(tmp_path, small_run.config())
    _save(tmp_path, 1)
    other = small_run.config(max_skipped=50, max_unreadable=3, profile_steps=(3, 5))
    other = dataclasses.replace(other, log_level="debug")
    model_directory.claim_directory(tmp_path, other)


def test_predictions_have_the_sharpness_that_a_run_went_on_with(tmp_path):
    for sharpen in (1, 3):
        model_directory.claim_directory(tmp_path, small_run.config(model__sharpen=sharpen))
        assert model_directory.read_config(tmp_path).model.sharpen == sharpen
        _save(tmp_path, 1)


def test_a_directory_in_which_nothing_was_saved_is_taken_over(tmp_path):
    for batch_size in (8, 4):
        model_directory.claim_directory(tmp_path, small_run.config(batch_size=batch_size))
        fields = json.loads((tmp_path / "config.json").read_text())
        assert fields["train"]["batch_size"] == batch_size


@pytest.mark.parametrize("text", ["{}", "[]", "3"])
def test_json_that_is_no_configuration_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json (is no configuration|does not describe)"):
        model_directory.read_config(tmp_path)


def test_a_better_score_at_an_earlier_step_is_kept_too(tmp_path):
    for step, score in ((10, 1.0), (10, 0.9), (5, 0.5)):
        with RunCheckpoints(tmp_path) as checkpoints:
            checkpoints.save_best(step, _state(step), score)
    assert int(load_variables(tmp_path)["step"]) == 5


def test_no_model_directory_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no model directory: it has no config\.json"):
        model_directory.read_config(tmp_path)


def test_a_damaged_configuration_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": 0,')
    with pytest.raises(UserError, match=r"config\.json is damaged .* restore it"):
        model_directory.read_config(tmp_path)


def test_an_unwritable_workdir_ends_in_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stop, one_line_errors():
        model_directory.claim_directory(tmp_path / "file" / "run", small_run.config())
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("empty", [False, True])
def test_a_run_that_never_evaluated_has_no_parameters(tmp_path, empty):
    if empty:
        (tmp_path / "parameters").mkdir()
    with pytest.raises(UserError, match="it goes on with diffdepth train --workdir="):
        load_variables(tmp_path, lambda: _state(0))


@pytest.fixture
def altered_model(tmp_path):
    """Makes a model directory with a changed configuration."""
    small_model.save(tmp_path)

    def alter(change):
        fields = json.loads((tmp_path / "config.json").read_text())
        change(types.SimpleNamespace(**fields))
        (tmp_path / "config.json").write_text(json.dumps(fields))
        return pathlib.Path(tmp_path)

    return alter


def test_parameters_of_another_model_are_refused(altered_model):
    directory = altered_model(lambda fields: fields.model.update(neck_features=16))
    with pytest.raises(UserError, match="does not fit the model"):
        DepthEstimator.from_checkpoint(directory)


@pytest.mark.parametrize("change", [{"colour": 1}, {"neck_features": None}])
def test_a_configuration_of_another_version_is_refused_by_field(altered_model, change):
    def alter(fields):
        fields.model.update(change)
        if None in change.values():
            del fields.model["neck_features"]

    with pytest.raises(UserError, match=next(iter(change))):
        DepthEstimator.from_checkpoint(altered_model(alter))


# Values of each kind that JSON has, of which no field takes more than a few.
WRONG = [None, True, -1, 10**9, 10**400, 1e300, math.nan, "a\nb", "3", [], [[1]], {"a": {"b": 1}}]


def _places(fields, path=()):
    for name, value in fields.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from _places(value, (*path, name))


def _changed(fields, path, value):
    changed = json.loads(json.dumps(fields))
    group = functools.reduce(operator.getitem, path[:-1], changed)
    group[path[-1]] = value
    return changed


def _use(config):
    """Does what predicting does before it looks at parameters."""
    diffusion.create_schedule(**vars(config.diffusion))
    diffusion.sampling_timesteps(
        config.diffusion.num_timesteps, config.sampler.num_steps, config.sampler.spacing
    )
    create_model(config.model)


FIELDS = json.loads(json.dumps(default.get_config().to_dict()))
USED = ("model", "diffusion", "sampler", "frame")  # by a model


@pytest.mark.parametrize("group", FIELDS)
def test_every_field_of_a_strangers_configuration_is_checked(tmp_path, group):
    """Wrong values are refused in one line, and whatever passes can be used."""
    ours, refused = groups.read(FIELDS), 0
    (tmp_path / "copy").mkdir()
    read, others = (
        [lambda: _use(model_directory.read_config(tmp_path))],
        [
            lambda: model_directory.copy_configuration(tmp_path, tmp_path / "copy"),
            lambda: model_directory.check_directory(tmp_path, ours),
        ],
    )
    for path, value in itertools.product(_places({group: FIELDS[group]}), WRONG):
        text = json.dumps(_changed(FIELDS, path, value))
        (tmp_path / "config.json").write_text(text)
        for verb in read if group in USED else others:
            try:
                verb()
            except UserError as error:
                assert "\n" not in str(error) and len(str(error)) < 1000
                refused += 1
    assert refused or group not in USED


def test_every_part_of_a_mixture_is_checked(tmp_path):
    fields = json.loads(json.dumps(mixture.get_config().to_dict()))
    ours, name = groups.read(fields), next(iter(fields["data"]["mixture"]))
    for path, value in itertools.product(
        [(), (name,), (name, "folder"), (name, "folder", "root"), (name, "weight")], WRONG
    ):
        changed = _changed(fields, ("data", "mixture", *path), value)
        (tmp_path / "config.json").write_text(json.dumps(changed))
        for verb in (
            lambda: model_directory.read_config(tmp_path),
            lambda: model_directory.copy_configuration(tmp_path, tmp_path),
            lambda: model_directory.check_directory(tmp_path, ours),
        ):
            with contextlib.suppress(UserError):
                verb()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"model": ' * 900 + "1" + "}" * 900,
        '{"seed": 0, "a": "' + "x" * 2**20 + '"}',
        json.dumps({"data": {"mixture": {str(n): {} for n in range(10_000)}}}),
        json.dumps({"data": {"mixture": 3}}),
        json.dumps({"data": {"records": 3}}),
    ],
    ids=["brackets", "nested", "long", "parts", "no parts", "no group"],
)
def test_json_of_another_kind_is_damaged(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    for verb in (
        lambda: model_directory.read_config(tmp_path),
        lambda: model_directory.copy_configuration(tmp_path, tmp_path),
    ):
        with pytest.raises(UserError, match=r"config\.json is damaged .* restore it"):
            verb()
