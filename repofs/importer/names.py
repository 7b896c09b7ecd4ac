"""What import directories are called: the template's words for one import, a moment of its own for each."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from repofs.administration.user_directories import UserDirectories
from repofs.importer.transactions import Begun
from repofs.model import Drop
from repofs.repository.layout import Layout
from repofs.repository.template import Template


class Names:
    """Names import directories. Safe in threads as far as `publish` is, which finds out whether a name is free."""

    def __init__(self, layout: Layout, template: Template, directories: UserDirectories) -> None:
        self._layout = layout
        self._template = template
        self._directories = directories
        self._session = str(uuid.uuid4())  # one for the life of this process
        self._latest: dict[bytes, datetime] = {}

    def of(self, begun: Begun, drop: Drop, client_paths: tuple[str, ...]) -> Callable[[int], bytes]:
        """Return the names of an import, by attempt."""
        directory = os.path.join(os.fsencode(self._layout.managed), drop.user_directory)
        terms = replace(
            self._directories.terms(begun.owner, begun.group),
            session=self._session,
            session_id=begun.id,
            now=self._moment(drop.user_directory),
            client_paths=client_paths,
            exists=lambda below: os.path.lexists(os.path.join(directory, os.fsencode(below))),
            entries=lambda below: _entries(os.path.join(directory, os.fsencode(below))),
        )
        return lambda attempt: os.fsencode(self._template.import_directory(terms, attempt))

    def _moment(self, user_directory: bytes) -> datetime:
        """Return now, or a millisecond after the moment given before: else a thousand imports a second would try a
        thousand names each."""
        now = datetime.now().astimezone()
        latest = self._latest.get(user_directory)
        if latest is not None and now < latest + timedelta(milliseconds=1):
            now = latest + timedelta(milliseconds=1)
        self._latest[user_directory] = now
        return now


def _entries(directory: bytes) -> int:
    try:
        return len(os.listdir(directory))
    except FileNotFoundError:
        return 0
