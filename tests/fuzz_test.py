"""Damaged files of every kind end well; and what ends otherwise would be seen."""

import os

import pytest

from diffdepth_jax.errors import UserError
from tests.fuzz import __main__ as program
from tests.fuzz import kinds, workers
from tests.fuzz.kinds import Kind
from tests.fuzz.workers import Sandbox, Worker
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def sandbox():
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


@pytest.mark.parametrize("kind", program.KINDS)
def test_damaged_files_are_read_or_refused(sandbox, kind):
    assert kind in kinds.KINDS
    for seed in range(8):
        outcome = sandbox.read(kind, seed)
        assert outcome.name in ("read", "refused"), f"{kind}:{seed} {outcome.text}"


@pytest.mark.parametrize("kind", program.KINDS)
def test_the_files_that_are_damaged_are_valid(sandbox, kind):
    """But for two checkpoints of other networks, whose reading ends in a refusal."""
    for path in sorted(path for path in sandbox.valid(kind).rglob("*") if path.is_file()):
        if not path.name.startswith("checkpoint"):
            kinds.KINDS[kind].read(path)


def test_a_seed_says_what_is_damaged_and_how(sandbox):
    first, again, other = (sandbox.damaged("photo", seed) for seed in (3, 3, 4))
    assert first == again and first != other
    before = [sandbox.damaged("config", seed) for seed in range(60)]
    assert [sandbox.damaged("config", seed) for seed in range(60)] == before


def _raise(error):
    def read(path):
        raise error

    return read


def _memory(path):
    try:
        raise MemoryError
    except MemoryError as error:
        raise UserError("one line") from error


def _write(folder):
    (folder / "a").write_bytes(b"abc")


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (_raise(TypeError("wrong")), "traceback"),
        (_raise(UserError("bad")), "refused"),
        (_raise(OSError("gone")), "refused"),
        (_memory, "memory"),
        (lambda path: None, "read"),
    ],
)
def test_every_end_is_told_from_the_others(sandbox, monkeypatch, read, name):
    monkeypatch.setitem(kinds.KINDS, "made up", Kind(_write, read))
    assert sandbox.read("made up", 1).name == name


def test_failures_are_saved_with_what_repeats_them(tmp_path, capsys):
    session = program.Session(1, ["list"], tmp_path / "failures")
    session._count("list", 7, workers.Outcome("hang"))
    assert session.report() == 1
    assert "--case=list:7" in capsys.readouterr().out
    names = [path.name for path in (tmp_path / "failures").iterdir()]
    assert len(names) == 2 and "list-7.txt" in names


def test_failures_are_never_saved_in_the_repository():
    with pytest.raises(SystemExit, match="is in the repository"):
        program.Session(1, ["photo"], ROOT / "failures")


@pytest.mark.slow
def test_a_hang_and_a_crash_are_failures_and_not_the_end(monkeypatch):
    worker = Worker(["list"])
    assert worker.read("list", 1).name in ("read", "refused")
    os.kill(worker._process.pid, 9)
    assert worker.read("list", 2).name == "crash"
    assert worker.read("list", 3).name in ("read", "refused")
    monkeypatch.setattr(workers, "SECONDS", -1)
    monkeypatch.setattr(worker._connection, "poll", lambda seconds: False)
    assert worker.read("list", 4).name == "hang"
    worker.close()
