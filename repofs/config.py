"""The settings of a repository: what may be set, its default, and where each value comes from.

`settings.toml` in the repository directory; every key has a default, an unknown key or a wrong value is refused
at start. Times are in seconds and sizes in bytes, and say so in their names; a quota may have a unit: "2 TB".
"""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from repofs.errors import SettingsError
from repofs.model import Duplicates, Missing, Skip, Transfer
from repofs.people import Privilege

SETTINGS_FILE = "settings.toml"

ChecksumAlgorithm = Literal[
    "Adler-32", "CRC-32", "File-Size-64", "MD5-128", "Murmur3-32", "Murmur3-128", "SHA1-160", "SHA-256", "BLAKE3"
]
EventKind = Literal["imported", "failed", "duplicate", "altered", "missing", "offline", "deleted", "read-only"]
Size = Annotated[ByteSize, AfterValidator(int), Field(ge=0, lt=2**63)]  # bytes, or with a unit: "2 TB", "1.5GiB"
Seconds = Annotated[float, Field(ge=0.1, le=86_400.0)]


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("write a path that starts with /")
    return path


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Repository(_Section):
    template: str = "%user%_%userId%//%year%-%month%/%day%/%time%"
    institution: str = ""  # what %institution% becomes
    reserve_bytes: Annotated[int, Field(ge=0)] | None = None  # users leave free; None: 64 MiB or 1 %, what is less


class Drops(_Section):
    settle_seconds: Seconds = 3.0  # quiet time of a file before it is imported
    directory_settle_seconds: Seconds = 10.0  # the same for a directory that is one drop
    empty_file_factor: Annotated[int, Field(ge=1, le=1000)] = 10  # an empty file waits this many settle times
    directory_formats: tuple[str, ...] = (".zarr", ".n5")  # directories that are one drop
    table_formats: tuple[str, ...] = (".tiledb",)  # directories that are never imported
    temporary_names: tuple[str, ...] = (
        ".*", "*.part", "*.partial", "*.filepart", "*.crdownload", "*.download", "*.tmp", "*.temp",
        "*.swp", "*.swx", "*~", "#*#", "~$*", "4913",
    )  # fmt: skip
    exclude: tuple[str, ...] = (".DS_Store", "._*", ".directory", "Thumbs.db", "desktop.ini")  # what desktops leave
    duplicates: Duplicates = Duplicates.IMPORT
    missing: Missing = Missing.FAIL
    missing_seconds: Seconds = 60.0  # how long a fileset waits for a file that is missing
    skip: tuple[Skip, ...] = ()  # of what an import does


class Imports(_Section):
    checksum_algorithm: ChecksumAlgorithm = "SHA1-160"
    parallel: Annotated[int, Field(ge=1, le=256)] = 4  # files hashed at a time
    attempts: Annotated[int, Field(ge=1, le=100)] = 3  # crashes on one file before it is failed


class Readers(_Section):
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    timeout_seconds: Annotated[float, Field(ge=0.1, le=3600.0)] = 60.0
    memory_bytes: Annotated[int, Field(ge=256 << 20)] = 2 << 30


class People(_Section):
    refresh_seconds: Seconds = 60.0  # how soon a change of the machine's accounts and groups counts


class Quota(_Section):
    user: Size | None = None  # how much each may hold; None: as much as there is room for
    group: Size | None = None  # the same of all data of a group together


class Mount(_Section):
    cache_seconds: Annotated[float, Field(ge=0.0, le=86_400.0)] = 3600.0  # how long the kernel keeps names, attributes
    durability: Literal["fsync", "close"] = "fsync"  # which call waits until what was written is on the disk
    patience_seconds: Annotated[float, Field(ge=1.0, le=86_400.0)] = 120.0  # for a disk or source that does not answer
    passthrough: Literal["auto", "off"] = "auto"  # whether the kernel may read originals by itself


class Backups(_Section):
    keep: Annotated[int, Field(ge=0, le=1000)] = 7  # copies of the catalogue, one a day; 0: none is made


class Log(_Section):
    level: Literal["debug", "info", "warning", "error"] = "info"


class Administrators(_Section):
    group: Annotated[str, Field(min_length=1)]  # a Unix group: its members are administrators
    privileges: tuple[Privilege, ...] = tuple(Privilege)


SourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class Source(_Section):
    name: SourceName  # as .sources/NAME in the mount
    path: AbsolutePath  # files below it may be imported in place, by who can read them


class Dropbox(_Section):
    name: SourceName  # it is a declared source of that name too
    path: AbsolutePath  # below it one directory for each user, called by her login name
    transfer: Annotated[str, Field(min_length=1)] = Transfer.UPLOAD
    include: tuple[str, ...] = ("*",)  # fnmatch patterns of names that are imported
    exclude: tuple[str, ...] = ()  # and of those that are not, nor looked into, besides drops.exclude
    settle_seconds: Seconds = 10.0  # quiet time of a file before it is imported
    marker: Annotated[str, Field(pattern=r"^[^/]+$")] | None = None  # files wait for one of this name beside or above
    depth: Annotated[int, Field(ge=0, le=100)] = 10  # levels of directories below a user's that are looked into
    scan_seconds: Seconds = 60.0  # how often all is compared with what is known, where no events are reported
    group: str | None = None  # that imports belong to; None: the user's own


class InPlace(_Section):
    serve_altered: bool = False  # whether an original whose source has changed may be read all the same


class Verify(_Section):
    every_days: Annotated[float, Field(ge=0.0, le=3650.0)] = 30.0  # each original is verified in the background; 0: off
    bytes_per_second: Annotated[float, Field(ge=1.0)] = 20e6  # that this reads at most
    serve_altered: bool = False  # whether one that was found altered in the repository itself may be read


class PathMap(_Section):
    client: Annotated[str, Field(min_length=1)]  # as clients write it: J:\\tables, \\\\host\\share, /Volumes/tables
    server: AbsolutePath  # where that is on this machine


class Tables(_Section):
    serve_changed: bool = True  # whether a table is read when its array has changed since it was registered
    allow_without_token: bool = False  # whether an array without a SecretToken may be registered
    memory_bytes: Annotated[int, Field(ge=512 << 20)] = 2 << 30  # of a process that reads or writes an array
    timeout_seconds: Annotated[float, Field(ge=1.0, le=86_400.0)] = 60.0  # for a look into an array
    cache_bytes: Annotated[int, Field(ge=0)] = 4 << 30  # of CSV and Parquet files made of tables that are kept
    paths: tuple[PathMap, ...] = ()


class Store(_Section):
    name: SourceName
    uri: Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#%]*)?$")]  # arrays below it
    endpoint: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$")] | None = None  # None: Amazon's
    region: str = "us-east-1"
    credentials_file: AbsolutePath | None = None  # TOML: access_key_id, secret_access_key; of root's to read


class Trash(_Section):
    days: Annotated[float, Field(ge=0.0, le=36_500.0)] = 30.0  # that a deleted fileset is kept; 0: it goes at once


class Web(_Section):
    listen: Annotated[str, Field(pattern=r"^(\[[0-9a-f:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$")] | None = None  # None: off
    prefix: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_-]+)*$")] = ""
    hosts: tuple[str, ...] = ()  # by which clients call this machine; besides its own name and localhost
    certificate: AbsolutePath | None = None  # PEM; None: one that the daemon makes for itself
    key: AbsolutePath | None = None
    session_seconds: Seconds = 28_800.0  # how long a session lasts
    body_bytes: Annotated[int, Field(ge=1024)] = 1 << 20  # of a request
    requests: Annotated[int, Field(ge=1, le=10_000)] = 100  # at a time

    @model_validator(mode="after")
    def _whole_pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key of web go together")
        return self


_WEBHOOK = re.compile(r"https?://([!-.0-~]+@)?[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[!-~]*)?")


def _address(url: SecretStr) -> SecretStr:
    if _WEBHOOK.fullmatch(url.get_secret_value()) is None:
        raise ValueError("write https://HOST/PATH or http://HOST:PORT/PATH, in ASCII without spaces")
    return url


def _user_pattern(address: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9._+-]*(\{user\})?[A-Za-z0-9._+-]*@[A-Za-z0-9.-]+", address) is None:
        raise ValueError("write an address, in which {user} becomes the owner's login name: {user}@example.org")
    return address


class Mail(_Section):
    server: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+(:[0-9]{1,5})?$")]  # its port is 25 unless it says so
    sender: Annotated[str, AfterValidator(_user_pattern)] = Field(alias="from")
    to: Annotated[str, AfterValidator(_user_pattern)]
    starttls: bool = True  # refuse to send otherwise
    login: str | None = None
    password_file: AbsolutePath | None = None  # its first line, of root's to read
    batch_seconds: Seconds = 300.0  # from the first event that a mail tells to the mail

    @model_validator(mode="after")
    def _whole_login(self) -> Self:
        if (self.login is None) != (self.password_file is None):
            raise ValueError("login and password_file of a mail go together")
        return self


class Hook(_Section):
    name: SourceName  # by which it is known how far it is
    on: Annotated[tuple[EventKind, ...], Field(min_length=1)] = ("failed", "read-only")
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    user: str = "nobody"  # whose account runs the command, in a mount of root's
    webhook: Annotated[SecretStr, AfterValidator(_address)] | None = None
    mail: Mail | None = None
    timeout_seconds: Annotated[float, Field(ge=0.1, le=3600.0)] = 30.0

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(way is not None for way in (self.command, self.webhook, self.mail)) != 1:
            raise ValueError(f"the hook {self.name} has exactly one of command, webhook and mail")
        if self.command and not self.command[0].startswith("/"):
            raise ValueError(f"the hook {self.name}: write the command's program with its whole path")
        return self


class Settings(_Section):
    """All settings of one repository, checked."""

    repository: Repository = Repository()
    drops: Drops = Drops()
    imports: Imports = Imports()
    readers: Readers = Readers()
    people: People = People()
    quota: Quota = Quota()
    mount: Mount = Mount()
    backups: Backups = Backups()
    log: Log = Log()
    in_place: InPlace = InPlace()
    verify: Verify = Verify()
    tables: Tables = Tables()
    trash: Trash = Trash()
    web: Web = Web()
    sources: tuple[Source, ...] = ()
    dropbox: tuple[Dropbox, ...] = ()
    hooks: tuple[Hook, ...] = ()
    stores: tuple[Store, ...] = ()
    administrators: tuple[Administrators, ...] = ()

    @model_validator(mode="after")
    def _are_distinct(self) -> Self:
        for kind, declared in (
            ("source", self.declared_sources()),
            ("hook", self.hooks),
            ("store", self.stores),
        ):
            names = [one.name for one in declared]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"the {kind} {twice} is declared twice")
        for inner, outer in itertools.permutations(self.dropbox, 2):
            if inner.path.is_relative_to(outer.path):
                raise ValueError(f"the dropbox {inner.name} lies in the dropbox {outer.name}: files would come twice")
        return self

    def declared_sources(self) -> tuple[Source, ...]:
        """Return all directories outside from which may be imported: watched ones are sources too."""
        return self.sources + tuple(Source(name=one.name, path=one.path) for one in self.dropbox)


def load(repository: Path) -> Settings:
    """Read the settings of *repository*; all defaults where it has no settings file.

    Raises SettingsError naming each key, its value and what is allowed.
    """
    path = repository / SETTINGS_FILE
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(path, one) for one in error.errors())) from error


def _sentence(path: Path, error: object) -> str:
    assert isinstance(error, dict)
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{path}: {key} is not a setting: allowed are {', '.join(known_keys())}"
    # Not a whole table, nor the one value that may hold a secret.
    hidden = isinstance(error["input"], dict) or error["loc"][-1] == "webhook"
    value = "" if hidden else f" = {error['input']!r}"
    return f"{path}: {key}{value}: {error['msg'][0].lower()}{error['msg'][1:]}"


def known_keys() -> list[str]:
    """Return every setting as ``section.key``; a list of tables is one setting, by its name alone."""
    return [key for key, _, _ in explain(Settings())]


def explain(settings: Settings) -> list[tuple[str, object, str]]:
    """Return (key, value, where it comes from) for every setting; the last is a file's name or "default"."""
    explained: list[tuple[str, object, str]] = []
    for section, value in settings:
        if isinstance(value, _Section):
            explained += [(f"{section}.{key}", one, _source(value, key)) for key, one in value]
        else:
            tables = [one.model_dump(mode="json", by_alias=True) for one in value]  # secrets as stars
            explained.append((section, tables, _source(settings, section)))
    return explained


def _source(model: _Section, key: str) -> str:
    return SETTINGS_FILE if key in model.model_fields_set else "default"
