"""What the pages say: one verdict over all claims on a file, and plain words for states, anchors and identities.

Pure: takes the API's answers (:mod:`api.answers`) and the lines of :func:`ledger.library.licenses.explain`.  What a
license says is told in its own lines; here is only what comes on top of it.  The verdict follows the gate
(:mod:`ledger.gate.verdict`) for training as such: live offers of one creator are alternatives, those of different
creators are intersected and left to a person, and whatever is not an explicit yes is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from ledger.library.licenses import Line
from ledger.registry.claims import LIVE

Value: TypeAlias = Mapping[str, Any]
Word: TypeAlias = Literal["yes", "conditions", "no", "unsettled", "unknown"]

TITLES: Final[Mapping[Word, str]] = {
    "yes": "Yes",
    "conditions": "Under conditions",
    "no": "No",
    "unsettled": "Not settled",
    "unknown": "Unknown",
}

STATES: Final[Mapping[str, tuple[str, str]]] = {
    "listed": ("listed", "This registry’s public rules let it be offered, and nothing has ended it since."),
    "logged": (
        "logged, not listed",
        "The claim is on record, but nobody has let it be offered yet: it waits for a person.",
    ),
    "disputed": (
        "disputed",
        "This registry holds the offer back until a dispute is decided. Nothing is granted meanwhile.",
    ),
    "withdrawing": ("being withdrawn", "The creator is withdrawing the offer: nothing new is granted."),
    "ended": ("ended", "The offer is over: rejected, delisted, replaced by a newer one, or lost in a dispute."),
    "void": ("void", "The statement breaks the rules of the log and has no effect."),
}
KINDS: Final[Mapping[str, str]] = {
    "provenance": "the original file, byte for byte",
    "published": "the published copy, which carries its rights inside",
    "content": "the coded picture, whatever its metadata say",
}
IDENTITIES: Final[Mapping[str | None, str]] = {
    None: "The name is the creator’s own word; this registry vouches for nothing.",
    "self": "The name is self-declared; this registry vouches for nothing more.",
    "domain": "This registry has checked that the creator controls the domain it names.",
    "attested": "This registry vouches for the identity on the strength of an attestation.",
}
ANCHORS: Final[Mapping[str, str]] = {
    "development": "Anchored on a development chain run by this registry: that shows the order to those who watched"
    " it, not the time.",
    "testnet": "Anchored on a public test network: that shows the order to anybody, and the time only as far as you"
    " trust such a network.",
    "public": "Anchored on what this registry calls a public chain: if your own trust file agrees, the claim existed"
    " when its block was made.",
}
NOT_ANCHORED: Final = "Not anchored yet: so far only this registry’s signature says what came first."


@dataclass(frozen=True, slots=True)
class Offer:
    """One claim of the API's answer, with what its license says for people (*may I train on it* first)."""

    claim: Value
    lines: Sequence[Line]

    @property
    def creator(self) -> str:
        """The did of who claims."""
        return str(self.claim["creator"]["id"])

    @property
    def training(self) -> Word:
        """What the claim alone says to training: its license's answer while it is listed, else ``no``."""
        if self.claim["state"] != "listed":
            return "no"
        answer: Word = self.claim["license"]["training"]["answer"]
        return answer


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer in a word, the reason as sentences, the license's conditions, and the leaf it follows (or None)."""

    word: Word
    reason: str
    conditions: tuple[str, ...] = ()
    leaf: int | None = None

    @property
    def title(self) -> str:
        """The answer as it is printed."""
        return TITLES[self.word]


def decide(offers: Sequence[Offer]) -> Verdict:
    """Returns the one answer to *may a model be trained on this file* over all its claims, closed by default."""
    if not offers:
        return Verdict("unknown", "Nobody claims this file in this registry. Unknown is not permission.")
    live = [offer for offer in offers if offer.claim["state"] in LIVE]
    if not live:
        last = next((o for o in reversed(offers) if o.claim["state"] == "logged"), offers[-1])
        return Verdict("no", _state_reason(last), leaf=last.claim["leaf"])
    best = {who: _best([o for o in live if o.creator == who]) for who in dict.fromkeys(o.creator for o in live)}
    refusing = next((offer for offer in best.values() if offer.training == "no"), None)
    if refusing is not None:
        listed = refusing.claim["state"] == "listed"
        reason = refusing.lines[0].sentence if listed else _state_reason(refusing)
        return Verdict("no", reason, leaf=refusing.claim["leaf"])
    if len(best) > 1 or any(offer.claim["contested"] for offer in best.values()):
        return Verdict(
            "unsettled", "More than one creator claims this file. Until a person has settled that, take it as a no."
        )
    [offer] = best.values()
    license_ = offer.claim["license"]
    conditions = tuple(license_["training"]["conditions"])
    reason = "The license sets these conditions:" if conditions else offer.lines[0].sentence
    return Verdict(offer.training, reason, conditions, offer.claim["leaf"])


def _best(offers: Sequence[Offer]) -> Offer:
    return min(offers, key=lambda offer: ("yes", "conditions", "no").index(offer.training))


def _state_reason(offer: Offer) -> str:
    return state_words(str(offer.claim["state"]))[1]


def state_words(state: str) -> tuple[str, str]:
    """Returns a state's name and what it means."""
    return STATES[state]


def anchor_words(anchor: Value | None) -> str:
    """Returns what an anchor, or none, is worth; the class is the operator's word and said to be so."""
    if anchor is None:
        return NOT_ANCHORED
    words = ANCHORS[anchor["operator_class"]]
    if anchor["state"] == "final":
        return words
    return f"{words} Its block is not final yet."


def others(offers: Sequence[Offer]) -> int:
    """Returns how many further creators claim the file."""
    return max(0, len({offer.creator for offer in offers}) - 1)


def moment(time: str) -> str:
    """Returns a time of the API (``YYYY-MM-DDTHH:MM:SSZ``) as people read it, in UTC and said so."""
    return f"{time[:10]}, {time[11:16]} UTC"


def amount(size: int) -> str:
    """Returns a number of bytes as people read it."""
    value, units = float(size), ["bytes", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{size} bytes" if units[0] == "bytes" else f"{value:.1f} {units[0]}"


def count(number: int, noun: str) -> str:
    """Returns a number with its noun, like ``1 file`` or ``5,000 files``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def ordinal(number: int) -> str:
    """Returns 1 as ``1st``."""
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
