"""A namespace on a real directory, without a mount: the services, a clock and a kernel that only remember."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from repofs import config
from repofs.errors import NotFound
from repofs.lifecycle import State
from repofs.model import Drop, Original, Outcome, PermissionLevel, Transfer
from repofs.namespace.accounts import Accounts
from repofs.namespace.backing import Backing
from repofs.namespace.claims import Claims
from repofs.namespace.directories import Directories
from repofs.namespace.drops import Drops
from repofs.namespace.elsewhere import Elsewhere
from repofs.namespace.facts import Facts
from repofs.namespace.failed import Failed
from repofs.namespace.filesets import Filesets
from repofs.namespace.handles import Handles
from repofs.namespace.journal import Journal
from repofs.namespace.linking import Linking
from repofs.namespace.names import Names
from repofs.namespace.nodes import Node
from repofs.namespace.own_files import OwnFiles
from repofs.namespace.passthrough import Passthrough
from repofs.namespace.registered import Registered
from repofs.namespace.regrouping import Regrouping
from repofs.namespace.reopening import Reopening
from repofs.namespace.request import Caller, Change
from repofs.namespace.rights import Rights
from repofs.namespace.standing import Standing
from repofs.namespace.stream import Stream
from repofs.namespace.survey import Survey
from repofs.namespace.table_facts import TableFacts
from repofs.namespace.trail import Trail
from repofs.namespace.tree import Tree
from repofs.namespace.usage import Usage
from repofs.patience import Patience
from repofs.people import Actor, Home, People
from repofs.registration.ledger import Ledger
from repofs.registration.places import Places
from repofs.registration.registrar import Registrar
from repofs.registration.registry import Registry
from repofs.registration.watch import Watch
from repofs.repository.failed_links import FailedLinks
from repofs.repository.failure_logs import FailureLogs
from repofs.repository.layout import Layout, load_key
from repofs.repository.marks import Marks
from repofs.repository.sources import Sources
from repofs.repository.template import Template
from tests.helpers.tables import NoArrays

ALICE = "alice_2"


def people_of(uid: int, gid: int) -> People:
    """Return a repository's people: one user, in a private group."""
    mine = frozenset({gid})
    return People(
        {uid: Actor(uid, "alice", mine)}, {gid: PermissionLevel.PRIVATE}, {ALICE.encode(): Home(uid, gid, mine)}
    )


class FakeClocks:
    """The inbox: clocks that run are in `running`, with the user and the delay; they go off when a test claims."""

    def __init__(self) -> None:
        self.running: dict[int, tuple[bytes, float]] = {}
        self.growing: list[int] = []  # inodes

    def grows(self, fd: int) -> None:
        self.growing.append(os.fstat(fd).st_ino)
        os.close(fd)

    def dropped(self, token: int, user: bytes, delay_seconds: float) -> None:
        self.running[token] = (user, delay_seconds)

    def gone(self, token: int) -> None:
        self.running.pop(token, None)


class FakeKernel:
    def __init__(self) -> None:
        self.told: set[int] = set()

    def changed(self, ino: int) -> None:
        self.told.add(ino)


class World:
    """All services over the repository in *directory*, and short ways to use them as one caller.

    It counts lookups as the door does: each node that an operation answers is one reference more.
    """

    def __init__(self, directory: Path, settings: config.Settings | None = None) -> None:
        self.settings = settings or config.Settings()
        self.caller = Caller(uid=os.geteuid(), umask=0o022, task=os.getpid(), gid=os.getegid())
        if not directory.exists():
            layout = Layout.create(directory, "")
            layout.make_user_directory(ALICE, self.caller.uid, os.getegid())
        self.layout = Layout.open(directory)
        self.marks = Marks(load_key(self.layout))
        self.backing = Backing(self.layout.managed)
        self.table = self.backing.table
        names = Names(Template(self.settings.repository.template).reserved, self.settings.drops)
        self.registry = Registry()
        self.registered = Registered(self.registry, self.backing)
        self.standing = Standing(self.backing, names, self.marks, self.settings.drops, self.registered)
        self.kernel = FakeKernel()
        self.trail = Trail()
        self.people = people_of(self.caller.uid, os.getegid())
        self.rights = Rights(self.standing, self.kernel, self.trail, self.people)
        self.layout.make_own()
        self.failed = Failed(self.backing, FailedLinks(self.layout))
        self.journal = Journal(self.layout.journal, self.standing)
        self.warned: list[str] = []  # whose quota came near its end
        self.accounts = Accounts(lambda whose, _used, _limit: self.warned.append(whose))
        self.accounts.adopt(self.people)
        self.usage = Usage(self.standing, self.accounts)
        self.drops = Drops(self.standing, self.journal, FailureLogs(self.layout), self.failed, self.usage)
        self.clocks = self.drops.clocks = FakeClocks()
        self.drops.surveyed = True
        self.filesets = Filesets(self.standing, self.drops, self.settings.drops)
        self.claims = Claims(self.standing, self.rights, self.drops, self.filesets, self.kernel)
        self.tree = Tree(self.standing, self.rights, self.drops)
        self.stream = Stream(self.rights)
        self.own = OwnFiles({b"events": self.stream})
        self.found: list[tuple[int, State]] = []  # what the catalogue was told of the sources of originals
        sources = Sources(self.settings.sources, self.layout.root)
        self.patience = Patience(self.settings.mount.patience_seconds)
        self.elsewhere = Elsewhere(
            self.standing,
            self.layout,
            sources,
            self.patience,
            self._stands,
            serve_altered=self.settings.in_place.serve_altered,
        )
        mountpoint = directory.parent / "mnt"
        self.linking = Linking(
            self.standing, self.rights, self.drops, self.tree, sources, self.layout, mountpoint, self.patience
        )
        self.passthrough = Passthrough(self.standing, None, lambda: "there is no kernel")
        self.survey = Survey(self.standing, self.rights, self.drops, self.patience, self.linking.resume)
        self.handles = Handles(
            self.standing,
            self.rights,
            self.drops,
            self.tree,
            self.elsewhere,
            self.own,
            self.patience,
            self.passthrough,
            Reopening(self.standing, self.drops, self.passthrough, None),
        )
        self.registry.on_change(self.handles.tables_changed)
        self.directories = Directories(self.standing, self.rights, self.drops)
        self.moved: list[tuple[list[int], int, int, bytes]] = []  # what the importer was asked to move to another group
        self.regrouping = Regrouping(self.standing, self.rights, self.failed, self.usage, self._move)
        self.places = Places(self.layout, self.settings, sources, mountpoint)
        nowhere = NoArrays()
        ledger = Ledger(nowhere, self.registry)
        self.watch = Watch(self.settings.tables, self.places, nowhere, self.registry, ledger)
        self.registrar = Registrar(
            self.settings.tables,
            self.places,
            nowhere,
            self.registry,
            ledger,
            self.watch,
            lambda: self.people,
            lambda uid, act, reason, path: self.trail.refused(uid, act, reason, path=path),
        )
        self.table_facts = TableFacts(
            self.standing, self.registry, self.registrar, self.watch.look, nowhere.create, mountpoint, self._ask
        )
        self.facts = Facts(
            self.standing,
            self.rights,
            self.drops,
            self.survey,
            self.regrouping,
            self.elsewhere,
            self.linking,
            self.table_facts,
            self.passthrough,
            self._ask,
            lambda: self._ask("verified"),
        )
        self.answers: dict[str, str] = {}  # what the catalogue says
        self._lookups: Counter[int] = Counter()
        self._originals = 0

    async def _move(self, filesets: Sequence[int], gid: int, uid: int, path: bytes) -> None:
        self.moved.append((list(filesets), gid, uid, path))

    async def _stands(self, importing: int, state: State) -> None:
        self.found.append((importing, state))

    async def _ask(self, what: str) -> str:
        if what not in self.answers:
            raise NotFound(f"there is no {what}")
        return self.answers[what]

    # --- names ----------------------------------------------------------------------------------

    def seen(self, node: Node) -> Node:
        """Count what an operation has answered, as the kernel does."""
        self.table.refer(node)
        self._lookups[node.ino] += 1
        return node

    def node(self, path: str) -> Node:
        """Return the node of *path* below alice's directory, each name looked up."""
        here = self.seen(self.tree.lookup(self.table.root, ALICE.encode())[0])
        for name in filter(None, path.split("/")):
            here = self.seen(self.tree.lookup(here, os.fsencode(name))[0])
        return here

    def list(self, path: str) -> None:
        """Have a listing answer with the file *path*."""
        directory, name = self.place(path)
        status = self.path(path).stat()
        self.table.refer_to(status, directory, name)
        self._lookups[status.st_ino] += 1

    def place(self, path: str) -> tuple[Node, bytes]:
        """Return the node of the directory and the last name of *path*."""
        above, _, name = path.rpartition("/")
        return self.node(above), os.fsencode(name)

    def path(self, path: str) -> Path:
        """Return where *path* below alice's directory lies in the backing tree."""
        return self.layout.managed / ALICE / path

    def mkdir(self, path: str) -> Node:
        return self.seen(self.tree.mkdir(*self.place(path), 0o755, self.caller)[0])

    def rename(self, old: str, new: str, flags: int = 0) -> None:
        self.tree.rename(*self.place(old), *self.place(new), flags, self.caller)

    def link(self, old: str, new: str) -> None:
        self.seen(self.tree.link(self.node(old), *self.place(new), self.caller)[0])

    def unlink(self, path: str) -> None:
        self.tree.unlink(*self.place(path), self.caller)

    def change(self, path: str, change: Change) -> None:
        self.handles.setattr(self.node(path), change, None, self.caller)

    def forget_all(self) -> None:
        """The kernel lets go of everything that it was told, and all is on the disk."""
        self.backing.unsynced.synced(math.inf)
        for ino, count in self._lookups.items():
            self.table.forget(ino, count)
        self._lookups.clear()
        self.journal.end_idle()

    # --- files ----------------------------------------------------------------------------------

    def create(self, path: str, mode: int = 0o644) -> int:
        """Make a file and return a handle that may write."""
        node, _, fh = self.handles.create(*self.place(path), mode, os.O_WRONLY | os.O_EXCL, self.caller)
        self.seen(node)
        return fh

    def open(self, path: str, flags: int = os.O_RDONLY) -> int:
        return self.handles.open(self.node(path), flags, self.caller)

    def write(self, path: str, content: bytes = b"bytes") -> Node:
        """Make a file of *content*, as cp does."""
        fh = self.create(path)
        self.handles.write(fh, 0, content)
        self.close(fh)
        return self.node(path)

    def close(self, fh: int) -> None:
        self.handles.flush(fh)
        self.handles.release(fh)

    # --- imports --------------------------------------------------------------------------------

    def state(self, path: str) -> State | None:
        stands = self.standing.state(self.node(path))
        return stands and stands[0]

    def settles(self, path: str) -> bool:
        """Whether the clock of *path* itself runs."""
        return self.node(path).ino in self.clocks.running

    def claim(self, path: str) -> Drop | None:
        """Let the clock of *path* go off, as the inbox does; None when it is no drop any more."""
        return self.claim_token(self.node(path).ino)

    def claim_token(self, token: int) -> Drop | None:
        self.clocks.running.pop(token, None)
        claimed = self.claims.claim(token)
        if claimed is None:
            return None
        os.close(claimed[1])
        return claimed[0]

    def original(self, path: str) -> None:
        """Do to the backing file of *path* what the importer process does: mark it as an original."""
        self._originals += 1
        name = path.rpartition("/")[2]
        mark = Original(
            self._originals, 17, (101,), "SHA1-160:00", Transfer.UPLOAD, "2026-11-22T12:00:00Z",
            ALICE, "2026-11/22/12-00-00.000", name, 1,
        )  # fmt: skip
        self.marks.write(os.fsencode(self.path(path)), mark)

    def imported(self, drop: Drop) -> None:
        self.claims.outcome(Outcome(drop.token, State.IMPORTED))

    def imports(self, path: str) -> None:
        """Import the file *path*, claimed just now."""
        drop = self.claim(path)
        assert drop is not None
        self.original(path)
        self.imported(drop)


@contextmanager
def world(directory: Path, settings: config.Settings | None = None) -> Iterator[World]:
    made = World(directory / "repository", settings)
    try:
        yield made
    finally:
        made.backing.close()


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))
