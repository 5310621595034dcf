"""The exception for bad input: a wrong configuration, data set, checkpoint or path."""


class UserError(Exception):
    """Says that an input is bad, in one line that names the input and the remedy.

    Programs print the line after "error: " and exit with status 2. Any other exception is a bug
    and keeps its traceback.
    """


def require_positive(group: str, **fields: int) -> None:
    """Raises a UserError if a field of the configuration's group is below 1."""
    for name, value in fields.items():
        if value < 1:
            raise UserError(f"{group}.{name} {value}: must be 1 or more")


def require_within(group: str, low: float, high: float, **fields: float) -> None:
    """Raises a UserError if a field of the configuration's group lies outside [low, high]."""
    for name, value in fields.items():
        if not low <= value <= high:
            limit = f"{low:g} or more" if high == float("inf") else f"{low:g} to {high:g}"
            raise UserError(f"{group}.{name} {value}: must be {limit}")
