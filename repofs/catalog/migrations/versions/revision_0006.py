"""Originals know when they were last verified; there is a trash, and there are quotas."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("original_files", sa.Column("verified", sa.Text(), nullable=True))
    op.add_column("original_files", sa.Column("stands", sa.Text(), nullable=True))
    op.create_index("ix_original_files_verified", "original_files", ["verified"])
    some = sa.text("stands IS NOT NULL")
    op.create_index("ix_original_files_stands", "original_files", ["stands"], sqlite_where=some, postgresql_where=some)
    # Which file of an import is not well stands on its mark: until verify has looked, all of them are as their import.
    op.execute(
        "UPDATE original_files SET stands = imports.state FROM fileset_entries, filesets, imports"
        " WHERE fileset_entries.original_id = original_files.id AND filesets.id = fileset_entries.fileset_id"
        " AND imports.id = filesets.import_id AND imports.state IN ('altered', 'missing', 'offline')"
    )
    op.create_table(
        "trash",
        sa.Column("fileset_id", Big, primary_key=True, autoincrement=False),
        sa.Column("import_id", Big, sa.ForeignKey("imports.id", name="fk_trash_import_id"), nullable=False),
        sa.Column("owner_id", Big, sa.ForeignKey("experimenters.id", name="fk_trash_owner_id"), nullable=False),
        sa.Column("group_id", Big, sa.ForeignKey("groups.id", name="fk_trash_group_id"), nullable=False),
        sa.Column("user_directory", sa.LargeBinary(), nullable=False),
        sa.Column("import_directory", sa.LargeBinary(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("deleted", sa.Text(), nullable=False),
        sa.Column("actor_uid", Big, nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("size", Big, nullable=False),
        sa.Column("names", sa.Text(), nullable=False),
        sa.Column("rows", sa.Text(), nullable=False),
        sa.UniqueConstraint("import_id", name="uq_trash_import_id"),
    )
    unfinished = sa.text("step != 'kept'")
    op.create_index("ix_trash_unfinished", "trash", ["step"], sqlite_where=unfinished, postgresql_where=unfinished)
    op.create_index("ix_trash_deleted", "trash", ["deleted"])
    op.create_table(
        "quotas",
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("object_id", Big, primary_key=True, autoincrement=False),
        sa.Column("bytes", Big, nullable=True),
        sqlite_with_rowid=False,
    )
    ids = sa.table("ids", sa.column("kind", sa.Text), sa.column("next", Big))
    op.bulk_insert(ids, [{"kind": "People", "next": 1}])
