"""A small registry made by hand, for the tests of the reference: keys from fixed seeds, a log, a chain of one block.

Here alone the reference signs.  Nothing is random and nothing asks for the time, so that every file comes out the same.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import documents, ed25519, merkle, note, receipt, snapshot, statement, token
from .jcs import Json, b64url_encode, canonical, digest

ORIGIN = "registry.example/log/2026"
ISSUER = "https://registry.example"
NOW = 1_790_000_000
BLOCK_TIME = 1_789_990_000
CHAIN, GENESIS = "eip155:31337", "0x" + "ab" * 32
CONTRACT, PUBLISHER = "0x" + "c0" * 20, "0x" + "d1" * 20


@dataclass(frozen=True, slots=True)
class Key:
    """An Ed25519 key from a one-byte seed."""

    seed: int

    @property
    def private(self) -> Ed25519PrivateKey:
        """The private key."""
        return Ed25519PrivateKey.from_private_bytes(bytes([self.seed]) * 32)

    @property
    def public(self) -> bytes:
        """The 32 bytes of the public key."""
        return self.private.public_key().public_bytes_raw()

    @property
    def did(self) -> str:
        """The did:key."""
        return ed25519.did_encode(self.public)

    def vkey(self, name: str, kind: int) -> str:
        """The verifier key of a log (01) or a witness (04)."""
        encoded = base64.b64encode(bytes([kind]) + self.public).decode()
        return f"{name}+{note.key_id(name, kind, self.public).hex()}+{encoded}"


REGISTRY, LOG, WITNESS, TOKEN, CREATOR, CREATOR_2, HOLDER, STRANGER = (Key(seed) for seed in range(1, 9))


def signed(kind: str, by: Key, body: dict[str, Json], key: Key | None = None, log: str | None = ORIGIN) -> bytes:
    """The bytes of a statement."""
    key = key or by
    fields: dict[str, Json] = {"type": kind, "v": 1, "by": by.did, "key": key.did, "log": log}
    fields |= {"known_block": None, "body": body}
    message = statement.pae(statement.STATEMENT, canonical(fields))
    return canonical(fields | {"sig": b64url_encode(key.private.sign(message))})


def key_added(by: Key, new: Key, recovery: bool = False, key: Key | None = None) -> bytes:
    """A key statement that adds ``new``."""
    message = statement.pae(statement.POSSESSION, f"{by.did} {new.did}".encode())
    proof = b64url_encode(new.private.sign(message))
    return signed("key", by, {"op": "add", "key": new.did, "possession": proof, "recovery": recovery}, key)


def checkpoint(leaves: Sequence[bytes], with_witness: bool = True) -> str:
    """The checkpoint of a log of these leaves."""
    text = f"{ORIGIN}\n{len(leaves)}\n{base64.b64encode(merkle.root(leaves)).decode()}\n"
    lines = _line(ORIGIN, note.LOG_KEY, LOG, LOG.private.sign(text.encode()))
    if with_witness:
        cosigned = WITNESS.private.sign(f"cosignature/v1\ntime {NOW}\n{text}".encode())
        lines += _line("witness.example", note.WITNESS_KEY, WITNESS, NOW.to_bytes(8, "big") + cosigned)
    return f"{text}\n{lines}"


def policy_text() -> str:
    """A policy of one log and a quorum of one witness."""
    lines = [
        "# one log, one witness",
        f"log {LOG.vkey(ORIGIN, note.LOG_KEY)} https://{ORIGIN}",
        f"witness w1 {WITNESS.vkey('witness.example', note.WITNESS_KEY)}",
        "group all-of-them all w1",
        "quorum all-of-them",
    ]
    return "\n".join(lines) + "\n"


def digests(hashes: Sequence[bytes]) -> list[Json]:
    """Hashes as JSON holds them."""
    return ["sha256:" + item.hex() for item in hashes]


def entry(path: str, salt: int) -> dict[str, Json]:
    """An entry of a manifest."""
    provenance = digest(f"original {path}".encode())
    return {
        "path": path,
        "media_type": "image/png",
        "size": 1234,
        "provenance_hash": provenance,
        "published_hash": digest(f"published {path}".encode()),
        "content_hash": digest(f"content {path}".encode()),
        "fingerprints": {"dhash": "1f" * 32, "iscc": None, "pdq": None},
        "rights_status": "owned",
        "release_status": "on-file",
        "releases": [{"kind": "model", "evidence": digest(b"release")}],
        "privacy": {"face": "yes", "minor": "no", "pii": "no", "biometric": "no"},
        "price_tier": "standard",
        "salt": b64url_encode(bytes([salt]) * 32),
    }


def terms() -> dict[str, Json]:
    """License terms."""
    payment: dict[str, Json] = {
        "model": "per-sample",
        "currency": "EUR",
        "tiers": {"standard": "0.05"},
        "share_bp": 0,
        "cadence": "quarterly",
        "minimum": "0",
        "termination": "0",
        "escrow": False,
    }
    words = ["yes", "yes", "yes", "no", "yes", "ask", "no", "no", "no", "no", "no"]
    return {
        "type": "license",
        "v": 1,
        "license_id": "example-train-1",
        "license_url": "https://registry.example/license/example-train-1",
        "text_digest": digest(b"the text"),
        "uses": dict(zip(documents.USES, words, strict=True)),
        "audience": "any",
        "attribution_required": True,
        "exclusive_months": 0,
        "exclusive_after": "non-exclusive",
        "term_months": 0,
        "territory": ["world"],
        "revocation": {"notice_days": 30, "trained_models": "keep"},
        "payment": payment,
        "audit_per_year": 1,
        "require": ["manifest"],
    }


def header(entries: Sequence[dict[str, Json]]) -> dict[str, Json]:
    """The header of a manifest of these entries."""
    return {
        "type": "manifest",
        "v": 1,
        "dataset_id": "urn:uuid:01234567-89ab-4cde-8f01-23456789abcd",
        "title": "Hände im Licht",
        "version": "1",
        "part": 1,
        "parts": 1,
        "creator_id": CREATOR.did,
        "creator_name": "Ida Example",
        "license_id": "example-train-1",
        "license_url": "https://registry.example/license/example-train-1",
        "license_digest": digest(canonical(terms())),
        "attribution_url": "https://ida.example/",
        "required_attribution_text": "Picture: Ida Example",
        "entries_root": digests([merkle.root([canonical(item) for item in entries])])[0],
        "entry_count": len(entries),
        "created_at": "2026-09-01T12:00:00Z",
    }


def anchor_record(
    size: int, root: bytes, status: int = 1, time: int = BLOCK_TIME, event_name: str = receipt.EVENT
) -> dict[str, Json]:
    """The record of an anchor in a block of 131 receipts, in the typed one at 129."""
    size_root = size.to_bytes(32, "big") + root
    topics: list[receipt.Rlp] = [
        receipt.keccak256(event_name.encode()),
        bytes(12) + bytes.fromhex(PUBLISHER[2:]),
        hashlib.sha256(ORIGIN.encode()).digest(),
    ]
    noise: receipt.Rlp = [bytes(20), [b"\x07" * 32], b""]
    event: receipt.Rlp = [bytes.fromhex(CONTRACT[2:]), topics, size_root]
    bloom = bytes(256)
    receipts = [receipt.rlp_encode([b"\x01", (21_000 + i).to_bytes(2, "big"), bloom, []]) for i in range(131)]
    receipts[129] = b"\x02" + receipt.rlp_encode(
        [b"\x01" if status else b"", (90_000).to_bytes(3, "big"), bloom, [noise, event]]
    )
    index_of = {receipt.rlp_encode(i.to_bytes(1, "big") if i else b""): item for i, item in enumerate(receipts)}
    receipts_root, nodes = receipt.trie_proof(index_of, receipt.rlp_encode(bytes([129])))
    block: list[receipt.Rlp] = [b"\x11" * 32] * 5
    block += [receipts_root, bloom, b"", b"\x2a", b"\x01\xc9\xc3\x80", b"\x52\x08", time.to_bytes(4, "big")]
    block += [b"", bytes(32), bytes(8), b"\x07"]
    return {
        "kind": "evm",
        "chain": CHAIN,
        "genesis": GENESIS,
        "contract": CONTRACT,
        "publisher": PUBLISHER,
        "header": "0x" + receipt.rlp_encode(block).hex(),
        "receipt_index": 129,
        "receipt_proof": ["0x" + node.hex() for node in nodes],
        "log_index": 1,
    }


def jwt(kind: str, payload: Json, key: Key = TOKEN, with_kid: bool = True) -> str:
    """A compact JWS."""
    head: dict[str, Json] = {"alg": "Ed25519", "typ": kind}
    if with_kid:
        head["kid"] = token.thumbprint(key.public)
    text = f"{b64url_encode(canonical(head))}.{b64url_encode(canonical(payload))}"
    return f"{text}.{b64url_encode(key.private.sign(text.encode()))}"


def disclosure(name: str, value: Json, salt: int) -> str:
    """A disclosure of a token."""
    return b64url_encode(canonical([b64url_encode(bytes([salt]) * 16), name, value]))


@dataclass(slots=True)
class World:
    """A log, its snapshot, a manifest in it, a token, and the files that prove them."""

    entries: list[dict[str, Json]] = field(default_factory=lambda: [entry(f"{c}/{c}.png", ord(c)) for c in "abcde"])
    leaves: list[bytes] = field(default_factory=list)
    rows: list[bytes] = field(default_factory=list)
    statuses: bytearray = field(default_factory=lambda: bytearray(token.STATUS_COUNT * token.STATUS_BITS // 8))

    MANIFEST_LEAF = 2
    SNAPSHOT_LEAF = 4
    ANCHORED = 6

    def __post_init__(self) -> None:
        policy: dict[str, Json] = {
            "origin": ORIGIN,
            "log_key": LOG.vkey(ORIGIN, note.LOG_KEY),
            "issuer": ISSUER,
            "token_keys": [TOKEN.did],
            "rules": digest(b"rules"),
        }
        named = digest(canonical(self.header()))
        review: dict[str, Json] = {"leaf": 2, "outcome": "listed", "visibility": "public", "evidence": None}
        uses = documents.uses_code(self._uses())
        for number, item in enumerate(self.entries):
            for kind, code in snapshot.KINDS.items():
                held = bytes.fromhex(str(item[f"{kind}_hash"])[7:])
                self.rows.append(snapshot.pack_row(held, self.MANIFEST_LEAF, number, code, 1, uses))
        self.rows += [snapshot.pack_row(hashlib.sha256(bytes([i])).digest(), 1, i, 1, 1, 0) for i in range(250)]
        self.rows.sort()
        shot: dict[str, Json] = {
            "size": 4,
            "bits": snapshot.bits_of(len(self.rows)),
            "count": len(self.rows),
            "root": digests([merkle.root(snapshot.top(self.rows))])[0],
        }
        self.leaves = [
            signed("policy", REGISTRY, policy),
            key_added(CREATOR, CREATOR_2),
            signed("manifest", CREATOR, {"manifest": named, "supersedes": []}, CREATOR_2),
            signed("review", REGISTRY, review),
            signed("snapshot", REGISTRY, shot),
            signed("record", STRANGER, {"kind": "watch", "refs": [2], "evidence": digest(b"seen")}),
        ]
        self.statuses[1] = 0b10  # index 4: suspended
        status: dict[str, Json] = {
            "uri": f"{ISSUER}/status/0",
            "bits": token.STATUS_BITS,
            "count": token.STATUS_COUNT,
            "digest": digest(bytes(self.statuses)),
        }
        self.leaves.append(signed("status", REGISTRY, status))
        named = digest(self.token().split("~")[0].encode())
        self.leaves.append(signed("token", REGISTRY, {"token": named}))

    def header(self) -> dict[str, Json]:
        """The header of the manifest."""
        return header(self.entries)

    def manifest_file(self) -> dict[str, Json]:
        """The manifest file."""
        named: dict[str, Json] = {"manifest": digest(canonical(self.header())), "supersedes": []}
        for_holders = statement.parse_statement(signed("manifest", CREATOR, named, log=None))
        logged = statement.parse_statement(self.leaves[2])
        statements = [statement.as_value(item) for item in (for_holders, logged)]
        return {
            "trainmark": "manifest/v1",
            "header": self.header(),
            "entries": list(self.entries),
            "statements": list(statements),
        }

    def carried(self, indices: Sequence[int]) -> list[Json]:
        """Leaves with their paths."""
        hashes = [merkle.leaf_hash(leaf) for leaf in self.leaves]
        return [
            {
                "index": i,
                "statement": statement.as_value(statement.parse_statement(self.leaves[i])),
                "path": digests(merkle.path(i, hashes)),
            }
            for i in indices
        ]

    def anchors(self) -> list[Json]:
        """The anchor of an earlier size."""
        hashes = [merkle.leaf_hash(leaf) for leaf in self.leaves]
        root = merkle.tree(hashes[: self.ANCHORED])
        return [
            {
                "size": self.ANCHORED,
                "root": digests([root])[0],
                "consistency": digests(merkle.proof(self.ANCHORED, hashes)),
                "record": anchor_record(self.ANCHORED, root),
            }
        ]

    def trust(self, with_block: bool = True) -> dict[str, Json]:
        """The trust file of somebody who watched the chain."""
        record = anchor_record(self.ANCHORED, merkle.root(self.leaves[: self.ANCHORED]))
        block = "0x" + receipt.keccak256(bytes.fromhex(str(record["header"])[2:])).hex()
        line: dict[str, Json] = {"kind": "evm", "class": "development", "chain": CHAIN, "genesis": GENESIS}
        line |= {"contract": CONTRACT, "publisher": PUBLISHER}
        return {
            "trainmark": "trust/v1",
            "policy": policy_text(),
            "registry": REGISTRY.did,
            "anchors": [line],
            "blocks": {f"{CHAIN}/{GENESIS}": [block]} if with_block else {},
        }

    def bundle(self, number: int = 3, kind: str = "provenance") -> dict[str, Json]:
        """The proof bundle of an entry."""
        hashes = [merkle.leaf_hash(canonical(item)) for item in self.entries]
        held = str(self.entries[number][f"{kind}_hash"])
        claim: dict[str, Json] = {
            "header": self.header(),
            "entry": self.entries[number],
            "entry_index": number,
            "entry_path": digests(merkle.path(number, hashes)),
            "terms": terms(),
            "leaf": self.MANIFEST_LEAF,
        }
        return {
            "trainmark": "proof/v1",
            "file": {"digest": held, "kind": kind},
            "claim": claim,
            "checkpoint": checkpoint(self.leaves),
            "leaves": self.carried([0, 1, 2, 3, 4]),
            "rows": [snapshot.prove(self.rows, bytes.fromhex(held[7:]), self.SNAPSHOT_LEAF)],
            "anchors": self.anchors(),
            "as_of": None,
        }

    def absence(self, digest_of: bytes) -> dict[str, Json]:
        """The proof that no row holds a digest."""
        bundle = self.bundle()
        held = hashlib.sha256(digest_of).digest()
        return bundle | {
            "file": {"digest": "sha256:" + held.hex(), "kind": None},
            "claim": None,
            "leaves": self.carried([0, 4]),
            "rows": [snapshot.prove(self.rows, held, self.SNAPSHOT_LEAF)],
        }

    def claims(self) -> dict[str, Json]:
        """The claims of the token."""
        hashes = [bytes.fromhex(str(item["provenance_hash"])[7:]) for item in self.entries[:3]]
        listed = [
            b64url_encode(hashlib.sha256(text.encode()).digest())
            for text in (
                disclosure("licensee", {"name": "Model Works", "id": "L-1"}, 1),
                disclosure("price", {"currency": "EUR", "minor": 1500}, 2),
            )
        ]
        jwk: dict[str, Json] = {"crv": "Ed25519", "kty": "OKP", "x": b64url_encode(HOLDER.public)}
        return {
            "iss": ISSUER,
            "jti": b64url_encode(b"j" * 16),
            "iat": NOW - 100,
            "exp": NOW + 100_000,
            "vct": token.VCT,
            "cnf": {"jwk": jwk},
            "status": {"status_list": {"idx": 5, "uri": f"{ISSUER}/status/0"}},
            "license": {"id": "example-train-1", "digest": digest(canonical(terms()))},
            "uses": ["evaluate", "train"],
            "audience": "any",
            "purpose": "one model",
            "attribution": [{"creator_id": CREATOR.did, "text": "Picture: Ida Example", "url": "https://ida.example/"}],
            "log": ORIGIN,
            "manifests": [{"digest": digest(canonical(self.header())), "index": self.MANIFEST_LEAF}],
            "files": {"root": digests([token.files_root(hashes)])[0], "count": 3},
            "parent": None,
            "renews": None,
            "_sd_alg": "sha-256",
            "_sd": [*sorted(listed)],
        }

    def token(self, claims: dict[str, Json] | None = None) -> str:
        """The token with both disclosures."""
        disclosures = [
            disclosure("licensee", {"name": "Model Works", "id": "L-1"}, 1),
            disclosure("price", {"currency": "EUR", "minor": 1500}, 2),
        ]
        return "~".join([jwt("dc+sd-jwt", claims or self.claims()), *disclosures, ""])

    def status_list(self, issued: int = NOW - 60) -> str:
        """The signed status list."""
        packed = b64url_encode(zlib.compress(bytes(self.statuses), 9))
        claims: dict[str, Json] = {
            "sub": f"{ISSUER}/status/0",
            "iat": issued,
            "exp": issued + 86_400,
            "ttl": 3600,
            "status_list": {"bits": token.STATUS_BITS, "lst": packed},
        }
        return jwt("statuslist+jwt", claims)

    def token_bundle(self) -> dict[str, Json]:
        """The token bundle."""
        hashes = sorted(bytes.fromhex(str(item["provenance_hash"])[7:]) for item in self.entries[:3])
        return {
            "trainmark": "token/v1",
            "token": self.token(),
            "files": b64url_encode(b"".join(hashes)),
            "checkpoint": checkpoint(self.leaves),
            "leaves": self.carried([0, 2, 6, 7]),
            "status": self.status_list(),
            "anchors": self.anchors(),
        }

    def _uses(self) -> dict[str, Json]:
        uses = terms()["uses"]
        assert isinstance(uses, dict)
        return uses


def _line(name: str, kind: int, key: Key, signature: bytes) -> str:
    encoded = base64.b64encode(note.key_id(name, kind, key.public) + signature).decode()
    return f"\u2014 {name} {encoded}\n"
