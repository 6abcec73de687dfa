"""The version of a database's tables, and the migrations (Alembic's) from one to another, up and down.

The steps are in ``migrations/versions``, one file each, in words of their own: later changes of
:mod:`ledger.store.tables` do not change a step.  A database says its version in the table ``schema_revision``; one that
was made before there were migrations says it in ``schema_version``, and is taken from there.

All steps of a call are one transaction, the caller's: a step that fails undoes all of them, on SQLite too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Integer, String, column, inspect, select, table

from ledger.errors import ConflictError

SCHEMA: Final = 2
"""The version that this program reads and writes."""

REVISIONS: Final = "schema_revision"

_REVISION: Final = table(REVISIONS, column("version_num", String))
_BEFORE: Final = table("schema_version", column("version", Integer))
_BEFORE_VERSIONS: Final = (1, 2)


def prepare(connection: Connection) -> None:
    """Brings an empty database, or one of an older version, to this version.

    Raises:
        ConflictError: ``schema``: it is of a newer version, or of something else; nothing was changed.
    """
    names = set(inspect(connection).get_table_names())
    if REVISIONS in names:
        found = list(connection.execute(select(_REVISION.c.version_num)).scalars())
        if found == [_revision(SCHEMA)]:
            return
        if found or len(names) > 1:  # none and nothing else: brought down to nothing
            _check_known([int(name) if name.isdecimal() else 0 for name in found])
    elif _BEFORE.name in names:
        versions = list(connection.execute(select(_BEFORE.c.version)).scalars())
        _check_known(versions, _BEFORE_VERSIONS)
        connection.exec_driver_sql(f"DROP TABLE {_BEFORE.name}")
        _run(connection, "stamp", versions[0])
    elif names:
        raise ConflictError("the database is one of something else", code="schema", field="database")
    _run(connection, "upgrade", SCHEMA)


def check(connection: Connection) -> None:
    """Checks, for one who only reads, that a database is of this version.

    Raises:
        ConflictError: ``schema``: it is of another version, or of something else.
    """
    names = set(inspect(connection).get_table_names())
    source = _REVISION.c.version_num if REVISIONS in names else _BEFORE.c.version if _BEFORE.name in names else None
    found = [] if source is None else [str(version) for version in connection.execute(select(source)).scalars()]
    if found not in ([_revision(SCHEMA)], [str(SCHEMA)]):
        raise ConflictError(
            f"the database has schema {', '.join(found) or 'unknown'}, this program {SCHEMA}: start the registry once",
            code="schema",
            field="database",
        )


def migrate(connection: Connection, version: int) -> None:
    """Brings a database of any known version to `version`; 0 has no tables, and nothing that was in them.

    Raises:
        ConflictError: ``schema``: as for :func:`prepare`.
    """
    prepare(connection)
    if not 0 <= version <= SCHEMA:
        raise ValueError(f"a version is 0 to {SCHEMA}, not {version}")
    _run(connection, "downgrade", version)


def _check_known(found: list[int], known: tuple[int, ...] = tuple(range(1, SCHEMA))) -> None:
    if len(found) == 1 and found[0] in known:
        return
    newer = len(found) == 1 and found[0] > SCHEMA
    raise ConflictError(
        f"the database has schema {', '.join(map(str, found)) or 'unknown'}, this program {SCHEMA}"
        + ("; a newer Trainmark wrote it" if newer else ""),
        code="schema",
        field="database",
    )


def _revision(version: int) -> str:
    return f"{version:04}" if version else "base"


def _run(connection: Connection, command: str, version: int) -> None:
    from alembic import command as commands  # seldom needed, and slow to import
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    getattr(commands, command)(config, _revision(version))
