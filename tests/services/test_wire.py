"""Messages and descriptors between mount and importer."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from repofs.administration.requests import AddUser, ListPeople, SetPermissions
from repofs.deeds import Deed
from repofs.events import News
from repofs.importer.wire import (
    INLINE_BYTES,
    TOGETHER,
    Administer,
    Answer,
    Ask,
    Channel,
    Deeds,
    Done,
    Handed,
    Hangup,
    Happened,
    Message,
    NotReady,
    PeopleAre,
    Ready,
    Stop,
)
from repofs.lifecycle import State
from repofs.model import Drop, Duplicates, Event, Outcome, PermissionLevel, Policy
from repofs.people import Actor, Home, People, Privilege

pytestmark = pytest.mark.trio

DROP = Drop(
    token=7,
    user_directory=b"alice_2",
    path=b"ProjectX/\xff\xfe.tif",
    is_directory=False,
    target="Dataset:name:Y",
    policy=Policy(3.0, Duplicates.REFUSE, ("*.log",)),
    events=(Event(1, "created"),),
    actor_uid=1000,
    actor="alice",
    gid=100,
)


PEOPLE = People(
    {
        1000: Actor(1000, "alice", frozenset({100, 101}), frozenset({101})),
        1001: Actor(1001, "ada", administrator=True, privileges=frozenset({Privilege.SUDO, Privilege.CHGRP})),
    },
    {100: PermissionLevel.PRIVATE, 101: PermissionLevel.READ_WRITE},
    {b"alice_2": Home(1000, 100, frozenset({100, 101})), b"caf\xe9_3": Home(None, 100, frozenset({100}))},
)


@contextmanager
def channels() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = (Channel(sock) for sock in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    try:
        yield ours, theirs
    finally:
        ours.close()
        theirs.close()


@pytest.mark.parametrize(
    "message",
    [
        Handed((DROP,)),
        Done((Outcome(7, State.IMPORTED, fileset=17, import_directory=b"2026-11/\xff"),)),
        Ask(1, "Fileset:17"),
        Deeds(2, (Deed(1, 1000, "remove", None, b"alice_2/\xff", "she may not", {"to": "x"}, 3), Deed(2, 0, "delete"))),
        Answer(1, None, "there is no Fileset:17"),
        Answer(1, None, "not you", errno.EACCES),
        Administer(2, AddUser("alice", 1001), 1000, 1000),
        Administer(3, SetPermissions("lab", PermissionLevel.READ_ONLY), 0, 1000),
        Administer(4, ListPeople(), 0, 0),
        Ready(PEOPLE),
        PeopleAre(PEOPLE),
        Happened((News(1, 2, "2026", State.FAILED, "a", b"a_2", 1, 2, b"\xff", None, None, "broken", b"log"),)),
        NotReady("the disk is full"),
        Stop(),
    ],
)
async def test_messages_arrive_as_they_were_sent(message: Message) -> None:
    with channels() as (ours, theirs):
        await ours.send(message)
        assert await theirs.receive() == (message, [])


async def test_a_descriptor_travels_and_the_sender_keeps_its_own(tmp_path: Path) -> None:
    (tmp_path / "scan.tif").write_bytes(b"pixels")
    fd = os.open(tmp_path / "scan.tif", os.O_RDONLY)
    with channels() as (ours, theirs):
        await ours.send(Handed((DROP,)), [fd])
        os.close(fd)
        message, [received] = await theirs.receive()
    assert message == Handed((DROP,))
    assert os.read(received, 100) == b"pixels"
    assert not os.get_inheritable(received)
    os.close(received)


async def test_drops_travel_together_each_with_its_descriptor(tmp_path: Path) -> None:
    drops, files = [], []
    for number in range(TOGETHER):
        (tmp_path / str(number)).write_bytes(b"%d" % number)
        drops.append(replace(DROP, token=number, path=b"x" * 4000))
        files.append(os.open(tmp_path / str(number), os.O_RDONLY))
    with channels() as (ours, theirs):
        await ours.send(Handed(tuple(drops)), files)
        message, received = await theirs.receive()
    assert message == Handed(tuple(drops))
    assert [os.read(fd, 10) for fd in received] == [b"%d" % number for number in range(TOGETHER)]
    for fd in (*files, *received):
        os.close(fd)


async def test_messages_too_long_for_a_packet(tmp_path: Path) -> None:
    text = "x" * (4 * INLINE_BYTES)
    fd = os.open(tmp_path, os.O_RDONLY)
    open_before = len(os.listdir("/proc/self/fd"))
    with channels() as (ours, theirs):
        for descriptors in ([], [fd]):
            await ours.send(Answer(1, text), descriptors)
            message, received = await theirs.receive()
            assert message == Answer(1, text)
            assert len(received) == len(descriptors)
            for one in received:
                os.close(one)
    assert len(os.listdir("/proc/self/fd")) == open_before
    os.close(fd)


async def test_thousands_of_people_arrive_as_they_were_sent() -> None:
    actors = {uid: Actor(uid, f"user{uid}", frozenset(range(100, 110))) for uid in range(5000)}
    homes = {b"user_%d" % uid: Home(uid, 100, frozenset(range(100, 110))) for uid in actors}
    people = People(actors, dict.fromkeys(range(100, 110), PermissionLevel.READ_ANNOTATE), homes)
    with channels() as (ours, theirs):
        await ours.send(PeopleAre(people))
        received, _ = await theirs.receive()
    assert isinstance(received, PeopleAre) and received.people == people
    assert all(isinstance(level, PermissionLevel) for level in received.people.levels.values())


async def test_messages_about_as_long_as_a_packet() -> None:
    with channels() as (ours, theirs):
        for length in range(INLINE_BYTES - 60, INLINE_BYTES + 1):
            answer = Answer(1, "x" * length)
            await ours.send(answer)
            assert await theirs.receive() == (answer, [])


async def test_many_senders_wait_for_a_slow_receiver() -> None:
    count = 2000
    with channels() as (ours, theirs):
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(ours.send, Ask(number, "Image:1" * 100))
            seen = [(await theirs.receive())[0] for _ in range(count)]
    assert {message.id for message in seen if isinstance(message, Ask)} == set(range(count))


async def test_hangup_is_seen_on_both_ways() -> None:
    with channels() as (ours, theirs):
        theirs.close()
        with pytest.raises(Hangup):
            await ours.receive()
        with pytest.raises(Hangup):
            await ours.send(Stop())


async def test_a_process_without_descriptors_gets_the_message(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    with channels() as (ours, theirs):
        await ours.send(Handed((DROP,)), [fd])
        most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (fd + 1, most[1]))
        try:
            assert await theirs.receive() == (Handed((DROP,)), [])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, most)
    os.close(fd)
