"""What Alembic runs for each command: the steps, on the connection that :mod:`ledger.store.schema` gives it."""

from __future__ import annotations

from alembic import context

from ledger.store.schema import REVISIONS
from ledger.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=REVISIONS,
    transactional_ddl=True,  # on SQLite too: the engine begins its transactions itself
)
with context.begin_transaction():
    context.run_migrations()
