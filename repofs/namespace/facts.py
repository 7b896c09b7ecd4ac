"""What the extended attributes `user.repofs.*` say of a node, and what setting them does."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio

from repofs import xattrs
from repofs.access import Act
from repofs.errors import AccessDenied, Busy, InvalidValue, NotFound, NotPermitted, RepofsError
from repofs.model import ObjectRef, Original, Refused
from repofs.namespace.drops import Drops
from repofs.namespace.elsewhere import Elsewhere
from repofs.namespace.linking import Linking
from repofs.namespace.nodes import Area, Node
from repofs.namespace.passthrough import Passthrough
from repofs.namespace.regrouping import Regrouping
from repofs.namespace.request import Caller
from repofs.namespace.rights import Rights
from repofs.namespace.standing import Standing
from repofs.namespace.survey import Survey
from repofs.namespace.table_facts import TABLE_FACTS, TABLE_KIND, TableFacts
from repofs.xattrs import KINDS, Kind

_TABLE = "table."
CATALOGUE_SECONDS = 5.0  # that a status waits for it: it is to tell what hangs, not to hang
_REASON_CHARACTERS = 1000  # a refused value may be 64 KiB long


class Facts:
    """Attributes of one mount's nodes. *ask* answers what only the catalogue knows, as JSON: ``Fileset:17``;
    *verified* how far the verification of originals is."""

    def __init__(
        self,
        standing: Standing,
        rights: Rights,
        drops: Drops,
        survey: Survey,
        regrouping: Regrouping,
        elsewhere: Elsewhere,
        linking: Linking,
        tables: TableFacts,
        passthrough: Passthrough,
        ask: Callable[[str], Awaitable[str]],
        verified: Callable[[], Awaitable[str]],
    ) -> None:
        self._standing = standing
        self._rights = rights
        self._backing = standing.backing
        self._drops = drops
        self._survey = survey
        self._regrouping = regrouping
        self._elsewhere = elsewhere
        self._linking = linking
        self._tables = tables
        self._passthrough = passthrough
        self._ask = ask
        self._verified = verified
        self._of_original: dict[str, Callable[[Original], str | None]] = {
            "fileset": lambda original: f"Fileset:{original.fileset}",
            "images": lambda original: ",".join(f"Image:{image}" for image in original.images) or None,
            "original": lambda original: f"OriginalFile:{original.original}",
            "checksum": lambda original: original.checksum,
            "transfer": lambda original: str(original.transfer),
            "imported": lambda original: original.imported,
            "log": lambda original: f"{original.user_directory}/{original.import_directory}.log",
        }

    # --- reading --------------------------------------------------------------------------------

    async def get(self, node: Node, name: str, caller: Caller) -> bytes | None:
        """Return the value of ``user.repofs.`` *name* on *node*, or None when it has none there.

        The root of the mount answers for objects of the catalogue too: ``user.repofs.Fileset:17``.
        """
        if node is self._backing.table.root and ":" in name:
            return await self._object(name, caller)
        self._rights.require_view(node, caller.uid)
        if name in ("target", "policy"):
            return self._standing.setting(node, name.encode()) if node.is_directory else None
        if name == "error":
            error = self._error(node)
            return None if error is None else os.fsencode(error)
        if name == "status":
            return await self._status(node, caller)
        if name == "state" and node.is_directory:
            return (await self._survey.report(node, caller.uid)).summary().encode()
        if name == "metadata":
            return await self._metadata(node, caller)
        if name == "tables":
            return await self._linked(node, caller)
        if name.startswith(_TABLE):
            value = await self._tables.get(node, name)
            return None if value is None else os.fsencode(value)
        if name == "origin":
            return self._origin(node)
        if name in ("usage", "quota"):
            return self._held(node, name, caller)
        if name == "state":
            await self._elsewhere.look(node)
        fact = self._fact(node, name)
        return None if fact is None else os.fsencode(fact)

    async def _status(self, node: Node, caller: Caller) -> bytes:
        """Return how all at and below *node* stands, as JSON; of the root also what holds for the whole mount."""
        report = await self._survey.report(node, caller.uid)
        if node is not self._backing.table.root:
            return report.json()
        report.passthrough = self._passthrough.report()
        if self._rights.seen(caller.uid).everything:
            with suppress(Busy), trio.move_on_after(CATALOGUE_SECONDS):  # told again once the catalogue answers
                report.verification = json.loads(await self._verified())
        return report.json()

    def _origin(self, node: Node) -> bytes | None:
        """Return as JSON where the bytes of *node* came from, be it that they are still there; None: from a writer."""
        origin = self._standing.marks.origin(self._backing.target(node)) if node.is_file else None
        if origin is None:
            return None
        known = {"source": origin.source, "path": origin.path, "transfer": origin.transfer}
        identity = {key: getattr(origin.identity, key) for key in ("device", "inode", "size", "mtime_ns")}
        return json.dumps({**known, **identity}).encode()

    def _held(self, node: Node, name: str, caller: Caller) -> bytes | None:
        """Return how many bytes the user of the directory *node* holds, or may hold: the latter is hers to know."""
        if node.area is not Area.USER or not node.is_directory:
            return None
        account = self._drops.usage.accounts.user(node.names[0][1])
        if name == "usage":
            return b"%d" % account.used
        home, actor = self._rights.home(node), self._rights.people().actor(caller.uid)
        own = home is not None and home.uid == caller.uid
        return b"%d" % account.limit if account.is_limited and (own or actor.administrator) else None

    def listed(self, node: Node) -> list[bytes]:
        """Return the full names of the facts and settings that *node* has."""
        if node.is_directory:
            settings = [
                name for name in ("target", "policy") if self._standing.setting(node, name.encode()) is not None
            ]
            table = TABLE_FACTS if self._tables.table(node) is not None else ()
            names = ["state", *settings, *table]
        else:
            names = [name for name in KINDS if KINDS[name] is Kind.FACT and self._fact(node, name) is not None]
        if self._error(node) is not None:
            names.append("error")
        return [xattrs.PREFIX + name.encode() for name in names]

    def _fact(self, node: Node, name: str) -> str | None:
        if name == "state":
            stands = self._standing.state(node)
            return None if stands is None else str(stands[0])
        if name in ("owner", "actor"):
            return self._who(node, name)
        mark = self._standing.mark(node)
        if isinstance(mark, Original) and name in self._of_original:
            return self._of_original[name](mark)
        if isinstance(mark, Refused) and name == "log":
            return mark.log
        return None

    def _who(self, node: Node, name: str) -> str | None:
        """Return the owner of a file, or the one who dropped it: the account's name, or the uid when it has none."""
        home = self._rights.home(node)
        if home is None or home.uid is None or self._standing.state(node) is None:
            return None
        if name == "owner":
            uid = home.uid
        elif node.activity is not None:
            uid = node.activity.actor_uid
        else:
            mark = self._standing.mark(node)
            known = None if mark is None or isinstance(mark, Refused) else mark.actor_uid
            uid = self._backing.status(node).st_uid if known is None else known
        return self._rights.name(uid)

    def _error(self, node: Node) -> str | None:
        """Return why the last attribute set here was refused, else what is wrong with the file, or None."""
        stands = None if node.refusal else self._standing.state(node)
        return node.refusal or (stands[1] if stands else None)

    async def _metadata(self, node: Node, caller: Caller) -> bytes | None:
        mark = self._standing.mark(node)
        if not isinstance(mark, Original):
            return None
        return json.dumps(await self._described(ObjectRef("Fileset", mark.fileset), caller)).encode()

    async def _described(self, ref: ObjectRef, caller: Caller) -> dict[str, Any]:
        """Return what the catalogue says of an object, and the tables on it that *caller* may see. Raises NotFound."""
        facts = json.loads(await self._ask(str(ref)))
        return {**facts, "tables": self._tables.on(facts, caller.uid)}

    async def _linked(self, node: Node, caller: Caller) -> bytes | None:
        """Return as JSON the tables on what *node* holds, or in a user directory those of its user; None elsewhere."""
        if node.area is Area.USER and node.is_directory:
            return json.dumps(self._tables.in_home(node, caller.uid)).encode()
        mark = self._standing.mark(node) if node.is_file else None
        if not isinstance(mark, Original):
            return None
        return json.dumps(await self._tables.linked(mark.fileset, mark.images, caller.uid)).encode()

    async def _object(self, name: str, caller: Caller) -> bytes | None:
        """Return as JSON what is known of an object that *caller* may view, or None."""
        try:
            ref = ObjectRef.parse(name)
            if ref.kind == TABLE_KIND:
                table = self._tables.seen(ref.id, caller.uid)
                return None if table is None else json.dumps(table).encode()
            facts = await self._described(ref, caller)
        except (InvalidValue, NotFound):
            return None
        owner = facts["owner_uid"] if facts["owner_removed"] is None else None  # somebody else may have the uid by now
        seen = self._rights.may_view_data(owner, facts["group_gid"], caller.uid)
        return json.dumps(facts).encode() if seen else None

    # --- setting --------------------------------------------------------------------------------

    async def set(self, node: Node, name: str, value: bytes, caller: Caller) -> None:
        """Set ``user.repofs.`` *name* on *node*; a value that is refused says why in ``user.repofs.error``."""
        if name != "group":  # which has a right of its own
            self._rights.require_attributes(node, caller.uid)
        kind = KINDS.get(name)
        if kind is None:
            raise self._refusal(node, InvalidValue(f"user.repofs.{name} is not an attribute of repofs"))
        kept = self._standing.is_kept(node)
        if kept and node is not self._backing.table.root:
            raise NotPermitted("the repository keeps this itself")
        if kind in (Kind.FACT, Kind.UNLISTED):
            if kept or isinstance(self._standing.mark(node), Original):
                raise NotPermitted(f"user.repofs.{name} is a fact: it is not set")
            return  # a copying tool puts on its copy what it found on an original
        try:
            await self._carry_out(node, name, value, caller)
        except AccessDenied as error:
            if name.startswith(_TABLE):  # what is refused to her is elsewhere: a target, the array
                raise self._refusal(node, error) from None
            raise  # who may not set it leaves no word on it either
        except RepofsError as error:
            raise self._refusal(node, error) from error
        node.refusal = None
        self._rights.tell_attribute(node, caller.uid, (xattrs.PREFIX + name.encode()))

    def _refusal(self, node: Node, error: RepofsError) -> RepofsError:
        node.refusal = error.message[:_REASON_CHARACTERS]
        return error

    async def _carry_out(self, node: Node, name: str, value: bytes, caller: Caller) -> None:
        if name == "import":
            await self._survey.command(node, xattrs.decode_import(value), caller.uid)
            return
        if name.startswith(_TABLE):
            await self._tables.set(node, name, value, caller)
            return
        if not node.is_directory:
            raise InvalidValue(f"user.repofs.{name} is set on directories")
        if name == "import.link":
            path, transfer = xattrs.decode_link(value)
            await self._linking.bring(node, os.path.basename(path), path, transfer, caller)
            return
        if name == "group":
            self._rights.require(Act.CHGRP, node, caller.uid)
            await self._regrouping.chgrp(node, self._rights.gid_of(xattrs.decode_group(value)), caller)
            return
        if node is self._backing.table.root:
            raise NotPermitted(f"user.repofs.{name} is set on user directories and what users make in them")
        if name == "policy":
            xattrs.decode_policy(value, self._standing.policy(node))
        elif self._standing.names.is_table(node):
            xattrs.decode_table_targets(value)
        else:
            xattrs.decode_target(value)
        self._standing.set_setting(node, name.encode(), value)

    def remove(self, node: Node, name: str, caller: Caller) -> None:
        """Take a setting away. A fact stays, without a complaint: rsync -X takes away what its source does not have."""
        self._rights.require_attributes(node, caller.uid)
        if KINDS.get(name) is Kind.FACT:
            return
        if KINDS.get(name) is not Kind.SETTING or not node.is_directory:
            raise OSError(errno.ENODATA, "no such attribute")
        self._standing.set_setting(node, name.encode(), None)
