"""A whole registry in memory, with deterministic keys, clock and randomness: what stories are told on.

Nothing is a mock: the stores are the in-memory reference of the ports, the chain is the embedded one, all statements
are really signed.  ``World`` is one registry and its stores, which survive ``reopen`` as disks survive a crash;
``Library`` is what a creator uploads; ``HandMadeLog`` is a log that nobody guards: whatever is handed in becomes a
leaf, so that bundles can be built that an honest registry would never make.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anchors.embedded import EmbeddedChain
from ledger.canonical import Json, Object
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.encoding import b64url_encode, digest_encode, sha256, time_encode
from ledger.errors import MalformedError, VerificationError
from ledger.evidence import CarriedAnchor, CarriedLeaf
from ledger.keys import Signer, SigningKey
from ledger.manifests import Entry, Header, Manifest, entries_root, format_manifest, read_entry, read_header
from ledger.merkle import Tree, leaf_hash, leaf_hashes
from ledger.note import ED25519, VerifierKey, format_vkey
from ledger.policy import format_policy, parse_policy
from ledger.ports import AnchorRow, BlobStore, ChainIdentity, Cosigners
from ledger.proof import STEPS, Claim, ProofResult, Step, format_proof, verify_proof
from ledger.registry.anchoring import Anchoring
from ledger.registry.listing import RULES_DIGEST
from ledger.registry.log import QUORUM_SECONDS, Logged
from ledger.registry.service import Identity, Receipt, Registry
from ledger.statements import Statement, manifest_body, sign_statement
from ledger.store.memory import MemoryBlobStore, MemoryCatalog, MemoryEntryStore, MemoryLog, MemoryTileStore
from ledger.terms import Terms, bind_text
from ledger.trust import Trust, TrustedEvm

ORIGIN = "registry.example/log/2026"
ISSUER = "https://registry.example"
START = 1_800_000_000
DAY = 86_400
ANCHOR_CLASS = "development"

_TERMS: Object = {
    "type": "license",
    "v": 1,
    "license_id": "EXAMPLE-TRAIN-v1",
    "license_url": "https://creator.example/license",
    "uses": {
        "search": "yes",
        "mine": "yes",
        "evaluate": "yes",
        "infer": "ask",
        "train": "yes",
        "train-generative": "yes",
        "finetune": "yes",
        "deploy": "ask",
        "share-model": "ask",
        "sell-outputs": "ask",
        "share-data": "no",
    },
    "audience": "any",
    "attribution_required": True,
    "exclusive_months": 0,
    "exclusive_after": "non-exclusive",
    "term_months": 12,
    "territory": ["world"],
    "revocation": {"notice_days": 30, "trained_models": "keep"},
    "payment": {
        "model": "free",
        "currency": "EUR",
        "tiers": {"standard": "0"},
        "share_bp": 0,
        "cadence": "once",
        "minimum": "0",
        "termination": "0",
        "escrow": False,
    },
    "audit_per_year": 4,
    "require": ["manifest", "token"],
}


def key(name: str) -> SigningKey:
    """Returns the key that a party of this name always has."""
    return SigningKey(sha256(b"key of " + name.encode()))


def digest(name: str) -> bytes:
    """Returns the digest of the words `name`: the file of that name."""
    return sha256(name.encode())


def terms_fields(**changes: Json) -> Object:
    """Returns complete license fields without ``text_digest``."""
    return {**_TERMS, **changes}


def license_of(**changes: Json) -> tuple[Terms, bytes]:
    """Returns a license: terms and the text bound to them."""
    return bind_text(terms_fields(**changes), "A license for the tests.\n\nTrain, and name the creator.")


def entry_fields(name: str, **changes: Json) -> Object:
    """Returns an entry's JSON: three different digests that follow from `name`, and nothing that blocks a listing."""
    return {
        "path": f"{name}.png",
        "media_type": "image/png",
        "size": 1000 + len(name),
        "provenance_hash": digest_encode(digest(f"{name}, original")),
        "published_hash": digest_encode(digest(f"{name}, published")),
        "content_hash": digest_encode(digest(f"{name}, content")),
        "fingerprints": {"dhash": None, "iscc": digest(f"{name}, iscc").hex(), "pdq": None},
        "rights_status": "owned",
        "release_status": "on-file",
        "releases": [{"kind": "model", "evidence": digest_encode(digest(f"{name}, release"))}],
        "privacy": {"face": "yes", "minor": "no", "pii": "no", "biometric": "no"},
        "price_tier": "standard",
        "salt": b64url_encode(digest(f"{name}, salt")),
        **changes,
    }


def entry(name: str, **changes: Json) -> Entry:
    """Returns the entry of ``entry_fields``."""
    return read_entry(entry_fields(name, **changes))


def header_fields(creator: Signer, terms: Terms, entries: Sequence[Entry], **changes: Json) -> Object:
    """Returns a header's JSON over `entries`."""
    return {
        "type": "manifest",
        "v": 1,
        "dataset_id": "urn:uuid:00000000-0000-4000-8000-000000000001",
        "title": "A library",
        "version": "1",
        "part": 1,
        "parts": 1,
        "creator_id": creator.did,
        "creator_name": "Éva Example",
        "license_id": terms.license_id,
        "license_url": terms.license_url,
        "license_digest": digest_encode(terms.digest),
        "attribution_url": "https://creator.example/",
        "required_attribution_text": "© Éva Example",
        "entries_root": digest_encode(entries_root(entries)),
        "entry_count": len(entries),
        "created_at": time_encode(START),
        **changes,
    }


@dataclass(frozen=True)
class Library:
    """A creator's library, ready to be uploaded."""

    creator: Signer
    header: Header
    entries: tuple[Entry, ...]
    terms: Terms
    text: bytes

    @classmethod
    def of(
        cls,
        creator: Signer,
        entries: Iterable[Entry],
        license_: tuple[Terms, bytes] | None = None,
        header: Object | None = None,
    ) -> Library:
        """Makes a library of these entries; `header` holds what is not as in ``header_fields``."""
        terms, text = license_ or license_of()
        ordered = tuple(sorted(entries, key=lambda e: e.path.encode()))
        fields = header_fields(creator, terms, ordered, **(header or {}))
        return cls(creator, read_header(fields), ordered, terms, text)

    def statement(
        self, *, supersedes: tuple[int, ...] = (), log: str | None = ORIGIN, signer: Signer | None = None
    ) -> Statement:
        """Returns the creator's statement on this library."""
        body = manifest_body(self.header.digest, supersedes)
        return sign_statement("manifest", self.creator.did, signer or self.creator, log, body)

    def file(self, statement: Statement) -> bytes:
        """Returns ``dataset_manifest.json`` with one statement."""
        return format_manifest(Manifest(self.header, self.entries, (statement,)))

    def claim(self, entry_index: int, leaf: int) -> Claim:
        """Returns the claim of one entry, with its path."""
        path = Tree(leaf_hashes(e.data for e in self.entries)).inclusion_proof(entry_index)
        return Claim(self.header, self.entries[entry_index], entry_index, tuple(path), self.terms, leaf)


def library(name: str, creator: Signer, count: int = 3, **changes: Json) -> Library:
    """Returns a library of `count` files named after `name`, each library a dataset of its own."""
    own = sha256(f"dataset {name}".encode()).hex()
    uuid = f"urn:uuid:{own[:8]}-{own[8:12]}-4{own[13:16]}-8{own[17:20]}-{own[20:32]}"
    header: Object = {"dataset_id": uuid, "title": name, **changes}
    return Library.of(creator, [entry(f"{name} {n}") for n in range(count)], header=header)


@dataclass
class Clock:
    """The time, which passes only when a story says so."""

    now: int = START

    def __call__(self) -> int:
        return self.now


@dataclass
class Entropy:
    """Bytes that nobody has to guess: each call gives others, each run the same."""

    calls: int = 0

    def __call__(self, size: int) -> bytes:
        self.calls += 1
        data = b"".join(sha256(b"entropy %d %d" % (self.calls, n)) for n in range(size // 32 + 1))
        return data[:size]


def identity(name: str = "registry", origin: str = ORIGIN) -> Identity:
    """Returns the identity of a registry of this name."""
    own = key(name)
    return Identity(origin, ISSUER, own.did, own, key(f"{name}, log"), key(f"{name}, tokens"))


@dataclass
class World:
    """One registry over stores that outlive it."""

    identity: Identity = field(default_factory=identity)
    log: MemoryLog = field(default_factory=MemoryLog)
    tiles: MemoryTileStore = field(default_factory=MemoryTileStore)
    blobs: BlobStore = field(default_factory=MemoryBlobStore)
    catalog: MemoryCatalog = field(default_factory=MemoryCatalog)
    clock: Clock = field(default_factory=Clock)
    entropy: Entropy = field(default_factory=Entropy)
    _open: Registry | None = None
    chain: EmbeddedChain | None = None
    cosigners: Cosigners | None = None
    quorum_seconds: float = QUORUM_SECONDS

    @property
    def registry(self) -> Registry:
        """The registry, opened when it is first asked for."""
        if self._open is None:
            entries = MemoryEntryStore(self.log)
            try:
                self._open = Registry(
                    self.identity,
                    entries,
                    self.tiles,
                    self.blobs,
                    self.catalog,
                    self.clock,
                    self.entropy,
                    self.cosigners,
                    self.quorum_seconds,
                )
            except BaseException:
                entries.close()
                raise
            self._open.begin()
        return self._open

    def close(self) -> None:
        """Closes registry and chain; the stores keep what they hold."""
        if self._open is not None:
            self._open.close()
            self._open = None
        if self.chain is not None:
            self.chain.close()
            self.chain = None

    def reopen(self) -> Registry:
        """Closes the registry and opens it again over the same stores."""
        if self._open is not None:
            self._open.close()
            self._open = None
        return self.registry

    def publish(self, library: Library, *, supersedes: tuple[int, ...] = ()) -> Receipt:
        """Uploads a library as its creator."""
        manifest = library.file(library.statement(supersedes=supersedes))
        return self.registry.publish(manifest, library.terms.data, library.text, library.creator.did)

    def speak(self, by: Signer, kind: str, body: Object, *, signer: Signer | None = None, log: str = ORIGIN) -> Logged:
        """Has a party make a statement."""
        statement = sign_statement(kind, by.did, signer or by, log, body)
        return self.registry.speak(statement.data, by.did)

    def review(self, leaf: int, outcome: str, visibility: str | None = None) -> Logged:
        """Has the registry review a manifest leaf, as a person at its desk would."""
        return self.speak(self.identity.key, "review", review_body(leaf, outcome, visibility))

    def leaves(self) -> list[bytes]:
        """Returns all leaves."""
        return list(self.log.leaves)

    def anchor(self, folder: Path) -> AnchorRow:
        """Anchors the head on the embedded chain in `folder`; returns the row with its record."""
        if self.chain is None:
            self.chain = EmbeddedChain(
                folder / "chain.sqlite", sha256(b"publisher"), clock=self.clock, entropy=Entropy()
            )
        [row] = Anchoring(self.registry, self.chain).step()
        assert row.record is not None
        return row

    def trust(self, *rows: AnchorRow) -> Trust:
        """Returns the trust file of somebody who chose this registry and its chain, and got the blocks of `rows`."""
        trust = trust_in(self.identity, None if self.chain is None else self.chain.identity)
        for row in rows:
            assert self.chain is not None
            assert row.block_hash is not None
            chain = self.chain.identity
            trust = trust.with_block(chain.chain, chain.genesis, bytes.fromhex(row.block_hash[2:]))
        return trust


def review_body(leaf: int, outcome: str, visibility: str | None = None) -> Object:
    """Returns the body of a review; ``listed`` is public unless told otherwise."""
    shown = (visibility or "public") if outcome == "listed" else None
    return {"leaf": leaf, "outcome": outcome, "visibility": shown, "evidence": None}


def dispute_body(
    op: str, leaf: int, case: int | None = None, entries: Sequence[int] = (), outcome: str | None = None
) -> Object:
    """Returns the body of a move in a case."""
    return {"op": op, "case": case, "leaf": leaf, "entries": list(entries), "evidence": None, "outcome": outcome}


def policy_text(who: Identity) -> str:
    """Returns the log policy of a registry without witnesses."""
    return format_policy([VerifierKey(who.origin, ED25519, who.log_key.public)])


def trust_in(who: Identity, chain: ChainIdentity | None = None) -> Trust:
    """Returns the trust file of somebody who chose this registry, and its chain if there is one."""
    text = policy_text(who)
    trust = Trust(text, parse_policy(text), who.did, (), {})
    if chain is None:
        return trust
    line = TrustedEvm(ANCHOR_CLASS, chain.chain, chain.genesis, chain.contract, chain.publisher)
    return replace(trust, anchors=(line,))


@dataclass
class HandMadeLog:
    """A log without a guard: what is handed in becomes a leaf, void or not; leaf 0 is the registry's policy."""

    identity: Identity = field(default_factory=identity)
    leaves: list[Statement] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.leaves:
            self.add(self.by_registry("policy", self.policy_body()))

    def policy_body(self) -> Object:
        """Returns the body of the registry's policy."""
        log_key = VerifierKey(self.identity.origin, ED25519, self.identity.log_key.public)
        return {
            "origin": self.identity.origin,
            "log_key": format_vkey(log_key),
            "issuer": self.identity.issuer,
            "token_keys": [self.identity.token_key.did],
            "rules": digest_encode(RULES_DIGEST),
        }

    def by_registry(self, kind: str, body: Object) -> Statement:
        """Returns a statement of the registry."""
        return sign_statement(kind, self.identity.did, self.identity.key, self.identity.origin, body)

    def add(self, statement: Statement) -> int:
        """Makes a leaf of a statement; returns its index."""
        self.leaves.append(statement)
        return len(self.leaves) - 1

    @property
    def tree(self) -> Tree:
        """The tree over all leaves."""
        return Tree(leaf_hash(leaf.data) for leaf in self.leaves)

    def note(self, *signers: Signer) -> bytes:
        """Returns the checkpoint over all leaves, signed by the log (or by others)."""
        tree = self.tree
        checkpoint = Checkpoint(self.identity.origin, len(tree), tree.root())
        return sign_checkpoint(checkpoint, *(signers or (self.identity.log_key,)))

    def carried(self, *indices: int) -> list[CarriedLeaf]:
        """Returns these leaves (all by default) with their paths."""
        tree = self.tree
        chosen = indices or range(len(self.leaves))
        return [CarriedLeaf(n, self.leaves[n], tuple(tree.inclusion_proof(n))) for n in chosen]

    def bundle(
        self, claim: Claim, kind: str = "published", *, carry: Sequence[int] = (), anchors: Sequence[CarriedAnchor] = ()
    ) -> bytes:
        """Returns a proof bundle of a claim, carrying all leaves unless told which."""
        found = dict(claim.entry.digests)[kind]
        return format_proof(found, kind, claim, self.note(), self.carried(*carry), anchors)


def verdict(
    data: bytes, trust: Trust, *, replay: Iterable[bytes] | None = None, steps: Sequence[Step] = STEPS
) -> ProofResult | MalformedError | VerificationError:
    """Returns what ``verify_proof`` says: its result, or its refusal.  Any other exception is a failure."""
    try:
        return verify_proof(data, trust, replay=replay, steps=steps)
    except (MalformedError, VerificationError) as e:
        return e


def reading(data: bytes) -> Any:
    """Returns the JSON of one of our files, free to be changed."""
    return json.loads(data)


def writing(value: Any) -> bytes:
    """Returns the canonical bytes of changed JSON, whatever the change: the rules of the profile are not asked."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
