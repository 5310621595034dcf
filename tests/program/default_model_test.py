"""The model that is taken where none is named."""

import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.program.default_model import DEFAULT, chosen


def test_the_model_that_ships_is_taken_and_named(capsys):
    assert chosen(None) == DEFAULT and DEFAULT in capsys.readouterr().out


def test_a_named_model_is_taken_without_a_word(capsys):
    assert chosen("runs/x") == "runs/x" and capsys.readouterr().out == ""


def test_an_empty_name_is_no_wish_for_the_default():
    with pytest.raises(UserError, match=f"checkpoint is empty: .* leave it out for {DEFAULT}"):
        chosen("")
