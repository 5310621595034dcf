"""How the programs end on bad input: one line, exit status 2, no traceback."""

import contextlib
import sys

from absl import app, flags

from diffdepth_jax.errors import UserError
from diffdepth_jax.program.messages import show_messages


@contextlib.contextmanager
def one_line_errors():
    """Turns a UserError, or the system's refusal of a file, into `error: ...` and status 2."""
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


def parse_flags(argv):
    """For `app.run`: a flag or configuration field that is unknown or mistyped ends in one line.

    ml_collections raises what the configuration raised, in whatever class.
    """
    try:
        return flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        lines = " ".join(str(error).split())
        hint = "--help lists the options, configs/default.py the fields"
        raise UserError(f"{lines}; {hint}") from error


def start(run, required):
    """Runs a program: `run()` after its flags are parsed; its result is the exit status.

    Args:
      run: the program.
      required: names of the flags that have no default.
    """

    def checked(argv):
        if len(argv) > 1:
            raise UserError(f"unexpected argument {argv[1]}: every option starts with --")
        show_messages("warning")
        return run()

    flags.mark_flags_as_required(required)
    with one_line_errors():
        app.run(checked, flags_parser=parse_flags)
