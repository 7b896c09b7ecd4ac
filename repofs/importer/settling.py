"""The clocks of drops: a drop is due when it has been quiet for its settle time.

Pure: the time is given, so that any clock serves. Every change of a file or of its name restarts its clock; ten
thousand restarts cost ten thousand dictionary writes and no search.
"""

from __future__ import annotations

import heapq
import math
from typing import Generic, TypeVar

Token = TypeVar("Token", int, bytes)


class Settling(Generic[Token]):
    """Deadlines by token."""

    def __init__(self) -> None:
        self._deadlines: dict[Token, float] = {}
        # Holds for each token an entry that is not later than its deadline: a clock put off stays where it is and is
        # put back when its old turn comes.
        self._heap: list[tuple[float, Token]] = []

    def __contains__(self, token: Token) -> bool:
        return token in self._deadlines

    def __len__(self) -> int:
        return len(self._deadlines)

    def start(self, token: Token, deadline: float) -> None:
        """Start the clock of *token*, or set it anew."""
        earlier = self._deadlines.get(token, math.inf)
        self._deadlines[token] = deadline
        if deadline < earlier:
            heapq.heappush(self._heap, (deadline, token))

    def stop(self, token: Token) -> None:
        """Forget *token*; no error when its clock is not running."""
        self._deadlines.pop(token, None)

    def due(self, now: float) -> list[Token]:
        """Return the tokens whose time has come, first due first; their clocks are stopped."""
        due: list[Token] = []
        while self.next_deadline() <= now:
            token = heapq.heappop(self._heap)[1]
            del self._deadlines[token]
            due.append(token)
        return due

    def next_deadline(self) -> float:
        """Return when the next token is due; infinity when no clock is running."""
        while self._heap:
            entered, token = self._heap[0]
            deadline = self._deadlines.get(token)
            if deadline == entered:
                return deadline
            if deadline is None or deadline < entered:  # stopped, or it has an earlier entry of its own
                heapq.heappop(self._heap)
            else:
                heapq.heapreplace(self._heap, (deadline, token))
        return math.inf
