"""The administration of one repository: keeps what is known of its people, and sees to requests about them.

The importer process has one for its life; without a daemon a command has one for itself.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace

from repofs import config
from repofs.administration import changes, listing, roster
from repofs.administration.changes import Facts, Site
from repofs.administration.keeping import KeptPeople
from repofs.administration.machine import Machine
from repofs.administration.requests import ListDropbox, ListPeople, Request, checked
from repofs.administration.roster import Roster
from repofs.catalog import users
from repofs.catalog.engine import Engine
from repofs.fault_points import Step, passed
from repofs.people import Actor, Privilege
from repofs.repository.layout import Layout


class Office:
    """Blocking; one thread at a time, the others wait."""

    def __init__(self, layout: Layout, settings: config.Settings, *, writing: Engine, reading: Engine) -> None:
        """Ask the machine for everybody, and read the catalogue. Raises SettingsError."""
        self._site = Site(layout, settings, Machine())
        self._writing = writing
        self._reading = reading  # so that who only asks never waits for a writer, nor makes one wait
        self._kept = KeptPeople(layout)
        with reading.begin() as conn:
            self._kept.keep(conn)
        self._turn = threading.Lock()
        self.roster = self.refreshed()

    def refreshed(self) -> Roster:
        """Ask the machine for everybody again, and return and keep who there is then."""
        with self._turn:
            with self._reading.begin() as conn:
                people = [(one.uid, one.user_name) for one in users.experimenters(conn)]
                gids = [group.gid for group in users.groups(conn)]
            administrators = [table.group for table in self._site.settings.administrators]
            self._site.machine.ask(people, gids, administrators)
            return self._read()

    def _read(self) -> Roster:
        with self._reading.begin() as conn:
            self.roster = roster.read(conn, self._site.settings, self._site.machine)
        return self.roster

    def see_to(self, request: Request, uid: int, audit_uid: int) -> Facts:
        """Do what *uid* asks for and return what there is to tell; `roster` is then of after it.

        The audit trail names *audit_uid*. Raises AccessDenied and other RepofsErrors; then nothing is done.
        """
        checked(request)
        with self._turn:
            return self._see_to(request, self._actor(uid), audit_uid)

    def _see_to(self, request: Request, actor: Actor, audit_uid: int) -> Facts:
        if isinstance(request, ListPeople):
            changes.require_person(actor)
            return listing.listing(self._site, self._read())
        if isinstance(request, ListDropbox):
            changes.require_person(actor)
            with self._reading.begin() as conn:
                return listing.dropbox(conn, self._site.settings, actor)
        change = changes.prepare(self._site, actor, request)
        with self._writing.begin() as conn:
            facts = changes.carry_out(conn, self._site, actor, change, audit_uid)
        passed(Step.PEOPLE_COMMITTED)
        with self._reading.begin() as conn:
            self._kept.keep(conn)
        self._read()
        return facts

    def _actor(self, uid: int) -> Actor:
        """Return who *uid* is here: whose the repository directory is may do all, as the catalogue is hers to write."""
        actor = self.roster.people.actor(uid)
        if uid != os.stat(self._site.layout.root).st_uid:
            return actor
        name = actor.name or f"uid {uid}"
        return replace(actor, name=name, administrator=True, privileges=frozenset(Privilege))
