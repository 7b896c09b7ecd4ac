"""The mount daemon: builds every room from the settings and runs them in one nursery.

It answers the kernel, keeps the clocks of drops and hands them to the importer process. It runs no SQL, hashes
nothing and parses no file.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import trio

from repofs import config, fault_points, logs
from repofs.control.protocol import OriginalsFound
from repofs.control.server import Control, listening
from repofs.errors import RepofsError
from repofs.events import News, read_only
from repofs.fuse import mount, native
from repofs.fuse.operations import Operations
from repofs.importer.inbox import Inbox
from repofs.importer.link import importer_process
from repofs.importer.requests import Delete, Restore, TrashRequest
from repofs.namespace.accounts import Accounts
from repofs.namespace.array_files import ArrayFiles
from repofs.namespace.backing import Backing
from repofs.namespace.claims import Claims
from repofs.namespace.deleting import Deleting
from repofs.namespace.directories import Directories
from repofs.namespace.drops import Drops
from repofs.namespace.elsewhere import Elsewhere
from repofs.namespace.exports import Exports
from repofs.namespace.facts import Facts
from repofs.namespace.failed import Failed
from repofs.namespace.filesets import Filesets
from repofs.namespace.handles import Handles
from repofs.namespace.journal import Journal
from repofs.namespace.linking import Linking
from repofs.namespace.names import Names
from repofs.namespace.own_files import OwnFiles, Personal
from repofs.namespace.passthrough import Passthrough
from repofs.namespace.recount import Recount
from repofs.namespace.registered import Registered
from repofs.namespace.regrouping import Regrouping
from repofs.namespace.reopening import Reopening
from repofs.namespace.reporting import Reporting
from repofs.namespace.rights import Rights
from repofs.namespace.session_file import SessionFile
from repofs.namespace.source_tree import SourceTree
from repofs.namespace.standing import Standing
from repofs.namespace.stream import Stream
from repofs.namespace.survey import Survey
from repofs.namespace.table_facts import TableFacts
from repofs.namespace.table_tree import TableTree
from repofs.namespace.trail import Trail
from repofs.namespace.tree import Tree
from repofs.namespace.usage import Usage
from repofs.namespace.view_tree import ViewTree
from repofs.passthrough import Device
from repofs.patience import Patience
from repofs.people import People
from repofs.quotas import human_bytes
from repofs.registration.ledger import Ledger
from repofs.registration.places import Places
from repofs.registration.processes import TableProcesses
from repofs.registration.registrar import Registrar
from repofs.registration.registry import Registry
from repofs.registration.watch import Watch
from repofs.repository import drop_counts, lock, templates
from repofs.repository.failed_links import FailedLinks
from repofs.repository.failure_logs import FailureLogs
from repofs.repository.layout import Layout, load_key
from repofs.repository.marks import Marks
from repofs.repository.sources import Sources
from repofs.table import WHOLE, Form, Table
from repofs.web.grants import Grants

if TYPE_CHECKING:
    from repofs.web.server import Web

HANGING_SECONDS = 3.0  # at a stop, for requests that are under way
TRAIL_SECONDS = 2.0  # at a stop, for an importer that is slow to write the last deeds

log = structlog.get_logger()


def run(
    repository: Path, mountpoint: Path, options: Sequence[str], ready: Callable[[], None], device: Device | None = None
) -> int:
    """Serve *repository* on *mountpoint* until it is unmounted or SIGTERM comes; return the exit code.

    *device* is what the launcher has mounted there; without it we mount ourselves. *ready* is called once the mount
    answers. Raises RepofsError with a sentence when it cannot be mounted.
    """
    layout = Layout.open(repository.resolve())
    settings = config.load(layout.root)
    logs.configure(settings.log.level)
    fault_points.arm(with_parent=False)
    os.umask(0)  # modes come with the requests, umask applied
    _raise_descriptor_limit()
    with lock.held(layout, f"has mounted it on {mountpoint}"), _rooms(layout, settings, mountpoint, device) as rooms:
        drop_counts.save(layout.drop_counts, rooms.usage.accounts.all(), whole=False)
        fd, wanted = None if device is None else device.fd, settings.mount.passthrough == "auto"
        with mount.mounted(rooms.operations, layout.root, mountpoint, options, fd, passthrough=wanted):
            _run(rooms, ready)
        drop_counts.save(layout.drop_counts, rooms.usage.accounts.all(), whole=rooms.usage.is_whole)
    log.info("unmounted", mountpoint=str(mountpoint))
    return 0


def _run(rooms: _Rooms, ready: Callable[[], None]) -> None:
    try:
        trio.run(_serve, rooms, ready)
    except ExceptionGroup as group:  # the nursery wraps even the one sentence that a person should read
        causes = group.subgroup(RepofsError)
        if causes is None or len(causes.exceptions) < len(group.exceptions):
            raise
        raise _innermost(causes) from group


def _innermost(error: BaseException) -> BaseException:
    return _innermost(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


@dataclass(frozen=True, slots=True)
class _Rooms:
    operations: Operations
    inbox: Inbox
    survey: Survey
    journal: Journal
    usage: Usage
    recount: Recount
    control: Control
    trail: Trail
    elsewhere: Elsewhere
    passthrough: Passthrough
    linking: Linking
    deleting: Deleting
    registered: Registered
    exports: Exports
    processes: TableProcesses
    ledger: Ledger
    watch: Watch
    web: Web | None  # None: there is no HTTPS door
    serving: trio.CancelScope


@contextlib.contextmanager
def _rooms(layout: Layout, settings: config.Settings, mountpoint: Path, device: Device | None) -> Iterator[_Rooms]:
    layout.make_own(session=settings.web.listen is not None)
    backing = Backing(layout.managed, settings.repository.reserve_bytes)
    templates.remember(layout, settings.repository.template)
    names = Names(templates.reserved(layout, settings.repository.template), settings.drops)
    registry, processes = Registry(), TableProcesses(settings.tables)
    registered = Registered(registry, backing)
    marks, serve = Marks(load_key(layout)), settings.verify.serve_altered
    standing = Standing(backing, names, marks, settings.drops, registered, serve_altered=serve)
    kernel, trail = mount.KernelCache(), Trail()
    rights = Rights(standing, kernel, trail)
    failed = Failed(backing, FailedLinks(layout))
    journal = Journal(layout.journal, standing)
    usage = Usage(standing, Accounts(_warn))
    counts = drop_counts.load(layout.drop_counts)
    usage.begin(counts.held, whole=counts.whole)
    drops = Drops(standing, journal, FailureLogs(layout), failed, usage)
    stream = Stream(rights)

    def hear(news: Sequence[News]) -> None:
        stream.hear(news)
        failed.hear(news)

    backing.health.on_failure(lambda error: stream.tell(read_only(error)))
    claims = Claims(standing, rights, drops, Filesets(standing, drops, settings.drops), kernel)

    async def adopt(people: People) -> None:
        usage.accounts.adopt(people)
        reopening.forget_all()
        await rights.adopt(people)

    inbox = Inbox(claims, functools.partial(importer_process, layout.root), adopt, hear, backing.health, usage)
    drops.clocks = inbox
    tree = Tree(standing, rights, drops)
    sources = Sources(settings.declared_sources(), layout.root)
    patience = Patience(settings.mount.patience_seconds)
    elsewhere = Elsewhere(
        standing, layout, sources, patience, inbox.questions.stands, serve_altered=settings.in_place.serve_altered
    )
    linking = Linking(standing, rights, drops, tree, sources, layout, mountpoint, patience)
    wanted = settings.mount.passthrough == "auto"
    why_not = functools.partial(mount.why_no_passthrough, wanted=wanted, device=device is not None)
    passthrough = Passthrough(standing, device, why_not)
    reopening = Reopening(standing, drops, passthrough, native)
    survey = Survey(standing, rights, drops, patience, linking.resume)

    async def move(filesets: Sequence[int], gid: int, actor_uid: int, path: bytes) -> None:
        await inbox.questions.move(filesets, gid, actor_uid, path)
        await ledger.reload()  # tables follow their targets

    regrouping = Regrouping(standing, rights, failed, usage, move)

    async def delete(fileset: int, uid: int) -> str:
        return await inbox.questions.trash(uid, Delete(f"Fileset:{fileset}"), uid)

    deleting = Deleting(standing, rights, tree, kernel, delete, lambda: ledger.doubt())

    async def dispose(uid: int, request: TrashRequest, audit_uid: int) -> str:
        told = await inbox.questions.trash(uid, request, audit_uid)
        if isinstance(request, Delete | Restore):
            await deleting.gone([os.fsencode(name) for name in json.loads(told).get("gone", ())])
        return told

    places = Places(layout, settings, sources, mountpoint)
    ledger = Ledger(inbox.questions, registry)
    watch = Watch(settings.tables, places, processes, registry, ledger)
    registrar = Registrar(
        settings.tables,
        places,
        processes,
        registry,
        ledger,
        watch,
        rights.people,
        lambda uid, act, reason, path: trail.refused(uid, act, reason, path=path),
    )
    table_facts = TableFacts(
        standing, registry, registrar, watch.look, processes.create, mountpoint, inbox.questions.ask
    )
    ask, verified = inbox.questions.ask, inbox.questions.verified
    facts = Facts(
        standing, rights, drops, survey, regrouping, elsewhere, linking, table_facts, passthrough, ask, verified
    )
    web = _web(layout, settings, rights, registry, registrar, watch)
    own_files: dict[bytes, Personal] = {b"events": stream}
    if web is not None:
        own_files[b"session"] = SessionFile(web.sessions.create)
    own = OwnFiles(own_files)
    durable_close = settings.mount.durability == "close"
    handles = Handles(
        standing, rights, drops, tree, elsewhere, own, patience, passthrough, reopening, durable_close=durable_close
    )
    registry.on_change(handles.tables_changed)
    registry.on_change(usage.tables_changed)

    async def export(table: Table, form: Form, into: int) -> None:
        await watch.export(table, form, WHOLE, into)

    exports = Exports(layout.cache, settings.tables.cache_bytes, export, handles.read)
    registry.on_change(exports.forget)
    files = ArrayFiles(watch.open_table, watch.look_anew, processes, handles.read, patience)
    tables = TableTree(registry, rights, backing, files, exports, table_facts, watch.require_served)
    directories = Directories(standing, rights, drops)
    cache_seconds = settings.mount.cache_seconds
    outside = SourceTree(sources, rights, linking, tree, patience)
    views = ViewTree(rights, inbox.questions.view, layout.thumbnail)
    operations = Operations(
        standing,
        rights,
        tree,
        handles,
        reopening,
        directories,
        facts,
        regrouping,
        deleting,
        linking,
        outside,
        tables,
        views,
        own,
        usage.accounts,
        cache_seconds,
    )
    try:
        with listening(layout) as sock:
            questions = inbox.questions
            reporting = Reporting(rights, usage.accounts, questions.sum_up)
            begin = None if web is None else Grants(web.sessions, rights.people, trail.done).create

            async def found(request: OriginalsFound) -> None:
                claims.marked(request.inodes)
                await questions.committed()

            control = Control(
                sock, questions.administer, trail.refused, questions.arrive, dispose, found, reporting.report, begin
            )
            yield _Rooms(
                operations,
                inbox,
                survey,
                journal,
                usage,
                Recount(standing, usage),
                control,
                trail,
                elsewhere,
                passthrough,
                linking,
                deleting,
                registered,
                exports,
                processes,
                ledger,
                watch,
                web,
                trio.CancelScope(),
            )
    finally:
        exports.close()
        journal.close()
        backing.close()


def _warn(whose: str, used: int, limit: int) -> None:
    log.warning("a quota is nearly used up", whose=whose, used=human_bytes(used), quota=human_bytes(limit))


def _web(
    layout: Layout, settings: config.Settings, rights: Rights, registry: Registry, registrar: Registrar, watch: Watch
) -> Web | None:
    if settings.web.listen is None:
        return None
    from repofs.web.server import Web  # half a second and 20 MiB, for who wants it

    return Web(settings.web, layout, registry, rights.people, registrar.register, registrar.may_view, watch.export)


async def _serve(rooms: _Rooms, ready: Callable[[], None]) -> None:
    imports_ended = trio.Event()
    # Heeded once the mount answers: a signal that ended the daemon before would leave a dead mount.
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with rooms.processes.running(), trio.open_nursery() as nursery:
            await nursery.start(_import, rooms.inbox, imports_ended)  # what a crash has left is mended first
            await rooms.ledger.reload()
            nursery.start_soon(rooms.registered.run, rooms.inbox.questions.table_is)
            nursery.start_soon(rooms.exports.run)
            nursery.start_soon(rooms.trail.run, rooms.inbox.questions.keep)
            nursery.start_soon(_stop_at_signal, signals, rooms, imports_ended)
            nursery.start_soon(rooms.linking.run)
            nursery.start_soon(rooms.deleting.run)
            nursery.start_soon(rooms.elsewhere.run)
            nursery.start_soon(rooms.passthrough.run)
            nursery.start_soon(rooms.survey.run)
            nursery.start_soon(rooms.operations.health.while_sound, rooms.journal.run)
            nursery.start_soon(rooms.recount.run)
            nursery.start_soon(rooms.ledger.run)
            nursery.start_soon(rooms.watch.run)
            nursery.start_soon(rooms.control.run)
            if rooms.web is not None:
                await nursery.start(rooms.web.run)
            ready()
            log.info("mounted")
            with rooms.serving:
                await mount.serve()  # ends when somebody unmounts, or at a signal
            await _stop_imports(rooms)
            await imports_ended.wait()
            nursery.cancel_scope.cancel()


async def _import(inbox: Inbox, ended: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
    await inbox.run(task_status=task_status)
    ended.set()


async def _stop_at_signal(signals: AsyncIterator[int], rooms: _Rooms, imports_ended: trio.Event) -> None:
    """At SIGTERM: finish what is in hand while the mount goes on to answer, then unmount."""
    async for number in signals:
        log.info("stopping", signal=signal.Signals(number).name)
        await _stop_imports(rooms)
        await imports_ended.wait()
        mount.stop()
        await trio.sleep(HANGING_SECONDS)
        rooms.serving.cancel()  # a request waits for a store that hangs


async def _stop_imports(rooms: _Rooms) -> None:
    """Let the importer end; what users did until now is in the audit trail first."""
    with trio.move_on_after(TRAIL_SECONDS):
        await rooms.trail.flush(rooms.inbox.questions.keep)
    rooms.inbox.stop()


def _raise_descriptor_limit() -> None:
    """Every open file of every user is a descriptor here."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
