"""The one exception for bad input from outside: configuration, data, checkpoints, paths."""


class UserError(Exception):
    """Bad input. The message is one line that names the thing and the remedy.

    Entry points print it after "error: " and exit with status 2; everything else is a bug and
    keeps its traceback.
    """


def require_positive(group: str, **fields: int) -> None:
    """Raises a UserError that names the first of a configuration's fields below 1."""
    for name, value in fields.items():
        if value < 1:
            raise UserError(f"{group}.{name} {value}: must be 1 or more")


def require_within(group: str, low: float, high: float, **fields: float) -> None:
    """Raises a UserError that names the first of a configuration's fields outside [low, high]."""
    for name, value in fields.items():
        if not low <= value <= high:
            limit = f"{low:g} or more" if high == float("inf") else f"{low:g} to {high:g}"
            raise UserError(f"{group}.{name} {value}: must be {limit}")
