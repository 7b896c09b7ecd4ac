"""Files that belong together, put into a mount in every way that people do: one fileset each time."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy
import pydicom
import pytest
import tifffile
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from tests.helpers import olympus
from tests.helpers.drops import described, set_on
from tests.helpers.import_command import imports
from tests.helpers.mounting import QUICK, Drive, fact
from tests.helpers.people import ALICE, BOB
from tests.helpers.waiting import until

SETTINGS = (
    QUICK.replace("[readers]", "missing_seconds = 2\n[readers]")
    + """
[[sources]]
name = "scope1"
path = "@outside@"
"""
)
PAUSE = 1.5  # seconds: several settle times
ICS = """\t
ics_version\t1.0
filename\tcells
layout\tparameters\t4
layout\torder\tbits\tx\ty\tz
layout\tsizes\t16\t24\t16\t3
layout\tsignificant_bits\t16
representation\tformat\tinteger
representation\tsign\tunsigned
representation\tcompression\tuncompressed
representation\tbyte_order\t1\t2
end
"""


@pytest.fixture
def made(drive: Drive, request: pytest.FixtureRequest) -> Path:
    """A directory outside the mount, for files that belong together."""
    place = drive.outside / request.node.name
    place.mkdir()
    place.chmod(0o777)
    return place


def pair(place: Path, name: str = "cells") -> list[Path]:
    (place / f"{name}.ics").write_text(ICS)
    (place / f"{name}.ids").write_bytes(numpy.arange(24 * 16 * 3, dtype="<u2").tobytes())
    return [place / f"{name}.ics", place / f"{name}.ids"]


def multifile(place: Path, planes: int = 3) -> list[Path]:
    """Make an OME-TIFF of several files, each of which names all."""
    names = [f"cells_z{z}.ome.tif" for z in range(planes)]
    uuids = [f"urn:uuid:00000000-0000-0000-0000-00000000000{z}" for z in range(planes)]
    planes_of = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">{uuid}</UUID></TiffData>'
        for z, (name, uuid) in enumerate(zip(names, uuids, strict=True))
    )
    for z, (name, uuid) in enumerate(zip(names, uuids, strict=True)):
        xml = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuid}"><Image ID="Image:0" '
            'Name="cells"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="24" SizeY="16" '
            f'SizeZ="{planes}" SizeC="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes_of}'
            "</Pixels></Image></OME>"
        )
        plane = numpy.full((16, 24), z, "u1")
        tifffile.imwrite(place / name, plane, description=xml.encode(), metadata=None, photometric="minisblack")
    return [place / name for name in names]


def series(place: Path, slices: int = 5) -> list[Path]:
    uid = generate_uid()
    for number in range(slices):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = MRImageStorage
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = generate_uid()
        one.SeriesInstanceUID, one.InstanceNumber, one.Modality = uid, number + 1, "MR"
        one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation = 16, 24, 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation = 15, 0
        one.PixelSpacing, one.ImagePositionPatient = [0.5, 0.5], [0, 0, 2 * number]
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.PixelData = numpy.full((16, 24), number, "<u2").tobytes()
        pydicom.dcmwrite(place / f"slice{number}.dcm", one, enforce_file_format=True)
    return [place / f"slice{number}.dcm" for number in range(slices)]


KINDS: dict[str, Callable[[Path], list[Path]]] = {"pair": pair, "OME-TIFF": multifile, "DICOM": series}


def copy(files: list[Path], folder: Path, pause: float = 0.0) -> list[Path]:
    """Copy *files* one by one."""
    for file in files:
        ALICE.run("cp", file, folder)
        time.sleep(pause)
    return [folder / file.name for file in files]


def fileset(drive: Drive, copies: list[Path]) -> dict[str, object]:
    """Return what is known of the one fileset that *copies* have become."""
    for one in copies:
        drive.wait_imported(one)
    (name,) = {fact(one, "fileset") for one in copies}
    told: dict[str, object] = described(drive, ALICE, name)
    return told


def z_of(told: dict[str, object]) -> int:
    (image,) = told["images"]  # type: ignore[misc]
    return int(image["size_z"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_directory_that_is_copied(drive: Drive, folder: Path, made: Path, kind: str) -> None:
    files = KINDS[kind](made)
    ALICE.run("cp", "-r", made, folder / "run")
    told = fileset(drive, [folder / "run" / file.name for file in files])
    assert z_of(told) == (5 if kind == "DICOM" else 3)
    assert len({drive.original_of(folder / "run" / file.name).parent for file in files}) == 1
    assert sorted(path.name for path in drive.original_of(folder / "run" / files[0].name).parent.iterdir()) == sorted(
        file.name for file in files
    )


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_file_by_file_in_any_order_with_pauses(drive: Drive, folder: Path, made: Path, order: tuple[int, ...]) -> None:
    files = multifile(made)
    copies = copy([files[n] for n in order], folder, pause=PAUSE / 2)
    assert z_of(fileset(drive, copies)) == 3


@pytest.mark.parametrize("first", [0, 1])
def test_a_pair_with_a_pause(drive: Drive, folder: Path, made: Path, first: int) -> None:
    """Of the samples alone nobody can tell what they wait for: the header comes within their settle time."""
    files = pair(made)
    set_on(ALICE, folder, "policy", {"settle_seconds": 3})
    copies = copy([files[first], files[1 - first]], folder, pause=0.4)
    assert z_of(fileset(drive, copies)) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_directory_that_is_linked(drive: Drive, folder: Path, made: Path, kind: str) -> None:
    files = KINDS[kind](made)
    ALICE.do(os.symlink, made, folder / "run")
    told = fileset(drive, [folder / "run" / file.name for file in files])
    assert told["transfer"] == "ln_s" and z_of(told) == (5 if kind == "DICOM" else 3)


def test_what_is_missing_is_named_and_comes_later(drive: Drive, folder: Path, made: Path) -> None:
    files = multifile(made)
    here = copy(files[:2], folder)
    assert "waits: cells_z2.ome.tif is missing" in until(lambda: fact(here[0], "error"), "a word of what is missing")
    until(lambda: fact(here[0], "state") == "failed", "the end of its patience")
    assert "cells_z2.ome.tif is missing in the fileset of cells_z0.ome.tif" in str(fact(here[0], "error"))
    assert fact(here[1], "state") == "failed"
    failed = drive.mountpoint / ".repofs" / "failed" / drive.home(ALICE).name
    assert len([name for name in os.listdir(failed) if "cells_z" in name]) == 2
    assert z_of(fileset(drive, here + copy(files[2:], folder))) == 3


def test_what_was_imported_alone_has_to_come_again(drive: Drive, folder: Path, made: Path) -> None:
    header, samples = pair(made)
    (alone,) = copy([samples], folder)
    drive.wait_imported(alone)
    (late,) = copy([header], folder)
    until(lambda: fact(late, "state") == "failed", "the end of its patience")
    assert "cells.ids was imported without the others, so remove it and copy it again" in str(fact(late, "error"))
    ALICE.run("rm", alone)
    assert z_of(fileset(drive, [late, *copy([samples], folder)])) == 3


def test_status_tells_what_files_wait_for(drive: Drive, folder: Path, made: Path) -> None:
    set_on(ALICE, folder, "policy", {"missing": "wait"})
    (here,) = copy(multifile(made)[:1], folder)
    until(lambda: fact(here, "error"), "a word of what is missing")
    (problem,) = json.loads(ALICE.do(os.getxattr, folder, "user.repofs.status"))["problems"]
    assert problem["state"] == "settling" and "is missing in the fileset of cells_z0.ome.tif" in problem["error"]


def test_import_now_takes_what_is_there(drive: Drive, folder: Path, made: Path) -> None:
    here = copy(multifile(made)[:2], folder)
    until(lambda: fact(here[0], "error"), "a word of what is missing")
    ALICE.do(os.setxattr, here[0], "user.repofs.import", b"now")
    told = fileset(drive, here)
    assert "cells_z2.ome.tif" in str(fact(here[0], "error")) and told["images"]


def test_a_policy_to_wait(drive: Drive, folder: Path, made: Path) -> None:
    set_on(ALICE, folder, "policy", {"missing": "wait"})
    files = multifile(made)
    here = copy(files[:2], folder)
    time.sleep(3.5)
    assert fact(here[0], "state") == "settling"
    assert z_of(fileset(drive, here + copy(files[2:], folder))) == 3


def test_after_a_restart_they_are_one_fileset_still(own_drive: Drive, tmp_path: Path) -> None:
    made, folder = own_drive.outside, own_drive.home(ALICE)
    files = multifile(made)
    here = copy(files[:2], folder)
    until(lambda: fact(here[0], "error"), "a word of what is missing")
    own_drive.stop()
    own_drive.start()
    assert z_of(fileset(own_drive, here + copy(files[2:], folder))) == 3


def test_names_stay_while_the_fileset_is_imported_and_go_afterwards(drive: Drive, folder: Path, made: Path) -> None:
    copies = copy(pair(made), folder)
    fileset(drive, copies)
    original = drive.original_of(copies[1])
    ALICE.run("mv", copies[1], folder / "moved.ids")
    ALICE.run("rm", copies[0])
    assert original.exists() and BOB.do(Path.read_bytes, original) == (made / "cells.ids").read_bytes()


def test_a_companion_that_names_another_s_file(drive: Drive, folder: Path, made: Path) -> None:
    secret = drive.home(BOB) / "secret.ome.tif"
    BOB.run("cp", multifile(made)[0], secret)
    names = ("../../bob_3/secret.ome.tif", str(secret), "/etc/passwd", "cells_z0.ome.tif")
    data = "".join(
        f'<TiffData IFD="0"><UUID FileName="{name}">urn:uuid:{n}</UUID></TiffData>' for n, name in enumerate(names)
    )
    (made / "evil.companion.ome").write_text(
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="24" SizeY="16" SizeZ="4" SizeC="1" '
        f'SizeT="1">{data}</Pixels></Image></OME>'
    )
    ALICE.run("cp", made / "evil.companion.ome", folder)
    until(lambda: fact(folder / "evil.companion.ome", "state") in ("imported", "failed"), "its end")
    for one in drive.originals():
        assert not (str(one["path"]).startswith("alice") and "secret" in str(one["path"]))
    assert fact(secret, "fileset") != fact(folder / "evil.companion.ome", "fileset")


def test_the_ids_of_a_set_are_one_line(drive: Drive, made: Path) -> None:
    series(made)  # of bytes that nobody has
    (line,) = imports(drive, ALICE, "--output", "ids", made).out.splitlines()
    assert line.startswith("Image:")
    assert imports(drive, ALICE, "--output", "ids", made).out == ""


def test_a_command_brings_the_whole_set(drive: Drive, made: Path) -> None:
    files = multifile(made)
    done = imports(drive, ALICE, "--output", "json", made)
    filesets = {report["fileset"] for report in done.reports}
    assert done.code == 0 and len(filesets) == 1 and len(done.reports) == len(files)
    done = imports(drive, ALICE, "-f", made)
    assert done.out.count("# Group:") == 1 and f"# Group: {files[0]} Reader: OME-TIFF Images: 1" in done.out


@pytest.mark.parametrize("transfer", ["upload_rm", "ln_rm"])
def test_a_command_removes_the_whole_set(drive: Drive, made: Path, transfer: str) -> None:
    for file in series(made):
        os.chown(file, ALICE.uid, -1)
    done = imports(drive, ALICE, "--output", "json", "--transfer", transfer, made)
    assert done.code == 0, done.reports
    assert len({report["fileset"] for report in done.reports}) == 1 and os.listdir(made) == []
    (image,) = next(report["images"] for report in done.reports if report["images"])
    until(lambda: described(drive, ALICE, image).get("thumbnail") == "made", "a thumbnail, of bytes that are kept")


@pytest.mark.parametrize("folder_first", [True, False])
def test_an_oif_and_its_folder(drive: Drive, folder: Path, made: Path, folder_first: bool) -> None:
    olympus.oif(made, numpy.arange(2 * 2 * 16 * 24, dtype="u2").reshape(2, 2, 1, 16, 24))
    for name in sorted(("scan.oif", "scan.oif.files"), reverse=folder_first):
        ALICE.run("cp", "-r", made / name, folder)
        time.sleep(PAUSE)
    told = fileset(drive, [path for path in folder.rglob("*") if path.is_file()])
    assert z_of(told) == 2


def test_a_command_brings_what_does_not_know_who_names_it(drive: Drive, made: Path) -> None:
    """Planes in a folder below their main file, and plain TIFFs that a pattern names."""
    olympus.oif(made, numpy.arange(5, 5 + 2 * 2 * 16 * 24, dtype="u2").reshape(2, 2, 1, 16, 24))
    for z in range(3):
        tifffile.imwrite(made / f"im_z{z}.tif", numpy.full((16, 24), z + 7, "u1"), photometric="minisblack")
    (made / "im.pattern").write_text("im_z<0-2>.tif\n")
    files = sorted(path for path in made.rglob("*") if path.is_file())
    grouped = imports(drive, ALICE, "-f", made).out
    assert grouped.count("# Group:") == 2 and all(str(path) in grouped for path in files)
    for path in (*files, made, made / "scan.oif.files"):
        os.chown(path, ALICE.uid, -1)
    done = imports(drive, ALICE, "--output", "json", "--transfer", "upload_rm", made)
    assert (done.code, len(done.reports)) == (0, len(files)), done.reports
    assert len({report["fileset"] for report in done.reports}) == 2
    assert not any(path.exists() for path in files)
