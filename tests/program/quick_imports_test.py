"""Python looks for garbage again afterwards, whatever happened."""

import gc

import pytest

from diffdepth_jax.program.quick_imports import quick_imports


@pytest.fixture(autouse=True)
def nothing_is_frozen():
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_nothing_is_collected_within_and_new_objects_are_afterwards():
    with quick_imports():
        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count() > 0


def test_a_failed_import_leaves_the_collector_on():
    with pytest.raises(ImportError), quick_imports():
        raise ImportError
    assert gc.isenabled()


def test_a_second_use_freezes_no_garbage():
    with quick_imports():
        pass
    before = gc.get_freeze_count()
    with quick_imports():
        kept = [[] for _ in range(1000)]
        assert gc.isenabled()
    assert gc.get_freeze_count() <= before and len(kept) == 1000
