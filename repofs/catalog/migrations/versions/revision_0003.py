"""Originals may come from outside, and stay there; imports that end have a number, by which people are told of them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

Big = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "origins",
        sa.Column("original_id", Big, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("device", Big, nullable=False),
        sa.Column("inode", Big, nullable=False),
        sa.Column("handle", sa.LargeBinary(), nullable=False),
        sa.Column("size", Big, nullable=False),
        sa.Column("mtime_ns", Big, nullable=False),
        sa.Column("ctime_ns", Big, nullable=False),
        sa.Column("transfer", sa.Text(), nullable=False),
        sa.Column("removal", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["original_id"], ["original_files.id"], name="fk_origins_original_id"),
        sa.PrimaryKeyConstraint("original_id", name="pk_origins"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_origins_inode", "origins", ["inode"])
    op.create_index("ix_origins_due", "origins", ["removal"], sqlite_where=sa.text("removal = 'due'"))
    op.create_index("ix_origins_path", "origins", ["path"])
    op.create_index("ix_fileset_entries_name", "fileset_entries", ["name"])
    op.create_table(
        "arrivals",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("asked", sa.Text(), nullable=False),
        sa.Column("accepted", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("ended", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_arrivals"),
    )
    op.create_index("ix_arrivals_queued", "arrivals", ["state"], sqlite_where=sa.text("state = 'queued'"))
    op.bulk_insert(
        sa.table("ids", sa.column("kind", sa.Text), sa.column("next", Big)), [{"kind": "Arrival", "next": 1}]
    )
    op.create_table(
        "dropbox_files",
        sa.Column("dropbox", sa.Text(), nullable=False),
        sa.Column("directory", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("is_directory", sa.Boolean(), nullable=False),
        sa.Column("inode", Big, nullable=False),
        sa.Column("handle", sa.LargeBinary(), nullable=False),
        sa.Column("size", Big, nullable=False),
        sa.Column("mtime_ns", Big, nullable=False),
        sa.Column("ctime_ns", Big, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("fileset_id", Big, nullable=True),
        sa.Column("since", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("dropbox", "directory", "name", name="pk_dropbox_files"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_dropbox_files_queued", "dropbox_files", ["since"], sqlite_where=sa.text("state = 'queued'"))
    _number_endings()


def _number_endings() -> None:
    # One by one, in place: filesets refer to this table, so that it cannot be made anew.
    op.add_column("imports", sa.Column("ending", Big, nullable=True))
    op.add_column("imports", sa.Column("gid", Big, nullable=True))
    op.add_column("imports", sa.Column("source", sa.LargeBinary(), nullable=True))
    op.create_index("ix_imports_ending", "imports", ["state", "ending"], sqlite_where=sa.text("ending IS NOT NULL"))
    op.create_table(
        "hooks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("delivered", Big, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_hooks"),
        sqlite_with_rowid=False,
    )
    ids = sa.table("ids", sa.column("kind", sa.Text), sa.column("next", Big))
    op.bulk_insert(ids, [{"kind": "Ending", "next": 1}])
