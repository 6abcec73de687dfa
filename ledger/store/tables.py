"""The database's tables.

SQLModel classes where rows are few and each is a record of :mod:`ledger.ports`; plain tables where there is a row for
each leaf or file, which are written and read in bulk and never become objects.  Times are UTC seconds since 1970,
digests raw bytes.  A change here needs a migration that leads to it (:mod:`ledger.store.schema`).
"""

from __future__ import annotations

from typing import ClassVar, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
)
from sqlmodel import JSON, Field, SQLModel

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite keeps a table in the order of a single key only if that is declared INTEGER.
_NUMBER: Final = BigInteger().with_variant(Integer, "sqlite")

# The log.

HEAD: Final = Table(
    "head",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),  # 1: there is one row
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", LargeBinary, nullable=False),
)

LEAF: Final = Table(
    "leaf",
    METADATA,
    Column("number", _NUMBER, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, nullable=False, index=True),
    Column("data", LargeBinary, nullable=False),
)

STAGED: Final = Table(
    "staged_tile",
    METADATA,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("width", SmallInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

# The catalog: what follows from leaves and blobs.

ENTRY: Final = Table(
    "entry",
    METADATA,
    Column("leaf", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

LOOKUP: Final = Table(
    "lookup",
    METADATA,
    Column("digest", LargeBinary, primary_key=True),
    Column("leaf", BigInteger, primary_key=True, autoincrement=False),
    Column("entry", Integer, primary_key=True, autoincrement=False),
    Column("kind", SmallInteger, primary_key=True, autoincrement=False),  # rules.KINDS, from 1
    sqlite_with_rowid=False,
)


class _Row(SQLModel):
    metadata: ClassVar[MetaData] = METADATA


class ManifestRow(_Row, table=True):
    """``ManifestRecord``."""

    __tablename__ = "manifest"
    __table_args__ = (Index(None, "by", "leaf"),)

    leaf: int = Field(primary_key=True, sa_type=_NUMBER, sa_column_kwargs={"autoincrement": False})
    manifest: bytes
    by: str
    header: bytes
    entries: bytes
    license: bytes
    place: str = Field(index=True)
    received_at: int = Field(sa_type=BigInteger)


class LicenseRow(_Row, table=True):
    """Terms and their text."""

    __tablename__ = "license"

    digest: bytes = Field(primary_key=True)
    terms: bytes
    text: bytes


# The catalog: what the registry alone knows.

STATUS: Final = Table(
    "status",
    METADATA,
    Column("list", Integer, primary_key=True, autoincrement=False),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("value", SmallInteger, nullable=False),
    sqlite_with_rowid=False,
)


class TokenRow(_Row, table=True):
    """``TokenRecord``."""

    __tablename__ = "token"
    __table_args__ = (
        ForeignKeyConstraint(["status_list", "status_index"], ["status.list", "status.slot"]),
        Index(None, "creator", "leaf"),
    )

    digest: bytes = Field(primary_key=True)
    leaf: int = Field(sa_type=BigInteger, index=True)
    creator: str
    sd_jwt: str
    files: bytes
    status_list: int
    status_index: int


class AnchorTable(_Row, table=True):
    """``AnchorRow``."""

    __tablename__ = "anchor"

    transaction: str = Field(primary_key=True)
    size: int = Field(sa_type=BigInteger, index=True)
    root: bytes
    chain: str
    state: str
    block_number: int | None = Field(default=None, sa_type=BigInteger)
    block_hash: str | None = None
    record: bytes | None = None


class AccessRow(_Row, table=True):
    """``Access``."""

    __tablename__ = "access"

    token_digest: bytes = Field(primary_key=True)
    subject: str
    key: str
    scopes: list[str] = Field(sa_type=JSON)
    expires_at: int = Field(sa_type=BigInteger, index=True)


ONCE: Final = Table(
    "once",
    METADATA,
    Column("word", String, primary_key=True),
    Column("expires_at", BigInteger, nullable=False, index=True),
    sqlite_with_rowid=False,
)

ERASABLE: Final = (LOOKUP, ENTRY, METADATA.tables["manifest"], METADATA.tables["license"])
"""What is deleted when a payload is erased, and when all is made anew of leaves and blobs."""
