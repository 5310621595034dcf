"""A configuration is checked as a whole where it is read, and errors name the field."""

import dataclasses
import functools
import importlib
import math
import operator
import re

import pytest

from diffdepth_jax.configs import default
from diffdepth_jax.configs.feed_forward import feed_forward
from diffdepth_jax.configuration import groups
from diffdepth_jax.configuration.data import Part
from diffdepth_jax.errors import UserError
from tests.support.paths import ROOT


def read(**changes):
    """configs/default.py with changed fields: GROUP__FIELD."""
    fields = default.get_config()
    for name, value in changes.items():
        *path, field = name.split("__")
        with fields.unlocked(), fields.ignore_type():
            functools.reduce(operator.getitem, path, fields)[field] = value
    return groups.read(fields)


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "configs").glob("[a-z]*.py")))
def test_every_shipped_configuration_passes(name):
    fields = importlib.import_module(f"diffdepth_jax.configs.{name}").get_config()
    assert dataclasses.asdict(groups.read(fields)) == fields.to_dict()


def test_groups_and_defaults_have_the_same_fields():
    def names(group):
        return {
            field.name: names(field.type) if dataclasses.is_dataclass(field.type) else None
            for field in dataclasses.fields(group)
        }

    def keys(fields):
        return {
            # A mixture is empty until a recipe gives it parts.
            name: keys(value) if isinstance(value, dict) and value else None
            for name, value in fields.items()
        }

    assert names(groups.Configuration) == keys(default.get_config().to_dict())
    assert names(Part) == keys(default.get_part().to_dict())


OUT_OF_RANGE = [
    ("seed", -1),
    ("log_level", "loud"),
    ("data__source", "web"),
    ("data__missing_depth", "zero"),
    ("data__synthetic__num_train", 1),
    ("data__synthetic__focal_range", (1.5, 0.5)),
    ("data__synthetic__focal_range", (0.2, 1.0)),
    ("data__synthetic__eval_focal_range", (1.0, 4.5)),
    ("data__synthetic__eval_focal_range", (1.0,)),
    ("data__folder__depth_scale", 0.0),
    ("data__folder__holdout_every", -1),
    ("frame__size", (32,)),
    ("frame__input_crop", "garg"),
    ("frame__min_depth", 0.0),
    ("frame__min_depth", 10.0),
    ("frame__focal_length", -1.0),
    ("model__neck", "pan"),
    ("model__codec", "raw"),
    ("model__denoiser", "unet"),
    ("model__dtype", "float16"),
    ("model__encoder_kernel", 2),
    ("model__window_size", 0),
    ("model__decoder_width", 1),
    ("model__drop_path_rate", 1.0),
    ("model__denoiser_heads", 3),
    ("model__condition_levels", 5),
    ("diffusion__schedule", "sigmoid"),
    ("diffusion__prediction_type", "noise"),
    ("diffusion__num_timesteps", 0),
    ("diffusion__beta_end", 1.5),
    ("sampler__num_steps", 0),
    ("sampler__num_steps", 1001),
    ("sampler__spacing", "linspace"),
    ("sampler__start", "ones"),
    ("sampler__clip", -1.0),
    ("sampler__global_noise", 1.5),
    ("loss__target", "gt"),
    ("loss__samples", 0),
    ("loss__gradient_steps", 6),
    ("loss__l1_l2_until", 1.5),
    ("augmentation__rotation", -1.0),
    ("augmentation__zoom", 0.5),
    ("augmentation__flip_probability", 1.5),
    ("augmentation__gamma", -0.1),
    ("augmentation__valid_pixel_fraction", 0.0),
    ("augmentation__crop_size", (4, 4, 4, 4)),
    ("train__batch_size", 0),
    ("train__log_every", 0),
    ("train__max_skipped", -1),
    ("train__parallel", "ddp"),
    ("train__ema_decay", 1.0),
    ("train__profile_steps", (0, 38_401)),
    ("train__profile_steps", (3, 2)),
    ("train__profile_steps", (-1, 2)),
    ("train__profile_steps", (1,)),
    ("optimizer__name", "lamb"),
    ("optimizer__schedule", "cosin"),
    ("optimizer__learning_rate", 0.0),
    ("optimizer__learning_rate", math.nan),
    ("optimizer__warmup_steps", 38_400),
    ("optimizer__end_fraction", 1.5),
    ("optimizer__power", 0.0),
    ("optimizer__b1", 1.0),
    ("optimizer__momentum", -0.1),
    ("optimizer__eps", 0.0),
    ("optimizer__weight_decay", math.inf),
    ("optimizer__layer_decay", 0.0),
    ("evaluation__batch_size", 0),
    ("evaluation__ensemble", 0),
    ("evaluation__num_panels", 0),
    ("evaluation__by_scene", 1),
    ("train__batch_size", True),
    ("train__batch_size", "4"),
    ("train__num_steps", 2**31),
    ("optimizer__learning_rate", "0.1"),
    ("optimizer__learning_rate", 1e30),
    ("loss__silog_lambda", -1e30),
    ("frame__min_depth", 1e-320),
    ("model__denoiser_features", 1),
    ("model__denoiser_blocks", 65),
    ("model__detail_features", 4097),
    ("model__window_size", 129),
    ("diffusion__num_timesteps", 10_001),
]


@pytest.mark.parametrize(("field", "value"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_named(field, value):
    with pytest.raises(UserError) as error:
        read(**{field: value})
    message, name = str(error.value), field.replace("__", ".")
    assert message.startswith(f"{name} {value!r}: must "), message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"factors": (0.2,)}, "factors (0.2,): must be as many as the 2 boundaries"),
        ({"boundaries": (100, 0.5)}, "boundaries (100.0, 0.5): must be steps, or fractions"),
        ({"boundaries": (0.01, 0.5)}, "rise from the warm-up's end, 1000"),
        ({"boundaries": (2000.5, 3000)}, "boundaries (2000.5, 3000.0): must be steps"),
        ({"boundaries": (-5, 30)}, "boundaries -5: must be above 0"),
        ({"factors": (0.2, 0)}, "factors 0: must be above 0"),
    ],
)
def test_boundaries_of_the_learning_rate_that_do_not_fit_are_named(fields, words):
    fields = {f"optimizer__{name}": value for name, value in fields.items()}
    with pytest.raises(UserError) as error:
        read(optimizer__schedule="steps", **fields)
    assert words in str(error.value)


def test_boundaries_are_steps_of_the_run():
    optimizer = read(optimizer__schedule="steps", optimizer__boundaries=(0.5, 30_000)).optimizer
    assert optimizer.starts(38_400) == (19_200, 30_000)
    assert read().optimizer.starts(38_400) == ()


LAPLACE = {"model__laplace_scale": True, "loss__weights__laplace": 1.0}
VALIDITY = {
    "model__validity": True,
    "loss__weights__validity": 1.0,
    "data__missing_depth": "hole",
}


def test_each_output_of_the_decoder_has_its_loss():
    config = read(**LAPLACE, **VALIDITY)
    assert config.model.laplace_scale and config.model.validity
    rendered = {"data__source": "synthetic", "data__missing_depth": "unknown"}
    assert read(**VALIDITY | rendered).model.validity


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            LAPLACE | {"model__laplace_scale": False},
            "loss.weights.laplace 1.0: must be above 0",
        ),
        (
            LAPLACE | {"loss__weights__laplace": 0.0},
            "loss.weights.laplace 0.0: must be above 0",
        ),
        (LAPLACE | {"loss__weights__laplace": -1.0}, "loss.weights.laplace -1.0: must be above 0"),
        (VALIDITY | {"model__validity": False}, "loss.weights.validity 1.0: must be above 0"),
        (VALIDITY | {"loss__weights__validity": 0.0}, "loss.weights.validity 0.0: must be above 0"),
        (VALIDITY | {"data__missing_depth": "unknown"}, "data.missing_depth 'unknown': must be "),
        (VALIDITY | {"data__source": "synthetic"}, "data.missing_depth 'hole': must be unknown "),
        (LAPLACE | {"model__codec": "released"}, "model.laplace_scale True: must be False with "),
        (VALIDITY | {"model__codec": "released"}, "model.validity True: must be False with "),
    ],
)
def test_outputs_that_nothing_trains_and_losses_of_none_are_refused(fields, message):
    with pytest.raises(UserError) as error:
        read(**fields)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("width", ["model__neck_features", "model__latent_channels"])
def test_widths_of_the_released_denoiser_divide_by_four(width):
    with pytest.raises(UserError, match=rf"{width.replace('__', '.')} 6: must be a multiple of 4"):
        read(model__denoiser="released", **{width: 6})


@pytest.mark.parametrize("denoiser", ["released", "released_plain"])
def test_the_released_denoisers_embed_1280_timesteps(denoiser):
    """Their table has no row for more; a timestep beyond it would be embedded as nan."""
    message = (
        rf"diffusion\.num_timesteps 1281: must be at most 1280 with model.denoiser {denoiser}$"
    )
    with pytest.raises(UserError, match=message):
        read(model__denoiser=denoiser, diffusion__num_timesteps=1281)
    assert read(model__denoiser=denoiser, diffusion__num_timesteps=1280)
    assert read(model__denoiser="attention", diffusion__num_timesteps=1281)


def test_missing_and_unknown_fields_are_named():
    fields = default.get_config().to_dict()
    del fields["model"]["neck"]
    with pytest.raises(UserError, match=r"configuration field model\.neck is missing"):
        groups.read(fields)
    fields = default.get_config().to_dict() | {"colour": 1}
    with pytest.raises(UserError, match="configuration field colour is unknown"):
        groups.read(fields)


def test_a_model_needs_its_own_groups_alone():
    fields = default.get_config().to_dict()
    whole, names = groups.read(fields), ("model", "diffusion", "sampler", "frame")
    model = groups.read_model({name: fields[name] for name in names} | {"train": "anything"})
    assert all(getattr(model, name) == getattr(whole, name) for name in names)


def test_groups_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        read().sampler.num_steps = 3  # ty: ignore[invalid-assignment]


@pytest.mark.parametrize("equal", ["zeros", "feed_forward"])
def test_samples_that_are_all_equal_are_refused(equal):
    fields = default.get_config()
    fields.loss.samples, fields.loss.weights.crps = 2, 1.0
    groups.read(fields)
    if equal == "zeros":
        fields.sampler.start = "zeros"
    else:
        fields = feed_forward(fields)
        fields.loss.samples = 2
    with pytest.raises(UserError, match=r"loss.samples 2: must be 1 for a model whose samples"):
        groups.read(fields)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss.samples": 2}, "loss.samples 2: must be 1 unless loss.weights.crps"),
        ({"optimizer.freeze": "*"}, "optimizer.freeze '*': must be a regular expression"),
        ({"sampler.start": "zeros", "sampler.global_noise": 0.5}, "0 where there is no noise"),
        ({"sampler.start": "zeros", "loss.own_noise": True}, "unless a sample follows from its"),
        ({"sampler.eta": 1.0, "loss.own_noise": True}, "unless a sample follows from its"),
        ({"sampler.start": "zeros", "evaluation.ensemble": 2}, "evaluation.ensemble 2: must be 1"),
        ({"sampler.temperature": 0.0, "evaluation.ensemble": 2}, "ensemble 2: must be 1 where"),
        (
            {
                "loss.samples": 2,
                "loss.weights.crps": 1.0,
                "loss.weights.laplace": 1.0,
                "model.laplace_scale": True,
            },
            "0 with several loss.samples",
        ),
        ({"data.missing_depth": "hole"}, "unknown without model.validity"),
    ],
)
def test_options_that_would_do_nothing_or_harm_are_refused(changes, message):
    fields = default.get_config()
    fields.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=re.escape(message)):
        groups.read(fields)
