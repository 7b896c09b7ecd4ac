"""Tables: arrays that are attached to objects."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

Big = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "tables",
        sa.Column("annotation_id", Big, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_directory", sa.LargeBinary(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("place_kind", sa.Text(), nullable=False),
        sa.Column("place_root", sa.Text(), nullable=False),
        sa.Column("place_path", sa.LargeBinary(), nullable=False),
        sa.Column("row_count", Big, nullable=False),
        sa.Column("columns", sa.Text(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("token_salt", sa.LargeBinary(), nullable=False),
        sa.Column("token_digest", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["annotation_id"], ["annotations.id"], name="fk_tables_annotation_id"),
        sa.PrimaryKeyConstraint("annotation_id", name="pk_tables"),
    )
    op.create_index("uq_tables_place", "tables", ["place_kind", "place_root", "place_path"], unique=True)
