"""What this machine's accounts and groups were when they were asked last.

Asking may take long, so it is done outside every transaction, and decisions are made on what is remembered here. Where
a service cannot be asked, its last answer counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from repofs.administration import unix
from repofs.administration.unix import Account, Unreachable


@dataclass(frozen=True, slots=True)
class Known:
    """What the machine says of one uid and the name that its experimenter has."""

    account: Account | None = None  # that has the uid
    hers: bool = True  # False: the account has another name, so Unix has given the uid to somebody else
    gids: frozenset[int] = frozenset()  # all Unix groups of the account, if it is hers


@dataclass(frozen=True, slots=True)
class Administrators:
    """A Unix group that the settings name."""

    gid: int
    accounts: tuple[Account, ...]  # that the group lists; others may have it as their primary group


class Machine:
    """Remembers. Not for two threads at a time."""

    def __init__(self) -> None:
        self._people: dict[tuple[int, str], Known] = {}
        self._administrators: dict[str, Administrators | None] = {}
        self._gids: set[int] = set()  # of the repository's groups, those that are Unix groups
        self.trouble: str | None = None  # why the last questions were not all answered

    def ask(self, people: Iterable[tuple[int, str]], gids: Iterable[int], administrators: Iterable[str]) -> None:
        """Ask for *people* (uid and name), the groups *gids* and the groups of *administrators* by name."""
        self.trouble = None
        away = self._groups_away(gids)
        for uid, name in people:
            self._ask_again(uid, name, away)
        for group in administrators:
            self._ask_administrators(group)

    def learn(self, uid: int, name: str) -> Known:
        """Ask for one more person and return what is known of her now. Raises Unreachable."""
        known = self._people[uid, name] = _ask(uid, name)
        return known

    def known(self, uid: int, name: str) -> Known:
        """Return what was last heard of *uid*; nothing is known of whom nobody has asked for."""
        return self._people.get((uid, name), Known())

    def administrators(self, group: str) -> Administrators | None:
        """Return what was last heard of the Unix group; None when there is none of that name."""
        return self._administrators.get(group)

    def _groups_away(self, gids: Iterable[int]) -> bool:
        """Whether groups that were there cannot be asked for now: `unix.gids_of` would miss them silently."""
        away = False
        for gid in gids:
            try:
                there = unix.group_by_gid(gid) is not None
            except Unreachable as error:
                away |= gid in self._gids
                self._note(error)
            else:
                (self._gids.add if there else self._gids.discard)(gid)
        return away

    def _ask_again(self, uid: int, name: str, groups_away: bool) -> None:
        before = self._people.get((uid, name))
        try:
            known = _ask(uid, name)
        except Unreachable as error:
            self._note(error)
            return
        if groups_away and before is not None and before.account == known.account:
            known = before
        self._people[uid, name] = known

    def _ask_administrators(self, name: str) -> None:
        try:
            group = unix.group_by_name(name)
            listed = [unix.account_by_name(member) for member in group.members] if group else []
        except Unreachable as error:
            self._note(error)
            return
        accounts = tuple(account for account in listed if account is not None)
        self._administrators[name] = None if group is None else Administrators(group.gid, accounts)

    def _note(self, error: Unreachable) -> None:
        self.trouble = f"{error.message}; until then their last answer counts"


def _ask(uid: int, name: str) -> Known:
    account, hers = _account(uid, name)
    return Known(account, hers, unix.gids_of(account) if account is not None and hers else frozenset())


def _account(uid: int, name: str) -> tuple[Account | None, bool]:
    """Return the account of *uid*, and whether it is that of *name*. One uid may have several names."""
    account = unix.account_by_uid(uid)
    if account is None or account.name == name:
        return account, True
    named = unix.account_by_name(name)
    return (named, True) if named is not None and named.uid == uid else (account, False)
