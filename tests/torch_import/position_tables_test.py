"""Position-bias tables of another window, beside what PyTorch makes of random ones."""

import numpy as np
import pytest

from diffdepth_jax.torch_import.position_tables import fits_another_window, resize_table
from tests.support.paths import GOLDEN

VECTORS = np.load(GOLDEN / "position_tables.npz")


@pytest.mark.parametrize("windows", ["4_7", "7_4", "7_12", "12_7"])
def test_a_random_table_is_resized_as_by_pytorch(windows):
    """Enlarged and shrunk; a constant and a ramp would not tell the kernels apart."""
    table, expected = (VECTORS[f"{windows}/{name}"] for name in ("in", "out"))
    resized = resize_table(table.astype(np.float32), expected.shape)
    np.testing.assert_allclose(resized, expected, atol=4e-6)


@pytest.mark.parametrize(
    ("rows", "heads", "fits"), [(169, 3, True), (25, 3, False), (168, 3, False), (169, 4, False)]
)
def test_a_table_fits_if_only_its_window_differs(rows, heads, fits):
    assert fits_another_window(np.zeros((rows, heads), np.float32), (25, 3)) == fits
