"""MetaMorph's multi-dimensional acquisition: a text ``BASE.nd`` beside ``BASE_w1NAME_s1_t1.stk`` or ``.tif`` files.

No package reads an .nd from a file object. Its layout is described by MetaMorph's manual and by Bio-Formats
(https://bio-formats.readthedocs.io/en/stable/formats/metamorph-stack-stk.html); each line is one key and its value:

    "NDInfoFile", Version 1.0
    "StartTime1", 20241001 12:00:00.000
    "DoTimelapse", TRUE            "NTimePoints", 12          _t1 … _t12
    "DoStage", TRUE                "NStagePositions", 2       _s1 and _s2, "Stage1", "Position1"
    "DoWave", TRUE                 "NWavelengths", 2          _w1…, _w2…, "WaveName1", "Conf640", "WaveDoZ1", FALSE
    "WavePointsCollected2", 1, 6                              the time points of a wave that has not all of them
    "DoZSeries", TRUE              "NZSteps", 42              "ZStepSize", 0.3 in µm; the planes are in the .stk
    "WaveInFileName", TRUE                                    whether a wave's name follows its number

Each stage position is one image. A wave without a Z series has one plane where the others have many: the image has the
size of the largest, and the note says so.
"""

from __future__ import annotations

import codecs
import posixpath
import re
from dataclasses import dataclass, replace
from datetime import datetime

import numpy

from repofs.formats import image_sequence
from repofs.formats.image_sequence import Place, Sequence
from repofs.formats.original_metadata import OriginalMetadata, text
from repofs.formats.outcome import label, recognised
from repofs.formats.reader import Files
from repofs.formats.tiff import layout as tiff_layout
from repofs.formats.tiff.reader import TiffReader
from repofs.formats.values import positive
from repofs.image import Channel, Members, Recognised

ND_BYTES = 1 << 20  # of an .nd that is looked at: about ten thousand stage positions
MAX_COUNT = 100_000  # of waves, stages and time points each

_PLANES = (".stk", ".tif", ".tiff")
_PART = re.compile(r"(_w\d+[^_]*)?(_s\d+)?(_t\d+)?")
_NAME_MAX = 255
_LINE = re.compile(r'\s*"([^"]+)"\s*,\s*(.*?)\s*')


@dataclass(frozen=True, slots=True)
class _Wave:
    part: str  # of the file names: "_w1Conf640"; "" when there are no waves
    name: str | None
    does_z: bool
    points: frozenset[int] | None  # the time points that it has, from 1; None: all


@dataclass(frozen=True, slots=True)
class _Acquisition:
    """What an .nd says."""

    waves: tuple[_Wave, ...]
    stages: tuple[str, ...]  # their names; (): there is one, and it is not in the file names
    points: int  # in time; 0: there is one, and it is not in the file names
    planes: int  # of a Z series, 1 for none
    z_step_um: float | None
    acquired: str | None
    values: dict[str, str]


class MetamorphReader:
    """Reads .nd files with the .stk and .tif files that they name; one of these alone as TIFF."""

    name = "MetaMorph"
    library = "tifffile"
    suffixes = (".nd", ".stk")

    def __init__(self) -> None:
        self._tiff = TiffReader()

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether *head* begins as an .nd does, or as a TIFF that is called as the files of an .nd are."""
        if name.lower().endswith(".nd"):
            return head.lstrip(b"\xef\xbb\xbf \r\n").startswith(b'"NDInfoFile"')
        return tiff_layout.is_tiff(head) and _main(name, siblings) is not None

    def members(self, name: str, files: Files) -> Members | None:
        """Return what the .nd names; a plane is of what it says itself, else of the .nd that its name begins with."""
        if not name.lower().endswith(".nd"):
            main = _main(name, files)
            by_name = None if main is None else Members(main, (main, name), certain=False)
            return self._tiff.members(name, files) or by_name
        try:
            sequences = _sequences(name, _acquisition(name, files), files)
        except ValueError:
            return None  # `read` says why
        return Members(name, (name, *(plane for one in sequences for plane in one.files.values())))

    def read(self, name: str, files: Files) -> Recognised:
        """Return an image a stage position; the note names files that are missing and waves of fewer planes."""
        if not name.lower().endswith(".nd"):
            return self._tiff.read(name, files)
        try:
            said = _acquisition(name, files)
            sequences = _sequences(name, said, files)
        except ValueError as useless:
            return recognised(self.name, (), [f"the .nd file {useless}"])
        metadata = OriginalMetadata()
        metadata.add("", said.values)
        found, faults = image_sequence.images(sequences, files)
        images = [
            replace(
                image,
                acquired=said.acquired or image.acquired,
                physical_size_z_um=said.z_step_um or image.physical_size_z_um,
            )
            for image in found
        ]
        z = max((image.size_z for image in found), default=said.planes)
        if z != said.planes:
            faults.insert(0, f"the .nd declares {said.planes} planes a stack, {z} are there")
        return recognised(self.name, images, faults, metadata)

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return the middle plane of each wave; ValueError when the .nd makes no sense."""
        if not name.lower().endswith(".nd"):
            return self._tiff.preview(name, files, series, pixels)
        return image_sequence.preview(_sequences(name, _acquisition(name, files), files)[series], files, pixels)


def _main(name: str, files: Files) -> str | None:
    """Return the .nd that a plane of this name is of: one that is there, else the one that a wave in it speaks of."""
    stem, suffix = posixpath.splitext(name)
    if suffix.lower() not in _PLANES or stem.lower().endswith(".ome"):
        return None
    starts = [match.start() for match in re.finditer("_[wst](?=[0-9])", stem) if _PART.fullmatch(stem, match.start())]
    for start in starts:
        for ending in (".nd", ".ND"):
            if start and files.has(stem[:start] + ending):
                return stem[:start] + ending
    return f"{stem[: starts[0]]}.nd" if starts and starts[0] and stem.startswith("_w", starts[0]) else None


def _acquisition(name: str, files: Files) -> _Acquisition:
    """Return what the .nd file *name* says. Raises ValueError, with half a sentence, when it makes no sense."""
    with files.open(name) as file:
        raw = file.read(ND_BYTES)
    values = _values(raw)
    does_z = _is_true(values, "DoZSeries")
    stages = _count(values, "NStagePositions") if _is_true(values, "DoStage") else 0
    return _Acquisition(
        waves=_waves(values, does_z=does_z),
        stages=tuple(values.get(f"Stage{number}", "") for number in range(1, stages + 1)),
        points=_count(values, "NTimePoints") if _is_true(values, "DoTimelapse") else 0,
        planes=_count(values, "NZSteps") if does_z else 1,
        z_step_um=positive(values.get("ZStepSize", "").replace(",", ".")) if does_z else None,
        acquired=_time(values.get("StartTime1", "")),
        values=values,
    )


def _values(raw: bytes) -> dict[str, str]:
    """Return the values by their keys. Windows wrote it: what is no UTF-8 is taken for its Western code page."""
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        words = raw.decode("utf-8")
    except UnicodeDecodeError:
        words = raw.decode("cp1252", "replace")
    lines = (match for line in words.splitlines() if (match := _LINE.fullmatch(line)))
    return {match[1]: text(match[2].strip('"')) for match in lines}


def _is_true(values: dict[str, str], key: str) -> bool:
    return values.get(key, "").upper() == "TRUE"


def _count(values: dict[str, str], key: str) -> int:
    word = values.get(key, "1")
    if not word.isascii() or not word.isdecimal() or not 0 < int(word[:10]) <= MAX_COUNT:
        raise ValueError(f"says {word[:32]!r} for {key}, which is no number from 1 to {MAX_COUNT}")
    return int(word)


def _waves(values: dict[str, str], *, does_z: bool) -> tuple[_Wave, ...]:
    if not _is_true(values, "DoWave"):
        return (_Wave("", None, does_z, None),)
    waves = []
    for number in range(1, _count(values, "NWavelengths") + 1):
        name = values.get(f"WaveName{number}", "")[:_NAME_MAX]
        shown = re.sub(r"[_/\\()]", "-", name) if _is_true(values, "WaveInFileName") else ""
        collected = re.findall("[0-9]{1,9}", values.get(f"WavePointsCollected{number}", ""))
        points = frozenset(map(int, collected)) or None
        does = does_z and values.get(f"WaveDoZ{number}", "TRUE").upper() == "TRUE"
        waves.append(_Wave(f"_w{number}{shown}", name or None, does, points))
    return tuple(waves)


def _time(word: str) -> str | None:
    try:
        return datetime.fromisoformat(word).isoformat(timespec="milliseconds")
    except ValueError:
        return None


def _sequences(name: str, said: _Acquisition, files: Files) -> list[Sequence]:
    """Return an image for each stage, with the names of its files as they are, or, where they are missing, would be.

    Raises ValueError when there are too many.
    """
    stem = name[: -len(".nd")]
    stages = [f"_s{number + 1}" for number in range(len(said.stages))] or [""]
    points = [f"_t{number + 1}" for number in range(said.points)] or [""]
    longest = len(stem) + max(len(wave.part) for wave in said.waves) + len(stages[-1]) + len(points[-1]) + 4
    image_sequence.check_count(len(said.waves) * len(stages) * len(points), longest)
    find = _Names(stem, files)
    channels = tuple(Channel(name=wave.name) for wave in said.waves)
    sequences = []
    for number, stage in enumerate(stages):
        grid = {
            Place(0, c, t): find(wave, stage + point)
            for c, wave in enumerate(said.waves)
            for t, point in enumerate(points)
            if wave.points is None or t + 1 in wave.points
        }
        own = said.stages[number] if said.stages else ""
        title = own or label(name, number, len(stages))
        named = channels if any(channel.name for channel in channels) else ()
        sequences.append(Sequence(title, grid, Place(1, len(said.waves), len(points)), named, stacks=True))
    return sequences


class _Names:
    """The names of the files of an .nd: as they are, or, of those that are missing, as they would be."""

    def __init__(self, stem: str, files: Files) -> None:
        self._stem = stem
        self._there: dict[str, str] = {}
        self._suffixes: dict[str, str] = {}  # by the number of the wave, and by themselves in lower case
        for name in files.names():
            begin, suffix = posixpath.splitext(name)
            if suffix.lower() in _PLANES and begin.startswith(stem):
                self._there.setdefault(_plain(begin), begin + suffix)
                self._suffixes[_number(begin[len(stem) :])] = self._suffixes[suffix.lower()] = suffix

    def __call__(self, wave: _Wave, rest: str) -> str:
        name = self._stem + wave.part + rest
        usual = ".stk" if wave.does_z else ".tif"
        suffix = self._suffixes.get(_number(wave.part)) or self._suffixes.get(usual, usual)
        return self._there.get(_plain(name), name + suffix)


def _number(part: str) -> str:
    found = re.match("_w[0-9]+", part)
    return found[0] if found else ""


def _plain(name: str) -> str:
    """Return *name* so that it equals that of the same file as another version of the program writes it."""
    return re.sub(r"[\W_]", "-", name.lower())
