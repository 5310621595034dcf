"""The evaluation of a configuration, with models that always say the same."""

import csv
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.datasets.folder import RGBDFolder
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import edges, metrics, predictors, protocols
from diffdepth_jax.evaluation.evaluator import Evaluator, evaluate_checkpoint, load_evaluator
from diffdepth_jax.evaluation.report import describe, format_report
from diffdepth_jax.media.depth_reading import DepthForm
from diffdepth_jax.media.preprocessing import denormalize_image
from diffdepth_jax.method import diffusion
from diffdepth_jax.prediction.estimator import DepthEstimator
from tests.support import small_model, small_run
from tests.support.noisy_model import WithoutNetwork
from tests.support.paths import SHARED

FRAMES = SHARED / "real_frames"
METRES = {"near": (2.0, 4.0), "far": (20.0, 25.0)}  # of a set's training and evaluation samples


class Constant(WithoutNetwork):
    """The same metres everywhere."""

    def __init__(self, metres):
        self._metres, self.batch_sizes = metres, []

    def apply(self, variables, x=None, *args, method, **kwargs):
        if method == "encode_image":
            self.batch_sizes.append(len(x))
        return super().apply(variables, x, *args, method=method, **kwargs)

    def log_depth(self, x):
        return jnp.full((*x.shape[:3], 1), jnp.log(self._metres))


class Log:
    def __init__(self):
        self.values, self.pictures = {}, {}

    def scalars(self, step, **values):
        self.values |= {name: (step, value) for name, value in values.items()}

    def panels(self, name, step, panels):
        self.pictures[name] = (step, panels)


def _samples(metres, count):
    shape = (64, 80, 1)
    sample = {
        "image": np.zeros((*shape[:2], 3), np.uint8),
        "depth": np.full(shape, metres, np.float32),
        "mask": np.ones(shape, bool),
    }
    return [sample] * count


@pytest.fixture
def config():
    return small_run.config(evaluation__num_panels=2)


def _evaluator(config, metres, sources):
    schedule = diffusion.create_schedule(**vars(config.diffusion))
    return Evaluator(config, Constant(metres), schedule, sources)


@pytest.fixture
def evaluator(config):
    sources = {name: (_samples(fit, 2), _samples(held, 3)) for name, (fit, held) in METRES.items()}
    return _evaluator(config, 3.0, sources)


def test_every_set_is_scored_and_logged_under_its_name(evaluator):
    log = Log()
    results = evaluator.evaluate({}, log, step=7)
    assert results["near"]["abs_rel"] == pytest.approx(1 / 4)
    assert results["far"]["abs_rel"] == pytest.approx(22 / 25)
    assert all(values["images"] == 3 for values in results.values())
    for name, values in results.items():
        assert log.values[f"{name}/abs_rel"] == (7, values["abs_rel"])
        assert log.values[f"{name}/edge_images"] == (7, 0)
        assert f"{name}/boundary_f1" not in log.values


def test_pictures_are_of_the_first_images_at_their_own_size(evaluator):
    log = Log()
    evaluator.evaluate({}, log)
    for name in METRES:
        _, panels = log.pictures[name]
        assert len(panels) == 2
        assert all(panel.shape[0] >= 64 and panel.shape[1] >= 4 * 80 for panel in panels)


def test_baselines_are_fitted_to_training_samples_of_their_set(evaluator):
    """Samples are alike: constant and mean map are the training depth."""
    results = evaluator.evaluate({})
    rows = evaluator.scorer.with_baselines(results)
    for name, (fitted, held_out) in METRES.items():
        assert rows[f"{name}: this model"] == results[name]
        for title in ("best constant", "mean map"):
            expected = abs(held_out - fitted) / held_out
            assert rows[f"{name}: {title}"]["abs_rel"] == pytest.approx(expected, rel=1e-4)
    assert len(rows) == 6


def test_without_baselines_the_results_are_the_table():
    evaluator = _evaluator(small_run.config(evaluation__baselines=False), 3.0, {})
    results = {"near": {"abs_rel": 0.1}}
    assert evaluator.scorer.with_baselines(results) is results


def _real_source(frame):
    """The frame alone."""
    if not FRAMES.exists():
        pytest.skip("needs the real frames in ../shared")
    if frame == "kitti 5":
        drive = "2011_09_26_drive_0001_sync"
        return RGBDFolder(
            str(FRAMES / "kitti" / "train" / drive),
            "image_02/data/*.png",
            "proj_depth/groundtruth/image_02/*.png",
            depth_form=DepthForm(256.0),
        )
    frame = frame.split()[1]
    return RGBDFolder(str(FRAMES / "nyu"), f"rgb_{frame}.jpg", f"sync_depth_{frame}.png")


# From ../shared/real_frames/README.md: protocol, frame, input crop, metres and cap of the
# prediction, and valid, silog, log10, abs_rel, sq_rel, rmse, rmse_log, d1.
KNOWN = [
    (
        "nyu_eigen",
        "nyu 00000",
        "none",
        3.0,
        10.0,
        (221809, 28.7163, 0.0960, 0.1945, 0.3101, 1.2521, 0.3164, 0.6917),
    ),
    (
        "nyu_eigen",
        "nyu 00050",
        "none",
        3.0,
        10.0,
        (225022, 40.4323, 0.1450, 0.3262, 0.5240, 1.5430, 0.4099, 0.3920),
    ),
    *(
        (
            "kitti_garg_full",
            "kitti 5",
            crop,
            15.0,
            80.0,
            (87504, 58.1206, 0.2103, 0.5154, 5.4432, 12.2446, 0.5821, 0.2608),
        )
        for crop in ("none", "kb")
    ),
    *(
        (
            "kitti_garg_kb",
            "kitti 5",
            crop,
            15.0,
            80.0,
            (82930, 55.0338, 0.2013, 0.5124, 4.9294, 10.9349, 0.5558, 0.2702),
        )
        for crop in ("none", "kb")
    ),
    (
        "kitti_eigen",
        "kitti 5",
        "none",
        15.0,
        80.0,
        (82741, 56.2383, 0.2007, 0.4486, 5.1498, 12.9202, 0.5652, 0.2819),
    ),
]


@pytest.mark.parametrize(("protocol", "frame", "input_crop", "metres", "cap", "expected"), KNOWN)
def test_known_answers_on_real_frames(protocol, frame, input_crop, metres, cap, expected):
    """To the printed digits, on the path that evaluates a model, beginning with its files.

    Only the network is left out, for its last step is an exponential: 15 m must not be 14.999999
    where truth of 12 m is on the edge of d1.
    """
    config = small_run.config(
        evaluation__protocol=protocol,
        frame__input_crop=input_crop,
        frame__min_depth=1e-3,
        frame__max_depth=cap,
    )
    source = _real_source(frame)
    evaluator = _evaluator(config, None, {"frame": (source, source)})
    predict = predictors.model_predictor(
        lambda variables, image, keys, members: np.full((*image.shape[:3], 1), metres, np.float32),
        {},
        jax.random.key(0),
        batch_size=2,
    )
    (values,) = evaluator.scorer.score("frame", predict)
    names = ("valid", "silog", "log10", "abs_rel", "sq_rel", "rmse", "rmse_log", "d1")
    for name, value in zip(names, expected, strict=True):
        assert round(values[name], 4) == value, name


def _made_up_frame():
    """375 x 1242 of 20 m; marked pixels around the two Garg crops are 10, 40 and 5 m."""
    depth = np.full((375, 1242, 1), 0, np.float32)
    depth[153, 44] = 10  # the first pixel of Garg on the full frame, above that on the kb crop
    depth[371, 1184] = 40  # the last of Garg on the kb crop, below that on the full frame
    depth[200, 600] = 20  # in both
    depth[152, 43] = 5  # in neither
    image = np.zeros((375, 1242, 3), np.uint8)
    return {"image": image, "depth": depth, "mask": depth > 0}


@pytest.mark.parametrize(
    ("protocol", "cap", "abs_rel", "valid"),
    [
        # Against 20 m: |10 - 20| / 10 = 1, |40 - 20| / 40 = 1/2, |20 - 20| / 20 = 0 and
        # |5 - 20| / 5 = 3.
        ("full", 80.0, (1 + 1 / 2 + 0 + 3) / 4, 4),
        ("kitti_official", 30.0, (1 + 1 / 2 + 0 + 3) / 4, 4),  # the cap of 30 m is not used
        ("kitti_garg_full", 80.0, (1 + 0) / 2, 2),
        ("kitti_garg_kb", 80.0, (1 / 2 + 0) / 2, 2),
        ("kitti_garg_kb", 40.0, 0, 1),  # 40 m is not strictly below the cap
    ],
)
def test_protocols_on_a_made_up_frame_by_hand(protocol, cap, abs_rel, valid):
    config = small_run.config(evaluation__protocol=protocol, frame__max_depth=cap)
    frames = [_made_up_frame()]
    evaluator = _evaluator(config, 20.0, {"frame": (frames, frames)})
    (values,) = evaluator.scorer.score("frame", evaluator.predictor({}))
    assert (values["valid"], values["abs_rel"]) == (valid, pytest.approx(abs_rel, abs=1e-6))


@pytest.mark.parametrize(
    ("protocol", "size", "box"),
    [
        ("marigold_nyu", (480, 640), np.s_[45:471, 41:601]),
        ("zoedepth_nyu", (480, 640), np.s_[45:471, 41:601]),
        ("marigold_kitti", (375, 1242), np.s_[140:344, 56:1185]),
        ("zoedepth_kitti", (375, 1242), np.s_[166:372, 56:1185]),
        ("monodepth2_kitti", (375, 1242), np.s_[153:371, 44:1197]),
    ],
)
def test_protocols_of_other_programs_written_down_anew(protocol, size, box):
    """Their steps in plain numpy, in float64, on a frame of their data; holes in its truth."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 90, (*size, 1)).astype(np.float32)
    mask = rng.random(truth.shape) < 0.5
    guess = (0.3 * truth**1.1 + 2 + rng.normal(0, 1, truth.shape)).astype(np.float32)
    frames = [{"image": np.zeros((*size, 3), np.uint8), "depth": truth, "mask": mask}]
    config = small_run.config(evaluation__protocol=protocol)
    scorer = _evaluator(config, None, {"frame": (frames, frames)}).scorer
    (values,) = scorer.score("frame", lambda *_: [guess], input_crop="none")

    low, high = (1e-5 if protocol == "marigold_kitti" else 1e-3), (10 if "nyu" in protocol else 80)
    seen = mask & (truth > low) & (truth < high)
    p, g = (x[box][seen[box]].astype(np.float64) for x in (guess, truth))
    if "marigold" in protocol:
        scale, shift = np.polyfit(p, g, 1)
        p = scale * p + shift
    if "monodepth2" in protocol:
        p = p * np.median(g) / np.median(p)
    p = np.clip(p, low, high)
    assert values["valid"] == len(g)
    assert values["abs_rel"] == pytest.approx(np.mean(abs(p - g) / g), rel=1e-5)
    assert values["rmse"] == pytest.approx(np.sqrt(np.mean((p - g) ** 2)), rel=1e-5)
    assert values["d105"] == pytest.approx(np.mean(np.maximum(p / g, g / p) < 1.05), abs=1e-4)


def test_ranges_and_scenes_have_tables_of_their_own():
    """3 m for truth of 2 m in one scene, of 4 m and 6 m in the other."""
    frames = [
        {**_samples(metres, 1)[0], "name": f"{scene}/{metres}"}
        for scene, metres in (("near", 2.0), ("far", 4.0), ("far", 6.0))
    ]
    config = small_run.config(evaluation__distances=(3.0, 5.0), evaluation__by_scene=True)
    scorer = _evaluator(config, None, {"set": (frames, frames)}).scorer

    def predict(samples, first):
        return [np.full((64, 80, 1), 3, np.float32) for _ in samples]

    means = scorer.means("set", scorer.score("set", predict))
    lines = [line.split() for line in format_report(config, {"set": means}).splitlines()]
    ranges = [["set:", "0", "to", "3", "m"], ["set:", "3", "to", "5", "m"]]
    assert [line[:5] for line in lines if "to" in line][:2] == ranges
    assert ["set:", "beyond", "5", "m", "0.5000", "3.0000", "0.0000", "1"] in lines
    scenes = [line for line in lines if line[:1] == ["set:"] and line[1] in ("near", "far")]
    assert [line[1:3] for line in scenes] == [["near", "0.5000"], ["far", "0.3750"]]
    assert json.loads(json.dumps(means))["by_scene"]["far"]["images"] == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"by_scene": True}, r"evaluation\.by_scene: the name 'a\.png' has no folder"),
        ({"protocol": "marigold_nyu"}, r"protocol marigold_nyu is for other data"),
        ({"protocol": "kitti_garg_kb"}, r"is smaller than the 352 x 1216 crop"),
    ],
)
def test_what_no_image_can_be_scored_by_is_told_before_training(fields, message):
    frames = [{**_samples(2.0, 1)[0], "name": "a.png"}]
    config = small_run.config(**{f"evaluation__{name}": value for name, value in fields.items()})
    evaluator = _evaluator(config, None, {"set": (frames, frames)})
    with pytest.raises(UserError, match=message):
        evaluator.check_ground_truth()


def test_limits_of_a_protocol_are_called_so():
    (small,) = _samples(2000.0, 1)
    frames = [{name: np.resize(x, (480, 640, x.shape[-1])) for name, x in small.items()}]
    config = small_run.config(evaluation__protocol="zoedepth_nyu")
    with pytest.raises(UserError, match=r"the limits of protocol zoedepth_nyu: it looks like"):
        _evaluator(config, None, {"set": (frames, frames)}).check_ground_truth()


def test_distances_that_do_not_increase_are_refused():
    with pytest.raises(UserError, match=r"evaluation\.distances .* must be metres that increase"):
        small_run.config(evaluation__distances=(3.0, 2.0))


def test_what_is_seen_of_the_input_crop_is_scored_in_its_place():
    """Truth is each pixel's red in metres, plus one; so says the predictor of what it sees."""
    red = np.random.default_rng(0).integers(0, 60, (354, 1220, 1), np.uint8)
    depth, inside = red + np.float32(1), np.zeros((354, 1220, 1), bool)
    inside[2:, 2:1218] = True
    frames = [{"image": np.repeat(red, 3, axis=2), "depth": depth, "mask": inside}]
    config = small_run.config(frame__input_crop="kb", frame__size=(352, 1216))
    evaluator = _evaluator(config, None, {"frame": (frames, frames)})

    def predict(samples, first):
        return [denormalize_image(sample["image"])[..., :1] + np.float32(1) for sample in samples]

    (values,) = evaluator.scorer.score("frame", predict)
    assert (values["valid"], values["rmse"]) == (352 * 1216, 0)
    ((_, _, metres),) = evaluator.scorer.frames("frame", predict)
    np.testing.assert_array_equal(metres[2:, 2:1218], depth[2:, 2:1218])


def test_the_report_names_protocol_and_settings(config):
    names = (*metrics.ALL_NAMES, *protocols.SHAPE_TABLE)
    rows = {"set": dict.fromkeys(names, 0.5) | {"edge_images": 2, "images": 3}}
    *table, line = format_report(config, rows).splitlines()
    assert [row.split()[:1] for row in table] == [
        ["abs_rel"],
        ["set"],
        [],
        ["boundary_f1"],
        ["set"],
    ]
    assert table[3].split() == [*protocols.SHAPE_TABLE, "images"]
    assert table[4].split()[4] == "2" and table[4].split()[-1] == "3"
    assert line.startswith("protocol full: whole image, ground truth strictly within 0.001 to 80 m")
    assert line.endswith("input crop none, flip averaging off, one sample from noise, 2 steps")
    middle = format_report(small_run.config(sampler__start="middle"), rows)
    assert middle.endswith("one sample from zeros, 2 steps")
    config = small_run.config(
        evaluation__protocol="kitti_official",
        evaluation__flip_average=True,
        evaluation__ensemble=5,
        frame__input_crop="kb",
        sampler__num_steps=1,
    )
    *table, line = format_report(config, rows).splitlines()
    assert table[3].split() == [*metrics.KITTI_NAMES, "images"]
    assert table[5].startswith("no edge scores are printed: KITTI's ground truth is sparse")
    assert line.endswith("input crop kb, flip averaging on, median of 5 samples, 1 step")
    assert format_report(config, rows, "files").endswith("; files")


def test_results_are_left_as_files(config, tmp_path):
    """An image without ground truth is a line without values, and counts nowhere.

    No image has an edge: the scores at edges are null and empty.
    """
    without = {**_samples(2.0, 1)[0], "mask": np.zeros((64, 80, 1), bool)}
    samples = [*_samples(2.0, 1), without, *_samples(4.0, 1)]
    evaluator = _evaluator(config, 3.0, {"near": (samples, samples)})
    results = evaluator.evaluate({}, directory=tmp_path / "evaluation")
    report = json.loads((tmp_path / "evaluation" / "near.json").read_text())
    assert report["means"] == results["near"]
    assert (results["near"]["images"], results["near"]["abs_rel"]) == (2, pytest.approx(3 / 8))
    assert report["description"] == describe(config, ["near"])
    with open(tmp_path / "evaluation" / "near.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = (*metrics.ALL_NAMES, *metrics.ALIGNED_NAMES, *edges.NAMES)
    assert list(rows[0]) == ["name", "valid", "holes", *names]
    assert float(rows[0]["aligned_abs_rel"]) == pytest.approx(0, abs=1e-6)
    assert all(report["means"][name] is None and rows[0][name] == "" for name in edges.NAMES)
    assert [row["name"] for row in rows] == ["0000000000", "0000000001", "0000000002"]
    assert [row["valid"] for row in rows] == ["5120", "0", "5120"]
    assert float(rows[0]["abs_rel"]) == pytest.approx(1 / 2)
    assert all(rows[1][name] == "" for name in names)


def test_all_views_of_a_batch_are_one_batch():
    """Two images (a multiple of the devices), two sides; their noises need no other image."""
    config = small_run.config(
        evaluation__batch_size=2, evaluation__ensemble=3, evaluation__flip_average=True
    )
    evaluator = _evaluator(config, 3.0, {"near": (None, _samples(2.0, 3))})
    evaluator.evaluate({})
    images = -(-2 // jax.device_count()) * jax.device_count()
    assert set(evaluator.model.batch_sizes) == {images * 2}


@pytest.mark.parametrize("field", ["batch_size", "ensemble"])
def test_numbers_below_one_are_named(field):
    with pytest.raises(UserError, match=f"evaluation.{field} 0: must be 1 or more"):
        _evaluator(small_run.config(**{f"evaluation__{field}": 0}), 3.0, {})


def test_a_model_is_evaluated_on_other_data_than_it_was_made_with(tmp_path):
    """Only model and diffusion have to be the directory's own."""
    small_model.save(tmp_path)
    other = small_run.config(
        data__synthetic__num_eval=1,
        train__batch_size=2,
        evaluation__flip_average=True,
        evaluation__ensemble=2,
        evaluation__baselines=False,
        frame__max_depth=60.0,
    )
    results = evaluate_checkpoint(dataclasses.replace(other, seed=1), tmp_path)
    assert [values["images"] for values in results.values()] == [1, 1]
    names = sorted(path.name for path in (tmp_path / "evaluation").iterdir())
    assert names == [
        f"{kind}.{form}" for kind in ("rooms", "streets") for form in ("csv", "json", "png")
    ]
    with pytest.raises(UserError, match=r"model.decoder_width"):
        evaluate_checkpoint(small_run.config(model__decoder_width=4), tmp_path)


def test_another_way_of_sampling_than_the_models_own_is_told(tmp_path, caplog):
    small_model.save(tmp_path)
    load_evaluator(small_run.config(sampler__num_steps=5), tmp_path)
    assert not caplog.messages
    load_evaluator(small_run.config(sampler__clip=0.5), tmp_path)
    assert caplog.messages == [f"sampler.clip is 0.5 here, but 1.0 in {tmp_path}"]


def _lenses(*focal_lengths):
    """Frames at 6 m through a lens of 80 pixels, at 12 m through one of 160; 0: 3 m, unknown."""
    frames = []
    for focal in focal_lengths:
        (frame,) = _samples(6 * focal / 80 or 3.0, 1)
        known = {"intrinsics": np.diag([focal, focal, 1.0])} if focal else {}
        frames.append({**frame, **known, "name": f"{focal:g}.png"})
    return frames


@pytest.mark.parametrize("views", [{}, {"evaluation__flip_average": True}])
def test_units_of_the_canonical_camera_are_brought_back_to_metres(views):
    """64 x 80 within 32 x 48 is half of it: 6 m through 40 pixels are 3 units through 20.

    The baselines, which are fitted to metres, stay as they are.
    """
    config = small_run.config(frame__canonical_focal_length=20.0, frame__focal_length=20.0, **views)
    frames = _lenses(80.0, 160.0, 0.0)
    evaluator = _evaluator(config, 3.0, {"frames": (_samples(6.0, 1), frames)})
    rows = evaluator.scorer.score("frames", evaluator.predictor({}))
    assert [row["abs_rel"] for row in rows] == pytest.approx([0, 0, 0], abs=1e-6)
    table = evaluator.scorer.with_baselines({"frames": evaluator.scorer.means("frames", rows)})
    constant = table["frames: best constant"]["abs_rel"]
    assert constant == pytest.approx((0 + 6 / 12 + 3 / 3) / 3)


def test_a_frame_whose_camera_is_needed_and_unknown_is_named():
    """By the model; other predictions need no camera."""
    config = small_run.config(frame__canonical_focal_length=20.0, frame__focal_length=0.0)
    evaluator = _evaluator(config, 3.0, {"frames": (_samples(6.0, 1), _lenses(80.0, 0.0))})
    with pytest.raises(UserError, match=r"sample 0\.png: its focal length is unknown"):
        evaluator.scorer.score("frames", evaluator.predictor({}))
    with pytest.raises(UserError, match=r"sample 0\.png: its focal length is unknown"):
        evaluator.check_ground_truth()
    evaluator.scorer.check_ground_truth()
    evaluator.scorer.with_baselines({"frames": {}})


def test_a_model_of_other_units_is_refused(tmp_path):
    small_model.save(tmp_path)
    config = small_run.config(frame__canonical_focal_length=20.0)
    with pytest.raises(UserError, match=r"\(frame\.canonical_focal_length differ\)"):
        load_evaluator(config, tmp_path)


@pytest.mark.slow
def test_evaluation_and_library_bring_a_frame_back_to_the_same_metres(tmp_path):
    """A scene of 43.2 pixels through a model that has learned as if through 30."""
    config = small_run.config(
        frame__canonical_focal_length=30.0,
        data__synthetic__num_eval=1,
        sampler__start="zeros",
        sampler__num_steps=1,
    )
    small_model.save(tmp_path, config)
    evaluator, variables = load_evaluator(config, tmp_path)
    ((_, frame, scored),) = evaluator.scorer.frames("rooms", evaluator.predictor(variables))
    estimate = DepthEstimator.from_checkpoint(tmp_path)
    own, units = (estimate(frame["picture"], focal_length=f).depth for f in (43.2, 30.0))
    np.testing.assert_allclose(own, 43.2 / 30 * units, rtol=1e-6)
    np.testing.assert_allclose(scored[..., 0], own, rtol=1e-4)
