"""Parts of a mixture are checked where they are read, and belong to directories as other fields."""

import copy
import dataclasses
import json
import re

import pytest
from absl import flags
from ml_collections import config_flags

from diffdepth_jax.checkpoints.model_directory import (
    check_directory,
    claim_directory,
    copy_configuration,
)
from diffdepth_jax.configs import mixture
from diffdepth_jax.configuration import groups, renamed
from diffdepth_jax.configuration.data import fields_of_part
from diffdepth_jax.errors import UserError
from tests.support import small_run
from tests.support.pages import blocks
from tests.support.paths import ROOT


def read(**changes):
    """configs/mixture.py with changed fields: PART__FIELD, or other fields by dotted name."""
    fields = mixture.get_config()
    for name, value in changes.items():
        part, _, field = name.rpartition("__")
        fields.data.mixture[part].update_from_flattened_dict({field.replace("_of_", "."): value})
    return groups.read(fields)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rooms__weight": -1.0}, "data.mixture.rooms.weight -1.0: must be 0 or more"),
        (
            {"rooms__weight": 0.0, "streets__weight": 0.0},
            "weights of data.mixture {'rooms': 0.0, 'streets': 0.0}: must be above 0 for at least",
        ),
        (
            {"streets__max_depth": 90.0},
            "data.mixture.streets.max_depth 90.0: must be at most frame.max_depth, 80: raise that",
        ),
        (
            {"streets__min_depth": 1e-4},
            "data.mixture.streets.min_depth 0.0001: must be frame.min_depth, 0.001, or more",
        ),
        (
            {"rooms__min_depth": 10.0},
            "data.mixture.rooms.min_depth 10.0: must be frame.min_depth, 0.001, or more, and below",
        ),
        (
            {"rooms__missing_depth": "hole"},
            "data.mixture.rooms.missing_depth 'hole': must be unknown without model.validity",
        ),
        (
            {"rooms__synthetic_of_focal_range": (3.0, 1.0)},
            "data.mixture.rooms.synthetic.focal_range (3.0, 1.0): must be (least, greatest) with",
        ),
        ({"rooms__source": "mixture"}, "data.mixture.rooms.source 'mixture': must be one of"),
    ],
)
def test_a_part_that_means_nothing_is_named(changes, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        read(**changes)


def test_a_mixture_needs_parts_with_names_and_no_field_of_theirs():
    fields = small_run.fields(data__source="mixture")
    with pytest.raises(UserError, match=r"data\.mixture \{\}: must be named parts, which a recipe"):
        groups.read(fields)
    fields = mixture.get_config()
    fields.data.missing_depth = "hole"
    with pytest.raises(UserError, match=r"data\.missing_depth 'hole': must be unknown for a mixtu"):
        groups.read(fields)
    fields = mixture.get_config()
    fields.data.mixture["my-rooms"] = fields.data.mixture.rooms
    with pytest.raises(UserError, match=r"part of data\.mixture 'my-rooms': must be of letters"):
        groups.read(fields)


def test_validity_needs_one_part_that_knows_holes():
    fields = mixture.get_config()
    fields.model.validity, fields.loss.weights.validity = True, 0.1
    for part in fields.data.mixture.values():
        part.source = "folder"
    message = r"data\.mixture\.rooms\.missing_depth 'unknown': must be hole with model\.validity"
    with pytest.raises(UserError, match=message):
        groups.read(fields)
    fields.data.mixture.streets.missing_depth = "hole"
    assert groups.read(fields).model.validity
    fields.data.mixture.streets.weight = 0.0  # training never sees it
    with pytest.raises(UserError, match=message):
        groups.read(fields)


def test_sets_and_rows_belong_to_parts():
    data = read().data
    names = ("rooms", "rooms-streets", "rooms: this model", "rooms-streets: best constant")
    assert {data.part_of(name) for name in names} == {"rooms"}
    with pytest.raises(UserError, match=r"'nyu' is of no part of data\.mixture, which has rooms, "):
        data.part_of("nyu")
    assert small_run.config().data.part_of("nyu") == ""


def test_errors_about_fields_of_a_part_name_them():
    with (
        pytest.raises(UserError, match=r"^data\.mixture\.a\.records\.name and data\.mixture\.a\.m"),
        fields_of_part("a"),
    ):
        raise UserError("data.records.name and frame.max_depth")
    with pytest.raises(UserError, match=r"^data\.records\.name$"), fields_of_part(""):
        raise UserError("data.records.name")


def test_an_unknown_part_on_the_command_line_is_refused():
    values, given = flags.FlagValues(), f"--config={ROOT}/configs/mixture.py"
    argv = ["main", given, "--config.data.mixture.room.weight=1"]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    with pytest.raises(KeyError, match=r'Did you mean "rooms" instead of "room"'):
        values(argv)


def test_the_recipe_of_the_page_is_read():
    (text,) = blocks(ROOT / "docs/mixtures.md", "python")
    exec(compile(text, "mixtures.md", "exec"), names := {})
    config = groups.read(names["get_config"]())
    assert [part.protocol for part in config.data.mixture.values()] == [
        "kitti_garg_full",
        "nyu_eigen",
    ]
    assert config.data.mixture["nyu"].limits(config.frame) == (1e-3, 10.0)


# Directories


def _run(workdir, fields):
    claim_directory(workdir, groups.read(fields))
    (workdir / "checkpoints/3").mkdir(parents=True)
    return workdir


def test_a_run_goes_on_where_its_data_lie_elsewhere_and_not_with_other_weights(tmp_path):
    workdir, fields = _run(tmp_path, small_run.mixture_fields()), small_run.mixture_fields()
    fields.data.mixture.rooms.folder.root = "elsewhere"
    claim_directory(workdir, groups.read(fields))
    fields.data.mixture.rooms.weight = 5.0
    with pytest.raises(UserError, match=r"\(data\.mixture\.rooms\.weight differ\)"):
        check_directory(workdir, groups.read(fields))


def test_what_is_given_to_others_holds_no_paths_of_parts(tmp_path):
    fields = small_run.mixture_fields()
    fields.data.mixture.rooms.folder.root = "/home/me"
    workdir = _run(tmp_path / "run", fields)
    copy_configuration(workdir, tmp_path)
    text = (tmp_path / "config.json").read_text()
    assert "/home/me" not in text and '"rooms"' in text


def test_a_part_of_an_older_version_gets_the_fields_that_came_since():
    config = groups.read(small_run.mixture_fields())
    fields = json.loads(json.dumps(dataclasses.asdict(config)))
    older = copy.deepcopy(fields)
    del older["data"]["mixture"]["rooms"]["folder"]["preset"]
    del older["data"]["folder"]["preset"]
    assert renamed.added_to(older) == {
        "data.folder.preset": "",
        "data.mixture.rooms.folder.preset": "",
    }
    assert renamed.with_new_names(older) == fields
