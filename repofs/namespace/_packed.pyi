"""Files of which no more is known than where they lie and how often the kernel refers to them: see _packed.c."""

from collections.abc import Sequence

from repofs.namespace.nodes import Node

MOST: int  # references, and generations, that a record can count
Place = tuple[int, bytes]  # the number of a directory, and a name in it

class Packed:
    """All packed files of one mount, by inode number."""

    def __init__(self, nodes: dict[int, Node]) -> None:
        """*nodes* has all that is not packed."""
    def __len__(self) -> int: ...
    def refer(self, ino: int, directory: int, children: dict[bytes, Node], name: bytes) -> int | None:
        """Count one reference to *ino*, a regular file that was just found as *name* in *directory*, whose names of
        nodes are *children*. It is packed now if it was not.

        Returns its generation; None, with nothing counted, when it needs a node: it is one, or what was last found
        under that name is, or it is known by another name.
        """
    def add(self, ino: int, lookups: int, generation: int, places: list[Place]) -> None:
        """Pack *ino*, which is not packed yet."""
    def get(self, ino: int) -> tuple[int, int, list[Place]] | None:
        """Return references, generation and names of *ino*, None when it is not packed."""
    def forget(self, ino: int, lookups: int) -> Sequence[int] | None:
        """Take back *lookups* references to *ino*.

        Returns the directories in which nothing is packed any more for that; None when *ino* is not packed.
        """
    def remove(self, ino: int) -> Sequence[int]:
        """Take out *ino*. Returns the directories in which nothing is packed any more for that. KeyError."""
    def is_in(self, directory: int) -> bool:
        """Whether something in *directory* is packed."""
    def files_in(self, directory: int) -> list[int]:
        """Return the numbers of all in *directory* that are packed."""
    def numbers(self) -> list[int]:
        """Return the numbers of all that are packed."""
