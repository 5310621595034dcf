"""The comparison of two checkouts: what a process takes, and the table."""

import pytest

from benchmarks import against


def test_a_program_is_measured_in_its_checkout(tmp_path):
    (tmp_path / "program.py").write_text("open('written', 'w').write('x')")
    side = against.Side(tmp_path, tmp_path / "of side", "0")
    taken = side.run("program")
    assert (tmp_path / "written").exists()
    assert taken["seconds"] > 0 and taken["cpu"] >= taken["kernel"] and taken["faults"] > 0


def test_medians_and_losses_are_compared():
    def numbers(speed, losses):
        return [{"images_per_second": speed}, losses]

    rounds = [
        {"ours": numbers(ours, [2.0, 1.01]), "earlier": numbers(earlier, [2.0, 1.0])}
        for ours, earlier in ((10, 8), (12, 4), (90, 6))
    ]
    losses, speed = against.summary({"training": rounds})
    assert "losses of 2 logged steps differ by 1.0e-02" in losses
    assert [float(x) for x in speed.split()[2:]] == pytest.approx([6, 12, 2])
