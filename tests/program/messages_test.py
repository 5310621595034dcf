"""What reaches stderr at each level, of ours and of libraries."""

import logging

import pytest
from absl import logging as absl_logging

from diffdepth_jax.distributed import processes
from diffdepth_jax.errors import UserError
from diffdepth_jax.program import messages
from diffdepth_jax.training import announcements


@pytest.fixture(autouse=True)
def handlers():
    """As before: other tests are to be as quiet as they were."""
    root, verbosity = logging.getLogger(), absl_logging.get_verbosity()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    absl_logging.set_verbosity(verbosity)


def _log(level, message, file="/elsewhere/orbax.py"):
    record = logging.LogRecord("absl", level, file, 7, message, (), None)
    logging.getLogger().handle(record)


OURS = f"{messages.__file__.rpartition('/')[0]}/train.py"


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug: a", "b", "warning: c", "error: d"]),
        ("info", ["b", "warning: c", "error: d"]),
        ("warning", ["warning: c", "error: d"]),
        ("error", ["error: d"]),
    ],
)
def test_our_messages_from_a_level_on(level, shown, capsys):
    messages.show_messages(level)
    for number, text in zip((10, 20, 30, 40), "abcd", strict=True):
        _log(number, text, OURS)
    assert capsys.readouterr().err.splitlines() == shown


@pytest.mark.parametrize(
    ("level", "shown"),
    [("debug", 4), ("info", 2), ("warning", 2), ("error", 1)],
)
def test_libraries_speak_from_warnings_on_unless_at_debug(level, shown, capsys):
    messages.show_messages(level)
    for number in (10, 20, 30, 40):
        _log(number, "text")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == shown
    assert lines[-1] == "orbax.py:7: error: text"


def test_absl_and_the_run_log_speak_once_after_repeated_calls(capsys):
    for level in ("debug", "error", "info"):
        messages.show_messages(level)
    announcements.inform("resuming at 100 %")
    absl_logging.info("of a library: this file is none of the package's")
    assert capsys.readouterr().err.splitlines() == ["resuming at 100 %"]


def test_only_the_first_process_informs(capsys, monkeypatch):
    messages.show_messages("info")
    monkeypatch.setattr(processes, "is_first", lambda: False)
    announcements.inform("resuming")
    assert capsys.readouterr().err == ""


def test_another_level_is_refused():
    with pytest.raises(UserError, match="log_level loud: must be one of debug, info, warning, err"):
        messages.show_messages("loud")
