"""The registry's index, and the home of what may be erased, in a database: ``Catalog``.

Nothing here counts as evidence: manifests, entries, look-up rows and licenses follow from leaves and blobs, and whoever
relies on an anchor checks its record.  Rows per file are written in bulk, sorted by their digests, and never become
objects.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, delete, tuple_, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from ledger.encoding import digest_decode
from ledger.manifests import Entry
from ledger.ports import Access, AnchorRow, ManifestRecord, Match, TokenRecord
from ledger.store import rules
from ledger.store.engine import (
    MAX_COUNT,
    forget,
    insert_many,
    insert_once,
    look_up,
    number,
    overwrite_deleted,
    reading,
    writing,
)
from ledger.store.tables import (
    ENTRY,
    ERASABLE,
    LOOKUP,
    ONCE,
    STATUS,
    AccessRow,
    AnchorTable,
    LicenseRow,
    ManifestRow,
    TokenRow,
)

_PAGE: Final = 2_000
"""Entries read at a time; with up to three digests each they stay below what one statement may hold."""

_MANIFEST: Final = [getattr(ManifestRow, field.name) for field in fields(ManifestRecord)]
"""The columns of ``ManifestRecord``, in its order: a start reads all of them, without making objects of tables."""


class SqlCatalog:
    """``Catalog`` on a database opened by ``open_engine``, which may be shared; for any number of threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add_manifest(self, record: ManifestRecord, entries: Sequence[Entry]) -> None:
        rows = [(record.leaf, n, entry.data) for n, entry in enumerate(entries)]
        lookup = rules.lookup_rows(record.leaf, entries)
        with writing(self._engine) as session:
            _remove(session, record.leaf)
            session.add(ManifestRow(**_values(record)))
            insert_many(session, ENTRY, rows)
            insert_many(session, LOOKUP, lookup)

    def remove_manifest(self, leaf: int) -> None:
        with writing(self._engine) as session:
            _remove(session, number(leaf))
        overwrite_deleted(self._engine)

    def manifest(self, leaf: int) -> ManifestRecord | None:
        with reading(self._engine) as session:
            row = session.get(ManifestRow, number(leaf))
            return _manifest(row) if row else None

    def manifests(self, before: int | None, limit: int, by: str | None = None) -> list[ManifestRecord]:
        rules.check_limit(limit)
        wanted = select_columns(*_MANIFEST).order_by(col(ManifestRow.leaf).desc()).limit(limit)
        if by is not None:
            wanted = wanted.where(col(ManifestRow.by) == by)
        if before is not None:
            wanted = wanted.where(col(ManifestRow.leaf) < number(before))
        with reading(self._engine) as session:
            return [ManifestRecord(*row) for row in session.execute(wanted)]

    def manifests_at(self, place: str) -> list[ManifestRecord]:
        wanted = select(ManifestRow).where(ManifestRow.place == place).order_by(col(ManifestRow.leaf))
        with reading(self._engine) as session:
            return [_manifest(row) for row in session.exec(wanted)]

    def entry(self, leaf: int, entry: int) -> bytes:
        place = (ENTRY.c.leaf == number(leaf), ENTRY.c.number == number(entry, MAX_COUNT))
        wanted = select_columns(ENTRY.c.data).where(*place)
        with reading(self._engine) as session:
            found: bytes | None = session.execute(wanted).scalar()
        if found is None:
            raise rules.no_entry(leaf, entry)
        return found

    def entries(self, leaf: int, start: int, limit: int) -> list[bytes]:
        rules.check_limit(limit)
        with reading(self._engine) as session:
            return _entries(session, number(leaf), number(start, MAX_COUNT), limit)

    def entries_after(self, place: tuple[int, int], limit: int) -> list[tuple[int, int, bytes]]:
        rules.check_limit(limit)
        after = tuple_(number(place[0]), number(place[1], MAX_COUNT))
        wanted = select_columns(ENTRY).where(tuple_(ENTRY.c.leaf, ENTRY.c.number) > after)
        with reading(self._engine) as session:
            rows = session.execute(wanted.order_by(ENTRY.c.leaf, ENTRY.c.number).limit(limit))
            return [(row.leaf, row.number, row.data) for row in rows]

    def find(self, digests: Sequence[bytes]) -> Mapping[bytes, Sequence[Match]]:
        rules.check_find(digests)
        with reading(self._engine) as session:
            rows = look_up(session, list(LOOKUP.columns), sorted(set(digests)))
        found: dict[bytes, list[Match]] = {}
        for digest, leaf, entry, kind in sorted(rows):
            found.setdefault(digest, []).append(Match(leaf, entry, rules.KINDS[kind - 1]))
        return found

    def add_license(self, license_digest: bytes, terms: bytes, text: bytes) -> None:
        with writing(self._engine) as session:
            if session.get(LicenseRow, license_digest) is None:
                session.add(LicenseRow(digest=license_digest, terms=terms, text=text))

    def license(self, license_digest: bytes) -> tuple[bytes, bytes] | None:
        with reading(self._engine) as session:
            row = session.get(LicenseRow, license_digest)
            return (row.terms, row.text) if row else None

    def licenses(self, after: bytes | None, limit: int) -> list[bytes]:
        rules.check_limit(limit)
        wanted = select(LicenseRow.digest).order_by(col(LicenseRow.digest)).limit(limit)
        if after is not None:
            wanted = wanted.where(LicenseRow.digest > after)
        with reading(self._engine) as session:
            return list(session.exec(wanted))

    def add_token(self, record: TokenRecord) -> None:
        with writing(self._engine) as session:
            slot = _slot(record.status_list, record.status_index)
            if session.execute(select_columns(STATUS.c.value).where(*slot)).first() is None:
                raise rules.no_slot(record.status_list, record.status_index)
            known = session.get(TokenRow, record.digest)
            if known is None:
                session.add(TokenRow(**_values(record)))
            elif _token(known) != record:
                raise rules.other_record("token-conflict", record.digest)

    def token(self, digest: bytes) -> TokenRecord | None:
        with reading(self._engine) as session:
            row = session.get(TokenRow, digest)
            return _token(row) if row else None

    def tokens(self, creator: str | None, before: int | None, limit: int) -> list[TokenRecord]:
        rules.check_limit(limit)
        wanted = select(TokenRow).order_by(col(TokenRow.leaf).desc()).limit(limit)
        if creator is not None:
            wanted = wanted.where(TokenRow.creator == creator)
        if before is not None:
            wanted = wanted.where(TokenRow.leaf < number(before))
        with reading(self._engine) as session:
            return [_token(row) for row in session.exec(wanted)]

    def reserve_status(self, status_list: int, status_index: int) -> bool:
        with writing(self._engine) as session:
            return insert_once(session, STATUS, {"list": status_list, "slot": status_index, "value": 0})

    def set_status(self, status_list: int, status_index: int, value: int) -> None:
        rules.check_status(value)
        slot = _slot(status_list, status_index)
        with writing(self._engine) as session:
            if session.connection().execute(update(STATUS).where(*slot).values(value=value)).rowcount == 0:
                raise rules.no_slot(status_list, status_index)

    def fill_statuses(self, status_list: int, values: Sequence[int]) -> None:
        for value in values:
            rules.check_status(value)
        wanted = select_columns(STATUS.c.slot, STATUS.c.value).where(STATUS.c.list == number(status_list, MAX_COUNT))
        with writing(self._engine) as session:
            known = {row.slot: row.value for row in session.execute(wanted)}
            for slot in known:
                if slot < len(values) and known[slot] != values[slot]:
                    taken = _slot(status_list, slot)
                    session.execute(update(STATUS).where(*taken).values(value=values[slot]))
            free = [(status_list, slot, value) for slot, value in enumerate(values) if slot not in known]
            insert_many(session, STATUS, free)

    def statuses(self, status_list: int) -> Mapping[int, int]:
        wanted = select_columns(STATUS.c.slot, STATUS.c.value)
        with reading(self._engine) as session:
            rows = session.execute(wanted.where(STATUS.c.list == number(status_list, MAX_COUNT), STATUS.c.value != 0))
            return {row.slot: row.value for row in rows}

    def add_anchor(self, row: AnchorRow) -> None:
        with writing(self._engine) as session:
            session.merge(AnchorTable(**_values(row)))

    def anchors(self, before: int | None, limit: int) -> list[AnchorRow]:
        rules.check_limit(limit)
        wanted = select(AnchorTable).order_by(col(AnchorTable.size).desc(), col(AnchorTable.transaction)).limit(limit)
        if before is not None:
            wanted = wanted.where(AnchorTable.size < number(before))
        with reading(self._engine) as session:
            return [AnchorRow(**row.model_dump()) for row in session.exec(wanted)]

    def anchor_covering(self, index: int) -> AnchorRow | None:
        wanted = (
            select(AnchorTable)
            .where(AnchorTable.size > number(index), col(AnchorTable.record).is_not(None))
            .order_by(col(AnchorTable.size), col(AnchorTable.transaction))
            .limit(1)
        )
        with reading(self._engine) as session:
            row = session.exec(wanted).first()
            return AnchorRow(**row.model_dump()) if row else None

    def use_once(self, word: str, expires_at: int, now: int) -> bool:
        with writing(self._engine) as session:
            session.execute(delete(ONCE).where(ONCE.c.expires_at <= now))
            session.execute(delete(AccessRow).where(col(AccessRow.expires_at) <= now))
            return insert_once(session, ONCE, {"word": word, "expires_at": expires_at})

    def add_access(self, access: Access) -> None:
        with writing(self._engine) as session:
            known = session.get(AccessRow, access.token_digest)
            if known is None:
                session.add(AccessRow(**{**_values(access), "scopes": list(access.scopes)}))
            elif _access(known) != access:
                raise rules.other_record("access-conflict", access.token_digest)

    def access(self, token_digest: bytes, now: int) -> Access | None:
        with reading(self._engine) as session:
            row = session.get(AccessRow, token_digest)
            return _access(row) if row and row.expires_at > now else None

    def clear_derived(self) -> None:
        with writing(self._engine) as session:
            for table in ERASABLE:
                session.execute(delete(table))
        overwrite_deleted(self._engine)

    def close(self) -> None:
        self._engine.dispose()


def _remove(session: Session, leaf: int) -> None:
    """Removes a payload.

    Its look-up rows are found by the digests in its entries: an index by leaf would double the biggest table.
    """
    row = session.get(ManifestRow, leaf)
    if row is None:
        return
    start = 0
    while page := _entries(session, leaf, start, _PAGE):
        digests = sorted({digest for data in page for digest in _digests(data)})
        forget(session, digests, leaf)
        start += _PAGE
    session.execute(delete(ENTRY).where(ENTRY.c.leaf == leaf))
    session.delete(row)
    session.flush()  # before the row that replaces it


def _slot(status_list: int, status_index: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return STATUS.c.list == number(status_list, MAX_COUNT), STATUS.c.slot == number(status_index, MAX_COUNT)


def _entries(session: Session, leaf: int, start: int, limit: int) -> list[bytes]:
    wanted = select_columns(ENTRY.c.data).where(ENTRY.c.leaf == leaf, ENTRY.c.number >= start)
    return list(session.execute(wanted.order_by(ENTRY.c.number).limit(limit)).scalars())


def _digests(entry: bytes) -> list[bytes]:
    """Returns the digests in the canonical bytes of an entry, which were checked when it was added."""
    value = json.loads(entry)
    found = (value[f"{kind}_hash"] for kind in rules.KINDS)
    return [digest_decode(digest) for digest in found if digest is not None]


def _values(record: ManifestRecord | TokenRecord | AnchorRow | Access) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _manifest(row: ManifestRow) -> ManifestRecord:
    return ManifestRecord(**row.model_dump())


def _token(row: TokenRow) -> TokenRecord:
    return TokenRecord(**row.model_dump())


def _access(row: AccessRow) -> Access:
    return Access(**{**row.model_dump(), "scopes": tuple(row.scopes)})
