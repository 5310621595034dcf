"""How much one browser, and all of them together, may upload within an hour."""

import collections
import dataclasses
import math
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

HOUR = 3600.0  # seconds


@dataclasses.dataclass(frozen=True)
class Share:
    """The most within an hour.

    Attributes:
      uploads: their number.
      size: their bytes together.
    """

    uploads: int
    size: int


class Refused(Exception):
    """Too much was uploaded within the last hour.

    Attributes:
      wait: seconds after which the upload fits.
    """

    def __init__(self, whose: str, share: Share, wait: float) -> None:
        minutes = max(1, math.ceil(wait / 60))
        super().__init__(
            f"{whose} may send {share.uploads} photos and {share.size / 2**20:g} MB within an "
            f"hour, and did: wait {minutes} minute{'s' * (minutes > 1)}"
        )
        self.wait = wait


class _Upload(NamedTuple):
    time: float
    owner: str
    size: int


class UploadLimits:
    """Counts uploads as they begin: what is cut off or refused later counts, too."""

    def __init__(
        self, session: Share, everyone: Share, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Takes the shares of one session and of all sessions together."""
        self._session, self._everyone, self._clock = session, everyone, clock
        self._uploads: collections.deque[_Upload] = collections.deque()
        self._lock = threading.Lock()

    def admit(self, owner: str, size: int) -> None:
        """Counts an upload of `size` bytes that begins now.

        Raises:
          Refused: it does not fit into a share; then it does not count.
        """
        with self._lock:
            now = self._clock()
            while self._uploads and now - self._uploads[0].time >= HOUR:
                self._uploads.popleft()
            own = [upload for upload in self._uploads if upload.owner == owner]
            _check("one browser", own, size, self._session, now)
            _check("all browsers together", list(self._uploads), size, self._everyone, now)
            self._uploads.append(_Upload(now, owner, size))


def _check(whose: str, uploads: list[_Upload], size: int, share: Share, now: float) -> None:
    """Raises Refused unless one more fits beside these uploads, the oldest of which is first."""
    number, total, wait = len(uploads) + 1, sum(upload.size for upload in uploads) + size, 0.0
    for upload in uploads:
        if number <= share.uploads and total <= share.size:
            break
        number, total, wait = number - 1, total - upload.size, upload.time + HOUR - now
    if wait or number > share.uploads or total > share.size:
        raise Refused(whose, share, wait or HOUR)
