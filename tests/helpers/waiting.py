"""Waiting for a condition."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

_POLL_SECONDS = 0.01
_POLL_SHARE = 0.02  # of the time waited so far: what takes minutes is not asked a hundred times a second


def until(condition: Callable[[], Answer], what: str | Callable[[], str], seconds: float = 30.0) -> Answer:
    """Return the first true answer of *condition*; AssertionError saying *what* did not happen in time."""
    began = time.monotonic()
    while not (answer := condition()):
        waited = time.monotonic() - began
        if waited > seconds:
            raise AssertionError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(max(_POLL_SECONDS, waited * _POLL_SHARE))
    return answer
