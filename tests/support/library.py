"""Libraries for tests, made in memory without any picture: a manifest, its terms and its text, signed for a log."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from ledger.canonical import Json, Object
from ledger.encoding import b64url_encode, digest_encode
from ledger.keys import SigningKey
from ledger.library.licenses import make_license, preset
from ledger.manifests import Manifest, entries_root, format_manifest, read_entry, read_header
from ledger.statements import manifest_body, sign_statement


def signing_key(name: str) -> SigningKey:
    """Returns the key that belongs to a name."""
    return SigningKey(hashlib.sha256(f"test key {name}".encode()).digest())


@dataclass(frozen=True, slots=True)
class Library:
    """A manifest with its license, as ``publish`` takes them; `files` are the bytes its entries are about."""

    manifest: Manifest
    terms: bytes
    text: bytes
    files: tuple[bytes, ...]

    @property
    def data(self) -> bytes:
        """The manifest file."""
        return format_manifest(self.manifest)

    def digest(self, number: int = 0) -> bytes:
        """Returns the provenance hash of a file."""
        return self.manifest.entries[number].provenance_hash


def make_library(
    key: SigningKey,
    origin: str | None,
    files: Sequence[bytes] = (b"picture",),
    *,
    title: str = "Avatars",
    version: str = "1",
    license_preset: str = "train",
    supersedes: tuple[int, ...] = (),
    by: str | None = None,
    **entry: Json,
) -> Library:
    """Makes a library of `files`, owned and free of people unless `entry` says otherwise, signed for log `origin`."""
    creator = by or key.did
    fields = preset(license_preset).fields("TEST-1", "https://creator.example/license")
    terms, text = make_license(fields, "Ada Lens")
    made = tuple(read_entry(_entry(number, data, entry)) for number, data in enumerate(files))
    header = read_header(
        {
            "type": "manifest",
            "v": 1,
            "dataset_id": uuid5(NAMESPACE_URL, f"{creator}/{title}").urn,
            "title": title,
            "version": version,
            "part": 1,
            "parts": 1,
            "creator_id": creator,
            "creator_name": "Ada Lens",
            "license_id": terms.license_id,
            "license_url": terms.license_url,
            "license_digest": digest_encode(terms.digest),
            "attribution_url": "https://creator.example/",
            "required_attribution_text": "Pictures by Ada Lens",
            "entries_root": digest_encode(entries_root(made)),
            "entry_count": len(made),
            "created_at": "2026-11-24T09:30:00Z",
        }
    )
    statements = (sign_statement("manifest", creator, key, origin, manifest_body(header.digest, supersedes)),)
    return Library(Manifest(header, made, statements), terms.data, text, tuple(files))


def _entry(number: int, data: bytes, changed: dict[str, Any]) -> Object:
    digest = hashlib.sha256(data).digest()
    return {
        "path": f"{number:06d}.png",
        "media_type": "image/png",
        "size": len(data),
        "provenance_hash": digest_encode(digest),
        "published_hash": digest_encode(hashlib.sha256(b"published " + data).digest()),
        "content_hash": None,
        "fingerprints": {"dhash": None, "iscc": None, "pdq": None},
        "rights_status": "owned",
        "release_status": "not-required",
        "releases": [],
        "privacy": {"face": "no", "minor": "no", "pii": "no", "biometric": "no"},
        "price_tier": "standard",
        "salt": b64url_encode(hashlib.sha256(b"salt " + data).digest()),
        **changed,
    }
