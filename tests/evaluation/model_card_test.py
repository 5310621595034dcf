"""The card says what the model is, and somebody's own text stays."""

import pytest

from diffdepth_jax.checkpoints.model_directory import CARD_FILE
from diffdepth_jax.checkpoints.weights_file import read_weights
from diffdepth_jax.evaluation.model_card import model_card, write_card
from tests.support import small_run


def test_the_card_of_a_run(finished_run):
    workdir, _ = finished_run
    text = (workdir / CARD_FILE).read_text()
    assert text.startswith(
        "---\nlibrary_name: diffdepth_jax\npipeline_tag: depth-estimation\n---\n"
    )
    assert "swin_nano" in text and "images of 32x48 pixels" in text and "up to 80 m" in text
    assert "| evaluation set | abs_rel | rmse |" in text and "| rooms | 0." in text
    assert f"Step {read_weights(workdir)[1].step} of 6, with 4 images each" in text
    assert "one sample from noise, 2 steps" in text and "focal length of 86.4 pixels" in text


@pytest.mark.parametrize(
    ("fields", "cameras"),
    [
        ({"frame__focal_length": 50.0}, "cameras of a focal length of 50 pixels at this size"),
        ({"frame__canonical_focal_length": 50.0}, "any camera whose focal length is given"),
        ({"frame__focal_length": 0.0}, "cameras like those of the training data"),
    ],
)
def test_it_says_for_which_cameras_metres_hold(fields, cameras):
    text = model_card(small_run.config(**fields), "A test.")
    assert f"Metres hold for {cameras}" in text


def test_a_converted_model_names_neither_scores_nor_data_of_training():
    assert "Training data" in model_card(small_run.config(), "Trained.")
    text = model_card(small_run.config(), "Converted from `a.pt`.", is_trained=False)
    assert "Training data" not in text and "Its source says what data" in text
    assert "Not evaluated." in text and "Converted from `a.pt`." in text


def test_the_programs_card_is_replaced_and_somebodys_own_is_kept(tmp_path):
    write_card(tmp_path, model_card(small_run.config(), "First."))
    write_card(tmp_path, model_card(small_run.config(), "Second."))
    assert "Second." in (tmp_path / CARD_FILE).read_text()
    (tmp_path / CARD_FILE).write_text("mine")
    write_card(tmp_path, model_card(small_run.config(), "Third."))
    assert (tmp_path / CARD_FILE).read_text() == "mine"
