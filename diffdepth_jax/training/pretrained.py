"""What training starts from instead of random variables: a backbone, or a whole model."""

import pathlib

import jax
from flax import traverse_util

from diffdepth_jax.checkpoints.model_directory import load_variables
from diffdepth_jax.errors import UserError
from diffdepth_jax.torch_import.conversion import load_backbone, only_backbone

# Where the authors of Swin keep its ImageNet weights, under the names that their README lists.
SWIN_RELEASE = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0"


def start_from(variables, *, backbone_weights, initial_weights):
    """Variables with what the two paths hold in place of random values.

    Args:
      variables: nested arrays, as initialised.
      backbone_weights: a PyTorch file of a Swin or a released model, or a model directory, of which
        the backbone is taken; "": none; "none": none, and a message says so.
      initial_weights: a model directory, converted or trained; "": none. It has a backbone of its
        own, so `backbone_weights` is not read then, and a message says so.

    Returns:
      The variables, and messages on what was not simply copied.
    """
    check_backbone_path(backbone_weights, initial_weights)
    messages = []
    if initial_weights and backbone_weights:
        messages = [f"all weights come from {initial_weights}; {backbone_weights} is not read"]
        backbone_weights = ""
    if initial_weights:
        initial = jax.device_get(load_variables(initial_weights, None))
        _check_leaves(initial_weights, "model", initial, variables)
        variables = initial
    if backbone_weights == "none":
        messages = ["model.backbone_weights is none: the backbone starts from random weights"]
    elif backbone_weights:
        backbone, messages = _backbone(pathlib.Path(backbone_weights), variables)
        variables = {
            collection: {**tree, **backbone.get(collection, {})}
            for collection, tree in variables.items()
        }
    return variables, messages


def check_backbone_path(backbone_weights, initial_weights):
    """A missing file is worth knowing before a large model is built."""
    path = pathlib.Path(backbone_weights)
    if backbone_weights not in ("", "none") and not initial_weights and not path.exists():
        raise UserError(
            f"model.backbone_weights {path} does not exist. Get an ImageNet Swin:\n"
            f"  mkdir -p {path.parent} && curl -L -o {path} {SWIN_RELEASE}/{path.name}\n"
            "or start from random weights: --config.model.backbone_weights=none"
        )


def _backbone(path, variables):
    if not path.is_dir():
        return load_backbone(path, variables)
    backbone = only_backbone(jax.device_get(load_variables(path, None)))
    _check_leaves(path, "backbone", backbone, only_backbone(variables))
    return backbone, []


def _check_leaves(path, part, found, expected):
    """Raises unless both have the same leaves in the same shapes."""
    ours, theirs = (
        {name: leaf.shape for name, leaf in traverse_util.flatten_dict(tree, sep="/").items()}
        for tree in (expected, found)
    )
    differing = sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))
    if differing:
        raise UserError(
            f"the {part} of {path} is another than the configuration's: {len(differing)} leaves "
            f"differ, {differing[0]} for one; set config.model as it was there"
        )
