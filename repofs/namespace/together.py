"""What becomes of a drop whose clock has gone off: it goes to the importer with others, or it waits for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from repofs.namespace.nodes import Node


@dataclass(frozen=True, slots=True)
class Together:
    """These go to the importer as one drop, the main one first."""

    nodes: tuple[Node, ...]
    names: tuple[bytes, ...] | None  # below *directory*; None: no reader was asked yet
    directory: Node
    refusal: str | None = None  # why they are not to be imported as they are

    def held(self) -> Iterator[Node]:
        """Yield what keeps its name meanwhile: of several, the files and the directories on the way to them."""
        for name in self.names or () if len(self.nodes) > 1 else ():
            here = self.directory
            for part in name.split(b"/"):
                here = here.children[part]
                yield here


@dataclass(frozen=True, slots=True)
class Rest:
    """It waits for others, and is looked at again then."""

    seconds: float
    why: str | None = None  # what people are told
