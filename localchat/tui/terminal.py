"""The terminal that the app is in, and whether it is still there."""

from __future__ import annotations

import select
import sys


def is_gone() -> bool:
    """Was the terminal closed, or its connection cut? Textual goes on reading from it then, with all of a core."""
    if sys.__stdin__ is None or not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(sys.__stdin__.fileno(), 0)  # an end is told whether it is asked for or not
    return any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))
