"""Bearer tokens name their key, and the manifests of a party are found by an index.

The bearer tokens there are do not say which key they were given to, and are forgotten, both ways: they live ten
minutes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _make_access(sa.Column("key", sa.String(), nullable=False))
    op.create_index("ix_manifest_by_leaf", "manifest", ["by", "leaf"])


def downgrade() -> None:
    op.drop_index("ix_manifest_by_leaf", "manifest")
    _make_access()


def _make_access(*key: sa.Column[str]) -> None:
    op.drop_table("access")
    op.create_table(
        "access",
        sa.Column("token_digest", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        *key,
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token_digest", name="pk_access"),
    )
    op.create_index("ix_access_expires_at", "access", ["expires_at"])
