"""What happened to keys, manifests and leaves that somebody watches.

A watched word is a ``did:key``, a ``sha256:…`` digest (of a manifest, a token, a model, evidence: whatever a statement
names by its digest) or a leaf index.  Told are the leaves that are by it, about it, or refer to one of its manifests,
and how the state of these manifests has changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

from ledger.audit.wording import sentence
from ledger.canonical import Object
from ledger.encoding import decimal_decode, digest_decode
from ledger.errors import MalformedError, shown
from ledger.keys import did_decode
from ledger.state import Fold
from ledger.statements import ManifestBody, Statement, UnknownBody

MAX_TOLD: Final = 10_000
"""Events kept for each watched word; more are counted."""

_REFERENCES: Final = ("leaf", "case", "supersedes", "tokens", "refs")
_PARTIES: Final = ("key", "creator", "token_keys")
_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Event:
    """Leaf `index` concerns what is watched; `text` says how, for people."""

    index: int
    text: str

    def value(self) -> Object:
        """Returns the event as JSON."""
        return {"leaf": self.index, "text": self.text}


@dataclass(slots=True)
class Watched:
    """One watched word, the `count` of leaves that concern it, what happened to it since the last audit, and its
    manifests: state before and now."""

    word: str
    digest: bytes | None = None
    leaves: set[int] = field(default_factory=set)
    count: int = 0
    events: list[Event] = field(default_factory=list)
    more: int = 0
    before: dict[int, str] = field(default_factory=dict)
    after: dict[int, str] = field(default_factory=dict)

    def concerns(self, index: int, statement: Statement) -> bool:
        """Returns whether the leaf is by, about, or refers to what is watched."""
        if index in self.leaves or self.word in (statement.by, statement.key):
            return True
        for name, value in _named(statement.body):
            if name in _REFERENCES:
                if not self.leaves.isdisjoint(_each(value)):
                    return True
            elif self.word in _each(value) if name in _PARTIES else self.digest is not None and value == self.digest:
                return True
        return False

    def value(self) -> Object:
        """Returns what happened as JSON."""
        return {
            "watched": self.word,
            "leaves": self.count,
            "events": [event.value() for event in self.events],
            "more": self.more,
            "manifests": [
                {"leaf": leaf, "before": self.before.get(leaf), "state": state} for leaf, state in self.after.items()
            ],
        }


class Watch:
    """All watched words of one audit; leaves are shown to it in their order."""

    def __init__(self, words: Sequence[str] = ()) -> None:
        self.watched = [read_word(word) for word in dict.fromkeys(words)]

    def see(self, index: int, statement: Statement | None, reason: str | None, *, new: bool) -> None:
        """Looks at a leaf (None: one that holds no statement); what is not `new` was told at an earlier time."""
        for watched in self.watched:
            if statement is None:
                concerned = index in watched.leaves
            else:
                concerned = watched.concerns(index, statement)
                if concerned and reason is None and isinstance(statement.body, ManifestBody):
                    watched.leaves.add(index)
            if not concerned:
                continue
            watched.count += 1
            if not new:
                continue
            if len(watched.events) < MAX_TOLD:
                watched.events.append(Event(index, sentence(statement, reason)))
            else:
                watched.more += 1

    def states(self, fold: Fold) -> Iterator[tuple[Watched, dict[int, str]]]:
        """Yields each watched word with the states of its manifests now."""
        for watched in self.watched:
            leaves = sorted(leaf for leaf in watched.leaves if leaf in fold.manifests)
            yield watched, {leaf: fold.manifest_state(leaf) for leaf in leaves}


def read_word(word: str) -> Watched:
    """Reads a watched word.

    Raises:
        MalformedError: none of the three kinds.
    """
    if word.startswith("did:"):
        did_decode(word, "--watch")
        return Watched(word)
    if word.startswith("sha256:"):
        return Watched(word, digest_decode(word, "--watch"))
    if _NUMBER.fullmatch(word):
        return Watched(word, leaves={decimal_decode(word, "--watch")})
    raise MalformedError(f"expected a did:key, sha256:<hex> or a leaf index, found {shown(word)}", field="--watch")


def _named(body: object) -> Iterator[tuple[str, object]]:
    if not isinstance(body, UnknownBody):
        yield from ((f.name, getattr(body, f.name)) for f in fields(body))  # type: ignore[arg-type]


def _each(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)
