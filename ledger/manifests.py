"""Manifests: a library's signed header, its entries, the file that carries both, and one file's attribution manifest
(docs/format.md, section 2).

The header binds the entries by root and count, a statement binds the header by its digest; nothing else is signed.  An
entry's leaf is its canonical bytes.  Entries are sorted by the UTF-8 bytes of `path`; the index is the position.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ledger import text
from ledger.canonical import (
    Json,
    Object,
    as_choice,
    as_constant,
    as_int,
    as_line,
    as_list,
    as_object,
    as_text,
    canonical,
    optional,
    parse,
)
from ledger.encoding import b64url_decode, digest_decode, digest_encode, sha256, time_decode
from ledger.errors import MalformedError, VerificationError, shown
from ledger.merkle import leaf_hash, leaf_hashes, root, verify_inclusion
from ledger.statements import ManifestBody, Statement, as_did, read_statement, statement_value
from ledger.terms import check_license_id, check_price_tier

MAX_MANIFEST_BYTES: Final = 128 * 1024 * 1024
MAX_ENTRIES: Final = 100_000
MAX_ENTRY_BYTES: Final = 1 << 20
MAX_ATTRIBUTION_BYTES: Final = 256 * 1024
MAX_STATEMENTS: Final = 64
MAX_RELEASES: Final = 32
SALT_BYTES: Final = 32
MAX_PATH_HASHES: Final = 17

RIGHTS_STATUSES: Final = ("owned", "licensed", "restricted", "needs-release")
RELEASE_STATUSES: Final = ("not-required", "on-file", "missing")
RELEASE_KINDS: Final = ("model", "property", "guardian")
PRIVACY_FLAGS: Final = ("face", "minor", "pii", "biometric")
PRIVACY_ANSWERS: Final = ("yes", "no", "unknown")
FINGERPRINTS: Final = ("dhash", "iscc", "pdq")

_HEADER_KEYS = (
    "type",
    "v",
    "dataset_id",
    "title",
    "version",
    "part",
    "parts",
    "creator_id",
    "creator_name",
    "license_id",
    "license_url",
    "license_digest",
    "attribution_url",
    "required_attribution_text",
    "entries_root",
    "entry_count",
    "created_at",
)
_ENTRY_KEYS = (
    "path",
    "media_type",
    "size",
    "provenance_hash",
    "published_hash",
    "content_hash",
    "fingerprints",
    "rights_status",
    "release_status",
    "releases",
    "privacy",
    "price_tier",
    "salt",
)
_ATTRIBUTION_KEYS = (
    "trainmark",
    "creator_id",
    "creator_name",
    "license_id",
    "license_url",
    "provenance_hash",
    "required_attribution_text",
    "header",
    "entry",
    "entry_index",
    "entry_path",
    "statements",
)
_UUID = text.Form(
    re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    "urn:uuid: and a UUID in small hex digits",
)
_MEDIA_TYPE = text.Form(
    re.compile(r"[a-z0-9][a-z0-9.+-]*/[a-z0-9][a-z0-9.+-]*"), "a media type in small letters, like image/png"
)
_LABEL = text.Form(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*"), "letters, digits, and the signs . _ + - behind the first of them"
)


@dataclass(frozen=True, slots=True)
class Header:
    """A library as its creator describes it; `data` are the canonical bytes, of which `digest` is the SHA-256."""

    dataset_id: str
    title: str
    version: str
    part: int
    parts: int
    creator_id: str
    creator_name: str
    license_id: str
    license_url: str
    license_digest: bytes
    attribution_url: str
    required_attribution_text: str
    entries_root: bytes
    entry_count: int
    created_at: int
    data: bytes

    @property
    def digest(self) -> bytes:
        """The manifest digest."""
        return sha256(self.data)


@dataclass(frozen=True, slots=True)
class Release:
    """A release document, by commitment."""

    kind: str
    evidence: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a library; `data` are the canonical bytes: the leaf."""

    path: str
    media_type: str
    size: int
    provenance_hash: bytes
    published_hash: bytes
    content_hash: bytes | None
    fingerprints: tuple[tuple[str, str], ...]
    rights_status: str
    release_status: str
    releases: tuple[Release, ...]
    privacy: tuple[tuple[str, str], ...]
    price_tier: str
    data: bytes

    @property
    def digests(self) -> tuple[tuple[str, bytes], ...]:
        """The (kind, digest) pairs by which a file can be looked up; kinds with an equal digest are all there."""
        known = (
            ("provenance", self.provenance_hash),
            ("published", self.published_hash),
            ("content", self.content_hash),
        )
        return tuple((kind, digest) for kind, digest in known if digest is not None)

    def kind_of(self, digest: bytes) -> str | None:
        """Returns the first kind under which this entry has `digest`."""
        return next((kind for kind, own in self.digests if own == digest), None)

    @property
    def blocks_listing(self) -> str | None:
        """Why this entry must not be listed, or None (docs/format.md, section 2)."""
        if self.rights_status in ("restricted", "needs-release"):
            return f"rights_status {self.rights_status}"
        if self.release_status == "missing":
            return "release_status missing"
        unknown = [flag for flag, answer in self.privacy if answer == "unknown"]
        return f"privacy {unknown[0]} unknown" if unknown else None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole manifest file, its root and count checked against its header."""

    header: Header
    entries: tuple[Entry, ...]
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Attribution:
    """The attribution manifest that travels with one file; membership checked, time and state not."""

    header: Header
    entry: Entry
    entry_index: int
    entry_path: tuple[bytes, ...]
    statements: tuple[Statement, ...]


def read_header(value: Json, field: str = "header") -> Header:
    """Reads a header that stands inside a parsed document."""
    o = as_object(value, field, _HEADER_KEYS)
    as_constant(o["type"], f"{field}.type", "manifest")
    as_constant(o["v"], f"{field}.v", 1)
    parts = as_int(o["parts"], f"{field}.parts", 1, 10_000)

    def line(key: str) -> str:
        return as_line(o[key], f"{field}.{key}")

    def name(key: str, form: text.Form, high: int) -> str:
        return text.identifier(as_text(o[key], f"{field}.{key}"), f"{field}.{key}", form, high)

    return Header(
        dataset_id=name("dataset_id", _UUID, 45),
        title=line("title"),
        version=name("version", _LABEL, 64),
        part=as_int(o["part"], f"{field}.part", 1, parts),
        parts=parts,
        creator_id=as_did(o["creator_id"], f"{field}.creator_id"),
        creator_name=line("creator_name"),
        license_id=check_license_id(as_text(o["license_id"], f"{field}.license_id"), f"{field}.license_id"),
        license_url=text.url(as_text(o["license_url"], f"{field}.license_url"), f"{field}.license_url"),
        license_digest=digest_decode(o["license_digest"], f"{field}.license_digest"),
        attribution_url=text.url(as_text(o["attribution_url"], f"{field}.attribution_url"), f"{field}.attribution_url"),
        required_attribution_text=line("required_attribution_text"),
        entries_root=digest_decode(o["entries_root"], f"{field}.entries_root"),
        entry_count=as_int(o["entry_count"], f"{field}.entry_count", 1, MAX_ENTRIES),
        created_at=time_decode(o["created_at"], f"{field}.created_at"),
        data=canonical(o),
    )


def parse_entry(data: bytes) -> Entry:
    """Reads an entry from its canonical bytes."""
    return _entry(parse(data, "entry", MAX_ENTRY_BYTES), "entry", data)


def read_entry(value: Json, field: str = "entry") -> Entry:
    """Reads an entry that stands inside a parsed document."""
    return _entry(value, field, None)


def _entry(value: Json, field: str, data: bytes | None) -> Entry:
    """Reads an entry, whose canonical bytes are `data` where they are known."""
    o = as_object(value, field, _ENTRY_KEYS)
    codes = as_object(o["fingerprints"], f"{field}.fingerprints", FINGERPRINTS)
    privacy = as_object(o["privacy"], f"{field}.privacy", PRIVACY_FLAGS)
    b64url_decode(o["salt"], f"{field}.salt", SALT_BYTES)
    releases = as_list(o["releases"], f"{field}.releases", MAX_RELEASES)
    media_type = as_text(o["media_type"], f"{field}.media_type")
    return Entry(
        path=text.path(as_text(o["path"], f"{field}.path"), f"{field}.path"),
        media_type=text.identifier(media_type, f"{field}.media_type", _MEDIA_TYPE, 127),
        size=as_int(o["size"], f"{field}.size"),
        provenance_hash=digest_decode(o["provenance_hash"], f"{field}.provenance_hash"),
        published_hash=digest_decode(o["published_hash"], f"{field}.published_hash"),
        content_hash=optional(o["content_hash"], digest_decode, f"{field}.content_hash"),
        fingerprints=tuple(
            (kind, _fingerprint(codes[kind], f"{field}.fingerprints.{kind}"))
            for kind in FINGERPRINTS
            if codes[kind] is not None
        ),
        rights_status=as_choice(o["rights_status"], f"{field}.rights_status", RIGHTS_STATUSES),
        release_status=as_choice(o["release_status"], f"{field}.release_status", RELEASE_STATUSES),
        releases=tuple(_release(r, f"{field}.releases[{n}]") for n, r in enumerate(releases)),
        privacy=tuple((f, as_choice(privacy[f], f"{field}.privacy.{f}", PRIVACY_ANSWERS)) for f in PRIVACY_FLAGS),
        price_tier=check_price_tier(as_text(o["price_tier"], f"{field}.price_tier"), f"{field}.price_tier"),
        data=canonical(o) if data is None else data,
    )


def _fingerprint(value: Json, field: str) -> str:
    code = as_text(value, field)
    if not re.fullmatch(r"[0-9a-f]{64}", code):
        raise MalformedError(f"expected 64 hex digits or null, found {shown(code)}", field=field)
    return code


def _release(value: Json, field: str) -> Release:
    o = as_object(value, field, ("kind", "evidence"))
    kind = as_choice(o["kind"], f"{field}.kind", RELEASE_KINDS)
    return Release(kind, digest_decode(o["evidence"], f"{field}.evidence"))


def entries_root(entries: Sequence[Entry]) -> bytes:
    """Returns the RFC 9162 root over the entries' canonical bytes."""
    return root(leaf_hashes(entry.data for entry in entries))


def check_order(entries: Sequence[Entry]) -> None:
    """Checks that entries are sorted by path and that no two paths are one on a case-blind file system.

    Raises:
        MalformedError: naming the second of the two.
    """
    keys: dict[str, str] = {}
    for before, entry in zip((None, *entries), entries, strict=False):
        if before is not None and before.path.encode() >= entry.path.encode():
            raise MalformedError(f"entries are sorted by path; {shown(entry.path)} comes too late", field="entries")
        other = keys.setdefault(text.path_key(entry.path), entry.path)
        if other != entry.path:
            raise MalformedError(
                f"{shown(entry.path)} and {shown(other)} are one name where case does not count", field="entries"
            )


def parse_manifest(data: bytes, field: str = "manifest") -> Manifest:
    """Reads ``dataset_manifest.json`` and checks that its header binds its entries; signatures are not checked.

    Raises:
        MalformedError: form, order or limits.
        VerificationError: ``entry-path``: the entries have another root or count than the header.
    """
    o = as_object(parse(data, field, MAX_MANIFEST_BYTES), field, ("trainmark", "header", "entries", "statements"))
    as_constant(o["trainmark"], f"{field}.trainmark", "manifest/v1")
    header = read_header(o["header"])
    values = as_list(o["entries"], "entries", MAX_ENTRIES, 1)
    entries = tuple(read_entry(value, f"entries[{n}]") for n, value in enumerate(values))
    check_order(entries)
    if len(entries) != header.entry_count or entries_root(entries) != header.entries_root:
        raise VerificationError("the entries are not those of the header", code="entry-path", field="entries")
    return Manifest(header, entries, _statements(o["statements"], header))


def _statements(value: Json, header: Header) -> tuple[Statement, ...]:
    found = tuple(
        read_statement(item, f"statements[{n}]") for n, item in enumerate(as_list(value, "statements", MAX_STATEMENTS))
    )
    for statement in found:
        if not isinstance(statement.body, ManifestBody) or statement.body.manifest != header.digest:
            raise MalformedError("each statement is of type manifest and of this header", field="statements")
        if statement.by != header.creator_id:
            raise MalformedError("each statement is the header's creator's", field="statements")
    places = [(s.log is not None, s.log or "", s.by) for s in found]
    if places != sorted(set(places)):
        raise MalformedError("null log first, then sorted by log; one per party and log", field="statements")
    return found


def format_manifest(manifest: Manifest) -> bytes:
    """Writes ``dataset_manifest.json``; the parts are already canonical and are put together as they are."""
    entries = b",".join(entry.data for entry in manifest.entries)
    statements = b",".join(statement.data for statement in manifest.statements)
    return b'{"entries":[%b],"header":%b,"statements":[%b],"trainmark":"manifest/v1"}' % (
        entries,
        manifest.header.data,
        statements,
    )


def with_statement(statements: Sequence[Statement], added: Statement) -> tuple[Statement, ...]:
    """Returns the statements with `added` in its place, instead of an earlier one of that party for that log."""
    kept = [s for s in statements if (s.by, s.log) != (added.by, added.log)]
    return tuple(sorted([*kept, added], key=lambda s: (s.log is not None, s.log or "", s.by)))


def format_attribution(attribution: Attribution) -> bytes:
    """Writes ``*.attribution.json``."""
    header, entry = attribution.header, attribution.entry
    value: Object = {
        "trainmark": "attribution/v1",
        "creator_id": header.creator_id,
        "creator_name": header.creator_name,
        "license_id": header.license_id,
        "license_url": header.license_url,
        "provenance_hash": digest_encode(entry.provenance_hash),
        "required_attribution_text": header.required_attribution_text,
        "header": parse(header.data, "header", MAX_ATTRIBUTION_BYTES),
        "entry": parse(entry.data, "entry", MAX_ATTRIBUTION_BYTES),
        "entry_index": attribution.entry_index,
        "entry_path": [digest_encode(h) for h in attribution.entry_path],
        "statements": [statement_value(s) for s in attribution.statements],
    }
    return canonical(value)


def parse_attribution(data: bytes, field: str = "attribution") -> Attribution:
    """Reads ``*.attribution.json`` and checks that its entry is in its header; signatures are not checked here."""
    o = as_object(parse(data, field, MAX_ATTRIBUTION_BYTES), field, _ATTRIBUTION_KEYS)
    as_constant(o["trainmark"], f"{field}.trainmark", "attribution/v1")
    header, entry = read_header(o["header"]), read_entry(o["entry"])
    repeated: Object = {
        "creator_id": header.creator_id,
        "creator_name": header.creator_name,
        "license_id": header.license_id,
        "license_url": header.license_url,
        "provenance_hash": digest_encode(entry.provenance_hash),
        "required_attribution_text": header.required_attribution_text,
    }
    for key, value in repeated.items():
        if o[key] != value:
            raise MalformedError("must equal the header's or entry's", field=f"{field}.{key}")
    path = read_path(o["entry_path"], "entry_path", MAX_PATH_HASHES)
    index = as_int(o["entry_index"], "entry_index", 0, MAX_ENTRIES)
    verify_entry(header, entry, index, path)
    return Attribution(header, entry, index, path, _statements(o["statements"], header))


def read_path(value: Json, field: str, high: int) -> tuple[bytes, ...]:
    """Reads a proof path: at most `high` digests."""
    return tuple(digest_decode(item, f"{field}[{n}]") for n, item in enumerate(as_list(value, field, high)))


def verify_entry(header: Header, entry: Entry, index: int, path: Sequence[bytes]) -> None:
    """Checks that `entry` is number `index` of the library `header` describes.

    Raises:
        VerificationError: ``entry-path``.
    """
    try:
        verify_inclusion(leaf_hash(entry.data), index, header.entry_count, path, header.entries_root)
    except VerificationError as e:
        raise VerificationError(e.message, code="entry-path", field="entry_path") from e


def same_place(a: Header, b: Header) -> bool:
    """Returns whether two headers claim one creator's dataset, version and part: a conflict if they differ."""
    return (a.creator_id, a.dataset_id, a.version, a.part) == (b.creator_id, b.dataset_id, b.version, b.part)
