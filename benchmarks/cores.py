"""Who runs where: the contender that is measured has a core of its own, everything else shares the others."""

import os
import sys


def divide() -> int | None:
    """Leaves a core to the contenders and keeps this process, and all that it starts, off it; `None` where that cannot be."""
    if sys.platform != "linux" or len(cores := sorted(os.sched_getaffinity(0))) < 2:
        return None
    first, *others = cores
    os.sched_setaffinity(0, others)
    return first
