"""The exception for bad input: a wrong configuration, data set, checkpoint or path."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Says that an input is bad, in one line that names the input and the remedy.

    Programs print the line after "error: " and exit with status 2. Any other exception is a bug
    and keeps its traceback.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not known: the nearest one; "" if none is near."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""
