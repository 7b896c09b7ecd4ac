"""Accounts and groups of a machine, as a test says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from repofs.administration import unix
from repofs.administration.unix import Account, UnixGroup, Unreachable


@dataclass
class Nss:
    """Stands for the functions of `administration.unix`."""

    accounts: dict[str, Account] = field(default_factory=dict)
    groups: dict[str, UnixGroup] = field(default_factory=dict)
    away: bool = False  # the service of all that is not root's: LDAP

    @classmethod
    def instead(cls, monkeypatch: pytest.MonkeyPatch) -> Nss:
        """Let all ask this machine, which has root alone at first."""
        nss = cls()
        nss.account("root", 0, 0)
        for function in (nss.account_by_uid, nss.account_by_name, nss.group_by_gid, nss.group_by_name, nss.gids_of):
            monkeypatch.setattr(unix, function.__name__, function)
        return nss

    # --- what a test says -----------------------------------------------------------------------

    def account(self, name: str, uid: int, gid: int = 100) -> None:
        self.accounts[name] = Account(name, uid, gid)

    def group(self, name: str, gid: int, members: Sequence[str] = ()) -> None:
        self.groups[name] = UnixGroup(name, gid, tuple(members))

    # --- what is asked --------------------------------------------------------------------------

    def account_by_uid(self, uid: int) -> Account | None:
        return self._found(one for one in self.accounts.values() if one.uid == uid)

    def account_by_name(self, name: str) -> Account | None:
        return self._found(one for one in self.accounts.values() if one.name == name)

    def group_by_gid(self, gid: int) -> UnixGroup | None:
        return self._found(one for one in self.groups.values() if one.gid == gid)

    def group_by_name(self, name: str) -> UnixGroup | None:
        return self._found(one for one in self.groups.values() if one.name == name)

    def gids_of(self, account: Account) -> frozenset[int]:
        """As the C library, which says nothing of a service that is away."""
        listed = () if self.away else self.groups.values()
        return frozenset({account.gid} | {one.gid for one in listed if account.name in one.members})

    def _found(self, entries):  # type: ignore[no-untyped-def]
        found = next(iter(entries), None)
        if self.away and getattr(found, "uid", None) != 0:
            raise Unreachable("the machine's accounts cannot be asked now (Connection refused): try again later")
        return found
