"""The start of training from given weights: a backbone, or a whole model."""

import math
import operator
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from diffdepth_jax.arrays import Variables
from diffdepth_jax.checkpoints.model_directory import load_variables, read_config
from diffdepth_jax.checkpoints.model_names import find_model, shipped_names
from diffdepth_jax.configuration.groups import Configuration
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation.evaluator import Evaluator
from diffdepth_jax.evaluation.model_card import licence_section, licences_in
from diffdepth_jax.evaluation.scoring import Means
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.variables import abstract_variables, init_variables, leaf_difference
from diffdepth_jax.torch_import.conversion import load_backbone, only_backbone
from diffdepth_jax.torch_import.licences import licence_of
from diffdepth_jax.torch_import.state_dicts import read_state_dict
from diffdepth_jax.training.announcements import inform

_OF_A_BACKBONE = ("model.position_interpolation", "model.window_shift")
# Where the authors of Swin keep its ImageNet weights, under the names that their README lists.
SWIN_RELEASE = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0"


def start_from(
    variables: Variables,
    *,
    backbone_weights: str,
    initial_weights: str,
    position_interpolation: str,
    is_relative: bool = False,
) -> tuple[Variables, list[str]]:
    """Puts the weights of the two paths in the place of random values.

    Args:
      variables: nested arrays, as initialised.
      backbone_weights: a PyTorch file of a backbone or of a released model, a model directory, or
        the name of a model that ships. Its backbone is taken, and of a directory the convolutions
        beside it, too, which see the image's details: together they encode the image. "" and "none"
        stand for no file; for "none" a message says so.
      initial_weights: a model, see `find_model`, or "". It brings its backbone, so
        `backbone_weights` is then not read, and a message says so. A diffusion model may start
        from a feed-forward one: the denoiser takes the weights of the head. And a model with
        further outputs (a Laplace scale, validity) may start from one without them.
      position_interpolation: the configuration's. A file of a DINOv2 must be of code that has the
        same.
      is_relative: whether the model is. If it starts from a Depth Anything that is the other of
        relative and metric, the last layer, whose numbers mean another thing, stays random.

    Returns:
      The variables, and messages about leaves that were not simply copied.

    Raises:
      UserError: a path does not exist, or holds other leaves than `variables`.
    """
    check_backbone_path(backbone_weights, initial_weights)
    messages = []
    if initial_weights and backbone_weights:
        messages = [f"all weights come from {initial_weights}; {backbone_weights} is not read"]
        backbone_weights = ""
    if initial_weights:
        path = find_model(initial_weights)
        initial = _load_model(path)
        if read_config(path).model.is_relative != is_relative:
            initial, messages = _with_new_head(initial, variables, messages)
        for completed in (_with_denoiser, _with_further_outputs):
            initial, lacking = completed(initial, variables)
            messages += lacking
        _check_leaves(initial_weights, "model", initial, variables)
        variables = initial
    if backbone_weights == "none":
        messages = ["model.backbone_weights is none: the backbone starts from random weights"]
    elif backbone_weights:
        path = _backbone_path(backbone_weights)
        backbone, messages = _backbone(path, variables, position_interpolation)
        variables = {
            collection: {**tree, **backbone.get(collection, {})}
            for collection, tree in variables.items()
        }
    return variables, messages


def _load_model(path: pathlib.Path) -> Variables:
    """The variables of a directory. No more is read than the model of its configuration has."""
    fields = read_config(path).model
    return jax.device_get(load_variables(path, lambda: abstract_variables(create_model(fields))))


def origins(config: Configuration) -> dict[str, Any]:
    """The arguments of `start_from` that a configuration gives."""
    return {
        "backbone_weights": config.model.backbone_weights,
        "initial_weights": config.train.initial_weights,
        "position_interpolation": config.model.position_interpolation,
        "is_relative": config.model.is_relative,
    }


def licences(config: Configuration) -> str:
    """The licence section of what a run starts from, for its model card; "" if none is known."""
    start, backbone = config.train.initial_weights, config.model.backbone_weights
    if start:
        try:
            return licences_in([find_model(start)])
        except UserError as error:  # a run that was resumed needs the model no more
            inform(f"the model card tells no licence of what the run started from: {error}")
            return ""
    path = _backbone_path(backbone)
    if path.is_dir() or not path.is_file():  # a run that was resumed needs the file no more
        return licences_in([path])
    licence = licence_of(read_state_dict(path)[1], config.model.backbone)
    return "" if licence is None else licence_section(*licence)


def score_start(config: Configuration, evaluator: Evaluator) -> dict[str, Mapping[str, Means]]:
    """What a run starts from is worth by itself: {title: evaluation} before the first step."""
    whole, backbone = config.train.initial_weights, config.model.backbone_weights
    if not config.evaluation.baselines or (whole or backbone) in ("", "none"):
        return {}
    initial = init_variables(evaluator.model, jax.random.key(config.seed))
    try:
        variables, _ = start_from(initial, **origins(config))
    except UserError as error:  # a run that was resumed needs what it started from no more
        inform(f"what it started from is not scored by itself: {error}")
        return {}
    title = "the model it started from" if whole else "its backbone, heads untrained"
    return {title: evaluator.evaluate(variables)}


def check_backbone_path(backbone_weights: str, initial_weights: str) -> None:
    """Raises a UserError if the file of a backbone is missing, before a large model is built."""
    path = _backbone_path(backbone_weights)
    if backbone_weights not in ("", "none") and not initial_weights and not path.exists():
        raise UserError(
            f"model.backbone_weights {path} does not exist: get an ImageNet Swin with `mkdir -p "
            f"{path.parent} && curl -L -o {path} {SWIN_RELEASE}/{path.name}`, or start from random "
            "weights with --config.model.backbone_weights=none"
        )


def _backbone_path(name: str) -> pathlib.Path:
    return find_model(name) if name in shipped_names() else pathlib.Path(name)


def check_origin(config: Configuration) -> None:
    """Raises a UserError if a directory's weights are for other fields than the configuration's.

    These are fields that the weights' shapes do not tell.
    """
    initial, backbone = config.train.initial_weights, config.model.backbone_weights
    for part in [] if initial else _random_parts(config):
        if re.fullmatch(config.optimizer.freeze, f"{part}/any"):
            raise UserError(
                f"optimizer.freeze {config.optimizer.freeze!r} would keep {part} as it is, which "
                f"starts from random weights with model.backbone_weights {backbone!r}: add "
                "--config.optimizer.freeze="
            )
    if initial:
        path = find_model(initial)
        _check_clip(path, config)
        _check_fields(path, config, (*_OF_A_BACKBONE, "model.backbone_layers"))
        if config.model.kind == read_config(path).model.kind == "diffusion":
            _check_fields(path, config, [f"diffusion.{name}" for name in vars(config.diffusion)])
        if not _is_the_only_camera(path, config):
            _check_fields(path, config, ["frame.canonical_focal_length"])
    elif backbone and _backbone_path(backbone).is_dir():
        _check_fields(_backbone_path(backbone), config, _OF_A_BACKBONE)


def _random_parts(config: Configuration) -> Iterator[str]:
    """The parts of the image encoder that start from random weights."""
    backbone, details = config.model.backbone_weights, config.model.detail_features
    path = _backbone_path(backbone)
    is_model = backbone not in ("", "none") and path.is_dir()
    if backbone in ("", "none"):
        yield "backbone"
    if details and not (is_model and read_config(path).model.detail_features == details):
        yield "detail"


def _is_the_only_camera(path: pathlib.Path, config: Configuration) -> bool:
    """Whether the canonical camera is the one whose metres a model learned, up to roundings.

    Then the canonical camera's units are that model's metres.
    """
    theirs = read_config(path).frame
    learned = 0.0 if theirs.canonical_focal_length else theirs.focal_length
    canonical = config.frame.canonical_focal_length
    return canonical > 0 and math.isclose(learned, canonical, rel_tol=1e-3)


def _check_clip(path: pathlib.Path, config: Configuration) -> None:
    """A feed-forward model's latent has no bound: a sampler that clips it predicts other depth."""
    kinds = read_config(path).model.kind, config.model.kind
    if kinds == ("feed_forward", "diffusion") and config.sampler.clip:
        raise UserError(
            f"{path} is a feed_forward model, and sampler.clip {config.sampler.clip} would cut its "
            "latents: set --config.sampler.clip=0"
        )


def _check_fields(path: pathlib.Path, config: Configuration, names: Iterable[str]) -> None:
    model = read_config(path)
    for name in names:
        ours, theirs = (operator.attrgetter(name)(x) for x in (config, model))
        if ours != theirs:
            raise UserError(f"{path} is of {name} {theirs!r}, not {ours!r}: set --config.{name}")


def _backbone(
    path: pathlib.Path, variables: Variables, position_interpolation: str
) -> tuple[Variables, list[str]]:
    if not path.is_dir():
        return load_backbone(path, variables, position_interpolation)
    found = jax.device_get(load_variables(path, None))
    encoder = only_backbone(found)
    _check_leaves(path, "backbone", encoder, only_backbone(variables))
    if "detail" not in variables["params"]:
        return encoder, []
    theirs, ours = (tree["params"].get("detail", {}) for tree in (found, variables))
    if leaf_difference(theirs, ours):
        return encoder, [f"{path} has no details of this size: they start from random weights"]
    encoder["params"]["detail"] = theirs
    return encoder, []


def _with_new_head(
    initial: Variables, variables: Variables, messages: list[str]
) -> tuple[Variables, list[str]]:
    """A Depth Anything with the last layer of `variables`."""
    parts = dict(initial["params"])
    if "head" not in parts.get("codec", {}):
        return initial, messages
    parts["codec"] = {**parts["codec"], "head": variables["params"]["codec"]["head"]}
    message = "codec/head is new: one of the two models is relative, and the other metric"
    return {**initial, "params": parts}, [*messages, message]


# What a denoiser has beside the leaves of the head of a feed-forward model.
_OF_DIFFUSION = re.compile(
    r"params/(denoiser/(time_in|time_out|latent_in|blocks_\d+/time)|codec/encoder)/"
)

# At first the time has no influence, so that the model starts as the feed-forward one.
_SILENT = re.compile(r"/(time_out|time)/|/latent_in/bias$")


def _with_denoiser(initial: Variables, variables: Variables) -> tuple[Variables, list[str]]:
    """A feed-forward model as a diffusion model, the rest from `variables`; others as they are."""
    if "head" not in initial["params"] or "denoiser" not in variables["params"]:
        return initial, []
    parts = dict(initial["params"])
    parts["denoiser"] = parts.pop("head")
    found = flatten_dict({**initial, "params": parts}, sep="/")
    expected = flatten_dict(variables, sep="/")
    new = {path: leaf for path, leaf in expected.items() if _OF_DIFFUSION.match(path)}
    new |= {path: np.zeros_like(leaf) for path, leaf in new.items() if _SILENT.search(path)}
    message = f"from a feed_forward model: {len(new)} arrays of the denoiser and codec are new"
    return unflatten_dict({**new, **found}, sep="/"), [message]


# The decoder's outputs beside depth; they start as constants, so that depth is not changed.
_FURTHER_OUTPUT = re.compile(r"params/codec/decoder/(scale_head|validity_head)/")


def _with_further_outputs(initial: Variables, variables: Variables) -> tuple[Variables, list[str]]:
    """With the decoder's outputs that only the configuration's model has."""
    found, expected = (flatten_dict(x, sep="/") for x in (initial, variables))
    new = {path: x for path, x in expected.items() if _FURTHER_OUTPUT.match(path)}
    new = {path: x for path, x in new.items() if path not in found}
    heads = sorted({path.split("/")[-2] for path in new})
    messages = [f"{', '.join(heads)}: new outputs of the decoder"] if heads else []
    return unflatten_dict({**found, **new}, sep="/"), messages


def _check_leaves(
    path: str | os.PathLike, part: str, found: Variables, expected: Variables
) -> None:
    """Raises a UserError unless both have the same leaves in the same shapes."""
    difference = leaf_difference(found, expected)
    if difference:
        raise UserError(
            f"the {part} of {path} is another than the configuration's: {difference}; set "
            "config.model as it was there"
        )
