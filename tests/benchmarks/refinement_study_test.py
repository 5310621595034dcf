"""The rows of the study are valid, and its competitors are what they say, on made-up pictures."""

import argparse
import dataclasses
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.refinement_study import competitors, grounds, report, rows, training, unet
from benchmarks.refinement_study.competitors import Picture
from diffdepth_jax.errors import UserError
from tests.support.paths import ROOT

SIZE = (24, 32)


@pytest.mark.parametrize("name", rows.ROWS)
def test_every_row_is_a_valid_configuration_that_sees_as_many_images(name):
    row = rows.ROWS[name]
    config = rows.create_config(row, 3, "somewhere" if row.start else "")
    assert config.seed == 3
    assert config.train.num_steps == row.num_steps(rows.SCENES)
    if row.start:
        assert rows.ROWS[row.start].kind == "feed_forward"


@pytest.fixture
def photos(tmp_path):
    """Lists of 700 pictures, which are not there."""
    lines = [f"rgb/{index}.jpg depth/{index}.png" for index in range(700)]
    for name in ("train", "test"):
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return grounds.Photos(tmp_path, "lite0.pth", tmp_path / "runs", 0.04)


@pytest.mark.parametrize("name", [name for name in rows.ROWS if name.startswith(("late", "feed"))])
def test_rows_on_photos_keep_features_and_see_part_of_the_truth(name, photos):
    row = rows.ROWS[name]
    config = rows.create_config(row, 0, "somewhere" if row.start else "", photos)
    assert config.train.cache_features and config.augmentation.valid_pixel_fraction == 0.04
    assert re.fullmatch(config.optimizer.freeze, "backbone/stem/kernel")
    assert config.loss.samples == row.overrides.get("loss.samples", 1)
    assert config.sampler.global_noise == row.overrides.get("sampler.global_noise", 0.0)


@pytest.mark.parametrize(
    "name, of_scenes, of_photos",
    [("feed_forward", 1.0, 1.0), ("late_samples", 0.6, 0.9), ("late_unfrozen", 0.55, 0.55)],
)
def test_samples_have_the_temperature_of_their_ground(name, of_scenes, of_photos, photos):
    row = rows.ROWS[name]
    for ground, temperature in ((rows.SCENES, of_scenes), (photos, of_photos)):
        config = rows.create_config(row, 0, "somewhere" if row.start else "", ground)
        assert config.sampler.temperature == temperature


def test_photos_are_scored_on_a_third_and_calibrated_on_other_ones(photos):
    config = rows.create_config(rows.ROWS["feed_forward"], 0, ground=photos)
    folder = config.data.folder
    lists = [pathlib.Path(path).read_text().splitlines() for path in photos._lists()]
    assert folder.list_file == photos._lists()[0] and [len(x) for x in lists] == [580, 120]
    assert not set(lists[0]) & set(lists[1])
    assert len(pathlib.Path(folder.eval_list_file).read_text().splitlines()) == 234


def test_the_page_has_a_part_for_each_share_of_truth(tmp_path):
    results = (ROOT / "docs/refinement_study/late_feed_forward-seed0.json").read_text()
    (tmp_path / "nyu_4").mkdir()
    (tmp_path / "nyu_4/late_feed_forward-seed0.json").write_text(results.replace("rooms", "eval"))
    page = report.page(tmp_path)
    assert "### 4 % of the ground truth" in page and "### 1 %" not in page
    assert "Photos of NYU" not in report.page(tmp_path / "nothing")


def test_photos_need_the_weights_of_their_backbone(tmp_path):
    parser = argparse.ArgumentParser()
    grounds.add_arguments(parser)
    given = parser.parse_args(["--workdir", str(tmp_path), "--nyu", str(tmp_path)])
    with pytest.raises(UserError, match="--nyu needs --weights"):
        grounds.chosen(given)


@pytest.mark.parametrize("name", grounds.SCENES_ONLY)
def test_rows_without_a_frozen_backbone_are_refused_on_photos(name, tmp_path):
    given = argparse.Namespace(name=name, nyu=tmp_path, weights="lite0.pth")
    with pytest.raises(UserError, match=f"{name}: has no frozen backbone"):
        grounds.chosen(given)


def test_the_unet_keeps_the_size():
    image = jnp.zeros((2, 32, 48, 3))
    network = unet.UNet()
    log_depth = jax.eval_shape(lambda: network.init_with_output(jax.random.key(0), image)[0])
    assert log_depth.shape == (2, 32, 48, 1)


def pictures(count, seed=0):
    """Errors of 10 % in the upper half and of 40 % in the lower one, drawn anew in each pixel."""
    rng = np.random.default_rng(seed)
    scale = np.where(np.arange(SIZE[0]) < 12, 0.1, 0.4)[:, None] * np.ones(SIZE)
    found = []
    for index in range(count):
        depth = rng.uniform(0, 2, SIZE)
        truth = depth + scale * rng.laplace(size=SIZE)
        predictions = {
            "feed_forward": depth[None],
            "laplace": np.stack([depth, np.log(scale)]),
            "samples": depth + scale * rng.laplace(size=(rows.MEMBERS, *SIZE)),
            "flips": depth + 0.01 * rng.normal(size=(2, *SIZE)),
            "seeds": depth + 0.01 * rng.normal(size=(3, *SIZE)),
        }
        kind = ("rooms", "streets")[index % 2]
        found.append(Picture(kind, truth, rng.random(SIZE) < 0.9, predictions))
    return found


@pytest.fixture(scope="module")
def summaries():
    fitted, scored = pictures(60), pictures(10, seed=1)
    every = competitors.competitors(fitted)
    found = {name: list(competitors.score(one, fitted, scored)) for name, one in every.items()}
    return found, {name: competitors.summary(scores) for name, scores in found.items()}


@pytest.mark.slow
def test_intervals_of_every_competitor_cover_as_much_as_they_say(summaries):
    for name, scores in summaries[1].items():
        assert scores["coverage"] == pytest.approx(0.9, abs=0.02), name


def test_who_knows_the_scale_of_each_pixel_has_the_best_scores(summaries):
    scores = summaries[1]
    for name in ("laplace", "samples", "row"):
        assert scores[name]["crps"] < 0.97 * scores["one_width"]["crps"]
        assert scores[name]["interval_score"] < 0.95 * scores["one_width"]["interval_score"]
    assert scores["samples"]["stretch"] == pytest.approx(1, abs=0.05)
    assert scores["laplace"]["stretch"] == pytest.approx(1, abs=0.05)


def test_errors_of_independent_pixels_cancel_in_cells_and_those_that_go_together_do_not(summaries):
    scores = summaries[1]
    assert scores["laplace"]["crps_8x8"] < 0.8 * scores["laplace_together"]["crps_8x8"]


def test_spread_is_ranked_beside_its_ceiling(summaries):
    samples = summaries[1]["samples"]
    assert samples["spread_rank"] == pytest.approx(samples["spread_rank_ceiling"], abs=0.05)
    assert samples["spread_rank"] > 0.3


def test_a_ratio_of_paired_scores_has_an_interval(summaries):
    scores = summaries[0]
    same = competitors.paired_ratio(scores["row"], scores["row"], "crps")
    assert same == {"ratio": 1.0, "low": 1.0, "high": 1.0}
    better = competitors.paired_ratio(scores["row"], scores["one_width"], "crps")
    assert better["low"] < better["ratio"] < better["high"] < 1


@pytest.mark.slow
def test_the_unet_is_trained_and_scored_like_the_other_rows(monkeypatch):
    config = rows.create_config(rows.ROWS["unet"], 0)
    scenes = dataclasses.replace(config.data.synthetic, num_train=4, num_eval=2)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, synthetic=scenes),
        train=dataclasses.replace(config.train, num_steps=2, batch_size=2),
        optimizer=dataclasses.replace(config.optimizer, warmup_steps=1),
    )
    monkeypatch.setattr(unet, "WIDTHS", (8, 8, 8))
    source, sets = rows.SCENES.sources(config)
    predict = training.train_unet(config, source)
    scores = training.score_all(config, lambda _: predict, sets)
    assert scores.keys() == {"rooms", "streets"}
    assert all(0 < means["abs_rel"] < 10 for means in scores.values())
