"""What a manifest says above its entries: the header, and the creator's statements about it.

Both are taken over from the library that is there where nothing changed, so that a second run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from ledger.canonical import Object
from ledger.encoding import digest_encode, time_encode
from ledger.errors import ConflictError, VerificationError
from ledger.keys import SigningKey
from ledger.library.creator import Profile
from ledger.manifests import Entry, Header, Manifest, entries_root, read_header, same_place, with_statement
from ledger.ports import Clock, Entropy
from ledger.statements import Statement, manifest_body, sign_statement, verify_statement
from ledger.terms import Terms


@dataclass(frozen=True, slots=True)
class Description:
    """What the header says of the library besides creator and license.

    `dataset_id` is ``urn:uuid:…``; None takes that of the library in the output folder, else a new one.
    """

    title: str
    version: str
    required_attribution_text: str
    dataset_id: str | None = None
    part: int = 1
    parts: int = 1


@dataclass(frozen=True, slots=True)
class Heading:
    """What a header is made of besides the entries."""

    creator: Profile
    terms: Terms
    description: Description

    def header(self, entries: Sequence[Entry], dataset_id: str, created_at: int) -> Header:
        """Returns the header. Raises MalformedError: the description is not of its form."""
        description = self.description
        return read_header(
            {
                "type": "manifest",
                "v": 1,
                "dataset_id": dataset_id,
                "title": description.title,
                "version": description.version,
                "part": description.part,
                "parts": description.parts,
                "creator_id": self.creator.did,
                "creator_name": self.creator.name,
                "license_id": self.terms.license_id,
                "license_url": self.terms.license_url,
                "license_digest": digest_encode(self.terms.digest),
                "attribution_url": self.creator.attribution_url,
                "required_attribution_text": description.required_attribution_text,
                "entries_root": digest_encode(entries_root(entries)),
                "entry_count": len(entries),
                "created_at": time_encode(created_at),
            }
        )


def header_of(
    heading: Heading, entries: Sequence[Entry], previous: Manifest | None, clock: Clock, entropy: Entropy
) -> Header:
    """Returns the header of the library; that of `previous` where nothing but the time would differ.

    Raises:
        ConflictError: ``version-conflict``: `previous` was published and says something else of the same version.
    """
    dataset_id = heading.description.dataset_id
    if previous is None:
        return heading.header(entries, dataset_id or UUID(bytes=entropy(16), version=4).urn, clock())
    old = previous.header
    same = heading.header(entries, dataset_id or old.dataset_id, old.created_at)
    if same == old:
        return old
    logs = [statement.log for statement in previous.statements if statement.log is not None]
    if logs and same_place(same, old):
        raise ConflictError(
            f"version {old.version} was published to {logs[0]} with other content; give the new one another version",
            code="version-conflict",
            field="version",
        )
    return heading.header(entries, same.dataset_id, clock())


def statements_of(
    header: Header, previous: Manifest | None, key: SigningKey, known_block: Object | None
) -> tuple[Statement, ...]:
    """Returns the statement for no log, and those that `previous` has for the same header."""
    kept: list[Statement] = []
    for statement in previous.statements if previous and previous.header == header else ():
        with suppress(VerificationError):
            kept.append(verify_statement(statement))
    if any(s.log is None for s in kept):
        return tuple(kept)
    body = manifest_body(header.digest)
    return with_statement(kept, sign_statement("manifest", header.creator_id, key, None, body, known_block))
