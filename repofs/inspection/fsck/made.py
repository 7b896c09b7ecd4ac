"""What repofs makes from the rest: links and logs of failures, thumbnails, the cache."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from repofs.catalog import consistency, thumbnails
from repofs.catalog.forms import shown
from repofs.inspection.fsck.findings import Code, Finding
from repofs.inspection.fsck.subject import Subject
from repofs.inspection.fsck.tree import ORPHANED
from repofs.repository.failed_links import FailedLinks

_THUMBNAIL = re.compile(r"Image-(\d{1,18})\.png")
_IN_ONE_DIRECTORY = 1000  # `Layout.thumbnail`


def check_failures(subject: Subject) -> Iterator[Finding]:
    """Look at links to what has failed, and at logs of failures once all drops were seen."""
    yield from subject.twice(partial(_broken_links, subject))
    if subject.live:
        return  # a drop that fails just now was seen before it did
    for user in sorted(subject.layout.failure_logs.iterdir()):
        for log in sorted(user.iterdir()):
            below = os.fsencode(log.relative_to(subject.layout.managed))
            if below not in subject.named_logs and not log.name.startswith(ORPHANED):
                text = "no file says that this is why it was not imported"
                yield Finding(Code.FAILURE_LOG_STALE, shown(below), text, partial(_remove, log))


def _broken_links(subject: Subject) -> list[Finding]:
    links = FailedLinks(subject.layout)
    found = []
    for user, name, path, _ in links.all():
        if os.path.lexists(subject.path(path)):
            subject.named_logs.add(path)
        else:
            where = b"/".join((b".repofs/failed", user, name))
            repair = partial(_remove, Path(os.fsdecode(subject.path(where))))
            found.append(Finding(Code.FAILED_LINK_BROKEN, shown(where), f"it leads to {shown(path)!r}", repair))
    return found


def check_thumbnails(subject: Subject) -> Iterator[Finding]:
    """Compare thumbnails with what the catalogue says of them. Without their directory all are made anew."""
    if not subject.layout.thumbnails.is_dir():
        return
    last = max(subject.ask(thumbnails.highest_image), 0) // _IN_ONE_DIRECTORY
    strange = {int(name) for name in os.listdir(subject.layout.thumbnails) if name.isdecimal() and int(name) > last}
    for number in (*range(last + 1), *sorted(strange)):
        yield from subject.twice(partial(_thumbnails, subject, number))
        subject.tell("thumbnails", number * _IN_ONE_DIRECTORY, last * _IN_ONE_DIRECTORY)


def _thumbnails(subject: Subject, number: int) -> list[Finding]:
    """Return what is wrong with a thousand of them."""
    directory = subject.layout.thumbnails / str(number)
    made, due = subject.ask(thumbnails.made_and_due, number * _IN_ONE_DIRECTORY, _IN_ONE_DIRECTORY)
    names = os.listdir(directory) if directory.is_dir() else ()
    there = {int(match[1]): directory / match[0] for match in filter(None, map(_THUMBNAIL.fullmatch, names))}
    found = []
    strange = there.keys() - made - due  # of one that is due the daemon has died before it said so
    for image in sorted(strange - subject.ask(consistency.images_in_trash) if strange else ()):
        text = f"Image:{image} is said to have none, or is not there"
        where = str(there[image].relative_to(subject.layout.root))
        found.append(Finding(Code.THUMBNAIL_ORPHANED, where, text, partial(_remove, there[image])))
    for image in sorted(made - there.keys()):
        repair = partial(subject.write, thumbnails.make_anew, image)
        found.append(Finding(Code.THUMBNAIL_MISSING, f"Image:{image}", "its thumbnail is not there", repair))
    return found


def check_cache(subject: Subject) -> Iterator[Finding]:
    """Look for files with a name in the cache: those in use have none."""
    if subject.live or not subject.layout.cache.is_dir():
        return
    for path in sorted(subject.layout.cache.iterdir()):
        where = str(path.relative_to(subject.layout.root))
        yield Finding(Code.LEFTOVER, where, "nobody uses it", partial(_remove, path))


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
