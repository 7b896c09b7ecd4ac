"""Whose turn it is: first come first served within a user, in turn between users."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection


class FairQueue:
    """Tokens waiting for their turn. A user who has ten thousand in it delays another's first by one turn."""

    def __init__(self) -> None:
        # Users in the order of their turns, each with its tokens in the order they came (ordered dictionaries used as
        # queues that forget any entry at once).
        self._users: OrderedDict[bytes, OrderedDict[int, None]] = OrderedDict()
        self._user_of: dict[int, bytes] = {}

    def __contains__(self, token: int) -> bool:
        return token in self._user_of

    def __len__(self) -> int:
        return len(self._user_of)

    def put(self, user: bytes, token: int) -> None:
        """Put *token* behind the other tokens of *user*; one that is in the queue keeps its place."""
        if token not in self._user_of:
            self._user_of[token] = user
            self._users.setdefault(user, OrderedDict())[token] = None

    def remove(self, token: int) -> None:
        """Take *token* out; no error when it is not in the queue."""
        user = self._user_of.pop(token, None)
        if user is not None:
            del self._users[user][token]
            if not self._users[user]:
                del self._users[user]

    def pop(self, passed_over: Collection[bytes] = ()) -> tuple[bytes, int] | None:
        """Return the user whose turn it is and the user's oldest token; all other users come before that user's next.

        Users *passed_over* keep their turn. None when nobody else waits.
        """
        user = next((user for user in self._users if user not in passed_over), None)
        if user is None:
            return None
        token, _ = self._users[user].popitem(last=False)
        del self._user_of[token]
        if self._users[user]:
            self._users.move_to_end(user)
        else:
            del self._users[user]
        return user, token
