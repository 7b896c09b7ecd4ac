"""Who may do what in the mount: `access` applied to nodes, and what the kernel is told so that it enforces the same.

Whose a node is follows from where it lies: it is the user's in whose directory it is, and belongs to the group that
its backing inode bears. Nothing of it is asked of the caller's process: what counts is the newest `People`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import trio

from repofs import access, acl
from repofs.access import Act, Right, Whose
from repofs.acl import Kind, Stored
from repofs.errors import AccessDenied, NotFound, RepofsError
from repofs.model import Mark, ObjectRef, Original, PermissionLevel
from repofs.namespace.nodes import UNKNOWN, Area, Node
from repofs.namespace.standing import Standing
from repofs.namespace.trail import Trail
from repofs.namespace.virtual import VirtualNode, VirtualNodes
from repofs.people import Actor, Home, People
from repofs.repository.marks import ORIGINAL_BIT
from repofs.views import Seen

_NODES_A_TURN = 256
_ANSWER_SECONDS = 0.05  # in which a process has taken in the answer to a look-up that was under way

# The backing root is 0700, for the daemon alone; through the mount all pass it. Without a bit for its group, and with a
# group that nobody is in: where there is one the kernel looks for an ACL, and of this inode, made before the daemon has
# said that it has ACLs, it keeps none (fs/fuse/inode.c: ACL_DONT_CACHE). It would ask at each step of each path.
_ROOT_MODE, _NOBODYS_GID = 0o705, 0xFFFF_FFFE
_COMMON_MODE, _COMMON_FILE = 0o755, 0o444
_READ_BITS = 0o444
_STRANGER = "only people of this repository enter here"


class Kernel(Protocol):
    """The kernel's cache of names, attributes and ACLs."""

    def changed(self, ino: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Ownership:
    """Whom an inode belongs to, and who may do what with it, as stat(2) and getfacl(1) show it."""

    uid: int
    gid: int
    mode: int  # permission bits
    acl: bytes | None  # the value of system.posix_acl_access; None: the bits say it all


class Rights:
    """The gate of one mount."""

    def __init__(self, standing: Standing, kernel: Kernel, trail: Trail, people: People | None = None) -> None:
        self._standing = standing
        self._trail = trail
        self._backing = standing.backing
        self._kernel = kernel
        self._people = people or People()
        self.virtual: list[VirtualNodes[Any]] = []  # of trees whose nodes the kernel keeps too
        # By what decides, with homes by id(): that of an object of `people`, with which they are cleared.
        self._compiled: dict[tuple[Kind, int, int, int, int], Ownership] = {}
        self._views: dict[tuple[int, Kind, int, int], bool] = {}

    async def adopt(self, people: People) -> None:
        """Let *people* count from now on, at the next system call of anybody: the kernel forgets what it had cached."""
        if people == self._people:
            return
        same_rights = people.have_rights_of(self._people)
        self._people = people
        self._compiled.clear()
        self._views.clear()
        if not same_rights:
            await self.let_count()

    def people(self) -> People:
        """Return who there is now."""
        return self._people

    def changed(self, node: Node | VirtualNode[Any]) -> None:
        """Have the kernel ask again for the attributes and the ACL of *node*."""
        self._kernel.changed(node.ino)

    async def let_count(self) -> None:
        """Have the kernel ask again for attributes and ACLs; when this returns, none of before is left with it."""
        await self._forget_all()
        # A look-up that was answered just before may be taken in by its process after that: once more.
        await trio.sleep(_ANSWER_SECONDS)
        await self._forget_all()

    async def _forget_all(self) -> None:
        virtual = [node.ino for nodes in self.virtual for node in nodes.all() if node.lasting]
        for number, ino in enumerate([*self._backing.table.inodes(), *virtual], 1):
            self._kernel.changed(ino)
            if number % _NODES_A_TURN == 0:
                await trio.lowlevel.checkpoint()

    # --- whose ------------------------------------------------------------------------------------

    def name(self, uid: int) -> str:
        """Return the name of the account *uid*; the number of one that nobody knows."""
        return self._people.actor(uid).name or str(uid)

    def home(self, node: Node) -> Home | None:
        """Return the user directory that *node* is, lies in, or (below .repofs) tells of; None when there is none."""
        here = node
        while here.names:
            parent, name = here.names[0]
            if parent.area in (Area.ROOT, Area.OWN) and name in self._people.homes:
                return self._people.homes[name]
            here = parent
        return None

    def whose(self, node: Node, status: os.stat_result | None = None) -> Whose:
        """Return whose *node* is. Raises OSError when it has gone."""
        status = status or self._backing.status(node)
        return self._of(self._kind(node, status), self.home(node), status.st_gid)

    def _of(self, kind: Kind, home: Home | None, gid: int) -> Whose:
        """Return whose data of the Unix group *gid* are in *home*: what is of no group here is of the user's own."""
        if home is None:
            return Whose(None, None)
        if kind is Kind.HOME or gid not in self._people.levels:
            gid = home.gid
        return Whose(home.uid, gid, self._people.levels.get(gid, PermissionLevel.PRIVATE))

    def _kind(self, node: Node, status: os.stat_result) -> Kind:
        area = node.area if node.is_directory or not node.names else node.names[0][0].area
        if node.is_directory:
            shared = area is Area.IMPORTS and status.st_gid not in self._people.levels
            if shared or area in (Area.USER, Area.OWN):
                return Kind.HOME
            return Kind.IMPORT_DIRECTORY if area is Area.IMPORTS else Kind.DIRECTORY
        if area is Area.OWN:
            return Kind.LOG
        kind = _kind_in(area, status)
        if kind is None and self._standing.is_original(node):
            return Kind.ORIGINAL
        return kind or (Kind.LOG if area is Area.IMPORTS else Kind.DROP)

    def is_shared(self, directory: Node) -> bool:
        """Whether *directory* holds what is of several users or groups, so that not everybody who enters sees all."""
        if directory is self._backing.table.root or not directory.names:
            return directory is self._backing.table.root
        return self._kind(directory, self._backing.status(directory)) is Kind.HOME

    # --- what the kernel is told --------------------------------------------------------------------

    def shown(self, node: Node, status: os.stat_result) -> Ownership:
        """Return owner, group, permission bits and ACL of *node* as the kernel is to show and enforce them.

        A drop is its maker's, an original the user's in whose directory it lies: the inode of a file that was imported
        in place may be somebody else's, outside.
        """
        if node is self._backing.table.root:
            return Ownership(status.st_uid, _NOBODYS_GID, _ROOT_MODE, None)
        if stat.S_ISLNK(node.format) or not node.names:  # removed: who has it open goes on
            mode = stat.S_IMODE(status.st_mode)
            return Ownership(status.st_uid, status.st_gid, mode if node.names else mode & 0o700, None)
        if self._is_common(node):  # `look_up` decides who enters
            return Ownership(status.st_uid, status.st_gid, _COMMON_MODE if node.is_directory else _COMMON_FILE, None)
        return self._shown(self._kind(node, status), self.home(node), status)

    def shown_in(self, directory: Node) -> Callable[[os.stat_result], Ownership | None]:
        """Return what does the same by the status of a regular file in *directory*, one of user data; None where that
        needs a node. It is good until anything of the directory or of the people changes."""
        area, home = directory.area, self.home(directory)

        def shown(status: os.stat_result) -> Ownership | None:
            kind = _kind_in(area, status)
            return None if kind is None else self._shown(kind, home, status)

        return shown

    def _shown(self, kind: Kind, home: Home | None, status: os.stat_result) -> Ownership:
        key = (kind, id(home), status.st_uid, status.st_gid, status.st_mode)
        shown = self._compiled.get(key)
        if shown is None:
            shown = self._compiled[key] = self._compile(kind, home, status)
        return shown

    def _compile(self, kind: Kind, home: Home | None, status: os.stat_result) -> Ownership:
        of = self._of(kind, home, status.st_gid)
        uid = of.uid if kind is Kind.ORIGINAL and of.uid is not None else status.st_uid
        stored = Stored(uid, stat.S_IMODE(status.st_mode))
        shown = acl.shown(self._people, kind, of, stored, home if kind is Kind.HOME else None)
        return Ownership(uid, status.st_gid if of.gid is None else of.gid, shown.mode, shown.acl)

    def shown_of_data(self, owner_uid: int | None, gid: int, kind: Kind) -> Ownership:
        """Return the same of what is shown of a table or another object; a former experimenter's is shown as root's."""
        uid = owner_uid or 0
        key = (kind, 0, uid, gid, 0)
        if key not in self._compiled:
            of = Whose(owner_uid, gid, self._people.levels.get(gid, PermissionLevel.PRIVATE))
            shown = acl.shown(self._people, kind, of, Stored(uid, _READ_BITS))
            self._compiled[key] = Ownership(uid, gid, shown.mode, shown.acl)
        return self._compiled[key]

    def _is_common(self, node: Node) -> bool:
        """Whether *node* is .repofs or lies directly in it: there for everybody that is one of us."""
        return node.is_own or (bool(node.names) and node.names[0][0].is_own)

    # --- what is asked for ----------------------------------------------------------------------------

    def may_view(self, node: Node, status: os.stat_result, uid: int) -> bool:
        """Whether *uid* may see *node*; of a directory that holds data of several groups, anything in it."""
        if node is self._backing.table.root:
            return True
        if self._is_common(node):
            return self.is_person(uid)
        home, kind = self.home(node), self._kind(node, status)
        key = (uid, kind, id(home), status.st_gid)
        if key not in self._views:
            self._views[key] = self._sees(self._people.actor(uid), kind, home, status.st_gid)
        return self._views[key]

    def _sees(self, actor: Actor, kind: Kind, home: Home | None, gid: int) -> bool:
        if kind is Kind.HOME and home is not None:
            return Right.VIEW in access.rights_in_home(self._people, actor, home)
        return access.may(Act.VIEW, actor, self._of(kind, home, gid))

    def may_view_data(self, owner_uid: int | None, gid: int, uid: int) -> bool:
        """Whether *uid* may see data of *owner_uid* (None: of a former experimenter) in the group *gid*."""
        of = Whose(owner_uid, gid, self._people.levels.get(gid, PermissionLevel.PRIVATE))
        return access.may(Act.VIEW, self._people.actor(uid), of)

    def seen(self, uid: int) -> Seen:
        """Return what data *uid* may see, as the catalogue is asked for it."""
        actor = self._people.actor(uid)

        def may_view(owner_uid: int | None, gid: int | None) -> bool:
            level = PermissionLevel.PRIVATE if gid is None else self._people.levels[gid]
            return access.may(Act.VIEW, actor, Whose(owner_uid, gid, level))

        levels = self._people.levels
        others, own = (tuple(gid for gid in levels if may_view(owner, gid)) for owner in (None, uid))
        return Seen(uid, may_view(None, None), others, own)

    def may_view_in(self, user_directory: bytes, gid: int, uid: int) -> bool:
        """Whether *uid* may see data of the group *gid* in *user_directory*, by whose that is now."""
        of = self._of(Kind.DROP, self._people.homes.get(user_directory), gid)
        return access.may(Act.VIEW, self._people.actor(uid), of)

    def may(self, act: Act, node: Node, uid: int) -> bool:
        """Whether *uid* may do *act* to *node*."""
        return access.may(act, self._people.actor(uid), self.whose(node))

    def require_view(self, node: Node, uid: int, status: os.stat_result | None = None) -> None:
        """Refuse (AccessDenied) who may not see *node*. The kernel has decided the same; but a user namespace gives
        anybody CAP_DAC_OVERRIDE over her own inodes."""
        if node.names and not self.may_view(node, status or self._backing.status(node), uid):
            self._decide(Act.VIEW, self.whose(node), uid, node)
            raise AccessDenied(_STRANGER)

    def is_person(self, uid: int) -> bool:
        """Whether *uid* is one of the people of the repository."""
        return self._people.actor(uid).name is not None

    def require_person(self, uid: int) -> None:
        """Refuse (AccessDenied) who is a stranger."""
        if not self.is_person(uid):
            raise AccessDenied(_STRANGER)

    def require(self, act: Act, node: Node, uid: int, status: os.stat_result | None = None) -> Whose:
        """Refuse (AccessDenied) what *uid* may not do to *node*; return whose it is."""
        of = self.whose(node, status)
        self._decide(act, of, uid, node)
        return of

    def require_in(self, act: Act, directory: Node, name: bytes, status: os.stat_result, uid: int) -> Whose:
        """The same, for what bears *status* and lies as *name* in *directory*, be it known as a node or not.

        Returns whose it is.
        """
        of = self._of(Kind.DROP, self.home(directory), status.st_gid)
        self._decide(act, of, uid, directory, name)
        return of

    def require_writable(self, node: Node, uid: int) -> None:
        """Refuse to change the bytes of *node*: of an original to everybody (NotPermitted), of a drop to who may not
        import into the directory that it lies in (AccessDenied)."""
        node.mark = UNKNOWN  # asked of the inode itself: another name of it may have been imported
        original = self._standing.is_original(node)
        if original or node.names:  # else it is removed: who has it open goes on
            self._decide(Act.WRITE, self.whose(node), uid, node, original=original)
        self._standing.require_unsealed(node)

    def require_member(self, node: Node, gid: int) -> None:
        """Refuse to move *node* to a group that its user is not in (NotPermitted)."""
        access.require_member(self.home(node), gid)

    def gid_of(self, group: str) -> int:
        """Return the gid of the repository's *group*; NotFound."""
        if group not in self._people.gids:
            raise NotFound(f"{group} is no group of the repository")
        return self._people.gids[group]

    def is_group(self, gid: int) -> bool:
        """Whether *gid* is a group of the repository."""
        return gid in self._people.levels

    def require_attributes(self, node: Node, uid: int) -> None:
        """Refuse (AccessDenied) to set attributes on *node*: on an original that is annotating it."""
        if node.names:  # else it is removed: who has it open goes on
            self.require(Act.ANNOTATE if self._standing.is_original(node) else Act.SET, node, uid)

    def _decide(
        self, act: Act, of: Whose, uid: int, node: Node, name: bytes | None = None, *, original: bool = False
    ) -> None:
        try:
            access.require(act, self._people.actor(uid), of, original=original)
        except RepofsError as refusal:
            self._trail.refused(uid, act.name.lower(), refusal.message, path=self._path(node, name))
            raise

    # --- the audit trail --------------------------------------------------------------------------------

    def tell(
        self, act: Act, directory: Node, name: bytes, of: Whose, uid: int, mark: Mark | None, **detail: str
    ) -> None:
        """Tell the audit trail what *uid* did to *name* in *directory*, when that is an original or another's."""
        if isinstance(mark, Original):
            target = ObjectRef("Fileset", mark.fileset)
        elif uid == of.uid:
            return
        else:
            target = None
        self._trail.done(uid, act.name.lower(), target=target, path=self._path(directory, name), **detail)

    def tell_refusal(self, act: Act, directory: Node, name: bytes, uid: int, message: str) -> None:
        """Tell the audit trail what *uid* was refused for *name* in *directory*, by another decision than ours."""
        self._trail.refused(uid, act.name.lower(), message, path=self._path(directory, name))

    def tell_attribute(self, node: Node, uid: int, attribute: bytes) -> None:
        """The same, of an attribute that was set on *node* or removed."""
        if node.names:
            mark = self._standing.mark(node)
            act = Act.ANNOTATE if isinstance(mark, Original) else Act.SET
            self.tell(act, *node.names[0], self.whose(node), uid, mark, attribute=os.fsdecode(attribute))

    def _path(self, node: Node, name: bytes | None = None) -> bytes:
        """Return the path below the mount of *node*, or of *name* in it; b"" for what has been removed."""
        root = self._backing.table.root
        here = self._backing.path_below(root, node) if node.names or node is root else b""
        return here if name is None else here + b"/" + name


def _kind_in(area: Area, status: os.stat_result) -> Kind | None:
    """Return the kind of a file in a directory of *area*, one of user data, if its status says it without its mark."""
    # An original has a name in its import directory besides the one that it was dropped under.
    if area is not Area.IMPORTS and status.st_nlink == 1:
        return Kind.DROP
    return Kind.ORIGINAL if status.st_mode & ORIGINAL_BIT else None
