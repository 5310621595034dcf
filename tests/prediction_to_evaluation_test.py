"""What `predict` writes is scored as the model itself is, to the precision of each format."""

import json
import shutil

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from diffdepth_jax import predict
from diffdepth_jax.configs import feed_forward
from diffdepth_jax.configuration import groups
from diffdepth_jax.evaluation.depth_files import FileOptions
from diffdepth_jax.evaluation.evaluator import evaluate_checkpoint
from diffdepth_jax.evaluation.file_scores import score_folders
from diffdepth_jax.evaluation.metrics import ALL_NAMES
from tests.support import small_model, small_run

# Of each format: its suffix, and the largest relative difference of a score; that of PNG files
# follows from half a millimetre at a depth of 1 m.
FORMATS = {
    "npy": (".npy", 2e-5),
    "npz": (".npz", 2e-5),
    "tiff": (".tiff", 2e-5),
    "png16": (".png", 2e-3),
}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A feed-forward model on three photos: its scores, what it wrote, and the configuration.

    A diffusion model would start from other noise: `predict` has the same for all photos.
    """
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for index, size in enumerate([(32, 48), (64, 96), (32, 48)]):
        (folder / "image/room").mkdir(parents=True, exist_ok=True)
        (folder / "depth/room").mkdir(parents=True, exist_ok=True)
        photo = rng.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(photo).save(folder / f"image/room/{index}.png")
        depth = rng.uniform(1, 9, size).astype(np.float32)
        np.save(folder / f"depth/room/{index}.npy", depth)
    fields = small_run.fields(
        data__source="folder",
        data__folder__root=str(folder),
        data__folder__image_pattern="image/**/*.png",
        data__folder__depth_pattern="depth/**/*.npy",
        data__folder__holdout_every=0,
        frame__max_depth=10.0,
        evaluation__baselines=False,
    )
    config = groups.read(feed_forward.feed_forward(fields))
    small_model.save(folder / "model", config)
    means = evaluate_checkpoint(config, folder / "model")["train"]
    with flagsaver.flagsaver():
        values = {"checkpoint": folder / "model", "input": folder / "image"}
        values |= {"output": folder / "out/image", "outputs": ",".join(FORMATS)}
        flags.FLAGS(["predict", *(f"--{name}={value}" for name, value in values.items())])
        assert predict.run([]) == 0
    return config, means, folder / "out"


@pytest.mark.parametrize("form", FORMATS)
def test_the_files_have_the_scores_of_the_model(form, scored, tmp_path):
    config, means, out = scored
    suffix, tolerance = FORMATS[form]
    (tmp_path / "image/room").mkdir(parents=True)
    for path in (out / "image/room").glob(f"*{suffix}"):
        shutil.copy(path, tmp_path / "image/room")
    assert len(list(tmp_path.rglob(f"*{suffix}"))) == 3
    options = FileOptions(scale=1000 if form == "png16" else None)
    score_folders(config, [tmp_path], tmp_path / "results", options)
    found = json.loads((tmp_path / "results/train.json").read_text())["means"]
    assert found["images"] == means["images"] == 3
    for name in ALL_NAMES:
        assert found[name] == pytest.approx(means[name], rel=tolerance, abs=2e-3), name
