"""Starts the programs. Bad input ends them with one line and exit status 2, without a traceback."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any

from absl import app, flags

import diffdepth_jax
from diffdepth_jax.configuration.paths import table_of_configurations
from diffdepth_jax.configuration.renamed import refuse_old_names
from diffdepth_jax.errors import UserError, printable
from diffdepth_jax.program import flag_errors, interruption, missing_device
from diffdepth_jax.program.heap import keep_freed_memory
from diffdepth_jax.program.help_page import Page, render

HELP, VERSION, CONFIGURATIONS = {"-h", "--help"}, {"--version"}, {"--config=?"}


@contextlib.contextmanager
def one_line_errors() -> Generator[None, None, None]:
    """Turns a UserError or an OSError into the line `error: ...` and exit status 2.

    So does it with JAX's error about a device that is asked for and missing. Ctrl-C ends in a line
    and status 130, see `interruption`.
    """
    try:
        yield
    except UserError as error:
        message = str(error)
    except OSError as error:
        message = f"{_reason(error)}: {_remedy(error)}"
    except KeyboardInterrupt as stop:
        done = printable(" ".join(stop.args))
        print(f"interrupted{': ' if done else ''}{done}", file=sys.stderr)
        sys.exit(interruption.EXIT_STATUS)
    except (RuntimeError, AssertionError) as error:
        message = missing_device.sentence(error)
        if message is None:
            raise
    else:
        return
    print(f"error: {printable(message)}", file=sys.stderr)
    sys.exit(2)


def _reason(error: OSError) -> str:
    """The system's reason, without the quotes and escapes of Python around the path."""
    if error.filename is None or error.strerror is None:
        return " ".join(str(error).split())
    return f"{os.fsdecode(error.filename)}: {error.strerror}"


def _remedy(error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file is where a folder must be, give another path"
    return "check that the path exists, is writable and has space left"


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line for `app.run`; returns what is no flag, after the program's name.

    Raises:
      UserError: a flag or a field of the configuration is unknown or has a wrong type.
    """
    refuse_old_names(argv[1:])
    flags.FLAGS.set_gnu_getopt()  # flags may follow arguments
    try:
        return flags.FLAGS(argv)
    # ml_collections passes on whatever the configuration raised.
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(flag_errors.sentence(error)) from error


def configuration_first(argv: Sequence[str]) -> list[str]:
    """Moves --config ahead of its fields: ml_collections refuses them in another order."""
    name, rest = "--config", list(argv)
    for position, argument in enumerate(argv):
        if argument == name or argument.startswith(f"{name}="):
            end = position + (2 if argument == name else 1)
            return [rest[0], *rest[position:end], *rest[1:position], *rest[end:]]
    return rest


def start(
    run: Callable[..., Any],
    required: Sequence[str],
    page: Page,
    *,
    takes_arguments: bool = False,
    complete: Callable[[list[str]], list[str]] = list,
) -> None:
    """Parses a program's flags, calls `run()`, and exits with its result as the status.

    Args:
      run: the program; it is given what is no flag if it takes such arguments.
      required: the names of the flags that the user must give.
      page: what --help prints.
      takes_arguments: whether there may be arguments that are no flags.
      complete: turns the arguments into those that are parsed.
    """

    def checked(argv: list[str]) -> Any:
        if len(argv) > 1 and not takes_arguments:
            raise UserError(f"unexpected argument {argv[1]}: every option starts with --")
        _check_given(required)
        # Here, because --help need not wait for it.
        from diffdepth_jax.program.messages import show_messages

        show_messages("warning")
        return run(argv[1:]) if takes_arguments else run()

    _answer_questions(run, page)
    keep_freed_memory()
    sys.argv = configuration_first(sys.argv)  # where ml_collections looks, too
    with one_line_errors():
        app.run(checked, flags_parser=lambda argv: parse_flags([argv[0], *complete(argv[1:])]))


def _check_given(required: Sequence[str]) -> None:
    missing = [f"--{name}" for name in required if flags.FLAGS[name].value is None]
    if missing:
        raise UserError(f"missing: {', '.join(missing)}; --help has an example")


def _answer_questions(run: Callable[..., Any], page: Page) -> None:
    """--help, --version and --config=? print, and end the program."""
    if HELP & set(sys.argv[1:]):
        # absl calls a module that runs by `python -m` by its path.
        module = sys.argv[0] if run.__module__ == "__main__" else run.__module__
        print(render(command(), page, flags.FLAGS.get_key_flags_for_module(module)))
    elif VERSION & set(sys.argv[1:]):
        print(f"diffdepth_jax {diffdepth_jax.__version__}")
    elif CONFIGURATIONS & set(sys.argv[1:]):
        print(table_of_configurations())
    else:
        return
    sys.exit(0)


def command(program: str | None = None) -> str:
    """How one types a program, such as "diffdepth predict"; default: the one that runs.

    The dispatcher, `__main__`, puts the words before the flags into sys.argv[0].
    """
    before, _, running = sys.argv[0].rpartition(" ")
    if before:
        return f"{before} {program or running}"
    specification = getattr(sys.modules["__main__"], "__spec__", None)
    module = specification.name if specification else pathlib.Path(running).name
    return f"python -m {module if program is None else f'diffdepth_jax.{program}'}"
