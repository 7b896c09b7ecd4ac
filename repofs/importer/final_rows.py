"""The final rows of an import: what its drop, its files and its readers say, put together."""

from __future__ import annotations

import os
from dataclasses import replace

from repofs.catalog.containers import Target
from repofs.catalog.filesets import FinishedFile, FinishedImport
from repofs.catalog.forms import now
from repofs.image import Recognised
from repofs.importer.files import Examined
from repofs.importer.transactions import Begun, Ids
from repofs.model import Drop, FilesetId, ImageId, OriginalFileId
from repofs.repository import transfers


def finished(
    drop: Drop,
    begun: Begun,
    target: Target | None,
    examined: list[Examined],
    recognised: Recognised,
    ids: Ids,
) -> FinishedImport:
    """Return the rows of an import that is about to get its directory."""
    recognised = _called(recognised, drop.name)
    entries = (
        FinishedFile(
            OriginalFileId(number),
            file.path,
            file.name,
            file.size,
            file.mtime_ns,
            file.checksum,
            file.origin,
            removal_due=file.origin is not None and transfers.named(file.origin.transfer).removes,
        )
        for number, file in zip(ids.originals, examined, strict=True)
    )
    return FinishedImport(
        import_id=begun.id,
        fileset_id=FilesetId(ids.fileset),
        owner=begun.owner.id,
        group_id=begun.group.id,
        user_directory=drop.user_directory,
        import_directory=b"",
        transfer=drop.transfer if examined[0].origin is None else examined[0].origin.transfer,
        imported=now(),
        target=target,
        format=recognised.format,
        entries=tuple(entries),
        images=tuple(zip(map(ImageId, ids.images), recognised.images, strict=True)),
        original_metadata=recognised.original_metadata,
        note=recognised.note,
        actor_uid=None if drop.actor_uid == begun.owner.uid else drop.actor_uid,
        main=os.path.basename(drop.path) + b"/" * drop.is_directory,
        skipped=drop.policy.skip,
        queued=drop.queued,
        home=ids.home,
    )


def _called(recognised: Recognised, name: str | None) -> Recognised:
    """Return *recognised* with its images called *name*; of several, each with its own name behind that."""
    if name is None:
        return recognised
    one = len(recognised.images) == 1
    images = (replace(image, name=name if one else f"{name} [{image.name}]") for image in recognised.images)
    return replace(recognised, images=tuple(images))


def names_of(ids: Ids) -> list[str]:
    """Return the ids as people write them, a row of them by its ends."""
    names = [f"Fileset:{ids.fileset}"]
    for kind, row in (("OriginalFile", ids.originals), ("Image", ids.images)):
        if row:
            names.append(f"{kind}:{row[0]}" if len(row) == 1 else f"{kind}:{row[0]} to {row[-1]}")
    return names
