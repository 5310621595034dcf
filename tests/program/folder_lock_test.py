"""One program in a folder, or several that know of each other; and nothing that locks for ever."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys

import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.program import folder_lock
from diffdepth_jax.program.folder_lock import FILE, FolderLock
from tests.support.paths import ROOT

HOLDER = """
import sys, time
from diffdepth_jax.program.folder_lock import FolderLock
with FolderLock(sys.argv[1]) as lock:
    getattr(lock, sys.argv[2])("wait")
    print("taken", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """Starts another program that has the lock; what still runs at the end is killed."""
    processes = []

    def start(way="take"):
        command = [sys.executable, "-c", HOLDER, tmp_path, way]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout.readline() == "taken\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def _kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_the_second_is_refused_in_one_line_that_names_the_first(other, tmp_path):
    process = other()
    with FolderLock(tmp_path) as lock, pytest.raises(UserError) as caught:
        lock.take("give another --workdir")
    message = str(caught.value)
    assert f"{tmp_path} is in use by process {process.pid} on {socket.gethostname()}" in message
    assert ", since 2" in message and message.endswith(": give another --workdir")
    assert "\n" not in message
    assert (tmp_path / FILE).exists()  # the refused one deletes nothing


def test_what_a_killed_program_left_locks_nothing_and_is_tidied(other, tmp_path):
    _kill(other())
    left = tmp_path / "a/.unfinished-0123456789abcdef.npy"
    left.parent.mkdir()
    left.write_text("half")
    mine = tmp_path / ".unfinished-business.txt"
    mine.write_text("mine")
    assert (tmp_path / FILE).exists()
    with FolderLock(tmp_path) as lock:
        assert lock.take("wait")
        assert not left.exists() and mine.read_text() == "mine"
    assert not (tmp_path / FILE).exists()


def test_two_of_one_process_are_two(tmp_path):
    with FolderLock(tmp_path) as first, FolderLock(tmp_path) as second:
        assert first.take("wait")
        with pytest.raises(UserError, match=f"process {os.getpid()} on"):
            second.take("wait")
        assert (tmp_path / FILE).exists()
    with FolderLock(tmp_path) as third:
        assert third.take("wait")


def test_several_share_and_the_later_is_told_of_the_first(other, tmp_path, caplog):
    process = other("share")
    with FolderLock(tmp_path) as lock:
        lock.share("wait")
        assert f"in use by process {process.pid} on" in caplog.text
        _kill(process)
        with FolderLock(tmp_path) as third:
            third.share("wait")
        assert (tmp_path / FILE).exists()
    assert not (tmp_path / FILE).exists()


def test_nothing_is_tidied_while_others_share(other, tmp_path):
    other("share")
    left = tmp_path / ".unfinished-0123456789abcdef"
    left.write_text("half, and being written")
    with FolderLock(tmp_path) as lock:
        lock.share("wait")
    assert left.exists()


def test_a_folder_that_one_has_alone_is_not_shared(other, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "_PATIENCE", 0.1)
    other()
    with FolderLock(tmp_path) as lock, pytest.raises(UserError, match="in use by process"):
        lock.share("wait")


@pytest.mark.parametrize("way", ["take", "share"])
def test_without_locks_a_warning_says_so(tmp_path, monkeypatch, caplog, way):
    def flock(file, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with FolderLock(tmp_path) as first, FolderLock(tmp_path) as second:
        assert not getattr(first, way)("wait") and not getattr(second, way)("wait")
    assert caplog.text.count("has no locks (No locks available), so nothing tells") == 2
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"pid": "x", "host": 1, "since": 1e99}'])
def test_a_file_that_says_nothing_names_nobody(tmp_path, content):
    with FolderLock(tmp_path) as first, FolderLock(tmp_path) as second:
        first.take("wait")
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(UserError, match=r"in use by another program: wait"):
            second.take("wait")


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / FILE).symlink_to(tmp_path / "mine")
    with FolderLock(tmp_path) as lock, pytest.raises(OSError, match=FILE):
        lock.take("wait")
    assert (tmp_path / "mine").read_text() == "mine"
