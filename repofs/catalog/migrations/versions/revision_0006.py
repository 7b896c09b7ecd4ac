"""Originals know when they were last verified; there is a trash, and there are quotas."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("original_files", sa.Column("verified", sa.Text(), nullable=True))
    op.create_table(
        "trash",
        sa.Column("fileset_id", Big, primary_key=True, autoincrement=False),
        sa.Column("owner_id", Big, sa.ForeignKey("experimenters.id", name="fk_trash_owner_id"), nullable=False),
        sa.Column("group_id", Big, sa.ForeignKey("groups.id", name="fk_trash_group_id"), nullable=False),
        sa.Column("user_directory", sa.LargeBinary(), nullable=False),
        sa.Column("import_directory", sa.LargeBinary(), nullable=False),
        sa.Column("deleted", sa.Text(), nullable=False),
        sa.Column("actor_uid", Big, nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("size", Big, nullable=False),
        sa.Column("rows", sa.Text(), nullable=False),
    )
    op.create_index("ix_trash_deleted", "trash", ["deleted"])
    op.create_table(
        "quotas",
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("object_id", Big, primary_key=True, autoincrement=False),
        sa.Column("bytes", Big, nullable=False),
        sqlite_with_rowid=False,
    )
