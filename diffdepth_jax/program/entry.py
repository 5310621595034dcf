"""Starts the programs. Bad input ends them with one line and exit status 2, without a traceback."""

import contextlib
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any

from absl import app, flags

from diffdepth_jax.configuration.paths import expand_home
from diffdepth_jax.configuration.renamed import refuse_old_names
from diffdepth_jax.errors import UserError
from diffdepth_jax.program.heap import keep_freed_memory
from diffdepth_jax.program.messages import show_messages


@contextlib.contextmanager
def one_line_errors() -> Generator[None, None, None]:
    """Turns a UserError or an OSError into the line `error: ...` and exit status 2."""
    try:
        yield
    except UserError as error:
        message = str(error)
    except OSError as error:
        reason = " ".join(str(error).split())
        message = f"{reason}: check that the path exists, is writable and has space left"
    else:
        return
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line for `app.run`.

    Raises:
      UserError: a flag or a field of the configuration is unknown or has a wrong type.
    """
    refuse_old_names(argv[1:])
    try:
        return flags.FLAGS([_with_home(argument) for argument in argv])
    # ml_collections passes on whatever the configuration raised.
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        lines = " ".join(str(error).split())
        hint = "--help lists the options, configs/default.py the fields"
        raise UserError(f"{lines}; {hint}") from error


def _with_home(argument: str) -> str:
    """Expands `~` in --config=FILE; ml_collections' flag opens the file by itself."""
    name, equals, path = argument.partition("=")
    return f"{name}={expand_home(path)}" if equals and name.strip("-") == "config" else argument


def start(run: Callable[[], Any], required: Sequence[str]) -> None:
    """Parses a program's flags, calls `run()`, and exits with its result as the status.

    Args:
      run: the program.
      required: the names of the flags that the user must give.
    """

    def checked(argv: list[str]) -> Any:
        if len(argv) > 1:
            raise UserError(f"unexpected argument {argv[1]}: every option starts with --")
        show_messages("warning")
        return run()

    keep_freed_memory()
    flags.mark_flags_as_required(required)
    with one_line_errors():
        app.run(checked, flags_parser=parse_flags)
