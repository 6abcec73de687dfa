"""Files that go with pictures and are not trained on: what a published library holds beside its copies.

A file accompanies when it is bound to a claim that was verified for a file of the same folder: its attribution or
dataset manifest (by the header), its terms, the text people read (by their digests), or a sidecar with exactly the
rights of the claimed work.  Names and look alone say nothing: whoever puts training data under such a name, or another
claim's manifest beside it, has it denied as unknown.  What accompanies is set aside, never allowed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ledger.encoding import digest_encode, sha256
from ledger.errors import TrainmarkError
from ledger.gate.verdict import Offer
from ledger.images import xmp
from ledger.images.embed import sidecar
from ledger.images.xmp import PLUS_VOCABULARY, SOURCE_VOCABULARY, Rights
from ledger.manifests import MAX_MANIFEST_BYTES, parse_attribution, parse_manifest

MAX_BYTES: Final = MAX_MANIFEST_BYTES


@dataclass(frozen=True, slots=True)
class Verified:
    """What the verified claims of a folder bind, whatever became of them; grows with each claim."""

    headers: set[bytes] = field(default_factory=set)
    files: set[bytes] = field(default_factory=set)
    works: dict[str, list[Offer]] = field(default_factory=lambda: defaultdict(list))

    def add(self, offer: Offer) -> None:
        """Learns a claim of a proof that verified."""
        self.headers.add(offer.header.digest)
        self.files.add(offer.terms.digest)
        if offer.terms.text_digest is not None:
            self.files.add(offer.terms.text_digest)
        self.works[digest_encode(offer.entry.provenance_hash)].append(offer)

    def accompanied_by(self, name: str, data: bytes) -> bool:
        """Returns whether the file is bound to one of the claims; `name` only says what to read it as."""
        is_bound = next((check for suffix, check in _CHECKS.items() if name.endswith(suffix)), None)
        try:
            return is_bound is not None and is_bound(self, data)
        except TrainmarkError:
            return False


def may_accompany(name: str) -> bool:
    """Returns whether a file of that name is worth reading again."""
    return name.endswith(tuple(_CHECKS))


def _attribution(verified: Verified, data: bytes) -> bool:
    return parse_attribution(data).header.digest in verified.headers


def _manifest(verified: Verified, data: bytes) -> bool:
    return parse_manifest(data).header.digest in verified.headers


def _license(verified: Verified, data: bytes) -> bool:
    return sha256(data) in verified.files


def _sidecar(verified: Verified, data: bytes) -> bool:
    """Writes the sidecar anew from the claim; only the short sentence of its terms is taken from the file."""
    found = xmp.flat(xmp.read(xmp.parse([data])))
    return any(
        sidecar(_rights(offer, found)) == data
        for offer in verified.works.get(found.get("trainmark:provenance_hash", ""), ())
    )


def _rights(offer: Offer, found: Mapping[str, str]) -> Rights:
    header = offer.header
    return Rights(
        creator_name=header.creator_name,
        rights_line=f"© {header.creator_name}",
        license_url=header.license_url,
        usage_terms=found.get("xmpRights:UsageTerms", ""),
        data_mining=found.get("plus:DataMining", "").removeprefix(PLUS_VOCABULARY),
        licensor_url=header.attribution_url,
        licensor_name=header.creator_name,
        model_release=found.get("plus:ModelReleaseStatus", "").removeprefix(PLUS_VOCABULARY),
        property_release=found.get("plus:PropertyReleaseStatus", "").removeprefix(PLUS_VOCABULARY),
        credit=header.required_attribution_text,
        digital_source_type=found.get("Iptc4xmpExt:DigitalSourceType", "").removeprefix(SOURCE_VOCABULARY) or None,
        creator_id=header.creator_id,
        license_id=header.license_id,
        license_digest=digest_encode(header.license_digest),
        provenance_hash=digest_encode(offer.entry.provenance_hash),
        attribution_url=header.attribution_url,
    )


_CHECKS: Final[Mapping[str, Callable[[Verified, bytes], bool]]] = {
    ".attribution.json": _attribution,
    "dataset_manifest.json": _manifest,
    ".license.json": _license,
    ".license.txt": _license,
    ".xmp": _sidecar,
}
