"""Several processes, as far as one can tell: shares, and a first process that is not there."""

import socket
import time

import jax
import pytest

from diffdepth_jax.distributed import processes
from diffdepth_jax.errors import UserError


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("length", [0, 1, 5, 8, 17])
def test_shares_are_neighbours_and_make_up_the_whole(length, count, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: count)
    shares = []
    for index in range(count):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        shares.append(processes.share(length))
    assert [item for share in shares for item in share] == list(range(length))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert len(shares[0]) == max(map(len, shares))  # the first draws the pictures


def test_one_process_gathers_and_agrees_with_itself():
    assert processes.gather([{"a": 1}]) == [{"a": 1}]
    agreement = processes.Agreement()
    assert [agreement.ask(flag) for flag in (False, True, False)] == [False, True, False]


def test_a_first_process_that_is_not_there_is_a_sentence(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("localhost", 0))
        address = f"localhost:{unused.getsockname()[1]}"
    monkeypatch.setattr(processes, "PATIENCE", 0.5)
    began = time.monotonic()
    with pytest.raises(UserError, match=rf"--coordinator={address}: .*refused.*=HOST:PORT of proc"):
        processes.join(address, 2, 1)
    assert 0.5 <= time.monotonic() - began < 30


def test_an_address_without_a_port_is_a_sentence():
    with pytest.raises(UserError, match=r"--coordinator=localhost: .* --coordinator=HOST:PORT"):
        processes.join("localhost", 2, 1)


def test_alone_a_failure_takes_its_usual_way():
    with pytest.raises(SystemExit) as end, processes.fail_together():
        raise SystemExit(2)
    assert end.value.code == 2
