"""OIF and OIB, of Olympus' FluoView, through oiffile: one image.

"scan.oif" holds the settings, the folder "scan.oif.files" beside it a TIFF for each plane, "s_C001Z002T003.tif", with
settings of its own (".pty"). An OIB is one file with all of them inside (`files`).
"""

from __future__ import annotations

import numpy

from repofs.formats.olympus import files as olympus_files
from repofs.formats.olympus import image as olympus_image
from repofs.formats.olympus.files import Settings
from repofs.formats.olympus.image import Scan
from repofs.formats.original_metadata import OriginalMetadata
from repofs.formats.outcome import NO_PLANE, Fault, recognised
from repofs.formats.reader import Files
from repofs.image import Members, Recognised

_PLANES_TRIED = 16  # until one is whole
_COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_SETTINGS = (b"\xff\xfe[\0", b"[")


class OlympusReader:
    """Reads OIF and OIB."""

    name = "OIF/OIB"
    library = "oiffile"
    suffixes = (".oif", ".oib")

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether it is text in sections, or a compound document, as the name says."""
        suffix = name[-4:].lower()
        return (suffix == ".oif" and head.startswith(_SETTINGS)) or (suffix == ".oib" and head.startswith(_COMPOUND))

    def members(self, name: str, files: Files) -> Members | None:
        """Return an OIF with what is in its folder, and what its settings say will be there."""
        if name.lower().endswith(".oib"):
            return None
        try:
            main = olympus_files.main_settings(name, files)
        except Fault:
            return None  # `read` says why
        folder = f"{name}.files"
        there = [one for one in files.names(folder) if not one.endswith("/")]
        names = sorted({*there, *olympus_image.expected_files(main)})
        return Members(name, (name, *(f"{folder}/{one}" for one in names))) if names else None

    def read(self, name: str, files: Files) -> Recognised:
        """Return the image where a plane of it is whole; the note says what is missing."""
        kind = name[-3:].upper()
        original = OriginalMetadata()
        try:
            with olympus_files.parts(name, files) as parts:
                original.add("", {key: value for key, value in parts.main.items() if key != "ColorLUTData"})
                scan = Scan(parts.main, parts.names)
                first = list(scan.planes.values())[:_PLANES_TRIED]
                if not any(parts.has_bytes(one, scan.plane_bytes) for one in first):
                    raise Fault(NO_PLANE)
                pty: Settings = {}
                if scan.settings_name in parts.names:
                    pty = olympus_files.settings(parts.bytes_of(scan.settings_name), scan.settings_name)
                image = olympus_image.image(name, scan, pty)
        except Fault as fault:
            return recognised(kind, (), [str(fault)], original)
        missing = scan.plane_count - len(scan.planes)
        note = f"{missing} of its {scan.plane_count} planes are not there" if missing else None
        return recognised(kind, [image], [note], original)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return every n-th sample of the planes nearest to the middle. Raises Fault, LookupError."""
        if series != 0:
            raise LookupError(f"it has no image {series}")
        with olympus_files.parts(name, files) as parts:
            scan = Scan(parts.main, parts.names)
            return numpy.stack([scan.samples(parts.bytes_of(plane), pixels) for plane in scan.middle()])
