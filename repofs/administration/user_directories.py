"""User directories: what the template calls them, and making them."""

from __future__ import annotations

from datetime import datetime

from repofs import config
from repofs.catalog.users import Experimenter, Group
from repofs.repository.layout import Layout
from repofs.repository.template import Template, Terms


class UserDirectories:
    """The user directories of one repository."""

    def __init__(self, settings: config.Repository) -> None:
        """Raises SettingsError when the template is none."""
        self._template = Template(settings.template)
        self._institution = settings.institution

    def name(self, person: Experimenter, group: Group) -> str:
        """Return the name of the directory of *person*, whose imports belong to *group*: "alice_2".

        Raises SettingsError when the template needs an institution and there is none.
        """
        return self._template.user_directory(self.terms(person, group))

    def terms(self, person: Experimenter, group: Group) -> Terms:
        """Return the terms that hold for all imports of *person*; `dataclasses.replace` adds those of one."""
        return Terms(
            user=person.user_name,
            user_id=person.id,
            group=group.name,
            group_id=group.id,
            perms=group.level.omero,
            institution=self._institution,
            session="",
            session_id=0,
            thread="importer",
            now=datetime.now(),
            client_paths=(),
            exists=lambda _: False,
        )

    def make(self, layout: Layout, person: Experimenter, group: Group) -> str:
        """Make the directory of *person*, or give her the one that is there; return its name.

        Raises SettingsError, InvalidName; AccessDenied when only root could do it.
        """
        name = self.name(person, group)
        layout.make_user_directory(name, person.uid, group.gid)
        return name
