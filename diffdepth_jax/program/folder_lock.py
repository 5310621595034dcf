"""A lock on a folder, so that two programs do not spoil each other's files in it.

It is the kernel's: `flock` on the file `.lock` of the folder. Whoever ends, even by SIGKILL, has it
no more, so that a file which stayed behind locks nothing. The file says who locks, for the message
to others. It is `flock` and not `lockf` (POSIX), whose lock is lost as soon as any part of the
process closes the file, and which two threads of a notebook would both get. On NFS `flock` holds
between machines.
"""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import socket
import time
from typing import Self

from absl import logging

from diffdepth_jax.errors import UserError
from diffdepth_jax.whole_files import remove_unfinished

FILE = ".lock"
_PATIENCE = 5.0  # seconds in which one who will share the lock cleans up, and keeps others out
_NO_LOCKS = {
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.ENOLCK,
    errno.EINVAL,
    errno.EBADF,  # NFS, for a file that may only be read
}


class FolderLock:
    """The lock of a folder, which is made if need be; a context manager that gives the lock back.

    Where the file system has no locks, a warning says that nobody can tell, and all go on.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self._folder = pathlib.Path(folder)
        self._path = self._folder / FILE
        self._made = [x for x in (self._folder, *self._folder.parents) if not x.exists()]
        self._file: int | None = None  # its descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Gives the lock back; the file goes unless others share the lock, and empty folders do."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):  # shared, not to be deleted, or without locks
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._path.unlink()
            for folder in self._made:
                folder.rmdir()
        os.close(self._file)
        self._file = None

    def take(self, remedy: str) -> bool:
        """Takes the lock for this program alone; tells whether the file system has locks.

        What a killed program left unfinished in the folder is deleted.

        Raises:
          UserError: another program has the lock; the message names it, and ends in `remedy`.
        """
        was_left = self._path.exists()
        try:
            self._file = self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"{self._folder} is in use by {self._holder()}: {remedy}"
            raise UserError(message) from error
        if self._file is None:
            return False
        self._sign()
        if was_left:
            remove_unfinished(self._folder)
        return True

    def share(self, remedy: str) -> None:
        """As `take`, but beside others who share the lock, of whom a warning tells."""
        try:
            if self.take(remedy):
                assert self._file is not None
                fcntl.flock(self._file, fcntl.LOCK_SH)
        except UserError:
            if not self._joined():
                raise
            logging.warning(
                "%s is in use by %s, too: files of equal names replace each other",
                self._folder,
                self._holder(),
            )

    def _joined(self) -> bool:
        """Whether others share the lock, and this program with them from now on."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                self._file = self._locked(fcntl.LOCK_SH | fcntl.LOCK_NB)
                return True
            time.sleep(0.05)
        return False

    def _locked(self, kind: int) -> int | None:
        """The locked file; None without locks. Raises a BlockingIOError if another has the lock."""
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            file = self._opened()
            try:
                fcntl.flock(file, kind)
                if self._is_there(file):
                    return file
            except OSError as error:
                os.close(file)
                if error.errno not in _NO_LOCKS:
                    raise
                self._go_without(error)
                return None
            os.close(file)  # the one who had it before has deleted it meanwhile

    def _opened(self) -> int:
        """The file. Another user's can only be read, and can be locked nevertheless."""
        flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | flags, 0o666)
        except PermissionError:
            if not self._path.exists():
                raise
            return os.open(self._path, os.O_RDONLY | flags)

    def _is_there(self, file: int) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(file), os.stat(self._path, follow_symlinks=False))
        return False

    def _go_without(self, error: OSError) -> None:
        self._path.unlink(missing_ok=True)
        logging.warning(
            "%s: its file system has no locks (%s), so nothing tells whether another program "
            "writes there, too",
            self._folder,
            error.strerror,
        )

    def _sign(self) -> None:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        with contextlib.suppress(OSError):  # a full disk, or another user's file
            assert self._file is not None
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, json.dumps(holder).encode(), 0)

    def _holder(self) -> str:
        """What the file says of the program that has the lock."""
        try:
            holder = json.loads(self._path.read_bytes())
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
            return f"process {int(holder['pid'])} on {holder['host']}, since {since}"
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            return "another program"
