"""DICOM, through pydicom: single files, the files of a series as one fileset, and whole slides.

A series is one acquisition (PS3.3 A.1.2): each of its files is an instance, and which image that is part of can be told
only when all are there. `header` reads one file, `stack` and `slide` put instances together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from repofs.formats.dicom import header as dicom_header
from repofs.formats.dicom import instance as dicom_instance
from repofs.formats.dicom import slide as dicom_slide
from repofs.formats.dicom import stack as dicom_stack
from repofs.formats.dicom.header import BAD_VALUE, Header, text
from repofs.formats.dicom.instance import Instance
from repofs.formats.dicom.slide import Pyramid
from repofs.formats.dicom.stack import Stack
from repofs.formats.original_metadata import MAX_DEPTH, OriginalMetadata
from repofs.formats.outcome import Fault, recognised
from repofs.formats.reader import Files
from repofs.image import Members, Recognised

_HEAD_BYTES = 4096
_MAX_ITEMS = 4  # of one sequence that are kept as metadata
_NO_TEXT = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")


class DicomReader:
    """Reads DICOM."""

    name = "DICOM"
    suffixes = (".dcm", ".dicom", ".dic", ".ima")
    library = "pydicom"

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether *head* has DICM at 128, or begins with the elements of a known kind of object."""
        return dicom_header.is_dicom(head)

    def members(self, name: str, files: Files) -> Members | None:
        """Return the series that the file is of; how many files that has is not said anywhere."""
        try:
            with files.open(name) as file:
                series = _series_of(dicom_header.read(file))
        except Fault:
            return None
        return None if series is None else Members(name, (name,), key=f"dicom:{series}")

    def read(self, name: str, files: Files) -> Recognised:
        """Return the images of the series that *name* is of, as far as its files are of the fileset."""
        metadata = OriginalMetadata()
        instances, faults = _instances(name, files, metadata)
        images = _images(instances)
        faults += [image.note for image in images if image.note]
        label = next((one.description or one.name for one in instances), name)
        named = zip(images, _names(images, label), strict=True)
        infos = (image.info(own, number) for number, (image, own) in enumerate(named))
        return recognised("DICOM", infos, faults, metadata)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return a small version of one image. Raises LookupError when there is none, Fault when it is damaged."""

        @contextmanager
        def opened(member: str) -> Iterator[Header]:
            with files.open(member) as file:
                yield dicom_header.read(file)

        return _images(_instances(name, files, OriginalMetadata())[0])[series].preview(opened, pixels)


def _series_of(header: Header) -> str | None:
    return text(header.data, "SeriesInstanceUID")


def _instances(name: str, files: Files, metadata: OriginalMetadata) -> tuple[list[Instance], list[str]]:
    """Return the instances of the series with at least one whole frame, in order of their files, and what is wrong.

    *metadata* is filled from the file *name*. A series of a thousand files is opened once, file by file.
    """
    try:
        with files.open(name) as file:
            header = dicom_header.read(file)
            _collect(header.data, metadata, "")
            series = _series_of(header)
            found: list[tuple[Instance, str | None] | None] = [_instance(header, name)]
    except Fault as fault:
        return [], [str(fault)]
    for other in files.names() if series else ():
        if other != name and not other.endswith("/"):
            found.append(_other(other, files, series))
    ordered = sorted((one for one in found if one), key=lambda one: one[0].name)
    faults = [fault for _, fault in ordered if fault]
    return [instance for instance, _ in ordered if instance.frames], faults


def _other(name: str, files: Files, series: str | None) -> tuple[Instance, str | None] | None:
    """Return what the file *name* adds to *series*, None when it is not of it."""
    try:
        with files.open(name) as file:
            if not dicom_header.is_dicom(file.read(_HEAD_BYTES)):
                return None
            header = dicom_header.read(file)
            return _instance(header, name) if _series_of(header) == series else None
    except (PermissionError, Fault):  # of another fileset; not to be read, which its own look has told
        return None


def _instance(header: Header, name: str) -> tuple[Instance, str | None]:
    """Return what one file says, and what is missing of it."""
    instance = dicom_instance.of(header, name)
    if instance.frames == instance.declared_frames:
        return instance, None
    return instance, f"{name} is not whole: {instance.frames} of its {instance.declared_frames} frames are there"


def _images(instances: list[Instance]) -> list[Pyramid | Stack]:
    slides = [one for one in instances if one.slide]
    return [*dicom_slide.pyramids(slides), *dicom_stack.stacks(one for one in instances if not one.slide)]


def _names(images: list[Pyramid | Stack], label: str) -> list[str]:
    if len(images) == 1:
        return [label]
    apart = [image.flavour if isinstance(image, Pyramid) else None for image in images]
    return [f"{label} [{flavour or number}]" for number, flavour in enumerate(apart)]


def _collect(data: Dataset, metadata: OriginalMetadata, prefix: str) -> None:
    """Put in all elements that are text or numbers, by their keyword; private ones by the name that pydicom knows."""
    for tag in sorted(data.keys()):
        try:
            element = data[tag]
        except BAD_VALUE:
            continue  # a value that is none
        key = prefix + (element.keyword or element.name)
        if element.VR == "SQ":
            for number, item in enumerate(element.value[:_MAX_ITEMS]):
                if prefix.count(".") < 2 * MAX_DEPTH:
                    _collect(item, metadata, f"{key}.{number}.")
        elif element.VR not in _NO_TEXT:
            metadata.add(key, _plain(element))


def _plain(element: DataElement) -> object:
    """Return the value as one text, or as a list that may be too long to keep."""
    value = element.value
    return [str(part) for part in value] if isinstance(value, MultiValue) else value
