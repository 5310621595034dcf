"""How the programs end on bad input."""

import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.program.entry import configuration_first, one_line_errors, parse_flags


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("no such thing"), "no such thing"),
        (OSError(28, "no space", "it's.npy"), "it's.npy: no space: check that the path"),
        (FileExistsError(17, "File exists", "x"), "x: File exists: a file is where a folder must"),
        (NotADirectoryError(20, "Not a directory", "x/y"), "x/y: Not a directory: a file is"),
        (OSError("of a library"), "of a library: check that the path"),
    ],
)
def test_bad_input_ends_in_one_line_and_status_2(error, line, capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise error
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {line}") and printed.err.count("\n") == 1


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), one_line_errors():
        raise ZeroDivisionError


def test_a_good_end_prints_nothing(capsys):
    with one_line_errors():
        pass
    assert capsys.readouterr().err == ""


def test_unknown_flag_is_refused_in_one_line():
    with pytest.raises(UserError, match="nonsense") as caught:
        parse_flags(["main", "--nonsense=1"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        (["--config.seed=1", "x", "--config=nyu"], ["--config=nyu", "--config.seed=1", "x"]),
        (["--config.seed=1", "--config", "nyu", "x"], ["--config", "nyu", "--config.seed=1", "x"]),
        (["--config=nyu", "--config.seed=1"], ["--config=nyu", "--config.seed=1"]),
        (["--config.seed=1"], ["--config.seed=1"]),
    ],
)
def test_the_configuration_comes_before_its_fields(given, parsed):
    assert configuration_first(["main", *given]) == ["main", *parsed]
