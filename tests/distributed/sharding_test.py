"""A global batch's share of this process, and arrays on the mesh."""

import jax
import numpy as np
import pytest

from diffdepth_jax.distributed import sharding
from diffdepth_jax.errors import UserError


@pytest.fixture
def two_hosts_of_four(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    monkeypatch.setattr(jax, "process_count", lambda: 2)


def test_a_process_reads_its_share(two_hosts_of_four):
    assert sharding.local_batch_size(16) == 8


@pytest.mark.parametrize(("batch_size", "accumulate"), [(4, 1), (12, 1), (24, 2)])
def test_refuses_a_batch_that_does_not_divide(two_hosts_of_four, batch_size, accumulate):
    with pytest.raises(UserError, match=f"batch_size {batch_size}: .* the 8 devices times"):
        sharding.local_batch_size(batch_size, accumulate)


def test_refuses_an_unknown_mode():
    with pytest.raises(UserError, match="parallel 'tpu': must be one of jit, pmap, fsdp"):
        sharding.Layout("tpu", sharding.create_mesh())


def test_a_sharded_batch_is_the_batch_split_over_the_mesh():
    mesh = sharding.create_mesh()
    size = 2 * jax.device_count()
    batch = {
        "image": np.arange(size * 6, dtype=np.float32).reshape(size, 2, 3),
        "mask": np.arange(size)[:, None] % 2 == 0,
    }
    sharded = sharding.Layout("jit", mesh).shard_batch(batch)
    for name, array in sharded.items():
        np.testing.assert_array_equal(array, batch[name])
        assert array.dtype == batch[name].dtype
        assert array.sharding.is_equivalent_to(sharding.split(mesh), array.ndim)
        assert {shard.data.shape[0] for shard in array.addressable_shards} == {2}


def test_fsdp_splits_large_leaves_along_their_longest_axis_that_divides():
    layout = sharding.Layout("fsdp", _FakeMesh(4))
    size = sharding.MIN_SPLIT
    leaf = jax.ShapeDtypeStruct
    assert layout.split_axis(leaf((8, size), np.float32)) == 1
    assert layout.split_axis(leaf((8, size + 1), np.float32)) == 0
    assert layout.split_axis(leaf((3, size + 1), np.float32)) is None
    assert layout.split_axis(leaf((size // 2,), np.float32)) is None
    assert sharding.Layout("jit", _FakeMesh(4)).split_axis(leaf((8, size), np.float32)) is None


class _FakeMesh:
    def __init__(self, size):
        self.size = size
