"""What the page says of models: by their cards, otherwise by their configurations."""

import json

import pytest

from diffdepth_jax.checkpoints.model_names import find_model, shipped_names
from diffdepth_jax.web.model_facts import ModelFacts, read_facts
from tests.support import small_model


@pytest.mark.parametrize("name", shipped_names())
def test_models_that_ship_say_what_they_saw(name):
    facts = read_facts(find_model(name))
    assert facts.name == name and facts.training and len(facts.limits) >= 3
    assert "`" not in facts.training + "".join(facts.limits)
    assert facts.line.startswith(f"**Model:** {name.replace('_', chr(92) + '_')}, trained on: ")


def test_a_run_says_what_its_configuration_says(tmp_path):
    small_model.save(tmp_path / "run")
    facts = read_facts(tmp_path / "run")
    assert (facts.name, facts.limits) == ("run", ())
    assert facts.training == "rooms and streets that the program rendered"


def _with(folder, data):
    (folder / "config.json").write_text(json.dumps({"data": data}))
    return read_facts(folder).training


def test_every_source_has_a_sentence(tmp_path):
    records = {"source": "records", "records": {"name": "nyu_depth/sync"}}
    folder = {"source": "folder", "folder": {"root": "/home/ann/private"}}
    assert _with(tmp_path, records) == "the data set nyu_depth/sync"
    assert "private" not in _with(tmp_path, folder)
    parts = {
        "a": {**records, "weight": 1},
        "b": {**folder, "weight": 0},
        "c": {**records, "weight": 2},
    }
    assert _with(tmp_path, {"source": "mixture", "mixture": parts}) == "the data set nyu_depth/sync"


@pytest.mark.parametrize(
    "data", [None, [], {}, {"source": "x"}, {"source": []}, {"source": "records"}]
)
def test_a_strange_configuration_says_nothing(tmp_path, data):
    assert _with(tmp_path, data) == "its directory does not say of what"


def test_no_card_brings_links_or_pictures_onto_the_page(tmp_path):
    card = "# A ![x](http://a)\n\n## Training data\n\nOf <img src=x>. More [b](c).\n\n"
    card += "## Limits\n\n- d\n  e\n- f\n"
    (tmp_path / "README.md").write_text(card)
    facts = read_facts(tmp_path)
    assert facts == ModelFacts("A ![x](http://a)", "Of <img src=x>. More [b](c).", ("d e", "f"))
    shown = facts.line + facts.more
    assert "](" not in shown and "<img" not in shown.replace(r"\<", "")
    assert facts.more == "More \\[b\\]\\(c\\)\\.\n\n- d e\n- f"
