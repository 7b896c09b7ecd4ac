"""Images have their instrument, objective and thumbnail; filesets what they are read by and what was skipped."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_NEW = {
    "filesets": (("main", sa.LargeBinary()), ("skipped", sa.Text())),
    "images": (
        ("instrument", sa.Text()),
        ("objective", sa.Text()),
        ("magnification", sa.Float()),
        ("numerical_aperture", sa.Float()),
        ("thumbnail", sa.Text()),
    ),
    "channels": (("min", sa.Float()), ("max", sa.Float())),
}


def upgrade() -> None:
    for table, columns in _NEW.items():
        for name, type_ in columns:
            op.add_column(table, sa.Column(name, type_, nullable=True))
    op.create_index(
        "ix_images_without_thumbnail",
        "images",
        ["id"],
        sqlite_where=sa.text("thumbnail IS NULL"),
        postgresql_where=sa.text("thumbnail IS NULL"),
    )
