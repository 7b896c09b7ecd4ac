"""Files that only the kernel refers to are packed: what is known of them, and what happens to them meanwhile."""

from __future__ import annotations

import itertools
import os
import random
import stat

import pytest

from repofs.lifecycle import State
from repofs.model import Closed, Outcome
from repofs.namespace import inode_table
from repofs.namespace._packed import Packed
from repofs.namespace.nodes import Node
from repofs.namespace.request import Change
from tests.helpers.namespace import World

OTHERS = itertools.count()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is packed when the next is asked about."""
    monkeypatch.setattr(inode_table, "KEPT_NODES", 0)


def file(w: World, path: str) -> int:
    """Make a file behind the mount's back, which the kernel looks up; return its number."""
    w.path(path).touch()
    return w.node(path).ino


def pack(w: World) -> None:
    """Others are asked about."""
    for _ in range(3):
        file(w, f"other-{next(OTHERS)}")


def is_packed(w: World, ino: int) -> bool:
    return ino in set(w.table.packed_below(w.table.root))


def test_what_only_the_kernel_refers_to_is_packed_and_comes_back(w: World) -> None:
    w.mkdir("a")
    ino = file(w, "a/file")
    pack(w)
    assert is_packed(w, ino) and ino in w.table.inodes()
    node = w.table.get(ino)
    assert node is not None and not is_packed(w, ino)
    assert (node.is_file, node.generation, w.path("a/file").stat()) == (True, 0, w.backing.status(node))
    assert node.names == [(w.node("a"), b"file")]


def test_who_keeps_a_node_keeps_it(w: World) -> None:
    w.path("kept").touch()
    kept = w.node("kept")
    pack(w)
    pack(w)
    ino, is_same = kept.ino, w.table.get(kept.ino) is kept
    assert is_same and not is_packed(w, ino)
    del kept
    pack(w)
    assert is_packed(w, ino)


def test_an_open_file_is_not_packed_until_it_is_closed(w: World) -> None:
    ino = file(w, "open")
    fh = w.open("open")
    pack(w)
    assert not is_packed(w, ino)
    w.close(fh)
    pack(w)
    assert is_packed(w, ino)


def test_a_reason_of_a_refusal_is_not_lost(w: World) -> None:
    ino = file(w, "refused")
    w.node("refused").refusal = "why"
    pack(w)
    node = w.table.get(ino)
    assert node is not None and node.refusal == "why"


def test_a_listing_makes_no_node(w: World) -> None:
    w.path("file").touch()
    ino = w.path("file").stat().st_ino
    for _ in range(3):
        assert w.table.refer_to(w.path("file").stat(), w.node(""), b"file") == 0
    assert is_packed(w, ino)
    w.table.forget(ino, 2)
    assert is_packed(w, ino)
    w.table.forget(ino, 1)
    assert not is_packed(w, ino) and w.table.get(ino) is None


def test_a_listing_goes_on_with_a_node_that_there_is(w: World) -> None:
    w.path("file").touch()
    node = w.node("file")
    w.table.refer_to(w.path("file").stat(), w.node(""), b"file")
    assert w.table.get(node.ino) is node and node.lookups == 2


def test_all_names_of_a_file_are_kept(w: World) -> None:
    w.mkdir("a")
    ino = file(w, "a/one")
    w.link("a/one", "two")
    w.drops.end(known(w, ino))
    w.journal.end_idle()
    pack(w)
    assert is_packed(w, ino)
    w.unlink("a/one")
    pack(w)
    node = known(w, ino)
    assert [name for _, name in node.names] == [b"two"] and w.backing.status(node).st_nlink == 1


def test_directories_are_kept_as_long_as_something_in_them_is(w: World) -> None:
    w.mkdir("a")
    w.mkdir("a/b")
    ino = file(w, "a/b/file")
    pack(w)
    w.backing.unsynced.synced(float("inf"))
    directories = [w.path("a").stat().st_ino, w.path("a/b").stat().st_ino]
    for number in directories:
        w.table.forget(number, 99)
    w.rename("a", "c")
    assert known(w, ino).names[0][0].ino == directories[1]
    pack(w)
    w.forget_all()
    assert len(w.table) == 1


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_name_that_was_taken_behind_the_mount_leads_nowhere(w: World, how: str) -> None:
    ino = file(w, "file")
    pack(w)
    w.path("file").rename(w.path("away"))
    if how == "replaced":
        file(w, "file")
        pack(w)
    node = w.table.get(ino)
    assert node is not None and node.removed and not node.names
    assert w.node("away").generation > 0


def test_a_number_that_is_used_again_has_another_generation(w: World) -> None:
    w.path("first").touch()
    status = w.path("first").stat()
    w.table.refer_to(status, w.node(""), b"first")
    w.path("first").rename(w.path("second"))  # stands for a new file of the same number
    assert w.table.refer_to(status, w.node(""), b"second") > 0


def test_a_number_that_a_file_of_two_names_uses_again_has_another_generation(w: World) -> None:
    w.path("first").touch()
    w.table.refer_to(w.path("first").stat(), w.node(""), b"first")
    w.path("first").rename(w.path("second"))
    os.link(w.path("second"), w.path("third"))
    assert w.table.refer_to(w.path("second").stat(), w.node(""), b"second") > 0


def test_a_node_of_two_names_whose_number_is_used_again_is_another(w: World) -> None:
    file(w, "first")
    os.link(w.path("first"), w.path("other"))
    old = w.node("first")
    assert w.node("other") is old
    w.path("first").rename(w.path("new"))  # stand for a new file of the same number
    w.path("other").rename(w.path("newer"))
    new = w.node("new")
    assert (old.removed, new.removed, new.ino, new.generation > 0) == (True, False, old.ino, True)
    assert w.node("newer") is new


def test_a_node_of_two_names_of_which_one_was_taken_stays_what_it_is(w: World) -> None:
    file(w, "first")
    os.link(w.path("first"), w.path("other"))
    node = w.node("first")
    assert w.node("other") is node
    w.path("first").rename(w.path("away"))
    assert w.node("away") is node
    assert node.names == [(w.node(""), b"other"), (w.node(""), b"away")]


def test_what_was_packed_can_be_removed(w: World) -> None:
    ino = file(w, "file")
    pack(w)
    w.unlink("file")
    assert w.table.known(ino) is None
    node = w.table.get(ino)
    assert node is not None and node.removed


def test_the_kernel_hears_of_packed_files_of_a_directory_that_was_imported(w: World) -> None:
    w.mkdir("z.zarr")
    w.write("z.zarr/zarr.json")
    inos = [file(w, f"z.zarr/{number}") for number in range(3)]
    drop = w.claim("z.zarr")
    pack(w)
    assert all(is_packed(w, ino) for ino in inos)
    mark = Closed(0, w.path("z.zarr/1").stat().st_mtime_ns, None)
    w.marks.write(os.fsencode(w.path("z.zarr/1")), mark)
    w.change("z.zarr/1", Change(mtime_ns=5))
    pack(w)
    w.kernel.told.clear()
    w.claims.outcome(Outcome(drop.token, State.FAILED, "refused"))
    assert set(inos) <= w.kernel.told
    renewed = w.marks.read(os.fsencode(w.path("z.zarr/1")))
    assert isinstance(renewed, Closed) and renewed.mtime_ns == 5


def test_most_of_what_comes_and_goes_leaves_nothing() -> None:
    packed = Packed({})
    for ino in range(10_000):
        packed.refer(ino, 1, {}, b"%d" % ino)
        packed.forget(ino, 1)
        packed.add(7 << 40, 3, 2, [(1, b"a"), (2, b"b")])
        assert packed.files_in(2) == [7 << 40]
        packed.remove(7 << 40)
    assert len(packed) == 0 and not packed.is_in(1) and not packed.is_in(2)


def known(w: World, ino: int) -> Node:
    node = w.table.known(ino)
    assert node is not None
    return node


class Model:
    """The same as `Packed`, in a few lines: all places and references by inode number."""

    def __init__(self, nodes: dict[int, Node]) -> None:
        self.nodes = nodes
        self.files: dict[int, tuple[int, int, list[tuple[int, bytes]]]] = {}

    def refer(self, ino: int, directory: int, children: dict[bytes, Node], name: bytes) -> int | None:
        lookups, generation, places = self.files.get(ino, (0, 0, []))
        if places != [(directory, name)] and (places or name in children or ino in self.nodes):
            return None
        self.files[ino] = (lookups + 1, generation, [(directory, name)])
        return generation

    def forget(self, ino: int, lookups: int) -> set[int] | None:
        if ino not in self.files:
            return None
        before, generation, places = self.files[ino]
        if before > lookups:
            self.files[ino] = (before - lookups, generation, places)
            return set()
        del self.files[ino]
        return {directory for directory, _ in places if not self.files_in(directory)}

    def files_in(self, directory: int) -> list[int]:
        return sorted(ino for ino, (_, _, places) in self.files.items() if directory in dict(places))


@pytest.mark.parametrize("seed", range(8))
def test_packed_does_what_a_simple_table_does(seed: int) -> None:
    chance = random.Random(seed)
    node = Node(5, stat.S_IFREG, 0)
    packed, model = Packed({5: node}), Model({5: node})
    spread = [1, 64, 1 << 40][seed % 3]  # of inode numbers: neighbours, and such as share their lowest bits
    for step in range(20_000):
        ino, directory = chance.randrange(1, 600) * spread, chance.randrange(8)
        name = (b"x" * chance.choice([1, 20, 255]) + b"%d" % chance.randrange(3))[-255:]
        what = chance.random()
        if what < (0.7 if step // 4000 % 2 == 0 else 0.3):  # it grows, and shrinks
            children = {name: node} if chance.random() < 0.05 else {}
            told = packed.refer(ino, directory, children, name)
            assert told == model.refer(ino, directory, children, name)
        elif what < 0.95:
            lookups = chance.randrange(1, 4)
            emptied, wanted = packed.forget(ino, lookups), model.forget(ino, lookups)
            assert (None if emptied is None else set(emptied)) == wanted
        else:
            assert packed.get(ino) == model.files.get(ino)
            if ino in model.files:
                assert set(packed.remove(ino)) == model.forget(ino, 1 << 40)
                lookups, generation, places = 3, 7, [(directory, name), (directory, b"other"), (9, b"")]
                packed.add(ino, lookups, generation, places)
                model.files[ino] = (lookups, generation, places)
        assert len(packed) == len(model.files)
        assert packed.is_in(directory) == bool(model.files_in(directory)) if step % 50 == 0 else True
    assert sorted(packed.numbers()) == sorted(model.files)
    for directory in range(10):
        assert packed.files_in(directory) == model.files_in(directory)
    for ino in [*model.files]:
        packed.remove(ino)
    assert len(packed) == 0 and not any(packed.is_in(directory) for directory in range(10))


def test_what_is_not_packed_cannot_be_removed() -> None:
    with pytest.raises(KeyError):
        Packed({}).remove(7)
    with pytest.raises(ValueError, match="255"):
        Packed({}).add(7, 1, 0, [(1, b"x" * 256)])
    assert Packed({}).get(7) is None and Packed({}).forget(7, 1) is None and Packed({}).files_in(7) == []
