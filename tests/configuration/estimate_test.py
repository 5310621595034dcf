"""A model's size, told from its fields, is that of real models; beyond all use it is refused."""

import dataclasses
import importlib
import math

import jax
import pytest

from diffdepth_jax.checkpoints import model_directory
from diffdepth_jax.configuration import estimate, groups
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.variables import abstract_variables
from tests.support import small_run


def fields_of(name, **changes):
    config = groups.read(importlib.import_module(f"diffdepth_jax.configs.{name}").get_config())
    return dataclasses.replace(config.model, **changes)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("synthetic", {"neck_features": 512, "detail_features": 0}),
        ("synthetic", {"denoiser_features": 1024, "denoiser_blocks": 4}),
        ("synthetic", {"latent_channels": 1024, "decoder_width": 1024}),
        ("frozen_samples", {"neck_features": 512}),
        ("released_res18", {}),
    ],
)
def test_the_parameters_are_at_most_the_estimate_and_of_its_order(name, changes):
    model = fields_of(name, **changes)
    parameters = abstract_variables(create_model(model))["params"]
    heads = {part: tree for part, tree in parameters.items() if part != "backbone"}
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(heads))
    assert count <= estimate.num_parameters(model) <= 8 * count


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neck": "dpt", "neck_features": 4096}, "parameters of the fields of model, about "),
        ({"denoiser_features": 4096, "denoiser_blocks": 64}, "must be at most 2e"),
        ({"neck_features": 10**9}, r"model\.neck_features 1000000000: must be at most 4096"),
        ({"denoiser_blocks": 10**9}, r"model\.denoiser_blocks 1000000000: must be at most 64"),
    ],
)
def test_models_of_billions_of_parameters_are_refused(changes, message):
    fields = dataclasses.asdict(small_run.config())
    fields["model"] |= changes
    with pytest.raises(UserError, match=message):
        groups.read_model(fields)


def test_pictures_of_terabytes_are_refused_when_a_directory_is_read(tmp_path):
    model_directory.claim_directory(tmp_path, small_run.config())
    path = tmp_path / "config.json"
    size = '"size": [\n   {},\n   {}\n  ]'
    text = path.read_text()
    ours = size.format(*small_run.SIZE)
    assert ours in text
    path.write_text(text.replace(ours, size.format(16_000, 16_000)))
    with pytest.raises(UserError, match=r"config\.json .*GiB for one image of frame\.size"):
        model_directory.read_config(tmp_path)
