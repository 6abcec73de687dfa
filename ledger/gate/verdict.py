"""The verdict on one file: what its verified claims and the buyer's tokens allow (docs/format.md, section 8).

Pure, and closed by default: every path that is not an explicit yes ends in ``deny`` with a reason.  Live offers of one
creator are alternatives; live claims of different creators are intersected, and sent to a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ledger.canonical import Object
from ledger.encoding import digest_encode, time_encode
from ledger.proof import ProofResult
from ledger.terms import AUDIENCES, USES, Terms

Word: TypeAlias = Literal["allow", "review", "deny"]

REASONS: Final = {
    "licensed": "the license says yes to every use asked for",
    "token": "a verified token covers this file and every use asked for",
    "contested": "another creator claims this file too; a person decides",
    "unknown": "no claim is known for this file; unknown is not permission",
    "not-listed": "the claim is logged but not listed",
    "ended": "the claim has ended",
    "disputed": "the claim is disputed",
    "withdrawing": "the creator is withdrawing it: no new grants",
    "use-refused": "the license says no",
    "needs-agreement": "the license asks for a separate agreement",
    "needs-token": "the license wants a token, or money",
    "audience": "the license is for another audience",
    "proof-refused": "the registry's proof does not verify",
    "proof-missing": "the registry gave no proof",
    "unreadable": "the file could not be read",
    "error": "the registry could not be asked",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the corpus is for: every one of `uses`, as this `audience` (any, non-commercial, research)."""

    uses: tuple[str, ...]
    audience: str = "any"

    def __post_init__(self) -> None:
        if not self.uses or any(use not in USES for use in self.uses) or self.audience not in AUDIENCES:
            raise ValueError("uses and audience are words of docs/format.md, section 3")


@dataclass(frozen=True, slots=True)
class Offer:
    """One claim on the file as its verified proof shows it."""

    terms: Terms
    manifest: bytes
    entry: int
    provenance_hash: bytes
    proof: ProofResult


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one file; `reasons` are codes of ``REASONS``, the first is the one that decided."""

    file: str
    digest: bytes | None
    matched: str | None
    registry: str
    verdict: Word
    reasons: tuple[str, ...]
    offer: Offer | None = None
    token: bytes | None = None
    as_of: int | None = None

    def value(self) -> Object:
        """Returns the line of the report."""
        offer = self.offer
        return {
            "file": self.file,
            "digest": None if self.digest is None else digest_encode(self.digest),
            "matched": self.matched,
            "distance": None if self.matched is None else 0,
            "registry": self.registry,
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "manifest": None if offer is None else digest_encode(offer.manifest),
            "entry": None if offer is None else offer.entry,
            "uses": None if offer is None else dict(offer.terms.uses),
            "token": None if self.token is None else digest_encode(self.token),
            "as_of": None if self.as_of is None else time_encode(self.as_of),
        }


def decide(
    offers: Sequence[Offer], refusals: Sequence[str], wanted: Wanted, covered: Sequence[tuple[str, ...]]
) -> tuple[Word, tuple[str, ...]]:
    """Decides on one file: its verified `offers`, why other claims could not be verified, and the uses of each token
    that covers it."""
    if any(set(wanted.uses) <= set(uses) for uses in covered):
        return "allow", ("token",)
    if refusals:
        return "deny", tuple(sorted(set(refusals)))
    by_creator: dict[str, list[str | None]] = {}
    for offer in offers:
        by_creator.setdefault(offer.proof.creator_id, []).append(why_not(offer, wanted))
    live = {who: reasons for who, reasons in by_creator.items() if set(reasons) - {"ended", "not-listed"}}
    if not live:
        return "deny", tuple(sorted({r for reasons in by_creator.values() for r in reasons if r})) or ("unknown",)
    refused = {r for reasons in live.values() if None not in reasons for r in reasons if r}
    if refused:
        return "deny", tuple(sorted(refused))
    return ("review", ("contested",)) if len(live) > 1 else ("allow", ("licensed",))


def why_not(offer: Offer, wanted: Wanted) -> str | None:
    """Returns why this offer alone is no permission, or None."""
    if offer.proof.state != "listed":
        return "not-listed" if offer.proof.state == "logged" else offer.proof.state
    answers = [offer.terms.uses[use] for use in wanted.uses]
    if "no" in answers:
        return "use-refused"
    if "ask" in answers:
        return "needs-agreement"
    if offer.terms.audience not in ("any", wanted.audience):
        return "audience"
    if "token" in offer.terms.require or offer.terms.payment.model != "free" or offer.terms.payment.share_bp:
        return "needs-token"
    return None
