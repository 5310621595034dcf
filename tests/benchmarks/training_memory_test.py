"""The benchmark of the training step's memory, on a tiny model."""

import json

import pytest

from benchmarks import training_memory
from tests.support import small_run, tiny


@pytest.fixture
def tiny_rows(monkeypatch):
    """One row, of a tiny model at 1 and 3 steps."""

    def create_config(backbone, dtype, remat, num_steps):
        remat = remat == "sampler"
        return small_run.config(sampler__num_steps=num_steps, sampler__remat=remat)

    monkeypatch.setattr(training_memory, "NUM_STEPS", (1, 3))
    monkeypatch.setattr(training_memory, "row_fields", lambda: {"a": ("x", "float32", "sampler")})
    monkeypatch.setattr(training_memory, "create_config", create_config)
    monkeypatch.setattr(training_memory, "create_model", lambda fields: tiny.model())


@pytest.mark.slow
def test_rows_are_measured_once(tiny_rows, tmp_path, capsys, monkeypatch):
    output = tmp_path / "memory.json"
    training_memory.main([f"--output={output}"])
    table = capsys.readouterr().out
    few, many = json.loads(output.read_text())["rows"]["a"].values()
    assert few["temporary"] > 0 and many["temporary"] > 0
    assert 0 < few["outputs"] <= few["arguments"] == many["arguments"]
    assert few["multiply_adds"] < many["multiply_adds"]
    assert f"{many['temporary'] / few['temporary']:.2f}" in table.splitlines()[1]

    monkeypatch.setattr(training_memory, "measure", None)  # nothing is measured again
    training_memory.main([f"--output={output}"])
    assert capsys.readouterr().out == table


def test_only_rows_asked_for_are_measured(tiny_rows, tmp_path, capsys):
    training_memory.main([f"--output={tmp_path / 'memory.json'}", "--only=swin_large"])
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert not (tmp_path / "memory.json").exists()


def test_rows_are_the_configurations_that_they_name():
    rows = training_memory.row_fields()
    config = training_memory.create_config(*rows["swin_large, bfloat16, all"], 5)
    assert (config.model.backbone, config.model.dtype) == ("swin_large", "bfloat16")
    assert (config.sampler.num_steps, config.frame.size) == (5, (352, 906))
    assert config.sampler.remat and config.train.remat_backbone
    config = training_memory.create_config(*rows["swin_tiny, float32, nothing"], 20)
    assert not config.sampler.remat and not config.train.remat_backbone
