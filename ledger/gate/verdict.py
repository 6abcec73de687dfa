"""The verdict on one file: what its verified claims and the buyer's tokens allow (docs/format.md, section 8).

Pure, and closed by default: every path that is not an explicit yes ends in ``deny`` with a reason.  Live offers of one
creator are alternatives; live claims of different creators are intersected, and sent to a person.  A verdict is as
fresh as the log the registry showed: without witnesses nobody can tell an old log from the newest.  The state of a
claim is what the registry asserts: whoever speaks in its place can leave out what ended a claim, so it is asked over
https, or on this machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal, TypeAlias

from ledger.canonical import Object
from ledger.encoding import digest_encode, time_encode
from ledger.manifests import Entry, Header, same_place
from ledger.proof import ProofResult
from ledger.terms import AUDIENCES, USES, Terms

Word: TypeAlias = Literal["allow", "review", "deny", "aside"]

REASONS: Final = {
    "licensed": "the license says yes to every use asked for",
    "token": "a verified token covers this file and every use asked for",
    "contested": "another creator claims this file too; a person decides",
    "unknown": "no claim is known for this file; unknown is not permission",
    "not-listed": "the claim is logged but not listed",
    "ended": "the claim has ended",
    "disputed": "the claim is disputed",
    "withdrawing": "the creator is withdrawing it: no new grants",
    "version-conflict": "its creator published two manifests for one version; neither counts",
    "content-mismatch": "the claim is about another picture than the file shows",
    "use-refused": "the license says no",
    "needs-agreement": "the license asks for a separate agreement, or is exclusive",
    "needs-token": "the license wants a token, or money",
    "audience": "the license is for another audience",
    "territory": "the license is not for everywhere, and the territory asked for is not in it",
    "stale": "the proof is older than the log the registry shows",
    "proof-refused": "the registry's proof does not verify",
    "proof-missing": "the registry gave no proof",
    "link": "a link: what it points to is not checked",
    "unreadable": "it is no plain file, or could not be read",
    "error": "the registry could not be asked, or answered nonsense",
    "accompanying": "it goes with a file checked here (manifest, license, sidecar): not training data",
    "left-out": "named by --leave-out: not training data",
}
"""What each code means; the first two allow, ``contested`` sends to a person, the last two set aside, every other one
denies."""

_OVER: Final = ("ended", "not-listed")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the corpus is for: all of `uses`, as this `audience`, in this `territory` (a country; None: anywhere)."""

    uses: tuple[str, ...]
    audience: str = "any"
    territory: str | None = None

    def __post_init__(self) -> None:
        if not self.uses or any(use not in USES for use in self.uses) or self.audience not in AUDIENCES:
            raise ValueError("uses and audience are words of docs/format.md, section 3")


@dataclass(frozen=True, slots=True)
class Offer:
    """One claim on the file as its verified proof shows it."""

    header: Header
    entry: Entry
    entry_index: int
    terms: Terms
    proof: ProofResult

    @property
    def is_live(self) -> bool:
        """Whether the claim still says something about the file."""
        return self.proof.state not in ("ended", "logged", "void")


@dataclass(frozen=True, slots=True)
class Covering:
    """A verified token: the uses it permits, of which manifests (leaf, digest), and the exact files it is for."""

    token: bytes
    uses: tuple[str, ...]
    manifests: frozenset[tuple[int, bytes]]
    files: frozenset[bytes]

    def covers(self, offer: Offer) -> bool:
        """Returns whether the token was granted on this very claim: its manifest leaf, and its work."""
        return (offer.proof.leaf, offer.header.digest) in self.manifests and offer.entry.provenance_hash in self.files


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one file; `reasons` are codes of ``REASONS``, `size` is the log's at `as_of` (UTC seconds)."""

    file: str
    digest: bytes | None
    matched: str | None
    registry: str
    verdict: Word
    reasons: tuple[str, ...]
    offer: Offer | None = None
    token: bytes | None = None
    size: int | None = None
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
            "manifest": None if offer is None else digest_encode(offer.header.digest),
            "entry": None if offer is None else offer.entry_index,
            "uses": None if offer is None else dict(offer.terms.uses),
            "token": None if self.token is None else digest_encode(self.token),
            "as_of": None if self.as_of is None else {"size": self.size, "time": time_encode(self.as_of)},
        }


def decide(
    offers: Sequence[Offer], refusals: Sequence[str], wanted: Wanted, tokens: Sequence[Covering] = ()
) -> tuple[Word, tuple[str, ...]]:
    """Decides on one file: all its verified `offers`, and why other claims on it could not be verified.

    A token answers for the claim it was granted on and for no other; the live claims of other creators still count.
    """
    if refusals:
        return "deny", tuple(sorted(set(refusals)))
    if any(same_place(a.header, b.header) and a.header.digest != b.header.digest for a, b in live_pairs(offers)):
        return "deny", ("version-conflict",)
    by_creator: dict[str, list[str | None]] = {}
    for offer in offers:
        by_creator.setdefault(offer.header.creator_id, []).append(_answer(offer, wanted, tokens))
    live = {who: reasons for who, reasons in by_creator.items() if set(reasons) - set(_OVER)}
    if not live:
        return "deny", tuple(sorted({r for reasons in by_creator.values() for r in reasons if r})) or ("unknown",)
    refused = {r for reasons in live.values() if not {None, "token"} & set(reasons) for r in reasons if r} - set(_OVER)
    if refused:
        return "deny", tuple(sorted(refused))
    if len(live) > 1:
        return "review", ("contested",)
    return "allow", ("token",) if any("token" in reasons for reasons in live.values()) else ("licensed",)


def live_pairs(offers: Sequence[Offer]) -> Iterator[tuple[Offer, Offer]]:
    """Yields every two live offers."""
    return combinations([offer for offer in offers if offer.is_live], 2)


def covering(offer: Offer, wanted: Wanted, tokens: Sequence[Covering]) -> Covering | None:
    """Returns a token that was granted on this claim and permits every use asked for."""
    return next((t for t in tokens if t.covers(offer) and set(wanted.uses) <= set(t.uses)), None)


def _answer(offer: Offer, wanted: Wanted, tokens: Sequence[Covering]) -> str | None:
    """Returns ``token``, or why this offer is no permission, or None.  A token permits uses; its license says where."""
    if covering(offer, wanted, tokens) is None:
        return why_not(offer, wanted)
    return "token" if _is_there(offer, wanted) else "territory"


def _is_there(offer: Offer, wanted: Wanted) -> bool:
    return offer.terms.territory == ("world",) or wanted.territory in offer.terms.territory


def why_not(offer: Offer, wanted: Wanted) -> str | None:
    """Returns why this offer alone, without a token, is no permission, or None."""
    terms = offer.terms
    if offer.proof.state != "listed":
        return "not-listed" if offer.proof.state == "logged" else offer.proof.state
    answers = [terms.uses[use] for use in wanted.uses]
    if "no" in answers:
        return "use-refused"
    if "ask" in answers or terms.exclusive_months:
        return "needs-agreement"
    if terms.audience not in ("any", wanted.audience):
        return "audience"
    if not _is_there(offer, wanted):
        return "territory"
    if "token" in terms.require or terms.payment.model != "free" or terms.payment.share_bp:
        return "needs-token"
    return None
