"""Making, opening, upgrading and refusing catalogues."""

from __future__ import annotations

import re
import shutil
import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import CreateIndex, CreateTable

from repofs.catalog import engine, reference, schema, users
from repofs.catalog.engine import Engine
from repofs.errors import AlreadyExists, Busy, NotARepository, NotPermitted
from repofs.model import PermissionLevel

ROOT = Path(__file__).parents[2]


def made(opened: Engine) -> dict[str, list[str]]:
    """Return what made each table and index of a database: columns in order, then constraints in any.

    A column that was added later stands behind the constraints.
    """
    with opened.begin() as conn:
        rows = conn.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").all()
    statements = {name: "".join(sql.split()).replace('"', "") for name, sql in rows if name != "alembic_version"}
    parted = {
        name: re.split(r",(?![^(]*\))", sql.partition("(")[2].rpartition(")")[0]) for name, sql in statements.items()
    }
    return {
        name: [
            *(statements[name].partition("(")[0], statements[name].rpartition(")")[2]),
            *(part for part in parts if not part.startswith("CONSTRAINT")),
            *sorted(part for part in parts if part.startswith("CONSTRAINT")),
        ]
        for name, parts in parted.items()
    }


def test_the_migrations_make_the_schema(catalogue: Engine) -> None:
    straight = create_engine("sqlite://")
    schema.metadata.create_all(straight)
    assert made(catalogue) == made(straight)
    with catalogue.begin() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def test_the_newest_revision_is_the_one_that_the_engine_asks_for() -> None:
    config = Config()
    config.set_main_option("script_location", engine.MIGRATIONS)
    assert ScriptDirectory.from_config(config).get_heads() == [engine.HEAD]


def test_every_table_can_be_made_on_postgresql() -> None:
    for table in schema.metadata.sorted_tables:
        statements = [CreateTable(table), *map(CreateIndex, table.indexes)]
        for statement in statements:
            assert str(statement.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]


def test_every_table_and_column_is_explained() -> None:
    unexplained = [str(column) for table in schema.metadata.tables.values() for column in table.c if not column.comment]
    assert unexplained == []
    assert all(table.comment for table in schema.metadata.tables.values())


def test_the_reference_page_is_the_one_of_this_schema() -> None:
    assert (ROOT / "docs/reference/catalogue.md").read_text(encoding="utf-8") == reference.page()


def test_a_catalogue_is_for_its_owner_only_and_durable(catalogue: Engine, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "catalogue.sqlite").stat().st_mode) == 0o600
    with catalogue.begin() as conn:
        settings = {
            name: conn.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_any_path_will_do(tmp_path: Path) -> None:
    path = tmp_path / "a #?%41&b=c.sqlite"
    engine.create(path)
    engine.open_engine(path).dispose()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_create_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    path.write_text("mine")
    with pytest.raises(AlreadyExists):
        engine.create(path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("content", [None, b"", b"not a database, but text of some length " * 100])
def test_what_is_no_catalogue_is_refused_and_left_alone(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "catalogue.sqlite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NotARepository, match=r"is missing or damaged .* fsck --rebuild-catalogue$"):
        engine.open_engine(path)
    assert (path.read_bytes() if path.exists() else None) == content


def test_a_newer_catalogue_is_refused(catalogue: Engine, tmp_path: Path) -> None:
    with catalogue.begin() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(NotPermitted, match="use the newer repofs"):
        engine.open_engine(tmp_path / "catalogue.sqlite")


def test_reading_only_cannot_write_and_does_not_wait_for_a_writer(catalogue: Engine, tmp_path: Path) -> None:
    reader = engine.open_engine(tmp_path / "catalogue.sqlite", read_only=True)
    with catalogue.begin() as writing, reader.begin() as reading:
        users.add_group(writing, "lab", 5000, PermissionLevel.PRIVATE)
        assert users.groups(reading) == []
    with pytest.raises(OperationalError, match="readonly"), reader.begin() as reading:
        users.add_group(reading, "more", 5001, PermissionLevel.PRIVATE)
    reader.dispose()


# --- upgrades: one more revision that only these tests have -----------------------------------------

NEXT = """
from alembic import op
import sqlalchemy as sa
revision, down_revision = "0007", "0006"
def upgrade():
    op.add_column("groups", sa.Column("motto", sa.Text()))
"""


def test_one_that_somebody_else_keeps_is_busy(
    catalogue: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.1)
    other = engine.open_engine(tmp_path / "catalogue.sqlite")
    with catalogue.begin(), pytest.raises(Busy, match="is written by another program"), other.begin():
        pass
    with other.begin():  # it is free again
        pass
    other.dispose()


@pytest.fixture
def older(catalogue: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue with one group, and a repofs that has one more revision."""
    with catalogue.begin() as conn:
        users.add_group(conn, "lab", 5000, PermissionLevel.PRIVATE)
    catalogue.dispose()
    package = ROOT / "repofs/catalog/migrations"
    shutil.copytree(package, tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "migrations/versions/revision_0007.py").write_text(NEXT)
    monkeypatch.setattr(engine, "MIGRATIONS", str(tmp_path / "migrations"))
    monkeypatch.setattr(engine, "HEAD", "0007")
    return tmp_path / "catalogue.sqlite"


def columns(path: Path) -> list[str]:
    opened = create_engine(f"sqlite:///{path}")
    with opened.connect() as conn:
        return [row.name for row in conn.exec_driver_sql("PRAGMA table_info(groups)")]


def test_an_older_catalogue_is_copied_and_upgraded(older: Path) -> None:
    opened = engine.open_engine(older)
    with opened.begin() as conn:
        assert [group.name for group in users.groups(conn)] == ["lab"]
    copy = older.with_name("catalogue.sqlite.0006")
    assert "motto" in columns(older)
    assert "motto" not in columns(copy)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    opened.dispose()


def test_reading_only_does_not_upgrade(older: Path) -> None:
    with pytest.raises(NotPermitted, match="mount it once"):
        engine.open_engine(older, read_only=True)
    assert "motto" not in columns(older)


def test_an_upgrade_that_fails_changes_nothing(older: Path) -> None:
    revision = older.parent / "migrations/versions/revision_0007.py"
    revision.write_text(NEXT + "    raise RuntimeError('half way')\n")
    with pytest.raises(RuntimeError, match="half way"):
        engine.open_engine(older)
    assert "motto" not in columns(older)
    assert engine._revision(older) == "0006"
