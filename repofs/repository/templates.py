"""The templates that import directories have been called by: what was the repository's name stays so."""

from __future__ import annotations

import re

from repofs.errors import SettingsError
from repofs.repository.durable import write_whole
from repofs.repository.layout import Layout
from repofs.repository.template import Template


def remember(layout: Layout, template: str) -> None:
    """Keep *template*, by which import directories are called from now on. The caller holds the repository's lock.

    Raises SettingsError for one that is not legal: kept, it would be refused at each start, whatever the settings say.
    And for one by which user directories that are there would be nobody's.
    """
    Template(template)
    known = _known(layout) if any(layout.managed.glob("[!.]*")) else []
    if known and _users(template) != _users(known[0]):
        raise SettingsError(
            f"repository.template = {template!r}: user directories are called by {_users(known[0])!r} and cannot move: "
            "leave that before the //"
        )
    if template not in known:
        write_whole(layout.templates, "".join(f"{one}\n" for one in (*known, template)).encode())


def reserved(layout: Layout, template: str) -> re.Pattern[bytes]:
    """Return what fully matches the names of import directories in a user directory, by *template* and those before."""
    patterns = {Template(one).reserved.pattern for one in (*_known(layout), template)}
    return re.compile(b"|".join(sorted(patterns)))


def _users(template: str) -> str:
    """Return the part of *template* that names user directories."""
    return template.rpartition("//")[0].strip("/")


def _known(layout: Layout) -> list[str]:
    try:
        return layout.templates.read_text().splitlines()
    except FileNotFoundError:
        return []
