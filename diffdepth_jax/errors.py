"""The one exception for bad input from outside: configuration, data, checkpoints, paths."""


class UserError(Exception):
    """Bad input. The message is one line that names the thing and the remedy.

    Entry points print it after "error: " and exit with status 2; everything else is a bug and
    keeps its traceback.
    """
