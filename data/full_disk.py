"""A disk that fills while files are written, told by the errors of the libraries that write."""

import contextlib
import errno
import os
import pathlib
from collections.abc import Generator

from diffdepth_jax.errors import UserError

# The last is of a limit on the size of one file. Of some libraries only the text arrives.
_TEXTS = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


@contextlib.contextmanager
def explained(folder: pathlib.Path, what: str) -> Generator[None]:
    """Turns the error of a block that fills the disk of a folder into a UserError.

    `what` the block writes there stands first in the message.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        text = next((text for text in _TEXTS if text in str(error)), None)
        if text is None:
            raise
        raise UserError(
            f"{what} could not be written below {folder} ({text}); nothing of it was kept: make"
            " room or give another --data_dir"
        ) from error
