"""The arithmetic of what a machine must have."""

import json

import pytest

from benchmarks import machine_needs, training_memory
from benchmarks.machine_needs import Needs

# Parameters of 10 bytes; 30 of state; each image adds 7 to 5 that are there anyway.
ROWS = {
    "1": {"temporary": 12, "outputs": 30, "multiply_adds": 4},
    "2": {"temporary": 19, "outputs": 30, "multiply_adds": 4},
}


def test_needs_are_taken_from_two_compiled_steps():
    assert Needs.from_rows(ROWS) == Needs(parameters=10, fixed=5, image=7, operations=8)


def test_a_device_holds_the_state_and_its_images():
    needs = Needs.from_rows(ROWS)
    assert needs.device_bytes(3, devices=5, parallel="jit") == 30 + 5 + 3 * 7
    assert needs.device_bytes(3, devices=5, parallel="fsdp") == 30 / 5 + 10 + 5 + 3 * 7


def test_one_device_sends_nothing_and_many_send_the_parameters_twice():
    needs = Needs.from_rows(ROWS)
    assert needs.network_bytes(1) == 0
    assert needs.network_bytes(10) == pytest.approx(2 * 10 * 0.9)


@pytest.mark.parametrize("memory, images", [(0, 0), (35 / 0.9 - 1, 0), (50 / 0.9, 2)])
def test_images_fit_into_what_the_state_leaves(memory, images):
    assert Needs.from_rows(ROWS).fitting_images(1, memory, "jit") == images


def test_the_table_has_a_line_for_each_machine():
    needs = Needs(parameters=2**30, fixed=2**30, image=2**30, operations=1e12)
    lines = machine_needs.format_recipe("name", needs, batch_size=16, num_steps=1000).splitlines()
    assert len(lines) == 2 + len(machine_needs.MACHINES)
    # 24 GiB x .9 - 4 GiB = 17.6 GiB; 16e15 operations at .3 of 165e12 a second: 323 s.
    assert "| 4.0 GiB | 1.00 GiB | 17 | 1 | 0.00 GiB | 0.1 |" in lines[2]
    assert "| 4.0 GiB (2.4) | 1.00 GiB | 68 | 1 | 1.75 GiB |" in lines[4]


def test_the_recipes_are_measured_at_the_size_of_their_crops():
    assert machine_needs.create_config("nyu").frame.size == (416, 544)
    assert machine_needs.create_config("kitti").frame.size == (352, 704)


def test_rows_in_the_file_are_kept(tmp_path, monkeypatch):
    path = tmp_path / "needs.json"
    path.write_text(json.dumps({"rows": {recipe: ROWS for recipe in machine_needs.RECIPES}}))
    monkeypatch.setattr(training_memory, "measure", None)  # nothing is measured again
    assert machine_needs.measure_rows(path) == {"nyu": ROWS, "kitti": ROWS}
