"""How many bytes everybody and every group holds, and may hold: numbers in memory, and the one place that refuses more.

A file that grows asks by comparing numbers: no system call, and nothing to wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from repofs.people import People
from repofs.quotas import WARN_PERCENT, Held, exceeded

_NO_LIMIT = 1 << 100  # bytes: more than sparse files can pretend to be
_CALM_PERCENT = 80  # who falls below it is warned once more when she comes near her limit again

Warn = Callable[[str, int, int], None]
"""Called with whose, how many bytes she holds and may hold, once when that comes near."""


class Account:
    """Bytes of one user directory or one group."""

    __slots__ = ("heed", "limit", "used", "whose")

    def __init__(self, whose: str) -> None:
        self.whose = whose
        self.used = 0
        self.limit = _NO_LIMIT
        self.heed = _NO_LIMIT  # above it somebody has to look: a warning is due, or *limit* is reached

    @property
    def is_limited(self) -> bool:
        return self.limit != _NO_LIMIT

    @property
    def left(self) -> int:
        """How many bytes more there may be."""
        return max(0, self.limit - self.used)

    def allow(self, limit: int | None) -> None:
        """Set the limit; who is near it already was warned when she came there."""
        self.limit = _NO_LIMIT if limit is None else limit
        warned = self.used > self._near()
        self.heed = self.limit if warned else self._near()

    def calm(self) -> None:
        """Have it warned about again once there is far less than at the last warning."""
        if self.heed == self.limit and self.used * 100 < self.limit * _CALM_PERCENT:
            self.heed = self._near()

    def _near(self) -> int:
        return _NO_LIMIT if self.limit == _NO_LIMIT else self.limit * WARN_PERCENT // 100


@dataclass(slots=True)
class Entry:
    """What is held of one Unix group in one user directory."""

    user_directory: bytes
    gid: int
    user: Account
    group: Account
    drops: int = 0
    drop_files: int = 0
    originals: int = 0
    original_files: int = 0
    coming: int = 0

    @property
    def held(self) -> int:
        return self.drops + self.originals + self.coming


class Accounts:
    """All of one mount."""

    def __init__(self, warn: Warn) -> None:
        self._warn = warn
        self._people = People()
        self._entries: dict[tuple[bytes, int], Entry] = {}
        self._users: dict[bytes, Account] = {}
        self._groups: dict[int, Account] = {}
        self._since: list[Held] | None = None  # changes since the importer process began to sum up the originals

    # --- who may hold how much --------------------------------------------------------------------

    def adopt(self, people: People) -> None:
        """Let the groups and quotas of *people* count from now on."""
        self._people = people
        self._users.clear()
        self._groups.clear()
        for entry in self._entries.values():
            entry.user, entry.group = self._accounts(entry.user_directory, entry.gid)
            entry.user.used += entry.held
            entry.group.used += entry.held
        for user_directory, user in self._users.items():
            user.allow(people.user_quotas.get(user_directory))
        for gid, group in self._groups.items():
            group.allow(people.group_quotas.get(gid))

    def _accounts(self, user_directory: bytes, gid: int) -> tuple[Account, Account]:
        return self.user(user_directory), self.group(self._people.group_of(user_directory, gid))

    def user(self, user_directory: bytes) -> Account:
        """Return the account of who has that user directory."""
        if user_directory not in self._users:
            self._users[user_directory] = account = Account(f"user {self._people.user_name(user_directory)}")
            account.allow(self._people.user_quotas.get(user_directory))
        return self._users[user_directory]

    def group(self, gid: int) -> Account:
        """Return the account of the group of *gid*."""
        if gid not in self._groups:
            self._groups[gid] = account = Account(f"group {self._people.group_name(gid)}")
            account.allow(self._people.group_quotas.get(gid))
        return self._groups[gid]

    def bound(self, uid: int) -> Account | None:
        """Return the account that bounds what *uid* may put into her directory, hers or her own group's, by which less
        is left; None for who has no quota, and for administrators, who look at the disk."""
        if self._people.actor(uid).administrator:
            return None
        for user_directory, home in self._people.homes.items():
            if home.uid == uid:
                both = (self.user(user_directory), self.group(home.gid))
                limited = [account for account in both if account.is_limited]
                return min(limited, key=lambda account: account.limit - account.used, default=None)
        return None

    # --- what is held -----------------------------------------------------------------------------

    def entry(self, user_directory: bytes, gid: int) -> Entry:
        """Return what is held of *gid* in *user_directory*."""
        key = (user_directory, gid)
        if key not in self._entries:
            self._entries[key] = Entry(user_directory, gid, *self._accounts(user_directory, gid))
        return self._entries[key]

    def require(self, entry: Entry, size: int, of_user: int | None = None) -> None:
        """Refuse (QuotaExceeded) *size* bytes more in *entry*; *of_user* (None: all) are new to its user."""
        for account, more in ((entry.user, size if of_user is None else of_user), (entry.group, size)):
            if more > 0 and account.used + more > account.limit:
                raise exceeded(account.whose, account.limit)

    def require_some(self, entry: Entry) -> None:
        """Refuse (QuotaExceeded) a new file where not one byte more may be held."""
        self.require(entry, 1)

    def grow(self, entry: Entry, size: int) -> None:
        """Count *size* bytes more of drops. Raises QuotaExceeded; then nothing is counted."""
        user, group = entry.user, entry.group
        if user.used + size > user.heed or group.used + size > group.heed:
            self.require(entry, size)
            self._warn_of(user, size)
            self._warn_of(group, size)
        entry.drops += size
        user.used += size
        group.used += size

    def _warn_of(self, account: Account, size: int) -> None:
        if account.heed < account.limit and account.used + size > account.heed:
            account.heed = account.limit
            self._warn(account.whose, account.used + size, account.limit)

    def add(self, entry: Entry, *, drops: int = 0, drop_files: int = 0) -> None:
        """Count what is there or gone already, whatever the quota is."""
        self.change(Held(entry.user_directory, entry.gid, drops, drop_files))

    def change(self, held: Held) -> None:
        """Count by how much *held* says that there is more or less."""
        if self._since is not None and held.original_files:
            self._since.append(replace(held, drops=0, drop_files=0, coming=0))
        entry = self.entry(held.user_directory, held.gid)
        entry.drops += held.drops
        entry.drop_files += held.drop_files
        entry.originals += held.originals
        entry.original_files += held.original_files
        entry.coming += held.coming
        size = held.drops + held.originals + held.coming
        for account in (entry.user, entry.group):
            if size > 0:
                self._warn_of(account, size)
            account.used += size
            account.calm()

    def come(self, held: Held) -> None:
        """Count the bytes that an import is about to copy. Raises QuotaExceeded; then nothing is counted."""
        self.require(self.entry(held.user_directory, held.gid), held.coming)
        self.change(held)

    # --- all of it ----------------------------------------------------------------------------------

    def all(self) -> list[Held]:
        """Return all that is held."""
        return [
            Held(one.user_directory, one.gid, one.drops, one.drop_files, one.originals, one.original_files, one.coming)
            for one in self._entries.values()
        ]

    def drops_are(self, found: Iterable[Held]) -> None:
        """Take *found* for all drops that there are."""
        for entry in self._entries.values():
            entry.drops = entry.drop_files = 0
        self._renew(found)

    def begin_anew(self) -> None:
        """A process begins to sum up the originals, and nothing is coming."""
        self._since = []
        for entry in self._entries.values():
            entry.coming = 0
        self.adopt(self._people)

    def originals_are(self, known: Iterable[Held]) -> None:
        """Take *known* for all originals that there were when the process began."""
        for entry in self._entries.values():
            entry.originals = entry.original_files = 0
        since, self._since = self._since or [], None
        self._renew([*known, *since])

    def _renew(self, held: Iterable[Held]) -> None:
        for one in held:
            entry = self.entry(one.user_directory, one.gid)
            entry.drops += one.drops
            entry.drop_files += one.drop_files
            entry.originals += one.originals
            entry.original_files += one.original_files
        self.adopt(self._people)
