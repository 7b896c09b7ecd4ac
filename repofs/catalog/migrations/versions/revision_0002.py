"""Members who were taken out stay out, whatever the Unix group says; the audit trail has paths and refusals."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("memberships", recreate="always", table_kwargs={"sqlite_with_rowid": False}) as members:
        members.add_column(sa.Column("removed", sa.Text(), nullable=True))
    with op.batch_alter_table("audit", recreate="always") as audit:
        audit.add_column(sa.Column("path", sa.LargeBinary(), nullable=True))
        audit.add_column(sa.Column("refusal", sa.Text(), nullable=True))
