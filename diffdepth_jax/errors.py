"""The exception for bad input: a wrong configuration, data set, checkpoint or path."""

import difflib
import unicodedata
from collections.abc import Iterable

# Control characters, halves of pairs (bytes that are no UTF-8), separators of lines and paragraphs.
_ESCAPED = ("Cc", "Cs", "Zl", "Zp")
_TURN_TEXT = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}  # what follows is shown elsewhere


class UserError(Exception):
    """Says that an input is bad, in one line that names the input and the remedy.

    Programs print the line after "error: " and exit with status 2. Any other exception is a bug
    and keeps its traceback.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not known: the nearest one; "" if none is near."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def printable(text: str) -> str:
    r"""Returns a text as one line that is safe to print, whatever names of files it holds.

    What would move the cursor, colour the terminal or end the line is written as \x1b or \n, and a
    byte that is no UTF-8 as \udcff.
    """
    return "".join(_escaped(letter) if _is_unsafe(letter) else letter for letter in text)


def _is_unsafe(letter: str) -> bool:
    return unicodedata.category(letter) in _ESCAPED or ord(letter) in _TURN_TEXT


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()
