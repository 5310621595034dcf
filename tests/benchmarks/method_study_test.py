"""The study's variants, its metrics by hand, and its report from results that are made up."""

import itertools
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import traverse_util

from benchmarks.method_study import (
    __main__ as program,
)
from benchmarks.method_study import (
    baselines,
    plots,
    pretraining,
    queue,
    report,
    results,
    scenes,
    scores,
    seeds,
    tables,
    training,
    uncertainty,
)
from benchmarks.method_study.variants import (
    ROWS,
    SAMPLER_STEPS,
    SIZES,
    UNCERTAINTY,
    VARIANTS,
    Size,
    budget,
    create_config,
)
from diffdepth_jax.configs import paper, released_swin
from diffdepth_jax.configuration import groups
from diffdepth_jax.configuration.renamed import RENAMED
from diffdepth_jax.method import diffusion
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.variables import abstract_variables
from tests.support import small_run

TINY = Size(
    *small_run.SIZE,
    num_train=8,
    num_eval=5,
    batch_size=2,
    num_steps=2,
    pretraining_steps=2,
    overrides={name: value for name, value in small_run.OVERRIDES.items() if name[:5] == "model"},
)
OLD_NAMES = {new: old for old, new in RENAMED.items()}


# variants


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_is_a_valid_configuration(name, size):
    config = create_config(VARIANTS[name], 0, SIZES[size])
    diffusion.create_schedule(**vars(config.diffusion))
    sampler = config.sampler
    diffusion.sampling_timesteps(config.diffusion.num_timesteps, sampler.num_steps, sampler.spacing)
    assert any(vars(config.loss.weights).values())


@pytest.mark.slow
def test_every_model_of_the_study_can_be_built():
    configs = [create_config(overrides, 0, SIZES["cpu"]) for overrides in VARIANTS.values()]
    for fields in {config.model for config in configs}:
        assert jax.tree.leaves(abstract_variables(create_model(fields)))


def test_rows_share_no_name_and_no_training():
    names = [name for row in ROWS.values() for name in row]
    assert len(names) == len(set(names))
    assert set(UNCERTAINTY) <= set(names)
    made = [create_config(overrides, 0, SIZES["cpu"]) for overrides in VARIANTS.values()]
    assert all(a != b for a, b in itertools.combinations(made, 2))


def test_a_feed_forward_head_is_scored_at_one_step():
    steps = {
        name: scores.steps_to_score(create_config(VARIANTS[name], 0, SIZES["cpu"]))
        for name in ("direct", "default", "sample_steps_1")
    }
    assert steps == {"direct": (1,), "default": SAMPLER_STEPS, "sample_steps_1": SAMPLER_STEPS}


@pytest.mark.parametrize(
    ("name", "recipe", "other"),
    [
        ("paper", paper, {"loss.silog_lambda", "sampler.remat"}),
        ("released", released_swin, {"loss.silog_lambda", "loss.weights.ddim", "sampler.remat"}),
    ],
)
def test_recipes_are_those_of_their_configurations(name, recipe, other):
    """But for a lambda that all of the study has, and a weight that goes by the batch size."""
    ours, theirs = create_config(VARIANTS[name], 0, SIZES["cpu"]), groups.read(recipe.get_config())
    parts = {
        "diffusion": (ours.diffusion, theirs.diffusion),
        "sampler": (ours.sampler, theirs.sampler),
        "loss": (ours.loss, theirs.loss),
        "loss.weights": (ours.loss.weights, theirs.loss.weights),
    }
    differing = {
        f"{part}.{field}"
        for part, (one, another) in parts.items()
        for field, value in vars(one).items()
        if value != getattr(another, field)
    }
    assert differing - {"loss.weights"} == other


# what is run


def test_names_and_rows_select_in_the_order_of_the_table():
    assert program.names_of("6,direct") == ["direct", *ROWS["6 released recipe"]]
    assert program.names_of("") == list(VARIANTS)
    with pytest.raises(SystemExit, match="nonsense"):
        program.names_of("nonsense")


def test_first_seeds_come_first_within_a_row_and_results_are_not_made_again(tmp_path):
    tasks = program.missing(["default", "direct", "released"], [0, 1], TINY, tmp_path)
    assert tasks == [
        ("default", 0),
        ("direct", 0),
        ("default", 1),
        ("direct", 1),
        ("released", 0),
        ("released", 1),
    ]
    done = {"name": "direct", "seed": 0, **training.fields("direct", TINY)}
    results.write(tmp_path, done)
    assert ("direct", 0) not in program.missing(["direct"], [0, 1], TINY, tmp_path)
    done["config"]["sampler"]["num_steps"] = 7
    results.write(tmp_path, done)
    assert ("direct", 0) in program.missing(["direct"], [0, 1], TINY, tmp_path)


def test_a_field_that_came_later_does_not_undo_a_result(tmp_path):
    done = {"name": "direct", "seed": 0, **training.fields("direct", TINY)}
    del done["config"]["sampler"]["clip"]
    results.write(tmp_path, done)
    assert ("direct", 0) not in program.missing(["direct"], [0], TINY, tmp_path)
    del done["config"]
    results.write(tmp_path, done)
    assert ("direct", 0) in program.missing(["direct"], [0], TINY, tmp_path)


def under_old_names(fields):
    """The nested fields of a configuration, as results before the renaming have them."""
    flat = traverse_util.flatten_dict(fields, sep=".")
    flat = {OLD_NAMES.get(name, name): value for name, value in flat.items()}
    return traverse_util.unflatten_dict(flat, sep=".")


def test_results_under_old_names_of_fields_count(tmp_path):
    done = made_up("direct", 0, 0.4)
    for part in (done, done["pretraining"]):
        part["config"] = under_old_names(part["config"])
    assert "keep_valid" in done["config"]["augmentation"]
    results.write(tmp_path, done)
    assert results.is_done(tmp_path, "direct", 0, training.fields("direct", TINY))
    (found,) = results.read_all(tmp_path)["direct"]
    assert found["config"]["data"]["synthetic"]["num_eval"] == TINY.num_eval
    done["config"]["augmentation"]["keep_valid"] = 0.5
    results.write(tmp_path, done)
    assert not results.is_done(tmp_path, "direct", 0, training.fields("direct", TINY))


def test_baselines_under_old_names_of_fields_count(tmp_path):
    path = tmp_path / baselines.FILE
    fields = {OLD_NAMES.get(name, name): value for name, value in budget(TINY).items()}
    assert "inference.size" in fields
    path.write_text(json.dumps({"budget": fields, "metrics": {}}))
    baselines.write(tmp_path, TINY, sets=None)  # nothing is scored


def test_jobs_run_side_by_side_and_failures_are_told(tmp_path, monkeypatch, capsys):
    def start(task, *_):
        return subprocess.Popen(["false" if task == ("b", 0) else "true"])

    monkeypatch.setattr(queue, "_start", start)
    tasks = [("a", 0), ("b", 0), ("c", 0)]
    assert queue.run_all(tasks, "cpu", tmp_path, tmp_path, jobs=1) == [("b", 0)]
    assert "b seed 0: failed with 1" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="--jobs=1000"):
        queue.run_all(tasks, "cpu", tmp_path, tmp_path, jobs=1000)


def test_seeds_of_a_name_are_one_program(tmp_path, monkeypatch):
    asked = []

    def command(*arguments):
        asked.append(arguments[:3])
        return ["false" if arguments[1] == "b" else "true"]

    monkeypatch.setattr(queue, "_command", command)
    tasks = [("a", 0), ("b", 0), ("a", 1)]
    assert queue.run_seeds_together(tasks, "gpu", tmp_path, tmp_path) == ["b"]
    assert asked == [("seeds", "a", "0,1"), ("seeds", "b", "0")]


def test_a_training_is_pinned_to_its_core_and_writes_a_log(tmp_path, monkeypatch):
    code = "import os, time; time.sleep(0.5); print(os.sched_getaffinity(0))"
    monkeypatch.setattr(queue, "_command", lambda *_: [sys.executable, "-c", code])
    core = max(os.sched_getaffinity(0))
    process = queue._start(("default", 0), "cpu", tmp_path, tmp_path, core)
    assert process.wait() == 0
    assert (tmp_path / "logs" / "default-seed0.txt").read_text().strip() == f"{{{core}}}"


def test_scenes_are_rendered_once_with_dense_truth(tmp_path, monkeypatch):
    train_scenes, kinds = scenes.load(tmp_path, TINY)
    monkeypatch.delattr(scenes, "_render_all")
    again, _ = scenes.load(tmp_path, TINY)
    np.testing.assert_array_equal(again.depth, train_scenes.depth)
    assert len(train_scenes) == 8
    assert {kind: (len(a), len(b)) for kind, (a, b) in kinds.items()} == {
        "rooms": (4, 5),
        "streets": (4, 5),
    }
    np.testing.assert_array_equal(kinds["streets"][0][1]["depth"], train_scenes[3]["depth"])
    assert kinds["streets"][1][0]["mask"].mean() > 0.5  # a LiDAR would leave 4 %


# uncertainty


def test_a_spread_that_is_the_error_ranks_perfectly():
    rng = np.random.default_rng(0)
    depth = np.exp(rng.normal(size=(2, 5, 6)))
    error = rng.uniform(0.1, 1, depth.shape)
    members = depth * np.exp(error * np.array([0, 1, 2])[:, None, None, None])
    found = uncertainty.assess(members, depth, np.ones(depth.shape, bool))
    assert found["spearman"] == pytest.approx(1)
    assert found["ause"] == pytest.approx(0, abs=1e-9)
    assert found["curve"][0] == pytest.approx(1)


def test_a_spread_that_is_the_same_everywhere_says_nothing():
    rng = np.random.default_rng(0)
    depth = np.exp(rng.normal(size=(1, 60, 60)))
    members = np.stack([depth.mean() * np.ones_like(depth)] * 2)
    found = uncertainty.assess(members, depth, np.ones(depth.shape, bool))
    assert found["spearman"] == 0
    assert found["ause"] == pytest.approx(found["random_ause"], rel=0.1)


# report


def made_up(name, seed, abs_rel):
    """A result whose abs_rel at n steps is `abs_rel` (1 + (n - 2) / 100)."""
    metrics = dict.fromkeys(tables.COLUMNS, 0.5)
    by_steps = {
        str(n): {**metrics, "abs_rel": abs_rel * (1 + abs(n - 2) / 100)} for n in SAMPLER_STEPS
    }
    return {
        "name": name,
        "seed": seed,
        **training.fields(name, TINY),
        "trained_steps": 2,
        "images_seen": 4,
        "train_seconds": 10.0,
        "commit": "abc",
        "metrics": {"rooms": by_steps, "streets": by_steps},
    }


@pytest.fixture
def made_up_results(tmp_path):
    directory = tmp_path / "method_study" / "results"
    for seed, abs_rel in enumerate((0.1, 0.2, 0.3)):
        results.write(directory, made_up("default", seed, abs_rel))
    results.write(directory, made_up("direct", 0, 0.4))
    results.write(directory, made_up("self_4", 0, 0.6))
    return directory


def test_the_report_states_mean_spread_and_what_was_not_run(made_up_results):
    path = report.write(made_up_results)
    text = path.read_text()
    assert path == made_up_results.parents[1] / "method_study.md"
    assert "| `default` | 3 | .200 ± .100 |" in text
    assert "| `direct` | 1 | .400 (one seed) |" in text
    assert "| `released` | 0 | not run |" in text
    assert "`default-seed*.json`" in text
    for name in ("steps.png", "sparsity.png"):
        assert (made_up_results.parent / name).is_file()
        assert f"(method_study/{name})" in text
    assert "panels.png" not in text  # no predictions were kept


def test_the_requirement_on_steps_is_of_the_mean_over_seeds(made_up_results):
    found = results.read_all(made_up_results)
    over = tables.excess(found["default"], "rooms")
    assert over == pytest.approx({1: 0.01, 2: 0, 3: 0.01, 5: 0.03, 10: 0.08, 20: 0.18})
    assert "| `default` | 1.0 % | 3.0 % | 18.0 %" in tables.excess_table(found, ["default"])


def test_panels_are_named_above_the_first_row():
    depth = np.linspace(1, 2, 48).reshape(6, 8)
    row = np.zeros((6, 8, 3), np.uint8), depth, {"default": depth, "direct": depth}
    titles = [axes.get_title() for axes in plots.panel_figure([row, row]).axes]
    assert titles == ["image", "truth", "default", "direct", "", "", "", ""]


def test_without_results_there_is_no_report(tmp_path):
    with pytest.raises(SystemExit, match="no result"):
        report.write(tmp_path / "method_study" / "results")


def test_the_plan_is_listed_without_a_workdir(tmp_path, capsys):
    assert program.main(["--plan", "--only=direct", f"--results={tmp_path}"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 to run"


# all of it


@pytest.mark.slow
def test_seeds_at_once_train_as_each_alone(tmp_path):
    """Equal but for rounding, which Adam magnifies: two steps."""
    pretraining.run(tmp_path, TINY)
    alone, together = tmp_path / "alone", tmp_path / "together"
    seeds.run("zeros", [0, 1], TINY, tmp_path, together)
    training.run("zeros", 1, TINY, tmp_path, alone)
    ours, theirs = (
        json.loads(results.path_of(folder, "zeros", 1).read_text()) for folder in (together, alone)
    )
    for kind in tables.KINDS:
        expected = tables.own_steps(theirs, kind)["abs_rel"]
        assert tables.own_steps(ours, kind)["abs_rel"] == pytest.approx(expected, rel=0.02)
    other = json.loads(results.path_of(together, "zeros", 0).read_text())
    assert tables.own_steps(other, "rooms") != tables.own_steps(ours, "rooms")


@pytest.mark.slow
def test_a_tiny_study_from_training_to_report(tmp_path):
    directory = tmp_path / "method_study" / "results"
    _, kinds = scenes.load(tmp_path, TINY)
    baselines.write(directory, TINY, kinds)
    pretraining.run(tmp_path, TINY)
    for name in ("default", "direct"):
        training.run(name, 0, TINY, tmp_path, directory)
    found = {name: rows[0] for name, rows in results.read_all(directory).items()}
    for name, result in found.items():
        steps = {"default": SAMPLER_STEPS, "direct": (1,)}[name]
        for kind in tables.KINDS:
            assert list(result["metrics"][kind]) == [str(count) for count in steps]
            own = tables.own_steps(result, kind)["abs_rel"]
            assert own == pytest.approx(result["program_abs_rel"][kind], rel=1e-3)
    assert found["default"]["uncertainty"]["rooms"]["mean_spread"] > 0
    assert not list((tmp_path / "runs").iterdir())
    text = report.write(directory).read_text()
    assert "rooms: mean map" in text
    assert "panels.png" in text
    sizes = [path.stat().st_size for path in directory.iterdir()]
    assert sum(sizes) < 400_000
    json.loads((directory / "default-seed0.json").read_text())
