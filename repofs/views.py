"""What the views in `.repofs` show of the catalogue: what the mount asks for, and what it is told, in pages. Plain
values that travel as MessagePack and JSON."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Seen(msgspec.Struct, frozen=True):
    """What data somebody may view."""

    uid: int
    everything: bool
    gids: tuple[int, ...]  # groups, all data of which she sees
    own_gids: tuple[int, ...]  # groups of which she sees what is her own


class Listing(StrEnum):
    """What is listed; of images their filesets."""

    PROJECTS = "projects"
    DATASETS = "the datasets of a project"  # 0: of none
    DATASET = "the images in a dataset"
    ORPHANS = "the images in no dataset"
    IMAGE = "one image"
    IMAGES = "all images"  # without the names of their files


class Look(msgspec.Struct, frozen=True):
    """Which of what somebody may view is to be listed."""

    listing: Listing
    seen: Seen
    number: int = 0  # of the project, dataset or image
    after: int = 0  # what comes after this id; 0: from the first


class Shown(msgspec.Struct, frozen=True):
    """A project or dataset; or an image, with the files of its fileset."""

    number: int
    owner_uid: int | None  # None: of a former experimenter
    gid: int
    name: str = ""
    directory: bytes = b""  # the import directory, below the mount
    names: tuple[bytes, ...] = ()  # in it: files, and directories that are of the fileset


class Page(msgspec.Struct, frozen=True):
    """Some of what is listed, by id. What is of one fileset comes once a page."""

    shown: tuple[Shown, ...]
    after: int | None = None  # the id to go on after; None: that was all
