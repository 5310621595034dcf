"""Flags that a program does not know, with and without configurations."""

import pytest
from absl import flags

from diffdepth_jax.program import flag_errors
from diffdepth_jax.program.config_flag import define_config


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("warmup_steps", "did you mean --config.optimizer.warmup_steps?"),
        ("num_steps", "mean --config.sampler.num_steps or --config.train.num_steps?"),
        ("colour", "--help lists all flags"),
        ("folder", "--help lists all flags"),  # a group, which takes no value
    ],
)
def test_a_field_by_its_last_part_is_offered(name, offered, monkeypatch):
    known = flags.FlagValues()
    define_config("", flag_values=known)
    monkeypatch.setattr(flags, "FLAGS", known)
    said = flag_errors.sentence(flags.UnrecognizedFlagError(name))
    assert said.startswith(f"unknown flag --{name}; ") and said.endswith(offered)


def test_a_program_without_configurations_offers_no_fields(monkeypatch):
    monkeypatch.setattr(flags, "FLAGS", flags.FlagValues())
    said = flag_errors.sentence(flags.UnrecognizedFlagError("num_steps"))
    assert said == "unknown flag --num_steps; --help lists all flags"
