"""A manifest's payload: its header and entries as blobs and catalog rows, and back again after a loss.

Two blobs hold it: the canonical header (whose digest is the manifest digest) and the canonical array of entries.  Terms
and text are two more.  Everything the catalog says of manifests, files and licenses follows from leaves and blobs;
``rebuild`` makes it anew and is also what finishes a publication that was cut off between log and catalog.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.canonical import as_list, parse
from ledger.errors import MalformedError, NotFoundError, TrainmarkError
from ledger.manifests import (
    MAX_ENTRIES,
    MAX_MANIFEST_BYTES,
    Entry,
    Header,
    check_order,
    entries_root,
    parse_entry,
    read_entry,
    read_header,
)
from ledger.ports import BlobStore, Catalog, ManifestRecord
from ledger.state import ManifestState
from ledger.terms import Terms, parse_terms, verify_text

MAX_HEADER_BYTES: Final = 64 * 1024
RECORDS: Final = 1000
"""Payloads that are asked for at once."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A header with the entries it binds and the terms it names."""

    header: Header
    entries: tuple[Entry, ...]
    terms: Terms
    text: bytes


def place_of(header: Header) -> str:
    """Returns the one place a header claims: creator, dataset, version and part."""
    return f"{header.creator_id}/{header.dataset_id}/{header.version}/{header.part}"


def rival_at(header: Header, supersedes: Sequence[int], catalog: Catalog) -> ManifestRecord | None:
    """Returns another payload at the place a header claims, unless it is superseded: one offer at a time."""
    for other in catalog.manifests_at(place_of(header)):
        if other.manifest != header.digest and other.leaf not in supersedes:
            return other
    return None


def store(payload: Payload, blobs: BlobStore) -> bytes:
    """Stores the four blobs; returns the digest of the entries' one."""
    blobs.put(payload.terms.data)
    blobs.put(payload.text)
    entries = blobs.put(b"[" + b",".join(entry.data for entry in payload.entries) + b"]")
    blobs.put(payload.header.data)
    return entries


def enter(payload: Payload, entries: bytes, leaf: int, received_at: int, catalog: Catalog) -> ManifestRecord:
    """Enters a logged payload into the catalog; returns its record."""
    header = payload.header
    catalog.add_license(header.license_digest, payload.terms.data, payload.text)
    record = ManifestRecord(
        leaf,
        header.digest,
        header.creator_id,
        header.data,
        entries,
        header.license_digest,
        place_of(header),
        received_at,
    )
    catalog.add_manifest(record, payload.entries)
    return record


def load(manifest: bytes, entries: bytes, blobs: BlobStore) -> Payload:
    """Reads a payload back from its blobs and checks it as if a stranger had sent it.

    Raises:
        NotFoundError: a blob is gone.
    """
    header = read_header(parse(blobs.get(manifest), "header", MAX_HEADER_BYTES))
    read = _read_entries(blobs.get(entries))
    check_order(read)
    if len(read) != header.entry_count or entries_root(read) != header.entries_root:
        raise MalformedError("the entries are not those of the header", field="entries")
    terms = parse_terms(blobs.get(header.license_digest))
    text = blobs.get(terms.text_digest or b"")
    verify_text(terms, text)
    return Payload(header, read, terms, text)


def records(catalog: Catalog) -> Iterator[ManifestRecord]:
    """Yields all payloads that the catalog has, newest leaf first."""
    before: int | None = None
    while page := catalog.manifests(before, RECORDS):
        yield from page
        before = page[-1].leaf


def rebuild(leaves: Iterable[ManifestState], blobs: BlobStore, catalog: Catalog, now: int) -> list[int]:
    """Enters every payload of `leaves` whose blobs are there; returns the leaves that were entered.

    Reads all blobs once to find which array of entries belongs to which header: only the log and the blobs are needed.
    It does so only for a header that the leaf's own party stored: anybody may log the digest of somebody else's blob.
    """
    headers = [(leaf, header) for leaf in leaves if (header := own_header(leaf, blobs)) is not None]
    if not headers:
        return []
    roots = _entries_by_root(blobs)
    entered = []
    for leaf, header in headers:
        entries = roots.get((header.entries_root, header.entry_count))
        if entries is None or rival_at(header, leaf.supersedes, catalog) is not None:
            continue
        try:
            enter(load(leaf.manifest, entries, blobs), entries, leaf.index, now, catalog)
        except (MalformedError, NotFoundError):
            continue
        entered.append(leaf.index)
    return entered


def own_header(leaf: ManifestState, blobs: BlobStore) -> Header | None:
    """Returns the header that a manifest leaf names, if it is stored and is of the party that logged it."""
    try:
        header = read_header(parse(blobs.get(leaf.manifest), "header", MAX_HEADER_BYTES))
    except (MalformedError, NotFoundError):
        return None
    return header if header.creator_id == leaf.by else None


def _entries_by_root(blobs: BlobStore) -> dict[tuple[bytes, int], bytes]:
    roots = {}
    for digest in blobs.digests():
        data = blobs.get(digest)
        if not data.startswith(b'[{"content_hash":'):
            continue
        try:
            read = _read_entries(data)
        except TrainmarkError:
            continue
        roots[entries_root(read), len(read)] = digest
    return roots


def _read_entries(data: bytes) -> tuple[Entry, ...]:
    values = as_list(parse(data, "entries", MAX_MANIFEST_BYTES), "entries", MAX_ENTRIES, 1)
    return tuple(read_entry(value, f"entries[{n}]") for n, value in enumerate(values))


def erase(record: ManifestRecord, blobs: BlobStore, catalog: Catalog) -> None:
    """Erases a payload: header, entries (and with them their salts) and look-up rows.

    Terms stay: others use them.  Entries stay while another payload has the very same ones, as the next version of a
    library may; they go with the last of them.
    """
    first = parse_entry(catalog.entry(record.leaf, 0))
    if not _is_shared(record.leaf, record.entries, first, catalog):
        blobs.delete(record.entries)
    blobs.delete(record.manifest)
    catalog.remove_manifest(record.leaf)


def erase_unentered(leaf: ManifestState, blobs: BlobStore, catalog: Catalog) -> None:
    """Erases the blobs of a payload that the catalog lacks, found as ``rebuild`` finds them; as ``erase`` else."""
    if not blobs.has(leaf.manifest):  # nor is it asked for where else it may be: that is for whoever shares it
        return
    header = own_header(leaf, blobs)
    if header is None:
        return
    entries = _entries_by_root(blobs).get((header.entries_root, header.entry_count))
    if entries is not None and not _is_shared(leaf.index, entries, _read_entries(blobs.get(entries))[0], catalog):
        blobs.delete(entries)
    blobs.delete(leaf.manifest)


def discard(payload: Payload, entries: bytes, blobs: BlobStore, catalog: Catalog) -> None:
    """Removes the blobs of a payload that is in no log; as ``erase`` else."""
    if not _is_shared(None, entries, payload.entries[0], catalog):
        blobs.delete(entries)
    blobs.delete(payload.header.digest)


def _is_shared(leaf: int | None, entries: bytes, first: Entry, catalog: Catalog) -> bool:
    """Whether another payload than that of `leaf` is made of the same entries: it is found by the first of them."""
    for match in catalog.find([first.provenance_hash]).get(first.provenance_hash, ()):
        other = catalog.manifest(match.leaf)
        if match.leaf != leaf and other is not None and other.entries == entries:
            return True
    return False
