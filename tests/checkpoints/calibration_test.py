"""A calibration whose numbers cannot be is named, also if its checksum is right."""

import dataclasses
import json

import pytest

from diffdepth_jax.checkpoints import calibration
from diffdepth_jax.checkpoints.calibration import (
    Calibration,
    IntervalWidths,
    load_calibration,
    save_calibration,
)
from diffdepth_jax.errors import UserError

WIDTHS = IntervalWidths([0.5, 0.9], [2.0], [[0.1], []], [[[0.1, 0.2], [0.3, 0.4]], [[0.2], [0.5]]])
FOUND = Calibration(WIDTHS, 1.5, 8, 20, "abc", "fitted", {"rooms": {"covered": 0.9}})


def test_what_is_saved_comes_back(tmp_path):
    save_calibration(tmp_path, FOUND)
    assert load_calibration(tmp_path) == FOUND


@pytest.mark.parametrize(
    "change",
    [
        {"stretch": None},
        {"stretch": 0.0},
        {"ensemble": "8"},
        {"num_steps": None},
        {"parameters": 3},
        {"held_out": []},
        {"widths": None},
        {"widths": {}},
        *(
            {"widths": {**dataclasses.asdict(WIDTHS), **widths}}
            for widths in (
                {"levels": [0.9, 0.5]},
                {"levels": 3},
                {"distances": []},
                {"spreads": [[0.1]]},
                {"half_widths": [[[0.1, 0.2]], [[0.2], [0.5]]]},
                {"half_widths": [[["a", "b"], [0.3, 0.4]], [[0.2], [0.5]]]},
                {"spreads": {"a": 1}},
            )
        ),
    ],
)
def test_numbers_that_cannot_be_are_named(tmp_path, change):
    fields = {**dataclasses.asdict(FOUND), **change}
    text = json.dumps({"checksum": calibration._checksum(fields), **fields})
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(UserError, match=r"calibration\.json is damaged .*calibrate it again"):
        load_calibration(tmp_path)
