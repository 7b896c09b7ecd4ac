"""Where the HTTPS door is: the address that it listens on, and the names by which clients call it."""

from __future__ import annotations

import ipaddress
import socket

from repofs.config import Web
from repofs.errors import SettingsError

_LOCAL = ("localhost", "127.0.0.1", "::1")
_MOST_PORT = 65_535


def listen(settings: Web) -> tuple[str, int]:
    """Return host and port of ``web.listen``. Raises SettingsError for a port that is none."""
    assert settings.listen is not None
    host, _, port = settings.listen.rpartition(":")
    if int(port) > _MOST_PORT:
        raise SettingsError(f"web.listen = {settings.listen!r}: the port is {_MOST_PORT} at most")
    return host.strip("[]"), int(port)


def names(settings: Web) -> frozenset[str]:
    """Return the names and addresses of this machine, as `name` writes them: those set, its own, and local ones."""
    host, _ = listen(settings)
    return frozenset(name(one) for one in (*settings.hosts, host, socket.gethostname(), *_LOCAL) if not _is_any(one))


def name(text: str) -> str:
    """Return a host's name in small letters, an address as it is usually written, without brackets."""
    text = text.strip("[]").lower()
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def _is_any(text: str) -> bool:
    return text in ("", "0.0.0.0", "::")
