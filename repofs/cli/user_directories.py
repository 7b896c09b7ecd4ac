"""Making user directories and giving them the owner, group and mode that the catalogue says."""

from __future__ import annotations

from datetime import datetime

from repofs.catalog.users import Experimenter, Group
from repofs.config import Settings
from repofs.repository.layout import Layout
from repofs.repository.template import Template, Terms


def make(layout: Layout, settings: Settings, person: Experimenter, group: Group) -> str:
    """Make the directory of *person*, or set right the one that is there; return its name.

    Raises AccessDenied when only root could do it.
    """
    name = name_of(settings, person, group)
    layout.make_user_directory(name, person.uid, group.gid)
    return name


def name_of(settings: Settings, person: Experimenter, group: Group) -> str:
    """Return the name of the directory of *person*, by the template: "alice_2"."""
    terms = Terms(
        user=person.user_name,
        user_id=person.id,
        group=group.name,
        group_id=group.id,
        perms=group.level.omero,
        institution=settings.repository.institution,
        session="",
        session_id=0,
        thread="",
        now=datetime.now(),
        client_paths=(),
        exists=lambda _name: False,
    )
    return Template(settings.repository.template).user_directory(terms)
