"""How much is held, as `repofs usage` shows it to who asks: what the catalogue sums up, and the drops."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from repofs.namespace.accounts import Accounts
from repofs.namespace.rights import Rights
from repofs.usage import By, Sum, Sums, report

SumUp = Callable[[Sums], Awaitable[list[Sum]]]
"""Has the catalogue sum up what originals and trash hold. Raises Busy."""


class Reporting:
    """For one mount."""

    def __init__(self, rights: Rights, accounts: Accounts, sum_up: SumUp) -> None:
        self._rights = rights
        self._accounts = accounts
        self._sum_up = sum_up

    async def report(self, uid: int, by: By) -> str:
        """Return as JSON what all that *uid* may view holds. Raises AccessDenied for strangers, Busy."""
        self._rights.require_person(uid)
        sums = await self._sum_up(Sums(by, self._rights.seen(uid)))
        people = self._rights.people()
        actor = people.actor(uid)
        own = {name for name, home in people.homes.items() if home.uid == uid}
        drops = [one for one in self._accounts.all() if self._rights.may_view_in(one.user_directory, one.gid, uid)]

        def quota(key: bytes | int) -> int | None:
            if isinstance(key, bytes):
                return people.user_quotas.get(key) if actor.administrator or key in own else None
            return people.group_quotas.get(key) if actor.administrator or key in actor.groups else None

        return json.dumps(report(by, sums, drops, people, quota))
