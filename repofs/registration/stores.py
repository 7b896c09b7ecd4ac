"""Declared stores: where they are, and the keys to them. No request names a host, a bucket or a key of its own."""

from __future__ import annotations

import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from repofs.config import Store
from repofs.errors import InvalidValue, SettingsError

CONNECT_SECONDS = 3  # tried twice: a store that is away is known for it within 10 s
REQUEST_SECONDS = 10  # without a byte


class _Credentials(msgspec.Struct, forbid_unknown_fields=True):
    access_key_id: str
    secret_access_key: str


def uri(store: Store, path: bytes) -> str:
    """Return the URI of what lies at *path* below the store's prefix. Raises InvalidValue for what is not below it."""
    try:
        text = path.decode()
    except UnicodeDecodeError:
        text = ""
    if not text.isprintable() or any(part in ("", ".", "..") for part in text.split("/")):
        raise InvalidValue(f"{path!r} is no path in the store {store.name}")
    return f"{store.uri.rstrip('/')}/{text}"


def port(store: Store) -> int:
    """Return the TCP port on which the store answers."""
    if store.endpoint is None:
        return 443
    endpoint = urlsplit(store.endpoint)
    return endpoint.port or {"https": 443, "http": 80}[endpoint.scheme]


def settings(store: Store) -> dict[str, str]:
    """Return TileDB's settings for *store*, read anew: keys may have changed. Blocking.

    Raises SettingsError when the credentials cannot be read.
    """
    found = {
        "vfs.s3.region": store.region,
        "vfs.s3.connect_timeout_ms": str(CONNECT_SECONDS * 1000),
        "vfs.s3.request_timeout_ms": str(REQUEST_SECONDS * 1000),
        "vfs.s3.connect_max_tries": "2",
        "vfs.s3.connect_scale_factor": "1",
    }
    if store.endpoint is not None:
        endpoint = urlsplit(store.endpoint)
        found |= {
            "vfs.s3.scheme": endpoint.scheme,
            "vfs.s3.endpoint_override": endpoint.netloc,
            "vfs.s3.use_virtual_addressing": "false",
        }
    if store.credentials_file is None:
        return {**found, "vfs.s3.no_sign_request": "true"}  # and not whatever the machine has for credentials
    credentials = _credentials(store.name, store.credentials_file)
    return {
        **found,
        "vfs.s3.aws_access_key_id": credentials.access_key_id,
        "vfs.s3.aws_secret_access_key": credentials.secret_access_key,
    }


def _credentials(name: str, path: Path) -> _Credentials:
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _Credentials)
    except OSError as error:
        raise SettingsError(f"the credentials of the store {name}: {path}: {error.strerror}") from None
    except (ValueError, msgspec.ValidationError):  # not why: the message might repeat what stands in it
        raise SettingsError(
            f"the credentials of the store {name}: {path} has two lines of TOML, access_key_id and secret_access_key"
        ) from None
