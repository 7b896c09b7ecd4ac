"""What a hook could not do, and how that is told."""

from __future__ import annotations

_MOST_REASON = 500  # characters: of what a program or a server has said


class DeliveryFailed(Exception):
    """Nothing or not all was delivered, for this reason: it is tried again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason[:_MOST_REASON])
