"""Processes that read damaged files, each with limits of time and memory."""

import multiprocessing
import os
import pathlib
import resource
import shutil
import tempfile
import time
import traceback
import zlib
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np

from diffdepth_jax.errors import UserError

SECONDS, GIBIBYTES = 10, 3
_IDLE_SECONDS = 120  # of the clock: who waits for ever uses no processor
FAILURES = ("traceback", "hang", "memory", "crash")


class Outcome(NamedTuple):
    """How the reading of a file ended: "read", "refused" or one of `FAILURES`; and a text."""

    name: str
    text: str = ""


class Sandbox:
    """The valid files of each kind, in a folder of this process, and their reading when damaged."""

    def __init__(self) -> None:
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="fuzz"))

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def read(self, kind: str, seed: int) -> Outcome:
        """Damages a file as the seed says, reads it, and puts the folder back."""
        valid = self.valid(kind)
        target, data = self.damaged(kind, seed)
        folder = self._folder / "case"
        shutil.copytree(valid, folder)
        try:
            (folder / target).write_bytes(data)
            return _outcome(kind, folder / target)
        finally:
            shutil.rmtree(folder)

    def valid(self, kind: str) -> pathlib.Path:
        """The folder of a kind's valid files, which are made at first."""
        from tests.fuzz.kinds import KINDS

        folder = self._folder / kind
        if not folder.exists():
            folder.mkdir()
            KINDS[kind].make(folder)
        return folder

    def damaged(self, kind: str, seed: int) -> tuple[pathlib.Path, bytes]:
        """The file that the seed chooses, relative to its folder, and its damaged bytes."""
        from tests.fuzz.mutations import mutate

        rng = np.random.default_rng([zlib.crc32(kind.encode()), seed])
        files = sorted(path for path in self.valid(kind).rglob("*") if path.is_file())
        chosen = files[rng.integers(len(files))]
        return chosen.relative_to(self.valid(kind)), mutate(chosen.read_bytes(), rng)


def _outcome(kind: str, path: pathlib.Path) -> Outcome:
    from tests.fuzz.kinds import KINDS

    try:
        KINDS[kind].read(path)
    except (UserError, OSError) as error:  # both end the programs with one line
        return _without_memory(error) or Outcome("refused", str(error))
    except Exception as error:
        return _without_memory(error) or Outcome("traceback", traceback.format_exc())
    return Outcome("read")


def _without_memory(error: BaseException | None) -> Outcome | None:
    """A failure if the limit of memory is what a reader met, whatever it made of it."""
    text = traceback.format_exc()
    while error is not None:
        if isinstance(error, MemoryError):
            return Outcome("memory", text)
        error = error.__cause__ or error.__context__
    return None


def _serve(connection: Connection, kinds: list[str]) -> None:
    """In a worker: reads one file for each (kind, seed) that arrives."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what decoders print about damaged files
        os.dup2(null, stream)
    sandbox = Sandbox()
    for kind in kinds:
        sandbox.read(kind, 0)  # what is imported and compiled at first does not count
    limit = _data_bytes() + GIBIBYTES * 2**30
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    connection.send("ready")
    while (case := connection.recv()) is not None:
        connection.send(sandbox.read(*case))
    sandbox.close()


def _data_bytes() -> int:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))


class Worker:
    """A process that reads files; a file that it does not survive is the next one's beginning."""

    def __init__(self, kinds: list[str]) -> None:
        self._kinds = kinds
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._kinds), daemon=True)
        self._process.start()
        theirs.close()
        self._connection.recv()

    def read(self, kind: str, seed: int) -> Outcome:
        """Damages a file and reads it; after `SECONDS` of the processor it is a hang."""
        begin, used = time.monotonic(), self._seconds()
        try:
            self._connection.send((kind, seed))
            while not self._connection.poll(0.2):
                idle = time.monotonic() - begin > _IDLE_SECONDS
                if idle or self._seconds() - used > SECONDS:
                    return self._ended(Outcome("hang"))
            return self._connection.recv()
        except (EOFError, OSError):
            self._process.join(1)
            return self._ended(Outcome("crash", f"exit code {self._process.exitcode}"))

    def _ended(self, outcome: Outcome) -> Outcome:
        self._process.kill()
        self._process.join()
        self._start()
        return outcome

    def _seconds(self) -> float:
        """Processor time of the process so far."""
        try:
            fields = pathlib.Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")")[-1]
        except OSError:
            return 0.0
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self._connection.send(None)
        self._process.join()
