"""Code that was written for `transformers` runs, but for its tensors."""

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.prediction.pipeline import pipeline


@pytest.fixture(scope="module")
def estimator(directory):
    return DepthEstimator.from_checkpoint(directory)


@pytest.fixture
def photo():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (33, 50, 3), np.uint8))


def test_a_photo_gives_metres_and_a_grey_picture_of_its_size(estimator, photo):
    pipe = pipeline("depth-estimation", model=estimator)
    outputs = pipe(photo)
    assert list(outputs) == ["predicted_depth", "depth"]
    metres, picture = outputs["predicted_depth"], outputs["depth"]
    np.testing.assert_array_equal(metres, estimator(photo).depth)
    assert picture.mode == "L" and picture.size == photo.size
    levels = (metres - metres.min()) / (metres.max() - metres.min())
    np.testing.assert_allclose(np.array(picture), 255 * levels, atol=1.01)
    assert (np.array(picture).min(), np.array(picture).max()) == (0, 255)


def test_all_that_is_an_image_and_lists_and_iterators_of_them(estimator, photo, tmp_path):
    photo.save(tmp_path / "a.png")
    given = [photo, np.array(photo), str(tmp_path / "a.png"), tmp_path / "a.png"]
    pipe = pipeline(model=estimator, batch_size=1)
    found = pipe(given)
    assert isinstance(found, list) and len(found) == 4
    streamed = pipe(iter(given))
    assert not isinstance(streamed, list)
    for outputs in [*found, *streamed, pipe(given[2], num_steps=2)]:
        np.testing.assert_array_equal(outputs["predicted_depth"], found[0]["predicted_depth"])


def test_a_model_is_found_by_its_name(directory):
    assert repr(pipeline("depth-estimation", str(directory))) == (
        "DepthPipeline(DepthEstimator(diffusion, swin_nano, 32 x 48))"
    )


@pytest.mark.parametrize(
    ("arguments", "image", "message"),
    [
        (["image-classification"], None, "task 'image-classification': must be 'depth-estimation'"),
        (["depth-estimation", "nowhere"], None, "nowhere does not exist"),
        ([], "https://example.org/a.jpg", "is a URL: download it, and give the file"),
    ],
)
def test_what_it_cannot_do_is_said(arguments, image, message, estimator):
    with pytest.raises(UserError, match=message):
        pipeline(*arguments, **({} if arguments else {"model": estimator}))(image)


def test_options_of_another_library_are_refused_at_once(estimator):
    with pytest.raises(UserError, match=r"device is no option .* JAX chooses the device"):
        pipeline("depth-estimation", model=estimator, device=0)
