"""Training from nothing to a model directory, broken off, taken up again and evaluated."""

import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.checkpoints import weights_file
from diffdepth_jax.checkpoints.model_directory import load_variables
from diffdepth_jax.datasets import sources
from diffdepth_jax.distributed.preemption import EXIT_STATUS
from diffdepth_jax.distributed.sharding import Layout
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import evaluator, metrics, report
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.program.folder_lock import FolderLock
from diffdepth_jax.training import loop
from tests.support import small_run


def test_a_run_leaves_everything_it_promises(finished_run):
    workdir, _ = finished_run
    assert (workdir / "config.json").is_file()
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"3", "6"}
    assert (workdir / "model.safetensors").is_file()
    assert list((workdir / "tensorboard").glob("events*"))
    assert "Total" in (workdir / "parameters.txt").read_text()
    (environment,) = (workdir / "environment.jsonl").read_text().splitlines()
    assert json.loads(environment)["packages"]["jax"] == jax.__version__
    assert json.loads(environment)["samples"] == {"train": 8, "rooms": 3, "streets": 3}
    assert not (workdir / "profile").exists() and not (workdir / "nonfinite").exists()
    for kind in ("rooms", "streets"):
        with Image.open(workdir / f"panels/{kind}.png") as panel:
            assert min(panel.size) >= min(small_run.SIZE)


def test_losses_are_logged_apart(finished_run):
    lines = [line for line in small_run.read_metrics(finished_run[0]) if "train/loss" in line]
    assert [line["step"] for line in lines] == [3, 6]
    names = {"ddim", "silog", "latent", "reconstruction", "gradient_norm", "learning_rate"}
    assert {f"train/{name}" for name in names} <= lines[0].keys()
    weights = {k: weight for k, weight in vars(small_run.config().loss.weights).items() if weight}
    for line in lines:
        total = sum(weight * line[f"train/{name}"] for name, weight in weights.items())
        assert line["train/loss"] == pytest.approx(total, rel=1e-4)


def test_the_table_has_the_model_beside_its_baselines(finished_run):
    _, rows = finished_run
    titles = ("this model", "best constant", "mean map")
    assert list(rows) == [f"{kind}: {title}" for kind in ("rooms", "streets") for title in titles]
    for values in rows.values():
        assert values["images"] == 3
        assert all(np.isfinite(values[name]) for name in metrics.NAMES)
    lines = report.format_table(rows).splitlines()
    assert len(lines) == 1 + len(rows)
    assert f"{rows['rooms: mean map']['abs_rel']:.4f}" in lines[3]


def test_a_finished_run_is_only_evaluated_again(finished_run, tmp_path):
    workdir, rows = finished_run
    shutil.copytree(workdir, tmp_path / "run")
    before = small_run.read_state(workdir, 6)
    assert loop.train(small_run.config(), tmp_path / "run") == rows
    jax.tree.map(np.testing.assert_array_equal, small_run.read_state(tmp_path / "run", 6), before)


def test_evaluation_repeats_the_best_evaluation_of_training(finished_run):
    workdir, _ = finished_run
    rows = evaluator.evaluate_checkpoint(small_run.config(), workdir)
    logged = small_run.read_metrics(workdir)
    means = {}
    for step in (3, 6):
        line = {k: v for entry in logged if entry["step"] == step for k, v in entry.items()}
        means[step] = (line["rooms/abs_rel"] + line["streets/abs_rel"]) / 2
    found = (rows["rooms: this model"]["abs_rel"] + rows["streets: this model"]["abs_rel"]) / 2
    assert found == pytest.approx(min(means.values()), rel=1e-6)


def test_a_resumed_run_equals_an_uninterrupted_one(finished_run, tmp_path, monkeypatch):
    workdir, rows = finished_run
    with small_run.power_cut_after(4, monkeypatch):
        loop.train(small_run.config(), tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["3"]
    resumed = loop.train(small_run.config(), tmp_path)
    jax.tree.map(
        np.testing.assert_array_equal,
        small_run.read_state(tmp_path, 6),
        small_run.read_state(workdir, 6),
    )
    assert resumed == rows
    assert _logged(tmp_path) == _logged(workdir)


def _logged(workdir):
    """What was logged, each step once, without the clock."""
    clock = ("time", "train/images_per_second")
    lines = small_run.read_metrics(workdir)
    return [{name: line[name] for name in line if name not in clock} for line in lines]


@pytest.mark.slow
def test_a_run_that_is_asked_to_stop_saves_and_goes_on_to_the_same_end(
    finished_run, tmp_path, monkeypatch
):
    """At step 4 of 6, where no save was due."""
    workdir, _ = finished_run
    shard_batch, steps = Layout.shard_batch, []

    def shard_and_signal(*args):
        steps.append(None)
        if len(steps) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return shard_batch(*args)

    monkeypatch.setattr(Layout, "shard_batch", shard_and_signal)
    with pytest.raises(SystemExit) as stop:
        loop.train(small_run.config(), tmp_path)
    assert stop.value.code == EXIT_STATUS
    assert (tmp_path / "checkpoints/4").is_dir()
    loop.train(small_run.config(), tmp_path)
    assert len(steps) == 6
    jax.tree.map(
        np.testing.assert_array_equal,
        small_run.read_state(tmp_path, 6),
        small_run.read_state(workdir, 6),
    )


@pytest.mark.slow
def test_an_evaluation_that_is_broken_off_has_lost_nothing(finished_run, tmp_path, monkeypatch):
    """At step 3, where no checkpoint was due: it is saved before, and evaluated again after."""
    workdir, rows = finished_run
    config = small_run.config(checkpoint_every=100)

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(evaluator.Evaluator, "evaluate", fail)
        loop.train(config, tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["3"]
    assert loop.train(config, tmp_path) == rows
    assert _logged(tmp_path) == _logged(workdir)


def test_a_kill_between_the_best_model_and_its_card_leaves_no_older_card(finished_run, tmp_path):
    shutil.copytree(finished_run[0], tmp_path / "run")
    card = (tmp_path / "run/README.md").read_text()
    (tmp_path / "run/README.md").unlink()
    if weights_file.read_weights(tmp_path / "run")[1].step == 3:
        shutil.rmtree(tmp_path / "run/checkpoints/6")
    loop.train(small_run.config(), tmp_path / "run")
    assert (tmp_path / "run/README.md").read_text() == card


def test_a_second_run_in_a_directory_is_refused_and_touches_nothing(finished_run, tmp_path):
    workdir = shutil.copytree(finished_run[0], tmp_path / "run")
    (workdir / "checkpoints/7.orbax-checkpoint-tmp").mkdir()  # what the first run is saving
    before = sorted(path.name for path in workdir.rglob("*"))
    with FolderLock(workdir) as lock:
        lock.take("wait")
        with pytest.raises(UserError, match=rf"in use by process {os.getpid()} on .*--workdir$"):
            loop.train(small_run.config(), workdir)
        assert sorted(path.name for path in workdir.rglob("*")) == sorted([*before, ".lock"])
    loop.train(small_run.config(), workdir)


def test_evaluation_needs_the_same_diffusion_and_not_the_same_run(finished_run):
    other = small_run.config(batch_size=8, data__synthetic__num_eval=2)
    rows = evaluator.evaluate_checkpoint(other, finished_run[0])
    assert rows["rooms: this model"]["images"] == 2
    other = small_run.config(diffusion__schedule="linear")
    with pytest.raises(UserError, match=r"\(diffusion\.schedule differ\)"):
        evaluator.evaluate_checkpoint(other, finished_run[0])


@pytest.mark.slow
def test_encoded_latents_do_not_collapse(tmp_path):
    every = {"evaluate_every": 60, "checkpoint_every": 60, "log_every": 60}
    config = small_run.config(num_steps=60, evaluation__baselines=False, **every)
    loop.train(config, tmp_path)
    model = create_model(config.model)
    variables = load_variables(tmp_path, lambda: abstract_variables(model))
    source, _ = sources.create_sources(config.data, config.seed)
    samples = [source[index] for index in range(len(source))]
    depth, mask = (np.stack([sample[k] for sample in samples]) for k in ("depth", "mask"))
    latent, cells = model.apply(variables, depth, mask, method="encode_depth")
    assert latent[np.broadcast_to(cells, latent.shape)].std() > 0.3
