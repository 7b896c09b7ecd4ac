"""Bulk files: read as OMERO's importer reads them, or refused with file, line and key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repofs.cli.bulk import Bulk, read
from repofs.cli.importing import Wanted
from repofs.errors import InvalidValue
from repofs.model import Exclusion
from repofs.targets import parse

USUAL = Wanted(b"", "upload", None, None, None, None, (), (), None, 4)


def bulk(directory: Path, text: str, **files: str) -> Bulk:
    for name, content in files.items():
        (directory / name.replace("_", ".")).write_text(content)
    (directory / "bulk.yml").write_text(text)
    return read(directory / "bulk.yml", Bulk([USUAL], 4, False))


def paths(found: Bulk, directory: Path) -> list[str]:
    return [os.path.relpath(os.fsdecode(one.path), directory) for one in found.wanted]


def test_without_columns_a_line_is_a_path(tmp_path: Path) -> None:
    found = bulk(tmp_path, '---\npath: "my.txt"\n', my_txt="fileA\n\n  file B, with a comma\n/abs/C\n")
    assert [os.fsdecode(one.path) for one in found.wanted] == [
        f"{tmp_path}/fileA", f"{tmp_path}/file B, with a comma", "/abs/C",
    ]  # fmt: skip
    assert (found.parallel, found.dry_run) == (4, False)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("files_tsv", 'Dataset:name:a b\timport-1\tA\nDataset:3\t"x"\tB\n'),
        ("files_csv", "Dataset:name:a b,import-1,A\nDataset:3,x,B\n"),
        ("files_txt", "'Dataset:name:a b' import-1 A\nDataset:3 x B\n"),
    ],
)
def test_columns_say_what_the_fields_are(tmp_path: Path, name: str, lines: str) -> None:
    text = f"path: {name.replace('_', '.')}\ncolumns:\n- target\n- name\n- path\n"
    found = bulk(tmp_path, text, **{name: lines})
    assert paths(found, tmp_path) == ["A", "B"]
    assert [(one.target, one.name) for one in found.wanted] == [
        (parse("Dataset:name:a b"), "import-1"), (parse("Dataset:3"), "x"),
    ]  # fmt: skip


def test_every_key(tmp_path: Path) -> None:
    text = """
path: l.txt
transfer: ln_s
target: "Project:name:P/Dataset:name:D"
name: control
as: alice
group: lab
skip: [checksum, minmax]
exclude: clientpath
checksum_algorithm: "File-Size-64"
depth: 7
parallel-fileset: 3
parallel_upload: 10
dry_run: true
continue: true
no_thumbnails: true
no_stats_info: false
"""
    found = bulk(tmp_path, text, l_txt="A")
    target = parse("Project:name:P/Dataset:name:D")
    assert found == Bulk(
        [
            Wanted(
                os.fsencode(tmp_path / "A"), "ln_s", target, "control", "alice", "lab",
                ("checksum", "minmax", "thumbnails"),
                (Exclusion.CLIENTPATH,), "File-Size-64", 7,
            )
        ],
        3,
        True,
    )  # fmt: skip


def test_a_field_wins_over_a_key_and_a_key_over_what_it_includes(tmp_path: Path) -> None:
    found = bulk(
        tmp_path,
        "include: usual.yml\npath: l.tsv\ncolumns: [transfer, path]\nname: mine\n",
        usual_yml="path: none.txt\ntransfer: ln\nname: theirs\ngroup: lab\ninclude: more.yml\n",
        more_yml="group: others\nas: bob\n",
        l_tsv="cp\tA\n",
    )
    [one] = found.wanted
    assert (one.transfer, one.name, one.group, one.owner) == ("cp", "mine", "lab", "bob")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("path: l.txt\n\ntransfers: ln", "bulk.yml, line 3: transfers is no key: there are as, "),
        ("path: l.txt\nname: a\nname: b", "bulk.yml, line 3: name stands twice"),
        ("path: l.txt\ntarget: Screen:1", "bulk.yml, line 2: target='Screen:1'"),
        ("path: l.txt\nexclude: [size]", "bulk.yml, line 2: exclude = 'size': there are filename, clientpath, content"),
        ("path: l.txt\nskip: nothing", "bulk.yml, line 2: skip = 'nothing'"),
        ("path: l.txt\ndepth: 0", "bulk.yml, line 2: depth = 0: a number from 1"),
        ("path: l.txt\nparallel: many", "bulk.yml, line 2: parallel = 'many'"),
        ("path: l.txt\ndry_run: my_%s.sh", "bulk.yml, line 2: dry_run = 'my_%s.sh': true or false"),
        ("path: l.txt\nname: [a]", "bulk.yml, line 2: name = ['a']: write a text"),
        ("path: l.txt\ncolumns: path", "bulk.yml, line 2: columns: write a list"),
        ("path: l.txt\ncolumns: [path, size]", "bulk.yml, line 2: columns: size is no column"),
        ("path: l.txt\ncolumns: [name]", "bulk.yml, line 2: columns: each name once, and path among them"),
        ("path: l.txt\ncolumns: [name, path]", "l.txt, line 1: 1 fields, where the columns are name, path"),
        ("path: t.txt\ncolumns: [target, path]", "t.txt, line 2: target='Nothing:1'"),
        ("path: q.txt\ncolumns: [name, path]", "q.txt, line 1: No closing quotation"),
        ("transfer: ln", "path is missing"),
        ("- a\n- b", "write keys and values"),
        ("a: [", "is not YAML"),
        ("path: l.txt\nname: !!python/object:os.system x", "is not YAML"),
        ("include: bulk.yml", "includes itself"),
        ("include: nowhere.yml", "nowhere.yml"),
        ("path: nowhere.txt", "nowhere.txt"),
        ('path: "a\\0b"', "line 1: path = 'a\\x00b': no file can be called so"),
        ("path: n.txt\ncolumns: [name, path]", "n.txt, line 1: path = '': write a text"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(OSError) as refused:
        bulk(tmp_path, text, l_txt="A\n", t_txt="Dataset:1 A\nNothing:1 B\n", q_txt="'a b\n", n_txt="a ''\n")
    assert error in str(refused.value)


values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["path", "columns", "name", "skip", "depth", "target", "dry_run"]), values))
def test_any_file_is_read_or_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    import yaml

    try:
        bulk(tmp_path, yaml.safe_dump({"path": "l.txt", **content}), l_txt="A\n")
    except InvalidValue as error:
        assert error.message
    except OSError as error:
        assert error.filename  # the kernel's, about the path
