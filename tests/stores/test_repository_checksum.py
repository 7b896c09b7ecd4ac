"""Each algorithm against values that others published."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repofs.errors import InvalidValue
from repofs.repository.checksum import ALGORITHMS, checksum


def fake(lines: int) -> bytes:
    return b"".join(b"fake%d" % number for number in range(lines))


# OMERO's own: src/test/java/ome/util/checksum in ome/omero-common, "abc", "", and its three files.
OMERO_INPUTS = [b"abc", b"", fake(10), fake(100), fake(1000)]
OMERO = {
    "Adler-32": ["27014d02", "01000000", "f4110fcc", "21c664bf", "ed88e87d"],
    "CRC-32": ["c2412435", "00000000", "ef618578", "b063fbf0", "1d3e3cb6"],
    "File-Size-64": [
        "0300000000000000", "0000000000000000", "3200000000000000", "4e02000000000000", "ea1a000000000000",
    ],
    "MD5-128": [
        "900150983cd24fb0d6963f7d28e17f72", "d41d8cd98f00b204e9800998ecf8427e", "afedcd324960f93c20b726c81b8d216a",
        "5e44e9bc9e91274731b8541e3e1fd687", "e96cd8050b7e09202c395530435f208d",
    ],
    "Murmur3-32": ["fa93ddb3", "00000000", "f87d658b", "1c9036cf", "f9c16f3b"],
    "Murmur3-128": [
        "6778ad3f3f3f96b4522dca264174a23b", "00000000000000000000000000000000", "2a9db2bec362cb22bf016c06722b24d7",
        "2858bd6075ed06228c0ba4ba75ae8ef9", "7535f4b378b3aec8dc3f4cffdc44ba6e",
    ],
    "SHA1-160": [
        "a9993e364706816aba3e25717850c26c9cd0d89d", "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "af35647108cada855e1ca08472c2a831cce91a29", "a61d742dba0a4cd423de603e6c3890e0f856bb9c",
        "b3987d3ffac6ad41fee258e8cc99fc89e29ae98f",
    ],
}  # fmt: skip
VECTORS = [
    (name, data, value) for name, values in OMERO.items() for data, value in zip(OMERO_INPUTS, values, strict=True)
]

# FIPS 180-2, appendix B.1 and B.2.
VECTORS += [
    ("SHA-256", b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
        "SHA-256",
        b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    ),
]

# BLAKE3's test_vectors.json: inputs count 0 to 250 over and over.
VECTORS += [
    ("BLAKE3", bytes(i % 251 for i in range(size)), value)
    for size, value in [
        (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
        (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
        (1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"),
        (7169, "a003fc7a51754a9b3c7fae0367ab3d782dccf28855a03d435f8cfe74605e7817"),
    ]
]


@pytest.mark.parametrize(("algorithm", "data", "value"), VECTORS)
def test_published_vectors(tmp_path: Path, algorithm: str, data: bytes, value: str) -> None:
    assert of(tmp_path, data, algorithm) == f"{algorithm}:{value}"


def test_every_algorithm_has_a_vector() -> None:
    assert set(ALGORITHMS) == {name for name, _, _ in VECTORS}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_more_than_one_buffer(tmp_path: Path, algorithm: str) -> None:
    data = bytes(i % 251 for i in range((5 << 20) // 2 + 3))
    pieces = of(tmp_path, data[:-1], algorithm), of(tmp_path, data, algorithm)
    assert pieces[0] != pieces[1]
    if algorithm == "CRC-32":
        assert pieces[1] == f"CRC-32:{zlib.crc32(data).to_bytes(4, 'little').hex()}"


def test_offset_of_the_descriptor_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abcdef")
    with path.open("rb", buffering=0) as file:
        file.seek(4)
        assert checksum(file.fileno(), "CRC-32") == of(tmp_path, b"abcdef", "CRC-32")
        assert file.tell() == 4


@given(name=st.text().filter(lambda name: name not in ALGORITHMS))
def test_unknown_algorithm(name: str) -> None:
    with pytest.raises(InvalidValue, match="SHA1-160"):
        checksum(0, name)


def of(directory: Path, data: bytes, algorithm: str) -> str:
    path = directory / "data"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        return checksum(fd, algorithm)
    finally:
        os.close(fd)
