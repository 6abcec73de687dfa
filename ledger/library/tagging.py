"""One file of a library: what it is, and the copy that is published (docs/format.md, section 2).

Bytes in, bytes out.  JPEG, PNG and WebP get the rights into their XMP, after location, serial numbers and owner names
were taken out; other types stay as they are and get a sidecar.  Rights of somebody else that are in the file already
are never overwritten: that is a conflict, for a person to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from ledger import text
from ledger.canonical import Object, as_choice, as_object
from ledger.encoding import digest_encode, sha256
from ledger.errors import ConflictError, RefusedError
from ledger.images.content import content_hash, media_type
from ledger.images.embed import embed, sidecar
from ledger.images.fingerprints import Fingerprints
from ledger.images.private import strip_private
from ledger.images.xmp import Rights
from ledger.library.creator import Profile
from ledger.library.licenses import data_mining, usage_line
from ledger.manifests import (
    PRIVACY_ANSWERS,
    PRIVACY_FLAGS,
    RELEASE_STATUSES,
    RIGHTS_STATUSES,
    Release,
)
from ledger.terms import Terms, check_price_tier

EMBEDDED: Final = ("image/jpeg", "image/png", "image/webp")


@dataclass(frozen=True, slots=True)
class Declaration:
    """What the creator declares of a file: nothing here is detected, and nothing has a default that claims a right.

    `digital_source_type` is a name of the IPTC vocabulary (``digitalCapture``) or None where unknown.
    """

    rights_status: str
    release_status: str
    privacy: Mapping[str, str]
    price_tier: str
    releases: tuple[Release, ...] = ()
    digital_source_type: str | None = None

    def __post_init__(self) -> None:
        as_choice(self.rights_status, "rights_status", RIGHTS_STATUSES)
        as_choice(self.release_status, "release_status", RELEASE_STATUSES)
        privacy = as_object(dict(self.privacy), "privacy", PRIVACY_FLAGS)
        for flag in PRIVACY_FLAGS:
            as_choice(privacy[flag], f"privacy.{flag}", PRIVACY_ANSWERS)
        check_price_tier(self.price_tier, "price_tier")

    def release_term(self, kind: str) -> str:
        """Returns the PLUS word (``NAP``, ``LMR``…) for releases of `kind` ``model`` or ``property``; empty: not known.

        A release on file is told as limited: that it has no limits is for the document to say, not for us.
        """
        if self.release_status == "not-required":
            return "NAP"
        kinds = {"model": ("model", "guardian"), "property": ("property",)}[kind]
        if any(release.kind in kinds for release in self.releases):
            return {"model": "LMR", "property": "LPR"}[kind]
        return "NON" if self.release_status == "missing" else ""


@dataclass(frozen=True, slots=True)
class Tags:
    """What is the same in all files of a library."""

    creator: Profile
    terms: Terms
    attribution_text: str
    also_known_as: Collection[str] = ()
    decided: Collection[str] = ()

    def __post_init__(self) -> None:
        text.line(self.attribution_text, "required_attribution_text")
        for name in self.also_known_as:
            text.line(name, "also_known_as")

    def rights(self, provenance_hash: bytes, declared: Declaration) -> Rights:
        """Returns the rights that are written into a file or beside it."""
        model, building = declared.release_term("model"), declared.release_term("property")
        return Rights(
            creator_name=self.creator.name,
            rights_line=f"© {self.creator.name}",
            license_url=self.terms.license_url,
            usage_terms=usage_line(self.terms),
            data_mining=data_mining(self.terms),
            licensor_url=self.creator.attribution_url,
            licensor_name=self.creator.name,
            model_release=model and f"MR-{model}",
            property_release=building and f"PR-{building}",
            credit=self.attribution_text,
            digital_source_type=declared.digital_source_type,
            creator_id=self.creator.did,
            license_id=self.terms.license_id,
            license_digest=digest_encode(self.terms.digest),
            provenance_hash=digest_encode(provenance_hash),
            attribution_url=self.creator.attribution_url,
        )


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a prepared file, without its bytes.

    `stripped` names what was taken out of the copy.  `examined` is False where nobody looked for private data: the type
    is not written by us, or the creator keeps it.  `conflict` tells whose rights made it a sidecar.
    """

    media_type: str
    size: int
    provenance_hash: bytes
    published_hash: bytes
    content_hash: bytes | None
    codes: Fingerprints
    stripped: tuple[str, ...]
    examined: bool
    conflict: ConflictError | None

    def entry(self, path: str, declared: Declaration, salt: str) -> Object:
        """Returns the manifest entry; `salt` is 32 bytes in base64url."""
        return {
            "path": path,
            "media_type": self.media_type,
            "size": self.size,
            "provenance_hash": digest_encode(self.provenance_hash),
            "published_hash": digest_encode(self.published_hash),
            "content_hash": None if self.content_hash is None else digest_encode(self.content_hash),
            "fingerprints": {"dhash": self.codes.dhash, "iscc": self.codes.iscc, "pdq": None},
            "rights_status": declared.rights_status,
            "release_status": declared.release_status,
            "releases": [{"kind": r.kind, "evidence": digest_encode(r.evidence)} for r in declared.releases],
            "privacy": {flag: declared.privacy[flag] for flag in PRIVACY_FLAGS},
            "price_tier": declared.price_tier,
            "salt": salt,
        }


@dataclass(frozen=True, slots=True)
class Tagged:
    """A prepared file: the copy to publish, and its sidecar, None where the metadata is inside the copy."""

    record: Record
    published: bytes
    sidecar: bytes | None


def tag(
    data: bytes,
    declared: Declaration,
    tags: Tags,
    *,
    examine: Callable[[bytes], Fingerprints],
    known: Callable[[bytes], Fingerprints | None],
    keep_private: bool,
    sidecar_on_conflict: bool,
) -> Tagged:
    """Prepares one file; `known` may have the codes of a provenance hash already, which are dear to compute.

    Raises:
        ConflictError: ``rights_conflict``: the file holds other rights and `sidecar_on_conflict` is not set.
        MalformedError: a picture file is damaged.
        VerificationError: the copy would not show the same picture; nothing was lost.
        RefusedError: ``too-large``: the metadata does not fit into the file.
        BackendError: the decoding process cannot be started.
    """
    provenance_hash = sha256(data)
    kind = media_type(data)
    codes = known(provenance_hash) or examine(data)
    rights = tags.rights(provenance_hash, declared)
    published, beside, conflict = data, None, None
    stripped: tuple[str, ...] = ()
    examined = kind in EMBEDDED and not keep_private
    if examined:
        published, stripped = strip_private(data)
    try:
        published = embed(published, rights, also_known_as=tags.also_known_as, decided=tags.decided)
    except RefusedError as e:
        if e.code != "unsupported-media":
            raise
        beside = sidecar(rights)
    except ConflictError as e:
        if not sidecar_on_conflict:
            raise
        beside, conflict = sidecar(rights), e
    record = Record(
        media_type=kind,
        size=len(data),
        provenance_hash=provenance_hash,
        published_hash=sha256(published),
        content_hash=content_hash(data),
        codes=codes,
        stripped=stripped,
        examined=examined,
        conflict=conflict,
    )
    return Tagged(record, published, beside)
