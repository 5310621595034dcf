"""The batches of a run: augmented ones, or fixed views with the features of a frozen backbone."""

import contextlib
import pathlib
from collections.abc import Generator, Iterator
from typing import Any

import jax

from diffdepth_jax.arrays import Batch, Variables
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.datasets import pipeline
from diffdepth_jax.datasets.canonical import CanonicalCamera
from diffdepth_jax.datasets.mixture import shares_of
from diffdepth_jax.datasets.samples import Source
from diffdepth_jax.datasets.thinning import thinned
from diffdepth_jax.datasets.views import FixedViews
from diffdepth_jax.distributed import sharding
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.assembly import DepthNetwork
from diffdepth_jax.training.announcements import inform
from diffdepth_jax.training.feature_cache import Encode, FeatureCache, checksum
from diffdepth_jax.training.optimizer import frozen
from diffdepth_jax.training.run_log import counted

# The fields of the group `model` that a backbone's features depend on.
_BACKBONE_FIELDS = (
    "backbone",
    "window_size",
    "window_shift",
    "position_embedding",
    "backbone_layers",
    "position_interpolation",
    "dtype",
)


def augmented_batches(config: Configuration, source: Source, first_step: int) -> Iterator[Batch]:
    """This process's batches of the training steps from `first_step` on."""
    return pipeline.train_iterator(
        source,
        max_unreadable=config.train.max_unreadable,
        first_step=first_step,
        **_reading(config),
        **_seen(config),
        **vars(config.augmentation),
    )


def cached_batches(
    config: Configuration, source: Source, cache: FeatureCache, first_step: int
) -> Iterator[Batch]:
    """As `augmented_batches`, of the views of a source in a filled cache."""
    shares = shares_of(source, views=len(cache) // len(source))
    return pipeline.view_iterator(cache, shares, first_step=first_step, **_reading(config))


def _reading(config: Configuration) -> dict[str, Any]:
    return {
        "seed": config.seed,
        "batch_size": sharding.local_batch_size(config.train.batch_size, config.train.accumulate),
        "num_threads": config.train.num_threads,
        "process": (jax.process_index(), jax.process_count()),
    }


def _seen(config: Configuration) -> dict[str, Any]:
    frame = config.frame
    return {
        "size": frame.size,
        "input_crop": frame.input_crop,
        "min_depth": frame.min_depth,
        "max_depth": frame.max_depth,
        "camera": CanonicalCamera.of(config),
        "validity": config.model.validity,
    }


def open_cache(
    config: Configuration,
    source: Source,
    model: DepthNetwork,
    variables: Variables,
    workdir: pathlib.Path,
) -> FeatureCache:
    """The cache that a configuration asks for, filled as far as earlier runs came.

    Raises:
      UserError: training changes the features, or see `FeatureCache`.
    """
    _check_constant(config, variables)
    augmentation = dict(vars(config.augmentation))
    fraction = augmentation.pop("valid_pixel_fraction")
    source = thinned(source, fraction, config.seed)
    views = FixedViews(
        source, config.seed, config.train.cache_features, **_seen(config), **augmentation
    )
    image = jax.ShapeDtypeStruct((1, *config.augmentation.crop_size, 3), "float32")
    maps = jax.eval_shape(
        lambda variables, image: model.apply(variables, image, method="backbone_maps"),
        variables,
        image,
    )
    folder = pathlib.Path(config.train.features_dir or workdir / "features")
    return FeatureCache(folder, views, maps, _facts(config, views, variables))


def filled(cache: FeatureCache, encode: Encode, batch_size: int) -> Generator[int]:
    """Fills a cache under a progress bar; yields how many rows are there, and may be broken off."""
    inform(str(cache))
    with contextlib.closing(cache.fill(encode, batch_size)) as done:  # it saves when it is closed
        yield from counted(done, "features", cache.done, len(cache))


def _facts(config: Configuration, views: FixedViews, variables: Variables) -> dict[str, Any]:
    """What features depend on, beside the pixels."""
    samples, crops, flips = views.shape
    return {
        "backbone": {name: getattr(config.model, name) for name in _BACKBONE_FIELDS},
        "weights": checksum(variables),
        "samples": samples,
        "crops": crops,
        "flips": flips,
        "seed": config.seed,
        "size": config.frame.size,
        "input_crop": config.frame.input_crop,
        "box": config.augmentation.box,
        "crop_size": config.augmentation.crop_size,
    }


def _check_constant(config: Configuration, variables: Variables) -> None:
    """Refuses a backbone that learns, and several processes, which would need a cache each."""
    if jax.process_count() > 1:
        raise UserError("train.cache_features: for one process only; set it to 0")
    params, pattern = variables["params"], config.optimizer.freeze
    if not pattern or not all(jax.tree.leaves(frozen(params, pattern)["backbone"])):
        raise UserError(
            f"optimizer.freeze {pattern!r}: must match the whole backbone, as 'backbone/.*' does, "
            "with train.cache_features"
        )
    if "backbone" in variables.get("batch_stats", {}) and not config.model.freeze_statistics:
        raise UserError(
            f"train.cache_features: the batch statistics of {config.model.backbone} change in "
            "training; set model.freeze_statistics, or train.cache_features to 0"
        )
