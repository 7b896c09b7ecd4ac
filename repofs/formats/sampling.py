"""How a picture of a plane is thinned out: every n-th sample of every n-th row."""

from __future__ import annotations

from collections.abc import Iterable


def step(sides: Iterable[int], pixels: int) -> int:
    """Return the n that leaves at least *pixels*, and fewer than twice as many, of the longest of *sides*."""
    return max(1, max(sides) // pixels)
