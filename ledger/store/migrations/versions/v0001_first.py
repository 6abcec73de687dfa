"""The tables of the first version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TABLES = ("access", "once", "anchor", "token", "status", "license", "manifest", "lookup", "entry", "staged_tile")


def upgrade() -> None:
    op.create_table(
        "head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_head"),
    )
    op.create_table(
        "leaf",
        sa.Column("number", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_leaf"),
    )
    op.create_index("ix_leaf_digest", "leaf", ["digest"])
    op.create_table(
        "staged_tile",
        sa.Column("level", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("width", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "number", "width", name="pk_staged_tile"),
    )
    op.create_table(
        "entry",
        sa.Column("leaf", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("leaf", "number", name="pk_entry"),
    )
    op.create_table(
        "lookup",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("leaf", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entry", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("digest", "leaf", "entry", "kind", name="pk_lookup"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "manifest",
        sa.Column("leaf", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=False),
        sa.Column("entries", sa.LargeBinary(), nullable=False),
        sa.Column("license", sa.LargeBinary(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("leaf", name="pk_manifest"),
    )
    op.create_index("ix_manifest_place", "manifest", ["place"])
    op.create_table(
        "license",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("terms", sa.LargeBinary(), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_license"),
    )
    op.create_table(
        "status",
        sa.Column("list", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("value", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("list", "slot", name="pk_status"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "token",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("leaf", sa.BigInteger(), nullable=False),
        sa.Column("creator", sa.String(), nullable=False),
        sa.Column("sd_jwt", sa.String(), nullable=False),
        sa.Column("files", sa.LargeBinary(), nullable=False),
        sa.Column("status_list", sa.Integer(), nullable=False),
        sa.Column("status_index", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_token"),
        sa.ForeignKeyConstraint(
            ["status_list", "status_index"], ["status.list", "status.slot"], name="fk_token_status"
        ),
    )
    op.create_index("ix_token_leaf", "token", ["leaf"])
    op.create_index("ix_token_creator_leaf", "token", ["creator", "leaf"])
    op.create_table(
        "anchor",
        sa.Column("transaction", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("chain", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=True),
        sa.Column("block_hash", sa.String(), nullable=True),
        sa.Column("record", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("transaction", name="pk_anchor"),
    )
    op.create_index("ix_anchor_size", "anchor", ["size"])
    op.create_table(
        "once",
        sa.Column("word", sa.String(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("word", name="pk_once"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_once_expires_at", "once", ["expires_at"])
    op.create_table(
        "access",
        sa.Column("token_digest", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token_digest", name="pk_access"),
    )
    op.create_index("ix_access_expires_at", "access", ["expires_at"])


def downgrade() -> None:
    for name in (*_TABLES, "leaf", "head"):
        op.drop_table(name)
