"""What the mount has found out or done, and has written down: how sources stand, and deeds for the audit trail."""

from __future__ import annotations

import json

from repofs.catalog.verification import Found
from repofs.importer import transactions
from repofs.importer.commits import Commits
from repofs.importer.refusal import refused
from repofs.importer.wire import Answer, Deeds, Stands
from repofs.model import OriginalFileId


class NoteDesk:
    """What cannot be written is the mount's again: it tells it once more."""

    def __init__(self, commits: Commits) -> None:
        self._commits = commits

    async def stands(self, found: Stands) -> Answer:
        """Write how an original in place was found; the answer is null."""
        try:
            await self._commits.write(transactions.found, [Found(OriginalFileId(found.original), found.state)])
        except Exception as error:  # noqa: BLE001 -- told in the answer
            return refused(found.id, "how a source stands could not be written", error)
        return Answer(found.id, "null")

    async def keep(self, message: Deeds) -> Answer:
        """Write deeds; the answer is how many."""
        try:
            written = await self._commits.write(transactions.keep, message.deeds)
        except Exception as error:  # noqa: BLE001 -- told in the answer
            return refused(message.id, "deeds could not be written into the audit trail", error)
        return Answer(message.id, json.dumps(written))
