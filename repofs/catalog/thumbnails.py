"""Thumbnails of images as the catalogue knows them: which are to be made, which are made, and what they measured."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, func, insert, select, update

from repofs.catalog.forms import plain
from repofs.catalog.schema import channels, fileset_entries, filesets, images
from repofs.image import Appearance
from repofs.model import ImageId, Skip

AT_A_TIME = 10_000  # images that `again` takes in one transaction


class Thumbnail(StrEnum):
    """What became of an image's thumbnail; null in the catalogue: it is to be made."""

    MADE = "made"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Due:
    """An image that nobody has looked at yet."""

    image: ImageId
    series: int
    user_directory: bytes
    import_directory: bytes  # below the user directory
    main: bytes  # below the import directory; a directory ends in /
    skipped: tuple[Skip, ...]
    appearance: Appearance


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of a look at an image."""

    image: ImageId
    thumbnail: Thumbnail
    ranges: tuple[tuple[float, float], ...] = ()  # least and largest value of each channel


def at_first(skipped: Sequence[Skip]) -> Thumbnail | None:
    """Return what stands in the row of a new image: skipped when there is nothing to look for, else to be made."""
    return Thumbnail.SKIPPED if {Skip.THUMBNAILS, Skip.MINMAX} <= set(skipped) else None


def due(conn: Connection, later: Collection[bytes] = ()) -> Due | None:
    """Return the first image that is to be looked at; one in the user directories *later* when there is no other."""
    first = select(fileset_entries.c.name).where(
        fileset_entries.c.fileset_id == filesets.c.id, fileset_entries.c.position == 0
    )
    query = (
        select(
            images.c.id, images.c.series, images.c.rgb, filesets.c.user_directory, filesets.c.import_directory,
            filesets.c.main, filesets.c.skipped, first.scalar_subquery().label("first"),
        )
        .join(filesets, filesets.c.id == images.c.fileset_id)
        .where(images.c.thumbnail.is_(None))
        .order_by(*[filesets.c.user_directory.in_(later)] * bool(later), images.c.id)
        .limit(1)
    )  # fmt: skip
    row = conn.execute(query).one_or_none()
    if row is None:
        return None
    of_image = select(channels.c.color).where(channels.c.image_id == row.id).order_by(channels.c.position)
    return Due(
        image=ImageId(row.id),
        series=row.series,
        user_directory=row.user_directory,
        import_directory=row.import_directory,
        main=row.main or row.first,
        skipped=tuple(map(Skip, row.skipped.split(","))) if row.skipped else (),
        appearance=Appearance(row.rgb, tuple(conn.execute(of_image).scalars())),
    )


def record(conn: Connection, items: Sequence[Looked]) -> list[bool]:
    """Write what came of looks at images; return of each whether it is there: it may have been deleted meanwhile."""
    return [_record_look(conn, one) for one in items]


def _record_look(conn: Connection, one: Looked) -> bool:
    known = conn.execute(update(images).where(images.c.id == one.image).values(thumbnail=one.thumbnail))
    if not known.rowcount:
        return False
    for position, (least, largest) in enumerate(one.ranges):
        _record_range(conn, one.image, position, {"min": plain(least), "max": plain(largest)})
    return True


def _record_range(conn: Connection, image: ImageId, position: int, values: dict[str, float]) -> None:
    """Write the range of a channel, which has no row yet where the file does not describe it."""
    row = {"image_id": image, "position": position}
    known = conn.execute(update(channels).filter_by(**row).values(**values))
    if not known.rowcount:
        conn.execute(insert(channels).values(**row, **values))


def again(conn: Connection, items: Sequence[None]) -> list[int]:
    """Have thumbnails made anew, those that had failed too, `AT_A_TIME` of them; return how many that are."""
    looked_at = images.c.thumbnail.in_((Thumbnail.MADE, Thumbnail.FAILED))
    some = select(images.c.id).where(looked_at).order_by(images.c.id).limit(AT_A_TIME)
    return [conn.execute(update(images).where(images.c.id.in_(some)).values(thumbnail=None)).rowcount for _ in items]


def made_and_due(conn: Connection, first: int, count: int) -> tuple[set[int], set[int]]:
    """Return which of the images from *first* on, *count* numbers, are said to have a thumbnail, and which are to get
    one."""
    number = images.c.id
    query = select(number, images.c.thumbnail).where(number >= first, number < first + count)
    told = conn.execute(query).all()
    made = {row.id for row in told if row.thumbnail == Thumbnail.MADE}
    return made, {row.id for row in told if row.thumbnail is None}


def make_anew(conn: Connection, image: int) -> None:
    """Have the thumbnail of Image:*image* made by the daemon."""
    conn.execute(update(images).where(images.c.id == image).values(thumbnail=None))


def highest_image(conn: Connection) -> int:
    """Return the highest id of an image, 0 without any."""
    return conn.execute(select(func.max(images.c.id))).scalar() or 0
