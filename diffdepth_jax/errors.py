"""The exception for bad input: a wrong configuration, data set, checkpoint or path."""


class UserError(Exception):
    """Says that an input is bad, in one line that names the input and the remedy.

    Programs print the line after "error: " and exit with status 2. Any other exception is a bug
    and keeps its traceback.
    """
