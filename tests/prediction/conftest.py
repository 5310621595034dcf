"""What the tests of several modules of prediction use."""

import pytest

from tests.support import small_model


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A model of random parameters: noise matters more to it than to one that began to learn."""
    directory = tmp_path_factory.mktemp("models") / "random"
    small_model.save(directory)
    return directory
