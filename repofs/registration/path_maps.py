"""Paths as other machines write them, and where that is on this one: by the longest prefix of those in the settings."""

from __future__ import annotations

import re
from collections.abc import Iterable

from repofs.config import PathMap
from repofs.errors import InvalidValue

_WINDOWS = re.compile(r"[A-Za-z]:|\\\\|//")  # a drive, or \\host\share with either slash


class PathMaps:
    """The path maps of one repository."""

    def __init__(self, maps: Iterable[PathMap]) -> None:
        self._maps = sorted(((_parts(one.client), one.server) for one in maps), key=lambda one: -len(one[0]))

    def local(self, path: str) -> str:
        """Return where *path* is on this machine; itself when no map says anything of it.

        Raises InvalidValue for a Windows path that no map leads here, and for one with ``..``.
        """
        parts = _parts(path)
        if ".." in parts:
            raise InvalidValue(f"uri={path!r}: write it without ..")
        for client, server in self._maps:
            if [_key(client, part) for part in parts[: len(client)]] == [_key(client, part) for part in client]:
                return "/".join([str(server).rstrip("/"), *parts[len(client) :]])
        if is_windows(path):
            raise InvalidValue(f"uri={path!r}: this server has no such path: an administrator adds it to tables.paths")
        return path


def is_windows(path: str) -> bool:
    """Whether *path* begins as only Windows writes it."""
    return _WINDOWS.match(path) is not None


def _parts(path: str) -> list[str]:
    """Return the parts of *path*: of one of Windows' without regard to which slash and how many; its first part tells
    what it begins with."""
    if is_windows(path):
        unc = path[:2] in ("\\\\", "//")
        parts = [part for part in re.split(r"[\\/]+", path) if part not in ("", ".")]
        return ["//", *parts] if unc else parts
    return ["/" if path.startswith("/") else "", *(part for part in path.split("/") if part not in ("", "."))]


def _key(prefix: list[str], part: str) -> str:
    """Return *part* as it is compared with those of *prefix*: Windows takes no notice of case."""
    windows = prefix[0] == "//" or (len(prefix[0]) == 2 and prefix[0][1] == ":")
    return part.casefold() if windows else part
