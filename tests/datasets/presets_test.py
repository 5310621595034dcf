"""The presets are those of the forms that are tested, and give way to fields that are set.

tests/depth_forms_test.py reads known depth back with each of them.
"""

import pytest

from diffdepth_jax.configs import default
from diffdepth_jax.configuration import groups
from diffdepth_jax.datasets.presets import PRESETS
from diffdepth_jax.datasets.sources import create_sources
from diffdepth_jax.errors import UserError
from tests.support import depth_forms


def fields(root, preset, **changes):
    config = default.get_config()
    config.data.folder.update(root=str(root), preset=preset, holdout_every=2, **changes)
    return groups.read(config).data


def test_known_depth_comes_back_from_every_preset():
    assert depth_forms.PRESETS.keys() == PRESETS.keys()
    assert all(form.fields == {"preset": name} for name, form in depth_forms.PRESETS.items())


def test_what_a_preset_sets_is_told(tmp_path, caplog):
    depth_forms.tum(tmp_path)
    with caplog.at_level("INFO", logger="absl"):
        create_sources(fields(tmp_path, "tum"), seed=0)
    assert (
        "data.folder.preset tum: list_file='rgb.txt', depth_list_file='depth.txt', " in caplog.text
    )
    assert "depth_scale=5000.0" in caplog.text


def test_a_field_that_is_set_goes_before_the_presets(tmp_path):
    depth_forms.tum(tmp_path)
    train, _ = create_sources(fields(tmp_path, "tum", depth_scale=2500.0), seed=0)
    assert train[0]["depth"].max() == pytest.approx(2 * depth_forms.metres(0).max(), rel=1e-3)


def test_an_unknown_preset_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(UserError, match=r"data\.folder\.preset 'tumm': must be one of 7scenes"):
        create_sources(fields(tmp_path, "tumm"), seed=0)


def test_a_preset_on_other_data_names_what_is_missing(tmp_path):
    depth_forms.scannet(tmp_path)
    with pytest.raises(UserError, match=r"rgb\.txt"):
        create_sources(fields(tmp_path, "tum"), seed=0)
