"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# Where each counter starts: OMERO's own experimenters (root, guest) and groups (system, user, guest) come before ours.
FIRST_IDS = {
    "Annotation": 1, "Dataset": 1, "Experimenter": 2, "ExperimenterGroup": 3, "Fileset": 1,
    "Image": 1, "Import": 1, "OriginalFile": 1, "Project": 1,
}  # fmt: skip


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", Big, nullable=False),
        sa.Column("time", sa.Text(), nullable=False),
        sa.Column("actor_uid", Big, nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_table(
        "groups",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("gid", Big, nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_groups"),
        sa.UniqueConstraint("gid", name="uq_groups_gid"),
        sa.UniqueConstraint("name", name="uq_groups_name"),
    )
    op.create_table(
        "ids",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("next", Big, nullable=False),
        sa.PrimaryKeyConstraint("kind", name="pk_ids"),
    )
    op.create_table(
        "experimenters",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("uid", Big, nullable=False),
        sa.Column("group_id", Big, nullable=False),
        sa.Column("removed", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_experimenters_group_id"),
        sa.PrimaryKeyConstraint("id", name="pk_experimenters"),
    )
    op.create_index(
        "uq_experimenters_uid",
        "experimenters",
        ["uid"],
        unique=True,
        sqlite_where=sa.text("removed IS NULL"),
        postgresql_where=sa.text("removed IS NULL"),
    )
    op.create_index(
        "uq_experimenters_user_name",
        "experimenters",
        ["user_name"],
        unique=True,
        sqlite_where=sa.text("removed IS NULL"),
        postgresql_where=sa.text("removed IS NULL"),
    )
    op.create_table(
        "annotations",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("owner_id", Big, nullable=False),
        sa.Column("group_id", Big, nullable=False),
        sa.Column("namespace", sa.Text(), nullable=True),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("created", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["experimenters.id"], name="fk_annotations_owner_id"),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_annotations_group_id"),
        sa.PrimaryKeyConstraint("id", name="pk_annotations"),
    )
    op.create_table(
        "datasets",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("owner_id", Big, nullable=False),
        sa.Column("group_id", Big, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["experimenters.id"], name="fk_datasets_owner_id"),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_datasets_group_id"),
        sa.PrimaryKeyConstraint("id", name="pk_datasets"),
    )
    op.create_index("ix_datasets_name", "datasets", ["owner_id", "name"], unique=False)
    op.create_table(
        "imports",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("owner_id", Big, nullable=False),
        sa.Column("actor_uid", Big, nullable=False),
        sa.Column("user_directory", sa.LargeBinary(), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("transfer", sa.Text(), nullable=False),
        sa.Column("device", Big, nullable=False),
        sa.Column("inode", Big, nullable=False),
        sa.Column("size", Big, nullable=False),
        sa.Column("mtime_ns", Big, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("started", sa.Text(), nullable=False),
        sa.Column("ended", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["owner_id"], ["experimenters.id"], name="fk_imports_owner_id"),
        sa.PrimaryKeyConstraint("id", name="pk_imports"),
    )
    op.create_index(
        "ix_imports_unfinished",
        "imports",
        ["state"],
        unique=False,
        sqlite_where=sa.text("state = 'importing'"),
        postgresql_where=sa.text("state = 'importing'"),
    )
    op.create_table(
        "memberships",
        sa.Column("experimenter_id", Big, nullable=False),
        sa.Column("group_id", Big, nullable=False),
        sa.Column("owner", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["experimenter_id"], ["experimenters.id"], name="fk_memberships_experimenter_id"),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_memberships_group_id"),
        sa.PrimaryKeyConstraint("experimenter_id", "group_id", name="pk_memberships"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_memberships_group_id", "memberships", ["group_id"], unique=False)
    op.create_table(
        "original_files",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("owner_id", Big, nullable=False),
        sa.Column("group_id", Big, nullable=False),
        sa.Column("size", Big, nullable=False),
        sa.Column("mtime_ns", Big, nullable=False),
        sa.Column("checksum", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["experimenters.id"], name="fk_original_files_owner_id"),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_original_files_group_id"),
        sa.PrimaryKeyConstraint("id", name="pk_original_files"),
    )
    op.create_index("ix_original_files_checksum", "original_files", ["checksum"], unique=False)
    op.create_table(
        "projects",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("owner_id", Big, nullable=False),
        sa.Column("group_id", Big, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["experimenters.id"], name="fk_projects_owner_id"),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_projects_group_id"),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
    )
    op.create_index("ix_projects_name", "projects", ["owner_id", "name"], unique=False)
    op.create_table(
        "annotation_links",
        sa.Column("annotation_id", Big, nullable=False),
        sa.Column("object_kind", sa.Text(), nullable=False),
        sa.Column("object_id", Big, autoincrement=False, nullable=False),
        sa.Column("owner_id", Big, nullable=False),
        sa.Column("created", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["annotation_id"], ["annotations.id"], name="fk_annotation_links_annotation_id"),
        sa.ForeignKeyConstraint(["owner_id"], ["experimenters.id"], name="fk_annotation_links_owner_id"),
        sa.PrimaryKeyConstraint("annotation_id", "object_kind", "object_id", name="pk_annotation_links"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_annotation_links_object", "annotation_links", ["object_kind", "object_id"], unique=False)
    op.create_table(
        "filesets",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("import_id", Big, nullable=False),
        sa.Column("owner_id", Big, nullable=False),
        sa.Column("group_id", Big, nullable=False),
        sa.Column("user_directory", sa.LargeBinary(), nullable=False),
        sa.Column("import_directory", sa.LargeBinary(), nullable=False),
        sa.Column("transfer", sa.Text(), nullable=False),
        sa.Column("imported", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("original_metadata", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["import_id"], ["imports.id"], name="fk_filesets_import_id"),
        sa.ForeignKeyConstraint(["owner_id"], ["experimenters.id"], name="fk_filesets_owner_id"),
        sa.ForeignKeyConstraint(["group_id"], ["groups.id"], name="fk_filesets_group_id"),
        sa.PrimaryKeyConstraint("id", name="pk_filesets"),
        sa.UniqueConstraint("import_id", name="uq_filesets_import_id"),
    )
    op.create_table(
        "project_dataset_links",
        sa.Column("project_id", Big, nullable=False),
        sa.Column("dataset_id", Big, nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_project_dataset_links_project_id"),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_project_dataset_links_dataset_id"),
        sa.PrimaryKeyConstraint("project_id", "dataset_id", name="pk_project_dataset_links"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_project_dataset_links_dataset_id", "project_dataset_links", ["dataset_id"], unique=False)
    op.create_table(
        "fileset_entries",
        sa.Column("fileset_id", Big, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("original_id", Big, nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["fileset_id"], ["filesets.id"], name="fk_fileset_entries_fileset_id"),
        sa.ForeignKeyConstraint(["original_id"], ["original_files.id"], name="fk_fileset_entries_original_id"),
        sa.PrimaryKeyConstraint("fileset_id", "position", name="pk_fileset_entries"),
        sa.UniqueConstraint("original_id", name="uq_fileset_entries_original_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "images",
        sa.Column("id", Big, autoincrement=False, nullable=False),
        sa.Column("fileset_id", Big, nullable=False),
        sa.Column("series", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size_x", Big, nullable=False),
        sa.Column("size_y", Big, nullable=False),
        sa.Column("size_z", Big, nullable=False),
        sa.Column("size_c", Big, nullable=False),
        sa.Column("size_t", Big, nullable=False),
        sa.Column("pixel_type", sa.Text(), nullable=False),
        sa.Column("rgb", sa.Boolean(), nullable=False),
        sa.Column("big_endian", sa.Boolean(), nullable=False),
        sa.Column("physical_size_x_um", sa.Float(), nullable=True),
        sa.Column("physical_size_y_um", sa.Float(), nullable=True),
        sa.Column("physical_size_z_um", sa.Float(), nullable=True),
        sa.Column("time_increment_s", sa.Float(), nullable=True),
        sa.Column("acquired", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["fileset_id"], ["filesets.id"], name="fk_images_fileset_id"),
        sa.PrimaryKeyConstraint("id", name="pk_images"),
    )
    op.create_index("ix_images_fileset_id", "images", ["fileset_id"], unique=False)
    op.create_table(
        "channels",
        sa.Column("image_id", Big, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("color", sa.Text(), nullable=True),
        sa.Column("excitation_nm", sa.Float(), nullable=True),
        sa.Column("emission_nm", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_channels_image_id"),
        sa.PrimaryKeyConstraint("image_id", "position", name="pk_channels"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "dataset_image_links",
        sa.Column("dataset_id", Big, nullable=False),
        sa.Column("image_id", Big, nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_dataset_image_links_dataset_id"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_dataset_image_links_image_id"),
        sa.PrimaryKeyConstraint("dataset_id", "image_id", name="pk_dataset_image_links"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_dataset_image_links_image_id", "dataset_image_links", ["image_id"], unique=False)

    ids = sa.table("ids", sa.column("kind", sa.Text), sa.column("next", Big))
    op.bulk_insert(ids, [{"kind": kind, "next": first} for kind, first in FIRST_IDS.items()])
