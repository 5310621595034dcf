"""Shares of an hour: for one browser, and for all together."""

import pytest

from diffdepth_jax.web.upload_limits import HOUR, Refused, Share, UploadLimits

MB = 2**20


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def _limits(clock):
    return UploadLimits(Share(2, 10 * MB), Share(3, 20 * MB), clock)


def test_a_session_has_so_many_uploads_within_any_hour(clock):
    limits = _limits(clock)
    limits.admit("ann", MB)
    clock.now = 600
    limits.admit("ann", MB)
    clock.now = 1200
    with pytest.raises(
        Refused, match=r"^one browser may send 2 photos and 10 MB .*: wait 40 minutes$"
    ) as refused:
        limits.admit("ann", MB)
    assert refused.value.wait == 2400
    clock.now = HOUR - 1
    with pytest.raises(Refused, match=r"wait 1 minute$"):
        limits.admit("ann", MB)
    clock.now = HOUR
    limits.admit("ann", MB)  # the first one is an hour old
    with pytest.raises(Refused, match=r"wait 10 minutes$"):
        limits.admit("ann", MB)


def test_a_session_has_so_many_bytes(clock):
    limits = _limits(clock)
    limits.admit("ann", 6 * MB)
    with pytest.raises(Refused, match="one browser"):
        limits.admit("ann", 5 * MB)
    limits.admit("ann", 4 * MB)  # what was refused does not count


@pytest.mark.parametrize("size", [0, 7 * MB])
def test_all_sessions_together_have_their_share(clock, size):
    limits = _limits(clock)
    for number in range(3 if size == 0 else 2):
        limits.admit(f"session {number}", size)
    with pytest.raises(Refused, match="all browsers together may send 3 photos and 20 MB"):
        limits.admit("another", size)
    clock.now = HOUR
    limits.admit("another", size)


def test_what_is_larger_than_the_share_never_fits(clock):
    with pytest.raises(Refused):
        _limits(clock).admit("ann", 11 * MB)
