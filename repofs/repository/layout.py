"""Where everything in a repository directory lies.

DIR/                      0711
  settings.toml           the settings, commented
  catalogue.sqlite        0600
  key                     0600, 32 random bytes: signs the marks
  lock                    held by the one daemon
  control                 0666, the daemon's socket for requests; who may what is decided by the caller's uid
  daemon.log
  backups/                0700: a copy of the catalogue for each of the last days
  cache/                  0700: files without a name, which tables are shown as; empty to everybody else
  thumbnails/0/Image-101.png   0700: of images 0 to 999; may be removed at any time, and is made anew
  web.pem                 0600, the certificate that the daemon makes for itself, and its key
  ManagedRepository/      0700; presented as the mount, name for name
    .staging/N/           import N in the making; never shown, as all in here that starts with a dot but .repofs
    .arriving/N/          what a command or a watched folder has brought, until its import has ended
    .linked/INODE         the hard link behind the stand-in of that inode
    .trash/N/             the files of Fileset:N, which was deleted, and a signed note of all its rows
    .journal              where something goes on (`namespace.journal`)
    .templates            those that import directories have been called by (`repository.templates`)
    .people, .counters    0600, signed: what the tree does not show, for when the catalogue is lost (`repository.kept`)
    .repofs/              shown, never changed through the mount
      log/alice_2/        logs of imports that failed
      failed/alice_2/     a link to each drop that has failed
      events, session     empty: the mount shows each reader what is for her
    alice_2/              a user directory
"""

from __future__ import annotations

import errno
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from repofs.config import SETTINGS_FILE
from repofs.errors import AccessDenied, AlreadyExists, InvalidName, InvalidValue, NotARepository
from repofs.repository.durable import OPEN_DIRECTORY, own, sync_directory, write_new
from repofs.xattrs import MARK

KEY_BYTES = 32
_OWNERS = 0o700


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one repository."""

    root: Path

    @property
    def settings(self) -> Path:
        return self.root / SETTINGS_FILE

    @property
    def catalogue(self) -> Path:
        return self.root / "catalogue.sqlite"

    @property
    def key(self) -> Path:
        return self.root / "key"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def control(self) -> Path:
        return self.root / "control"

    @property
    def log(self) -> Path:
        return self.root / "daemon.log"

    @property
    def backups(self) -> Path:
        return self.root / "backups"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def thumbnails(self) -> Path:
        return self.root / "thumbnails"

    def thumbnail(self, image: int) -> Path:
        """Return where the thumbnail of Image:*image* is, if there is one: a thousand a directory."""
        return self.thumbnails / str(image // 1000) / f"Image-{image}.png"

    @property
    def new_thumbnail(self) -> Path:
        """Return where the one thumbnail is that is being written."""
        return self.thumbnails / "new.png"

    @property
    def drop_counts(self) -> Path:
        return self.root / "drops.json"

    @property
    def web_certificate(self) -> Path:
        return self.root / "web.pem"

    @property
    def managed(self) -> Path:
        return self.root / "ManagedRepository"

    @property
    def staging(self) -> Path:
        return self.managed / ".staging"

    @property
    def arriving(self) -> Path:
        return self.managed / ".arriving"

    @property
    def linked(self) -> Path:
        return self.managed / ".linked"

    @property
    def journal(self) -> Path:
        return self.managed / ".journal"

    @property
    def trash(self) -> Path:
        return self.managed / ".trash"

    @property
    def people(self) -> Path:
        return self.managed / ".people"

    @property
    def counters(self) -> Path:
        return self.managed / ".counters"

    @property
    def templates(self) -> Path:
        return self.managed / ".templates"

    @property
    def failure_logs(self) -> Path:
        return self.managed / ".repofs" / "log"

    @property
    def failed(self) -> Path:
        return self.managed / ".repofs" / "failed"

    @property
    def events(self) -> Path:
        return self.managed / ".repofs" / "events"

    @property
    def session(self) -> Path:
        return self.managed / ".repofs" / "session"

    @classmethod
    def create(cls, root: Path, settings_text: str) -> Layout:
        """Make a repository in *root*, all but the catalogue, and return its layout.

        Raises AlreadyExists when *root* is anything but an empty or missing directory, and
        InvalidValue when its file system keeps no extended attributes.
        """
        layout = cls(root.absolute())
        layout._make_root()
        layout.managed.mkdir(mode=0o700)
        _check_file_system(layout.managed)
        layout.make_hidden()
        layout.make_own()
        write_new(layout.settings, settings_text.encode(), 0o644)
        write_new(layout.key, secrets.token_bytes(KEY_BYTES), 0o600)  # last: `open` takes it as the sign of a whole one
        for made in (layout.failure_logs.parent, layout.managed, layout.root, layout.root.parent):
            sync_directory(made.resolve())
        return layout

    def make_hidden(self) -> None:
        """Make the directories that the mount does not show, those that a repository of an older repofs has not."""
        for directory in (self.staging, self.arriving, self.linked, self.trash):
            directory.mkdir(mode=0o700, exist_ok=True)

    def make_thumbnails(self) -> None:
        self.thumbnails.mkdir(mode=_OWNERS, exist_ok=True)

    def make_own(self, *, session: bool = False) -> None:
        """Make what .repofs holds, as far as a repository of an older repofs has it not: *session* with the rest."""
        for directory in (self.failed.parent, self.failure_logs, self.failed):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o755)  # whatever the umask: every user passes through
        self.events.touch(0o444)
        if session:
            self.session.touch(0o444)
        else:
            self.session.unlink(missing_ok=True)
        for name in self.managed.iterdir():
            if name.is_dir() and not name.name.startswith("."):
                status = name.stat()
                self._make_failed(name.name, status.st_uid, status.st_gid)

    def _make_failed(self, user_directory: str, uid: int, gid: int) -> None:
        path = self.failed / user_directory
        path.mkdir(mode=_OWNERS, exist_ok=True)
        fd = os.open(path, OPEN_DIRECTORY)
        try:
            own(fd, uid, gid, _OWNERS)
        finally:
            os.close(fd)

    def _make_root(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise AlreadyExists(f"{self.root} is not a directory: choose another name") from None
        if any(self.root.iterdir()):
            raise AlreadyExists(f"{self.root} is not empty: choose a new or an empty directory")
        self.root.chmod(0o711)

    @classmethod
    def open(cls, root: Path) -> Layout:
        """Return the layout of the repository in *root*; NotARepository when there is none, or half of one."""
        layout = cls(root.absolute())
        if not layout.managed.is_dir():
            raise NotARepository(f"{root} is not a repository: make one with `repofs init {root}`")
        if not layout.key.is_file():
            raise NotARepository(f"{layout.key} is missing: put it back from a backup, it signs what was imported")
        return layout

    def make_user_directory(self, name: str, uid: int, gid: int) -> None:
        """Make the user directory *name*, or give the one that is there this owner and group.

        Closed to all others: who may enter it through the mount does not stand in its mode.

        Raises InvalidName for what is not one visible name, AccessDenied when only root could give it away.
        """
        if not name or name.startswith(".") or "/" in name or "\0" in name:
            raise InvalidName(f"{name!r} cannot be a user directory: it must be one name that starts with no dot")
        path = self.managed / name
        made = not path.exists()
        if made:
            path.mkdir(mode=_OWNERS)
        fd = os.open(path, OPEN_DIRECTORY)
        try:
            own(fd, uid, gid, _OWNERS)
            os.fsync(fd)
        except PermissionError as error:
            if made:
                path.rmdir()
            raise AccessDenied(f"only root can make the directory {name} of another user") from error
        finally:
            os.close(fd)
        self._make_failed(name, uid, gid)
        sync_directory(self.managed)


def load_key(layout: Layout) -> bytes:
    """Return the key that signs the marks; NotARepository when it is missing or damaged."""
    try:
        key = layout.key.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) != KEY_BYTES:
        raise NotARepository(f"{layout.key} is not {KEY_BYTES} bytes: put it back from a backup")
    return key


def _check_file_system(directory: Path) -> None:
    try:
        os.setxattr(directory, MARK, b"")
        os.removexattr(directory, MARK)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        raise InvalidValue(f"the file system of {directory} keeps no extended attributes: choose another") from error
