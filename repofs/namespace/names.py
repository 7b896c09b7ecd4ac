"""What a name means: which area a directory belongs to, which names are refused, temporary, or one drop."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from enum import Enum

from repofs.config import Drops
from repofs.errors import InvalidName, NotPermitted
from repofs.formats.candidates import TABLE_PARTS, any_of
from repofs.namespace.nodes import Area, Node

OWN = b".repofs"


class Alone(Enum):
    ALONE = 0


ALONE = Alone.ALONE


class Names:
    """The rules of one repository's names. *reserved* matches the names that import directories take."""

    def __init__(self, reserved: re.Pattern[bytes], drops: Drops) -> None:
        self.reserved = reserved
        self._temporary = any_of(drops.temporary_names)
        self._excluded = any_of(drops.exclude)
        self._directory_formats = tuple(suffix.encode().lower() for suffix in drops.directory_formats)
        self._table_formats = tuple(suffix.encode().lower() for suffix in drops.table_formats)

    def area(self, parent: Node, name: bytes) -> Area:
        """Return the area of the directory *name* in *parent*."""
        match parent.area:
            case Area.ROOT:
                return Area.OWN if name == OWN else Area.USER
            case Area.USER:
                return Area.IMPORTS if self.reserved.fullmatch(name) else Area.DROPS
            case area:
                return area

    def hidden(self, parent: Node, name: bytes) -> bool:
        return parent.area is Area.ROOT and name.startswith(b".") and name != OWN

    def shown(self, parent: Node, names: Sequence[bytes]) -> Sequence[bytes]:
        """Return those of *names* in *parent* that are not hidden."""
        if parent.area is not Area.ROOT:
            return names
        return [name for name in names if not self.hidden(parent, name)]

    def require_changeable(self, parent: Node, name: bytes) -> None:
        """Refuse to make, remove or rename *name* in *parent* where users make no names."""
        match parent.area:
            case Area.ROOT:
                raise NotPermitted("user directories are made by the administrator: repofs user add")
            case Area.IMPORTS:
                raise NotPermitted("names in an import directory are not changed one by one")
            case Area.OWN:
                raise NotPermitted(".repofs is kept by repofs itself")
            case Area.USER if self.reserved.fullmatch(name) and name in parent.children:
                # of EINVAL, as for a new name, mv would say that a directory cannot be moved into itself
                raise NotPermitted("what import directories lie in is kept by repofs itself")
            case Area.USER if self.reserved.fullmatch(name):
                raise InvalidName(
                    f"{name.decode(errors='replace')} is a name that import directories take: choose another"
                )

    def temporary(self, name: bytes) -> bool:
        """Whether a copying program or an editor will rename *name* when it is done."""
        return self._temporary.fullmatch(os.fsdecode(name)) is not None

    def in_temporary(self, node: Node) -> bool:
        """Whether a directory above *node* has a temporary name: rsync --delay-updates collects files in one."""
        directory = node.names[0][0]
        while directory.area is Area.DROPS and directory.names:
            parent, name = directory.names[0]
            if self.temporary(name):
                return True
            directory = parent
        return False

    def excluded(self, name: bytes, patterns: tuple[str, ...]) -> bool:
        """Whether *name* is never imported by itself, by the settings or a directory's *patterns*."""
        text = os.fsdecode(name)
        return self._excluded.fullmatch(text) is not None or any_of(patterns).fullmatch(text) is not None

    def is_table(self, directory: Node) -> bool:
        """Whether *directory* is one that an array may be in, by its name."""
        return bool(directory.names) and directory.names[0][1].lower().endswith(self._table_formats)

    def unit(self, node: Node) -> Node | None:
        """Return what *node* is imported as: itself, the outermost directory format around it, or None.

        None is for what is never imported: directories, tables and what lies in them, what has no name any more.
        """
        unit = self.rule(node)
        return unit if isinstance(unit, Node) else None

    def rule(self, node: Node) -> Node | Alone | None:
        """Return the unit of *node*, ALONE for a directory whose files are imported one by one, or None."""
        found: Node | Alone = node if node.is_file else ALONE
        here = node
        while here.names:
            parent, name = here.names[0]
            if here.is_directory:
                lower = name.lower()
                if lower.endswith(self._table_formats):
                    return None
                if lower.endswith(self._directory_formats):
                    found = here
                if name in TABLE_PARTS:
                    return None
            if parent.area in (Area.ROOT, Area.IMPORTS, Area.OWN):
                return None
            if parent.area is Area.USER:
                return found
            here = parent
        return None
