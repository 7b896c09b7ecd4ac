"""The tables of the catalogue, every column explained. `docs/reference/catalogue.md` is printed from here.

Forms that hold for all tables:

* An id comes from `ids.reserve`, never from the database, and is never used again.
* A name or path of the tree is kept as the bytes that the kernel gave (BLOB; bytea on PostgreSQL), because any byte
  but ``/`` and NUL is legal there and text columns refuse what is not UTF-8. Names that people type (user, group,
  project, dataset) are text.
* A time is ISO 8601 text in UTC; a file's own time is an integer in nanoseconds since the epoch, the nearest that
  fits in 64 bits.
* `sqlite3` shows names as they are; to search them, write ``CAST(path AS TEXT) LIKE '%.tif'``.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

# SQLite makes only an INTEGER PRIMARY KEY the row's own key; a BIGINT one would get a second tree.
Big = BigInteger().with_variant(Integer, "sqlite")

Type = Any  # a type of SQLAlchemy, as a class or an instance


def _key(comment: str) -> Column[int]:
    return Column("id", Big, primary_key=True, autoincrement=False, comment=comment)


def _need(name: str, type_: Type, comment: str, **more: Any) -> Column[Any]:
    return Column(name, type_, nullable=False, comment=comment, **more)


def _may(name: str, type_: Type, comment: str) -> Column[Any]:
    return Column(name, type_, nullable=True, comment=comment)


def _link(name: str, to: str, comment: str, **more: Any) -> Column[int]:
    return Column(name, Big, ForeignKey(to), nullable=False, comment=comment, **more)


ids = Table(
    "ids",
    metadata,
    Column("kind", Text, primary_key=True, comment="kind of object: Fileset, Image, Import …; of People the changes"),
    _need("next", Big, "the next id that is free; it only grows"),
    comment="One counter a kind of object. It outlives the objects, so that an id is never used again.",
)

groups = Table(
    "groups",
    metadata,
    _key("from 3 on: 0, 1 and 2 are OMERO's own system, user and guest"),
    _need("name", Text, "name of the group", unique=True),
    _need("gid", Big, "the Unix group whose members the kernel lets in", unique=True),
    _need("level", Text, "OMERO's level: private, read-only, read-annotate or read-write"),
    comment="Groups of experimenters; a group is a Unix group.",
)

experimenters = Table(
    "experimenters",
    metadata,
    _key("from 2 on: 0 and 1 are OMERO's own root and guest"),
    _need("user_name", Text, "login name; what %user% becomes"),
    _need("uid", Big, "the Unix account"),
    _link("group_id", "groups.id", "the group that this experimenter's imports belong to"),
    _may("removed", Text, "when the experimenter was removed; null: active. The data stay"),
    Index(
        "uq_experimenters_user_name",
        "user_name",
        unique=True,
        sqlite_where=text("removed IS NULL"),
        postgresql_where=text("removed IS NULL"),
    ),
    Index(
        "uq_experimenters_uid",
        "uid",
        unique=True,
        sqlite_where=text("removed IS NULL"),
        postgresql_where=text("removed IS NULL"),
    ),
    comment="People who own data. Name and uid are unique among the active: Unix gives a uid out again.",
)

memberships = Table(
    "memberships",
    metadata,
    _link("experimenter_id", "experimenters.id", "the member", primary_key=True),
    _link("group_id", "groups.id", "the group", primary_key=True, index=True),
    _need("owner", Boolean, "true: owner of the group"),
    _may("removed", Text, "when the member was taken out, whatever the Unix group says; null: a member"),
    comment="Who was put into which group, or taken out. Of whom nothing stands here, the Unix group tells.",
    sqlite_with_rowid=False,
)

imports = Table(
    "imports",
    metadata,
    _key("the import; also the name of its staging directory"),
    _link("owner_id", "experimenters.id", "whose directory it was dropped in"),
    _need("actor_uid", Big, "the Unix account that wrote the drop"),
    _need("user_directory", LargeBinary, "top level of the mount, b'alice_2'"),
    _need("path", LargeBinary, "as dropped, below the user directory; the name may have gone since"),
    _need("state", Text, "see lifecycle.State; written by imports.advance and imports.finish only"),
    _may("error", Text, "why it failed or is a duplicate: one sentence"),
    _need("transfer", Text, "how the bytes come: see model.Transfer"),
    _need("device", Big, "st_dev of the dropped inode, its 64 bits read as a signed number"),
    _need("inode", Big, "st_ino of the dropped inode, its 64 bits read as a signed number"),
    _need("size", Big, "st_size in bytes when the import began"),
    _need("mtime_ns", Big, "st_mtime_ns when the import began"),
    _need(
        "attempts",
        Integer,
        "how often these bytes were begun, this time included; too many crashes make it failed. "
        "0: it is known by its marks only",
    ),
    _need("started", Text, "when this import began"),
    _may("ended", Text, "when its state became a resting one; null: under way or interrupted"),
    _may("ending", Big, "a number in the order in which states became resting ones, by which hooks know what is new"),
    _may("gid", Big, "the Unix group of the drop when its import began; null: it began before this column was there"),
    _may("source", LargeBinary, "of an arrival: SOURCE/PATH or the absolute path; null: it was dropped in the mount"),
    Index(
        "ix_imports_ending",
        "state",
        "ending",
        sqlite_where=text("ending IS NOT NULL"),
        postgresql_where=text("ending IS NOT NULL"),
    ),
    Index(
        "ix_imports_unfinished",
        "state",
        sqlite_where=text("state = 'importing'"),
        postgresql_where=text("state = 'importing'"),
    ),
    comment="Intents and their ends: one row each time that an import begins. Recovery reads only state = importing.",
)

hooks = Table(
    "hooks",
    metadata,
    Column("name", Text, primary_key=True, comment="as in the settings"),
    _need("delivered", Big, "the newest imports.ending that the hook has delivered"),
    comment="How far each hook is, so that a restart goes on there. One row a hook that was ever in the settings.",
    sqlite_with_rowid=False,
)

filesets = Table(
    "filesets",
    metadata,
    _key("Fileset:N"),
    _link("import_id", "imports.id", "the import that made it, and that bears its state", unique=True),
    _link("owner_id", "experimenters.id", "whose it is"),
    _link("group_id", "groups.id", "whose level says who else may see it"),
    _need("user_directory", LargeBinary, "top level of the mount, b'alice_2'"),
    _need(
        "import_directory", LargeBinary, "below the user directory, b'2026-11/22/21-15-03.123'; the log is this + .log"
    ),
    _need("transfer", Text, "how the bytes came: see model.Transfer"),
    _need("imported", Text, "when it was published"),
    _may("format", Text, "TIFF, OME-TIFF …; null: no reader knew it"),
    _may("note", Text, "what the reader had to say: no image, not whole"),
    _may("original_metadata", Text, "the reader's raw keys and values, a JSON object; null: none"),
    _may(
        "main",
        LargeBinary,
        "below the import directory: what readers read it by, a directory with /; null: the first file",
    ),
    _may("skipped", Text, "what was left out, by OMERO's words: thumbnails,minmax,checksum; null: nothing"),
    comment="What was imported together and stays together.",
)

original_files = Table(
    "original_files",
    metadata,
    _key("OriginalFile:N"),
    _link("owner_id", "experimenters.id", "whose it is"),
    _link("group_id", "groups.id", "as in filesets"),
    _need("size", Big, "bytes"),
    _need("mtime_ns", Big, "the file's own time when it was imported; its owner may change it later"),
    _need("checksum", Text, "algorithm:hex of the bytes as read from the repository, SHA1-160:…", index=True),
    _may("verified", Text, "when its bytes were last compared with the checksum; null: not since its import"),
    _may("stands", Text, "altered, missing or offline: how it was found last; null: as it was imported"),
    Index("ix_original_files_verified", "verified"),
    Index(
        "ix_original_files_stands",
        "stands",
        sqlite_where=text("stands IS NOT NULL"),
        postgresql_where=text("stands IS NOT NULL"),
    ),
    comment="The immutable files. Their bytes are checked against size and checksum by verify.",
)

fileset_entries = Table(
    "fileset_entries",
    metadata,
    _link("fileset_id", "filesets.id", "the fileset", primary_key=True),
    _need("position", Integer, "from 0, in the order of the import", primary_key=True, autoincrement=False),
    _link("original_id", "original_files.id", "the file", unique=True),
    _need("path", LargeBinary, "as dropped, below the user directory"),
    _need("name", LargeBinary, "below the import directory", index=True),
    comment="Which originals make up a fileset, and the two names of each.",
    sqlite_with_rowid=False,
)

origins = Table(
    "origins",
    metadata,
    _link("original_id", "original_files.id", "the file", primary_key=True),
    _need("source", Text, "the declared source that it came from; empty: none, whoever imported it handed it over"),
    _need(
        "path", LargeBinary, "below the source (what rehome changes), else as who handed it over calls it", index=True
    ),
    _need("device", Big, "st_dev of the source, its 64 bits read as a signed number"),
    _need("inode", Big, "st_ino of the source, its 64 bits read as a signed number"),
    _need(
        "handle", LargeBinary, "its file handle, name_to_handle_at(2), which tells it from a later inode; empty: none"
    ),
    _need("size", Big, "bytes"),
    _need("mtime_ns", Big, "the source's own time"),
    _need("ctime_ns", Big, "when its inode was last changed: a difference makes verify hash it again"),
    _need("transfer", Text, "how the bytes came: see model.Transfer"),
    _may("removal", Text, "of transfers that remove: due, done, or why the source was kept; null: it is to stay"),
    Index("ix_origins_inode", "inode"),
    Index(
        "ix_origins_due",
        "removal",
        sqlite_where=text("removal = 'due'"),
        postgresql_where=text("removal = 'due'"),
    ),
    comment="Where originals came from that were imported from outside: still their bytes, if the transfer is ln_s.",
    sqlite_with_rowid=False,
)

arrivals = Table(
    "arrivals",
    metadata,
    _key("in the order in which they were accepted"),
    _need("asked", Text, "what is to be imported, from where, for whom: a JSON object, see model.Arrival"),
    _need("accepted", Text, "when it was queued"),
    _need("state", Text, "queued, or what became of it: imported, duplicate or failed"),
    _may("error", Text, "why it failed or is a duplicate: one sentence"),
    _may("ended", Text, "when it had been seen to; null: it is queued"),
    Index(
        "ix_arrivals_queued",
        "state",
        sqlite_where=text("state = 'queued'"),
        postgresql_where=text("state = 'queued'"),
    ),
    comment="What commands have handed over without waiting for it. A restart goes on with what is queued.",
)

dropbox_files = Table(
    "dropbox_files",
    metadata,
    _need("dropbox", Text, "the watched folder, by its name in the settings", primary_key=True),
    _need(
        "directory", LargeBinary, "below the folder: b'alice/ProjectX', its first part whose it is", primary_key=True
    ),
    _need("name", LargeBinary, "in the directory: a file, or a directory that is one drop", primary_key=True),
    _need("is_directory", Boolean, "true: a directory"),
    _need("inode", Big, "st_ino, its 64 bits read as a signed number; 0: on this file system it may change"),
    _need("handle", LargeBinary, "as in origins; empty: none, or not asked for"),
    _need("size", Big, "bytes, of a directory those of all its files"),
    _need("mtime_ns", Big, "the file's own time, of a directory the newest of its files"),
    _need(
        "ctime_ns", Big, "when the inode was last changed, of a directory the newest in it: a difference is looked into"
    ),
    _need("state", Text, "queued, imported, failed or duplicate"),
    _may("error", Text, "why it is not imported, or why its source was kept: one sentence"),
    _may("fileset_id", Big, "what it was imported as; no foreign key, as the fileset may be deleted"),
    _need("since", Text, "when it came to this state; the order of the queue"),
    Index(
        "ix_dropbox_files_queued",
        "since",
        sqlite_where=text("state = 'queued'"),
        postgresql_where=text("state = 'queued'"),
    ),
    comment="What lies in watched folders and is quiet: the queue, and what became of each file that is still there. "
    "A row may be lost: what was imported is known by origins.",
    sqlite_with_rowid=False,
)

images = Table(
    "images",
    metadata,
    _key("Image:N"),
    _link(
        "fileset_id", "filesets.id", "the fileset that it was found in; owner and group are the fileset's", index=True
    ),
    _need("series", Integer, "which image of the fileset, from 0"),
    _need("name", Text, "as the file says, else made from the file's name"),
    _need("size_x", Big, "pixels"),
    _need("size_y", Big, "pixels"),
    _need("size_z", Big, "planes"),
    _need("size_c", Big, "channels; colour samples count as channels"),
    _need("size_t", Big, "time points"),
    _need("pixel_type", Text, "OMERO's name: uint8, uint16, float …"),
    _need("rgb", Boolean, "true: the channels are interleaved colour samples"),
    _need("big_endian", Boolean, "order of bytes of the pixels in the file"),
    _may("physical_size_x_um", Float, "width of a pixel in µm"),
    _may("physical_size_y_um", Float, "height of a pixel in µm"),
    _may("physical_size_z_um", Float, "distance of planes in µm"),
    _may("time_increment_s", Float, "seconds between time points"),
    _may("acquired", Text, "when the image was taken, as the file says, without a time zone of ours"),
    _may("instrument", Text, "the microscope or scanner, by maker and model"),
    _may("objective", Text, "as its maker calls it"),
    _may("magnification", Float, "of the objective, nominal"),
    _may("numerical_aperture", Float, "of the objective"),
    _may("thumbnail", Text, "made, skipped or failed; null: not made yet"),
    Index(
        "ix_images_without_thumbnail",
        "id",
        sqlite_where=text("thumbnail IS NULL"),
        postgresql_where=text("thumbnail IS NULL"),
    ),
    comment="What a reader found. A null means that the file does not say.",
)

channels = Table(
    "channels",
    metadata,
    _link("image_id", "images.id", "the image", primary_key=True),
    _need("position", Integer, "from 0", primary_key=True, autoincrement=False),
    _may("name", Text, "as the file says"),
    _may("color", Text, "#RRGGBB"),
    _may("excitation_nm", Float, "wavelength in nm"),
    _may("emission_nm", Float, "wavelength in nm"),
    _may("min", Float, "least value in the samples that the thumbnail was made from; null: skipped, or not made"),
    _may("max", Float, "largest value in them"),
    comment="The channels of an image, as far as the file describes them or they were looked at.",
    sqlite_with_rowid=False,
)


def _container(name: str, comment: str) -> Table:
    return Table(
        name,
        metadata,
        _key(f"{name[:-1].title()}:N"),
        _link("owner_id", "experimenters.id", "whose it is"),
        _link("group_id", "groups.id", "whose level says who else may see it"),
        _need("name", Text, "not unique: a name given by a path or target means the owner's newest of that name"),
        _need("created", Text, "when it was made"),
        Index(f"ix_{name}_name", "owner_id", "name"),
        comment=comment,
    )


projects = _container("projects", "Collections of datasets.")
datasets = _container("datasets", "Collections of images.")

project_dataset_links = Table(
    "project_dataset_links",
    metadata,
    _link("project_id", "projects.id", "the project", primary_key=True),
    _link("dataset_id", "datasets.id", "the dataset", primary_key=True, index=True),
    comment="A dataset may be in several projects, or in none.",
    sqlite_with_rowid=False,
)

dataset_image_links = Table(
    "dataset_image_links",
    metadata,
    _link("dataset_id", "datasets.id", "the dataset", primary_key=True),
    _link("image_id", "images.id", "the image", primary_key=True, index=True),
    comment="An image may be in several datasets; in none it is an orphan.",
    sqlite_with_rowid=False,
)

annotations = Table(
    "annotations",
    metadata,
    _key("FileAnnotation:N, TagAnnotation:N …: one counter for all kinds"),
    _need("kind", Text, "OMERO's kind: FileAnnotation, TagAnnotation …"),
    _link("owner_id", "experimenters.id", "who annotated"),
    _link("group_id", "groups.id", "as in filesets"),
    _may("namespace", Text, "what the annotation is for, openmicroscopy.org/omero/…; null: no program's"),
    _may("value", Text, "what it says; its form follows from the kind"),
    _need("created", Text, "when it was made"),
    comment="What people and programs say about objects.",
)

annotation_links = Table(
    "annotation_links",
    metadata,
    _link("annotation_id", "annotations.id", "the annotation", primary_key=True),
    _need("object_kind", Text, "Image, Dataset, Project, Fileset …", primary_key=True),
    _need("object_id", Big, "id of that kind; no foreign key can follow it", primary_key=True, autoincrement=False),
    _link("owner_id", "experimenters.id", "who linked"),
    _need("created", Text, "when it was linked"),
    Index("ix_annotation_links_object", "object_kind", "object_id"),
    comment="What an annotation is about: any number of objects.",
    sqlite_with_rowid=False,
)

tables = Table(
    "tables",
    metadata,
    _link(
        "annotation_id",
        "annotations.id",
        "FileAnnotation:N; its owner is in whose Tables/ it is shown, its group that of its targets",
        primary_key=True,
        autoincrement=False,
    ),
    _need("name", Text, "as who registered it called it"),
    _need("user_directory", LargeBinary, "in whose Tables/ it is shown, b'alice_2'"),
    _need("uri", Text, "path or URI of the array, as who registered it wrote it"),
    _need("place_kind", Text, "where the array is: mount, source or store"),
    _need("place_root", Text, "the declared source or store, by its name; of the mount empty"),
    _need("place_path", LargeBinary, "below the mount, the source or the store's prefix"),
    _need("row_count", Big, "rows at its registration"),
    _need("columns", Text, "a JSON list of name, type, dtype and nullable of each column"),
    _need("manifest", Text, "what the array was at its registration: JSON, fragments with sizes, hashes"),
    _need("token_salt", LargeBinary, "16 random bytes"),
    _need("token_digest", LargeBinary, "HMAC-SHA-256 of the SecretToken by the salt; empty: it had none"),
    _need("state", Text, "registered, or how its array was found last: changed, mismatch, unreachable"),
    Index("uq_tables_place", "place_kind", "place_root", "place_path", unique=True),
    comment="Registered tables: what a FileAnnotation is that is a TileDB array. An array is one table at most.",
)

trash = Table(
    "trash",
    metadata,
    Column("fileset_id", Big, primary_key=True, autoincrement=False, comment="Fileset:N, as it was and will be again"),
    _link("import_id", "imports.id", "the import that made it, in state deleted", unique=True),
    _link("owner_id", "experimenters.id", "whose it is"),
    _link("group_id", "groups.id", "as in filesets"),
    _need("user_directory", LargeBinary, "top level of the mount, b'alice_2'"),
    _need("import_directory", LargeBinary, "where it was, below the user directory"),
    _need("step", Text, "kept; or moving, emptying: its files are on their way, and recovery takes them there"),
    _need("deleted", Text, "when it was deleted", index=True),
    _need("actor_uid", Big, "the Unix account that deleted it"),
    _need("files", Integer, "how many originals"),
    _need("size", Big, "bytes that are free when it has gone for good; those that somebody else keeps count nothing"),
    _need("names", Text, "the names below the user directory that led to its files, a JSON list of [path, position]"),
    _need("rows", Text, "its rows of all other tables, a JSON object by table, for when it is restored"),
    Index(
        "ix_trash_unfinished",
        "step",
        sqlite_where=text("step != 'kept'"),
        postgresql_where=text("step != 'kept'"),
    ),
    comment="Deleted filesets, until they are restored or the trash is emptied. What is here is in no other table.",
)

quotas = Table(
    "quotas",
    metadata,
    Column("kind", Text, primary_key=True, comment="Experimenter or ExperimenterGroup"),
    Column("object_id", Big, primary_key=True, autoincrement=False, comment="id of that kind; no foreign key"),
    _may("bytes", Big, "how much it may hold, drops, originals and trash together; null: no limit"),
    comment="Quotas that differ from the one in the settings.",
    sqlite_with_rowid=False,
)

audit = Table(
    "audit",
    metadata,
    Column("id", Big, primary_key=True, comment="in the order of the acts"),
    _need("time", Text, "when"),
    _need("actor_uid", Big, "the Unix account that asked; 0 also for the daemon itself"),
    _need("act", Text, "what was asked for: user.add, remove, chgrp …; docs/howto/audit.md lists all"),
    _may("object", Text, "of what: Kind:id; null: of the repository, or of what is no object yet"),
    _need("detail", Text, "a JSON object: what was given and what changed; times: of several alike, how many"),
    _may("path", LargeBinary, "of what: below the mount; of several files their directory, with /; null: of no file"),
    _may("refusal", Text, "why it was refused: one sentence; null: it was done"),
    comment="Who asked for what, done or refused, except imports, which have their own table. Only ever added to.",
)
