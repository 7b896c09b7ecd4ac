"""Waiting for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

_POLL_SECONDS = 0.01


def until(condition: Callable[[], Answer], what: str | Callable[[], str], seconds: float = 30.0) -> Answer:
    """Return the first true answer of *condition*; AssertionError saying *what* did not happen in time."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(_POLL_SECONDS)
    return answer
