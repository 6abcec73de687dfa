"""The trust file: whom a verifier believes (docs/format.md, section 5).  Never taken from a bundle.

It holds the log policy (keys, witnesses, quorum), the registry's did, the anchors that count, each with the verifier's
own word for what it is worth (`class`), and block hashes the verifier has got from somewhere it trusts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from ledger import text
from ledger.canonical import (
    Json,
    Object,
    as_choice,
    as_constant,
    as_list,
    as_object,
    as_text,
    canonical,
    parse,
)
from ledger.encoding import b64_decode, b64_encode, hex_decode
from ledger.errors import MalformedError, shown
from ledger.keys import did_decode
from ledger.note import VerifierKey
from ledger.policy import Policy, parse_policy, with_log

MAX_TRUST_BYTES: Final = 4 * 1024 * 1024
MAX_POLICY_BYTES: Final = 64 * 1024
"""Also the cap of a certificate in base64."""
MAX_ANCHORS: Final = 64
MAX_BLOCKS: Final = 10_000
CLASSES: Final = ("development", "testnet", "public", "authority")

_HASH = text.Form(re.compile(r"0x[0-9a-f]{64}"), "0x and 64 small hex digits")
_ADDRESS = text.Form(re.compile(r"0x[0-9a-f]{40}"), "0x and 40 small hex digits")
_BLOCKS_KEY = text.Form(
    re.compile(rf"{text.CHAIN}/0x[0-9a-f]{{64}}"),
    "eip155: and the number of a chain, a slash, and its genesis hash as 0x and 64 small hex digits",
)


@dataclass(frozen=True, slots=True)
class TrustedEvm:
    """Anchors by `publisher` at `contract` on the chain with this id and genesis count as `anchor_class`."""

    anchor_class: str
    chain: str
    genesis: str
    contract: str
    publisher: str

    @property
    def line(self) -> tuple[str, str, str, str]:
        """Which anchors they are, whatever they count as."""
        return self.chain, self.genesis, self.contract, self.publisher


@dataclass(frozen=True, slots=True)
class TrustedAuthority:
    """Time stamps of an RFC 3161 authority under these DER certificates count as `anchor_class`."""

    anchor_class: str
    certificates: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Trust:
    """A verifier's decisions; `blocks` maps ``<chain>/<genesis>`` to trusted block hashes (32 bytes)."""

    policy_text: str
    policy: Policy
    registry: str
    anchors: tuple[TrustedEvm | TrustedAuthority, ...]
    blocks: Mapping[str, frozenset[bytes]]

    def evm_anchor(self, chain: str, genesis: str, contract: str, publisher: str) -> TrustedEvm | None:
        """Returns the line that this chain, contract and publisher match in every part."""
        for anchor in self.anchors:
            if isinstance(anchor, TrustedEvm) and anchor.line == (chain, genesis, contract, publisher):
                return anchor
        return None

    def trusts_block(self, chain: str, genesis: str, block_hash: bytes) -> bool:
        """Returns whether this block hash of that chain is known to the verifier."""
        return block_hash in self.blocks.get(f"{chain}/{genesis}", frozenset())

    def following(self, key: VerifierKey, anchors: Iterable[TrustedEvm], *, alone: bool = False) -> Trust:
        """Returns the same decisions about a log that goes on under another `key`, or another anchor.

        What verifies older bundles stays beside it, unless the new ones are to count `alone`; an anchor that was
        there takes its new class.
        """
        new = tuple(anchors)
        lines = {anchor.line for anchor in new}
        kept = () if alone else tuple(a for a in self.anchors if not (isinstance(a, TrustedEvm) and a.line in lines))
        text = with_log(self.policy_text, key, alone=alone)
        return replace(self, policy_text=text, policy=parse_policy(text), anchors=(*kept, *new))

    def with_block(self, chain: str, genesis: str, block_hash: bytes) -> Trust:
        """Returns the same decisions and one more block."""
        key = f"{chain}/{genesis}"
        return replace(self, blocks={**self.blocks, key: self.blocks.get(key, frozenset()) | {block_hash}})


def parse_trust(data: bytes, field: str = "trust") -> Trust:
    """Reads the canonical bytes of ``trust.json``."""
    o = as_object(
        parse(data, field, MAX_TRUST_BYTES, max_text=MAX_POLICY_BYTES),
        field,
        ("trainmark", "policy", "registry", "anchors", "blocks"),
    )
    as_constant(o["trainmark"], f"{field}.trainmark", "trust/v1")
    policy_text = as_text(o["policy"], f"{field}.policy")
    registry = as_text(o["registry"], f"{field}.registry")
    did_decode(registry, f"{field}.registry")
    anchors = as_list(o["anchors"], f"{field}.anchors", MAX_ANCHORS)
    return Trust(
        policy_text,
        parse_policy(policy_text, f"{field}.policy"),
        registry,
        tuple(_anchor(anchor, f"{field}.anchors[{n}]") for n, anchor in enumerate(anchors)),
        _blocks(o["blocks"], f"{field}.blocks"),
    )


def _anchor(value: Json, field: str) -> TrustedEvm | TrustedAuthority:
    if not isinstance(value, dict):
        raise MalformedError(f"expected an object, found {shown(value)}", field=field)
    if as_choice(value.get("kind"), f"{field}.kind", ("evm", "rfc3161")) == "rfc3161":
        o = as_object(value, field, ("kind", "class", "certificates"))
        certificates = as_list(o["certificates"], f"{field}.certificates", 8, 1)
        return TrustedAuthority(
            as_choice(o["class"], f"{field}.class", CLASSES),
            tuple(b64_decode(c, f"{field}.certificates") for c in certificates),
        )
    o = as_object(value, field, ("kind", "class", "chain", "genesis", "contract", "publisher"))
    return TrustedEvm(
        as_choice(o["class"], f"{field}.class", CLASSES),
        text.chain(as_text(o["chain"], f"{field}.chain"), f"{field}.chain"),
        text.identifier(as_text(o["genesis"], f"{field}.genesis"), f"{field}.genesis", _HASH),
        text.identifier(as_text(o["contract"], f"{field}.contract"), f"{field}.contract", _ADDRESS),
        text.identifier(as_text(o["publisher"], f"{field}.publisher"), f"{field}.publisher", _ADDRESS),
    )


def _blocks(value: Json, field: str) -> dict[str, frozenset[bytes]]:
    if not isinstance(value, dict):
        raise MalformedError(f"expected an object, found {shown(value)}", field=field)
    blocks = {}
    for key, hashes in value.items():
        text.identifier(key, field, _BLOCKS_KEY)
        blocks[key] = frozenset(block_hash_decode(as_text(h, field), field) for h in as_list(hashes, field, MAX_BLOCKS))
    return blocks


def block_hash_decode(value: str, field: str) -> bytes:
    """Reads ``0x`` and 64 lower-case hex digits."""
    return hex_decode(text.identifier(value, field, _HASH)[2:], field)


def format_trust(trust: Trust) -> bytes:
    """Writes ``trust.json``; ``parse_trust`` gives it back."""
    anchors: list[Json] = []
    for anchor in trust.anchors:
        if isinstance(anchor, TrustedEvm):
            line: Object = {
                "kind": "evm",
                "class": anchor.anchor_class,
                "chain": anchor.chain,
                "genesis": anchor.genesis,
                "contract": anchor.contract,
                "publisher": anchor.publisher,
            }
        else:
            certificates: list[Json] = [b64_encode(c) for c in anchor.certificates]
            line = {"kind": "rfc3161", "class": anchor.anchor_class, "certificates": certificates}
        anchors.append(line)
    return canonical(
        {
            "trainmark": "trust/v1",
            "policy": trust.policy_text,
            "registry": trust.registry,
            "anchors": anchors,
            "blocks": {key: ["0x" + h.hex() for h in sorted(hashes)] for key, hashes in trust.blocks.items()},
        },
        max_text=MAX_POLICY_BYTES,
    )
