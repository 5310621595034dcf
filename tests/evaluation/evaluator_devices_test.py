"""Tables do not depend on the number of devices or the batch size: eight virtual devices."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from diffdepth_jax.evaluation import uncertainty
from tests.support import compile_flags, small_model, small_run
from tests.support.paths import ROOT

SCENES = 5  # which 2, 4 and 8 do not divide
RUNS = ((1, 2), (2, 3), (8, 3))  # devices, evaluation.batch_size
FLAGS = f"--xla_force_host_platform_device_count=8 {compile_flags.QUICK}"


def _evaluate(devices, batch_size):
    """The rows of each set, by a model of random parameters and six views of each image."""
    from diffdepth_jax.datasets.sources import create_sources
    from diffdepth_jax.evaluation.evaluator import create_evaluator

    config = small_run.config(
        data__synthetic__num_eval=SCENES,
        evaluation__batch_size=batch_size,
        evaluation__flip_average=True,
        evaluation__ensemble=3,
    )
    _, sources = create_sources(config.data, seed=0)
    mesh = jax.make_mesh(
        (devices,), ("batch",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:devices]
    )
    evaluator = create_evaluator(config, sources, mesh)
    variables = small_model.random_variables(evaluator.model)
    predict = evaluator.predictor(variables, members=True)
    return {name: evaluator.scorer.score(name, predict) for name in evaluator.scorer.sets}


@pytest.mark.slow
def test_tables_are_equal_on_one_two_and_eight_devices():
    environment = os.environ | {"XLA_FLAGS": FLAGS, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    out = subprocess.run(
        [sys.executable, "-m", "tests.evaluation.evaluator_devices_test"],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    tables = json.loads(out)
    assert len(tables) == len(RUNS)
    for table in tables:
        assert list(table) == ["rooms", "streets"]
        for name, rows in table.items():
            assert [row["name"] for row in rows] == [f"{index:010d}" for index in range(SCENES)]
            for row, expected in zip(rows, tables[0][name], strict=True):
                uncertain = {*uncertainty.IMAGE_NAMES, "distances", "name"}
                certain = [[x[key] for key in row if key not in uncertain] for x in (row, expected)]
                np.testing.assert_allclose(*certain, rtol=1e-5)
                # Rounding may move a pixel across the end of its interval.
                scores = [[x[key] for key in uncertainty.IMAGE_NAMES] for x in (row, expected)]
                np.testing.assert_allclose(*scores, atol=2e-3)


if __name__ == "__main__":
    print(json.dumps([_evaluate(*run) for run in RUNS]))
