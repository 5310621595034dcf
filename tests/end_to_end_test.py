"""Train, resume, evaluate, predict and refuse, on a model and scenes as small as they get."""

import json
import pathlib
import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image

from configs import folder as folder_config
from configs import synthetic as synthetic_config
from diffdepth_jax import predict, train
from diffdepth_jax.checkpoint import load_variables, read_config
from diffdepth_jax.entry import one_line_errors, parse_flags
from diffdepth_jax.errors import UserError
from diffdepth_jax.estimator import DepthEstimator, bucket_size
from diffdepth_jax.input_pipeline import create_sources, train_iterator


def tiny_config(**train_fields):
    config = synthetic_config.get_config()
    config.model.update({"neck_features": 8, "denoiser_features": 8, "decoder_width": 8})
    config.inference.size = config.augmentation.crop_size = (32, 48)
    config.train.update({"batch_size": 4, "num_steps": 4, "evaluate_every": 4})
    config.train.update({"checkpoint_every": 2, "log_every": 1, "num_panels": 1, **train_fields})
    config.optimizer.warmup_steps = 1
    config.evaluation.batch_size = 3
    config.data.update({"num_train": 8, "num_eval": 4, "height": 32, "width": 48})
    return config.lock()


def folder_fields(root):
    fields = {k: v for k, v in folder_config.get_config().data.items() if k != "source"}
    return fields | {"root": str(root), "holdout_every": 0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(workdir, config, table) of one finished run."""
    workdir, config = tmp_path_factory.mktemp("run"), tiny_config()
    return workdir, config, train.train(config, workdir)


def parameters(workdir):
    model = DepthEstimator.from_checkpoint(workdir)._model
    return load_variables(workdir, train.abstract_variables(model))


def test_a_run_leaves_model_log_and_pictures(run):
    workdir, _, table = run
    assert set(table) == {
        f"{kind}: {row}"
        for kind in ("rooms", "streets")
        for row in ("this model", "best constant", "mean map")
    }
    assert all(np.isfinite(list(values.values())).all() for values in table.values())
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert {"train/silog", "train/ddim", "train/latent", "train/reconstruction"} <= set(lines[0])
    assert (workdir / "panels" / "rooms.png").exists()
    assert list((workdir / "tensorboard").iterdir())


def test_resumed_run_equals_the_uninterrupted_one(run, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def killed(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise Killed
        return original(*args, **kwargs)

    calls, original = [], train.sharding.shard_batch
    monkeypatch.setattr(train.sharding, "shard_batch", killed)
    with pytest.raises(Killed):
        train.train(run[1], tmp_path)
    train.train(run[1], tmp_path)
    assert len(calls) == 4 + 2  # it went on from the checkpoint of step 2
    jax.tree.map(np.testing.assert_array_equal, parameters(tmp_path), parameters(run[0]))


def test_evaluate_mode_repeats_the_last_evaluation(run):
    workdir, config, table = run
    again = train.evaluate_checkpoint(config, workdir)
    for row, values in table.items():
        assert again[row]["abs_rel"] == pytest.approx(values["abs_rel"], rel=1e-5)


def test_workdir_of_another_config_is_refused_by_field(run):
    with pytest.raises(UserError, match=r"train\.num_panels"):
        train.train(tiny_config(num_panels=2), run[0])


def test_checkpoint_of_another_model_is_refused(run, tmp_path):
    other = shutil.copytree(run[0], tmp_path / "other")
    fields = json.loads((other / "config.json").read_text())
    fields["model"]["neck_features"] = 16
    (other / "config.json").write_text(json.dumps(fields))
    with pytest.raises(UserError, match="does not fit the model"):
        DepthEstimator.from_checkpoint(other)
    del fields["model"]["neck_features"]
    (other / "config.json").write_text(json.dumps(fields))
    with pytest.raises(UserError, match="neck_features"):
        DepthEstimator.from_checkpoint(other)


def test_full_disk_names_the_checkpoint(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ocp.CheckpointManager, "save", full)
    with pytest.raises(UserError, match=r"checkpoints/2 could not be written .*No space left"):
        train.train(tiny_config(), tmp_path)


def test_unwritable_workdir_ends_in_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stop, one_line_errors():
        workdir = tmp_path / "file" / "run"
        train.claim_directory(workdir, tiny_config())
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_sample_without_valid_pixels_stops_training_by_name(tmp_path):
    Image.new("RGB", (48, 32)).save(tmp_path / "rgb_0.jpg")
    Image.fromarray(np.zeros((32, 48), np.uint16)).save(tmp_path / "sync_depth_0.png")
    source, _ = create_sources(source="folder", seed=0, **folder_fields(tmp_path))
    batches = train_iterator(
        source, seed=0, batch_size=1, num_threads=1, size=(32, 48), min_depth=0.001, max_depth=10.0,
        **tiny_config().augmentation,
    )  # fmt: skip
    with pytest.raises(UserError, match="sync_depth_0"):
        next(batches)


@pytest.mark.parametrize(("root", "message"), [("", "data.root is empty"), ("/gone", "gone")])
def test_missing_data_is_refused(root, message):
    with pytest.raises(UserError, match=message):
        create_sources(source="folder", seed=0, **folder_fields(root))


def test_unknown_flag_is_refused_in_one_line():
    with pytest.raises(UserError, match="nonsense"):
        parse_flags(["main", "--nonsense=1"])


def test_estimator_gives_metres_of_the_image_at_any_size(run):
    estimator = DepthEstimator.from_checkpoint(run[0])
    image = np.random.default_rng(0).integers(0, 255, (37, 61, 3), np.uint8)
    once, again = estimator(image), estimator(image)
    assert once.depth.shape == (37, 61) and once.depth.dtype == np.float32
    assert (once.depth > 0).all()
    np.testing.assert_array_equal(once.depth, again.depth)
    assert estimator(image, native_size=True, num_steps=1).depth.shape == (37, 61)
    double = estimator(image, focal_length=2 * once.focal_length)
    np.testing.assert_allclose(double.depth, 2 * once.depth, rtol=1e-5)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 640, 3), np.uint8)]
)
def test_estimator_refuses_what_is_no_image(run, image):
    with pytest.raises(UserError, match="image"):
        DepthEstimator.from_checkpoint(run[0])(image)


def test_estimator_refuses_more_than_the_memory_holds(run, monkeypatch):
    monkeypatch.setattr("diffdepth_jax.estimator._memory_in_bytes", lambda: 1000)
    with pytest.raises(UserError, match="64 x 64 at native size"):
        DepthEstimator.from_checkpoint(run[0])(np.zeros((64, 64, 3), np.uint8), native_size=True)


def test_photos_fall_into_few_buckets_of_one_area():
    sizes = {bucket_size(1000, width, (480, 640)) for width in range(400, 3600, 10)}
    assert (480, 640) in sizes and len(sizes) <= 11
    assert all(abs(h * w / (480 * 640) - 1) < 0.05 for h, w in sizes)


def test_prediction_of_a_folder_goes_on_past_a_broken_file(run, tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    picture = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    Image.fromarray(picture).save(source / "a.png")
    (source / "b.jpg").write_bytes(b"no image")
    Image.fromarray(picture).save(source / "c.png")
    estimator, files = DepthEstimator.from_checkpoint(run[0]), predict.image_files(source)
    failures = predict.predict_files(estimator, files, output, depth_scale=100.0)
    assert [pathlib.Path(file).name for file, _ in failures] == ["b.jpg"]
    depth = np.load(output / "a.npy")
    np.testing.assert_array_equal(depth, np.load(output / "c.npy"))  # equal images, equal depth
    png = np.asarray(Image.open(output / "a.png"))
    assert png.dtype == np.uint16
    np.testing.assert_allclose(png / 100, depth, atol=0.006)
    assert Image.open(output / "c_color.png").size == (48, 32)


def test_prediction_input_errors(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        predict.image_files(tmp_path / "gone")
    with pytest.raises(UserError, match="holds no image"):
        predict.image_files(tmp_path)


@pytest.mark.parametrize(
    ("names", "folder"),
    [(("a.png", "a.jpg"), "out"), (("a.jpg", "a_color.jpg"), "out"), (("a.png",), "."),
     (("a.jpg", "a_color.png"), ".")],
)  # fmt: skip
def test_outputs_overwrite_neither_each_other_nor_an_input(tmp_path, names, folder):
    with pytest.raises(UserError, match="rename one"):
        predict.check_names([tmp_path / name for name in names], tmp_path / folder)


def test_outputs_may_lie_beside_inputs_of_other_names(tmp_path):
    predict.check_names([tmp_path / "a.jpg", tmp_path / "b.jpg"], tmp_path)


def test_no_model_directory_is_refused(tmp_path):
    with pytest.raises(UserError, match="no model directory"):
        read_config(tmp_path)


def test_encoded_latents_do_not_collapse(tmp_path):
    config = tiny_config(num_steps=60, evaluate_every=60, checkpoint_every=60)
    train.train(config, tmp_path)
    estimator = DepthEstimator.from_checkpoint(tmp_path)
    source, _ = create_sources(seed=0, **config.data)
    samples = [source[index] for index in range(len(source))]
    depth, mask = (np.stack([sample[name] for sample in samples]) for name in ("depth", "mask"))
    latent, cells = estimator._model.apply(
        estimator._variables, depth, mask, method="encode_depth"
    )
    assert np.asarray(latent)[np.broadcast_to(cells, latent.shape)].std() > 0.3
