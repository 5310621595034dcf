"""How many cores there are for this process."""

import os


def usable_cores() -> int:
    """Returns the number of cores on which this process may run, where the system tells it."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
