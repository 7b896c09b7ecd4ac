"""Originals may come from outside, and stay there."""

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
        sa.Column("removal", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["original_id"], ["original_files.id"], name="fk_origins_original_id"),
        sa.PrimaryKeyConstraint("original_id", name="pk_origins"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_origins_due", "origins", ["removal"], sqlite_where=sa.text("removal = 'due'"))
