"""What is asked of a registry's API, and compared with the state that its leaves lead to (docs/format.md, section 4).

Each kind of answers is read by a function of its own (``PARTS``).  All public manifests are asked about; of parties,
cases, status lists and manifests' files ``ASKED``, drawn anew for each audit.  Nothing here decides whether a
difference counts: :mod:`ledger.audit.answers` does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from random import Random
from typing import Any, Final, TypeAlias, TypeVar

from ledger.canonical import Object
from ledger.checkpoint import MAX_LOG_SIZE
from ledger.client import RegistryClient
from ledger.encoding import digest_decode, digest_encode
from ledger.errors import BackendError, MalformedError, NotFoundError, shown
from ledger.state import Fold, KeyState
from ledger.tokens.status import parse_status_list, status_uri

LIVE: Final = ("listed", "disputed", "withdrawing")
HIDDEN: Final = "hidden"
NOTHING: Final = "nothing"

ASKED: Final = 100
"""Things of one kind that are asked about, and anchors that are looked at."""
ENTRIES: Final = 5
"""Entries of a drawn manifest whose files are asked about, the first ones."""
MAX_CLAIMS: Final = 100
MAX_OF_CREATOR: Final = 10
"""Claims, and those of one creator, that an answer about a file is full with: one more may be left out of it."""
MAX_LATER: Final = 10_000
"""Manifests that may have been logged while the log was read; of more the list is read no further."""
MAX_TEXT_CHARS: Final = 500

Words: TypeAlias = Mapping[str, object]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Difference:
    """The registry says `said` of `what`, its log `logged`."""

    what: str
    said: str
    logged: str

    def value(self) -> Object:
        """Returns the difference as JSON."""
        return {"what": self.what, "said": self.said, "logged": self.logged}


@dataclass(frozen=True, slots=True)
class Found:
    """A difference to the leaves that were read, in an answer about a log of `size` leaves."""

    difference: Difference
    size: int


Part: TypeAlias = Iterator[Found | str]
"""What one kind of answers gives: differences, and in words what was not compared."""


def _differing(what: str, said: Words | None, logged: Words, size: int) -> Iterator[Found]:
    """Yields each word of `logged` of which something else is said; None says nothing at all."""
    if said is None:
        yield Found(Difference(what, NOTHING, _text(logged)), size)
        return
    for word, wanted in logged.items():
        if said.get(word, NOTHING) != wanted:
            difference = Difference(f"{what}: {word}", _text(said.get(word, NOTHING)), _text(wanted))
            yield Found(difference, size)


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MAX_TEXT_CHARS else f"{text[:MAX_TEXT_CHARS]}…"


def _policy(client: RegistryClient, fold: Fold, draw: Random) -> Part:
    said, logged = client.policy(), fold.policy
    if logged is None:
        return
    words = {
        "registry": fold.registry,
        "origin": logged.origin,
        "log_vkey": logged.log_key,
        "issuer": logged.issuer,
        "token_keys": list(logged.token_keys),
        "rules": digest_encode(logged.rules),
    }
    answer = {
        "registry": said.registry,
        "origin": said.origin,
        "log_vkey": said.log_vkey,
        "issuer": said.issuer,
        "token_keys": list(said.token_keys),
        "rules": said.rules,
    }
    yield from _differing("policy", answer, words, said.size)


# -- manifests


def _manifests(client: RegistryClient, fold: Fold, draw: Random) -> Part:
    before, later = MAX_LOG_SIZE, 0
    listed: set[int] = set()
    for item in client.datasets():
        leaf, words = _whole(item, "leaf"), _manifest_words(item)
        if leaf >= before:
            raise _not_of_its_form("the order of manifests")
        before = leaf
        if leaf < fold.size:
            listed.add(leaf)
            if words != _logged_words(fold, leaf):
                yield from _manifest(client, fold, leaf, words)
            continue
        if not later:  # the newest one: as many leaves as it needs do for the others
            yield Found(Difference("list of manifests", f"leaf {leaf}", f"{fold.size} leaves"), leaf + 1)
        later += 1
        if later > MAX_LATER:
            yield f"the registry's list of manifests: more than {MAX_LATER} are said to be newer than leaf {fold.size}"
            return
    for leaf in _public(fold):
        if leaf not in listed and _state(fold, leaf) in LIVE:
            yield from _manifest(client, fold, leaf, None)


def _manifest(client: RegistryClient, fold: Fold, leaf: int, listed: Words | None) -> Iterator[Found]:
    """Asks about a manifest of which the list says something else than the log."""
    logged = _logged_words(fold, leaf)
    try:
        answer = client.dataset(leaf)
        said: Words | None = _manifest_words(answer)
        size = _whole(answer, "size")
    except NotFoundError:
        said, size = None, client.policy().size
    if said is not None or logged["state"] in LIVE:
        yield from _differing(f"manifest leaf {leaf}", said, logged, size)
    yield from _differing(f"manifest leaf {leaf} in the list", listed, logged, size)


def _manifest_words(item: object) -> Words:
    creator, manifest = _member(item, "creator"), _member(item, "manifest")
    return {
        "state": _member(item, "state"),
        "creator": _member(creator, "id"),
        "identity": _member(creator, "identity"),
        "manifest": _member(manifest, "digest"),
        "supersedes": _member(manifest, "supersedes"),
    }


def _logged_words(fold: Fold, leaf: int, entry: int | None = None) -> Words:
    """Returns what everybody is told of a manifest, or of one of its entries."""
    manifest, state = fold.manifests.get(leaf), _state(fold, leaf, entry)
    if manifest is None or state == HIDDEN:
        return {"state": state}
    return {
        "state": state,
        "creator": manifest.by,
        "identity": _level(fold, manifest.by),
        "manifest": digest_encode(manifest.manifest),
        "supersedes": list(manifest.supersedes),
    }


def _state(fold: Fold, leaf: int, entry: int | None = None) -> str:
    """Returns the state that everybody is told, ``hidden`` where the latest listing was not for everybody."""
    manifest = fold.manifests.get(leaf)
    if manifest is not None and manifest.visibility not in (None, "public"):
        return HIDDEN
    return fold.manifest_state(leaf, entry)


def _public(fold: Fold) -> list[int]:
    return [leaf for leaf, manifest in fold.manifests.items() if manifest.visibility == "public"]


def _level(fold: Fold, party: str) -> str | None:
    known = fold.identities.get(party)
    return None if known is None else known[1].level


# -- parties, cases, status lists, anchors


def _parties(client: RegistryClient, fold: Fold, draw: Random) -> Part:
    creators = (fold.manifests[leaf].by for leaf in _public(fold))
    parties, left = _drawn(sorted({*creators, *fold.keys, *fold.identities}), draw, "parties")
    for party in parties:
        said = client.party(party)
        keys = list(fold.keys.get(party, {}).values()) or [KeyState(party)]
        names = ("key", "recovery", "added", "revoked", "since")
        logged = {
            "keys": [{name: getattr(key, name) for name in names} for key in keys],
            "identity": _level(fold, party),
        }
        yield from _differing(f"party {party}", said, logged, _whole(said, "size"))
    yield from left


def _cases(client: RegistryClient, fold: Fold, draw: Random) -> Part:
    cases, left = _drawn(list(fold.cases.values()), draw, "cases")
    for case in cases:
        try:
            said: Words | None = client.case(case.opened)
        except NotFoundError:
            said = None
        logged = {
            "leaf": case.leaf,
            "creator": fold.manifests[case.leaf].by,
            "by": case.by,
            "entries": list(case.entries),
            "held": case.held,
            "held_entries": list(case.held_entries),
            "decided": case.decided,
            "decided_entries": list(case.decided_entries),
            "outcome": case.outcome,
        }
        yield from _of_now(client, f"case {case.opened}", said, logged)
    yield from left


def _status_lists(client: RegistryClient, fold: Fold, draw: Random) -> Part:
    statuses, left = _drawn(list(fold.statuses.items()), draw, "status lists")
    for uri, (_, body) in statuses:
        number = uri.rpartition("/")[2]
        if fold.policy is None or not number.isdecimal() or status_uri(fold.policy.issuer, int(number)) != uri:
            yield f"the status list {uri}: it is not at the registry's address"
            continue
        try:
            status = parse_status_list(client.status_list(int(number)))
            said: Words | None = {"uri": status.uri, "digest": digest_encode(status.digest)}
        except NotFoundError:
            said = None
        logged = {"uri": uri, "digest": digest_encode(body.digest)}
        yield from _of_now(client, f"status list {uri}", said, logged)
    yield from left


def _of_now(client: RegistryClient, what: str, said: Words | None, logged: Words) -> Iterator[Found]:
    """Compares an answer that names no size: it is of no more leaves than the registry says to have afterwards."""
    for found in _differing(what, said, logged, 0):
        yield replace(found, size=client.policy().size)


def _anchors(client: RegistryClient, fold: Fold, draw: Random) -> Part:
    for item in islice(client.anchors(), ASKED):
        size = _whole(item, "size")
        if size > fold.size:
            yield Found(Difference(f"anchor over {size} leaves", f"{size} leaves", f"{fold.size} leaves"), size)


# -- files


def _files(client: RegistryClient, fold: Fold, draw: Random) -> Part:
    live = [leaf for leaf in _public(fold) if _state(fold, leaf) in LIVE]
    manifests, left = _drawn(live, draw, "manifests' files")
    places: dict[bytes, list[tuple[int, int]]] = {}
    for leaf in manifests:
        try:
            entries = client.entries(leaf, ENTRIES)
        except NotFoundError:
            continue  # what the registry says of the manifest is compared above
        for number, entry in enumerate(entries):
            for name in ("provenance_hash", "published_hash", "content_hash"):
                if _member(entry, name) is not None:
                    places.setdefault(_digest(entry, name), []).append((leaf, number))
    for digest, answer in zip(places, client.resolve(places), strict=True):
        yield from _file(fold, digest, answer, places[digest])
    yield from left


def _file(fold: Fold, digest: bytes, answer: object, places: list[tuple[int, int]]) -> Iterator[Found]:
    """Compares what is said of a file with the states of all entries named, and of those that it is in."""
    size, what = _whole(answer, "size"), f"file {digest_encode(digest)}"
    claims = _member(answer, "claims")
    if not isinstance(claims, list):
        raise _not_of_its_form("claims")
    said: dict[tuple[int, int], Words] = {}
    for claim in claims:
        said[_whole(claim, "leaf"), _whole(claim, "entry")] = _manifest_words(claim)
    for (leaf, entry), words in said.items():
        logged = _logged_words(fold, leaf, entry)
        yield from _differing(f"{what} at manifest leaf {leaf}, entry {entry}", words, logged, max(size, leaf + 1))
    for leaf, entry in dict.fromkeys(places):
        state, by = _state(fold, leaf, entry), fold.manifests[leaf].by
        of_creator = sum(words["creator"] == by for words in said.values())
        is_full = len(said) >= MAX_CLAIMS or of_creator >= MAX_OF_CREATOR
        if (leaf, entry) not in said and state in LIVE and not is_full:
            yield Found(Difference(f"{what} at manifest leaf {leaf}, entry {entry}", NOTHING, state), size)


# -- reading answers


PARTS: Final[Mapping[str, Callable[[RegistryClient, Fold, Random], Part]]] = {
    "itself": _policy,
    "manifests": _manifests,
    "parties": _parties,
    "cases": _cases,
    "status lists": _status_lists,
    "anchors": _anchors,
    "files": _files,
}


def _drawn(things: Collection[T], draw: Random, name: str) -> tuple[list[T], list[str]]:
    """Returns ``ASKED`` of some things, and in words that others were left out."""
    if len(things) <= ASKED:
        return list(things), []
    left = f"what the registry's API says of {len(things) - ASKED} of {len(things)} {name}: {ASKED} were drawn"
    return draw.sample(list(things), ASKED), [left]


def _member(value: object, name: str) -> Any:
    if not isinstance(value, dict) or name not in value:
        raise _not_of_its_form(name)
    return value[name]


def _whole(value: object, name: str) -> int:
    number = _member(value, name)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise _not_of_its_form(name)
    return number


def _digest(value: object, name: str) -> bytes:
    try:
        return digest_decode(_member(value, name), name)
    except MalformedError as e:
        raise _not_of_its_form(name) from e


def _not_of_its_form(name: str) -> BackendError:
    return BackendError(f"an answer is not of its form: {shown(name)}", code="protocol")
