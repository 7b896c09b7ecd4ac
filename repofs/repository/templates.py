"""The templates that import directories have been called by: what was the repository's name stays so."""

from __future__ import annotations

import re

from repofs.repository.durable import write_whole
from repofs.repository.layout import Layout
from repofs.repository.template import Template


def remember(layout: Layout, template: str) -> None:
    """Keep *template*, by which import directories are called from now on. The caller holds the repository's lock.

    Raises SettingsError for one that is not legal: kept, it would be refused at each start, whatever the settings say.
    """
    Template(template)
    known = _known(layout)
    if template not in known:
        write_whole(layout.templates, "".join(f"{one}\n" for one in (*known, template)).encode())


def reserved(layout: Layout, template: str) -> re.Pattern[bytes]:
    """Return what fully matches the names of import directories in a user directory, by *template* and those before."""
    patterns = {Template(one).reserved.pattern for one in (*_known(layout), template)}
    return re.compile(b"|".join(sorted(patterns)))


def _known(layout: Layout) -> list[str]:
    try:
        return layout.templates.read_text().splitlines()
    except FileNotFoundError:
        return []
