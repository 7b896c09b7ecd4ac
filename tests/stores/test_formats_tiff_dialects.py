"""What the programs of light microscopes say of an image in their dialects of TIFF."""

from __future__ import annotations

import numpy
import pytest

from repofs.formats.tiff.reader import TiffReader
from repofs.image import Channel, ImageInfo
from tests.helpers import tiffs
from tests.helpers.formats import only_image, preview, recognised, sizes, um
from tests.helpers.tiffs import PLANE


def image_of(raw: bytes, name: str = "cells.tif") -> ImageInfo:
    return only_image(recognised(raw, name))


def test_lsm() -> None:
    image = image_of(tiffs.lsm(), "cells.lsm")
    assert sizes(image) == (64, 48, 3, 3, 1)
    assert um(image) == pytest.approx((0.1, 0.1, 0.5))
    assert (image.time_increment_s, image.acquired) == (2.5, "2010-03-05T12:00:00")
    assert image.channels == (Channel("Ch1", "#00FF00"), Channel("Ch2", "#FF0000"), Channel("Ch3", "#0000FF"))
    assert (image.objective, image.magnification) == ("Plan-Apochromat 63x/1.40 Oil DIC", 63.0)
    assert (image.numerical_aperture, image.instrument) == (1.4, "Zeiss LSM")
    expected = numpy.stack([PLANE + 1 + 10 * channel for channel in range(3)])
    assert numpy.array_equal(preview(TiffReader(), tiffs.lsm(), "cells.lsm", 64), expected)


def test_metamorph_stack_in_depth() -> None:
    image = image_of(tiffs.stk(), "cells.stk")
    assert (image.name, sizes(image)) == ("GFP", (64, 48, 4, 1, 1))
    assert um(image) == pytest.approx((0.645, 0.645, 0.5))
    assert image.acquired == "2010-03-05T12:00:00"
    assert numpy.array_equal(preview(TiffReader(), tiffs.stk(), "cells.stk", 64), PLANE[None] + 2)


def test_metamorph_stack_in_time() -> None:
    image = image_of(tiffs.stk(step=(0, 1), minutes=2), "cells.stk")
    assert sizes(image) == (64, 48, 1, 1, 4)
    assert image.time_increment_s == 120.0
    assert um(image) == (0.645, 0.645, None)


def test_metamorph_stack_cut_short() -> None:
    found = recognised(tiffs.stk()[:-100], "cells.stk")
    assert found.note == "its header declares 4 planes, 3 are there"
    assert found.images[0].size_z == 3


def test_metaseries() -> None:
    image = image_of(tiffs.metaseries())
    assert um(image) == (0.325, 0.325, None)
    assert image.acquired == "2018-01-02T11:12:13.250000"
    assert image.channels == (Channel("FITC", emission_nm=525.0),)
    assert (image.objective, image.magnification) == ("20x Plan Apo", 20.0)


def test_micro_manager() -> None:
    image = image_of(tiffs.micro_manager())
    assert um(image) == (0.325, 0.325, 1.5)
    assert (image.time_increment_s, image.acquired) == (2.0, "2018-04-03T14:16:09")
    assert image.channels == (Channel("DAPI", "#0000FF"),)


def test_scanimage() -> None:
    image = image_of(tiffs.scanimage())
    assert um(image) == (15 * 16 / 64, 15 * 8 / 48, None)
    assert image.acquired == "2016-01-11T14:16:09.250000"
    assert image.time_increment_s == pytest.approx(1 / 30)
    assert [channel.name for channel in image.channels] == ["red"]
    assert image.instrument == "ScanImage"


def test_fluoview() -> None:
    image = image_of(tiffs.fluoview())
    assert (image.name, sizes(image)) == ("cells", (64, 48, 2, 1, 3))
    assert um(image) == (0.5, 0.5, 1.25)
    assert image.time_increment_s == 4.0
