"""The benchmark of cameras of several focal lengths, on tiny models."""

import json

import numpy as np
import pytest

from benchmarks import mixed_cameras
from diffdepth_jax.configs.feed_forward import feed_forward
from tests.support import small_run


@pytest.mark.slow
def test_tiny_models_are_trained_and_scored(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mixed_cameras, "base_fields", lambda: feed_forward(small_run.fields()))
    monkeypatch.setattr(mixed_cameras, "FACTORS", (1.0, 1.8))
    output = tmp_path / "scores.json"
    mixed_cameras.main([f"--workdir={tmp_path}", f"--output={output}"])
    table, report = capsys.readouterr().out.splitlines(), json.loads(output.read_text())
    rows = report["abs_rel"]
    assert list(rows) == ["canonical", "one camera", "one camera, rescaled", "own camera"]
    assert len(table) == 1 + 4 * 4
    plain, rescaled, own = (rows[name] for name in list(rows)[1:])
    for kind in ("rooms", "streets"):
        assert plain[kind][0] == rescaled[kind][0]  # at the standard focal length
        assert plain[kind][1] != rescaled[kind][1]
        assert own[kind][0] == plain[kind][0] and own[kind][1] != plain[kind][1]
        assert report["ratio"]["canonical"][kind][0] == 1


def test_metres_are_rescaled_by_the_factor():
    predict = mixed_cameras.rescaled(lambda samples, first: [np.full((1, 2, 1), 2.0)], 1.5)
    (depth,) = predict([{}], 0)
    np.testing.assert_array_equal(depth, np.full((1, 2, 1), 3.0))


def test_the_table_has_scores_and_ratios_to_the_standard_focal_length():
    scores = {"canonical": {"rooms": [0.3, 0.2, 0.2, None, 0.25, 0.4]}}
    header, row = mixed_cameras.format_table(scores).splitlines()
    assert header.split()[-6:] == ["0.6", "0.8", "1", "1.2", "1.5", "1.8"]
    assert row.split()[2:4] == ["0.300", "(1.50)"] and row.split()[-1] == "(2.00)"
    assert row.split()[8] == "-"


@pytest.mark.parametrize("name", mixed_cameras.MODELS)
def test_every_model_is_evaluated_at_one_focal_length(name):
    config = mixed_cameras.create_config(name, 1.5)
    assert config.data.synthetic.eval_focal_range == (1.5, 1.5)
    low, high = config.data.synthetic.focal_range
    assert (low < 0.6 and high > 1.8) == (name == "canonical")
    assert (config.frame.canonical_focal_length == 86.4) == (name == "canonical")
