"""Trust files and proof bundles: the twelve steps of docs/format.md, section 6.

What the steps need of the outside comes as arguments: the trust file, hashes of blocks that somebody vouches for, the
file itself if it is at hand.  Time stamps of RFC 3161 are not opened and stay ``not_checked``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from . import documents, ed25519, merkle, receipt, snapshot
from .jcs import (
    Json,
    as_integer,
    as_list,
    as_object,
    as_pattern,
    as_text,
    as_time,
    as_word,
    b64_decode,
    canonical,
    digest,
    digest_bytes,
    digest_list,
    parse,
)
from .note import Checkpoint, Policy, parse_note, parse_policy, verify_checkpoint
from .refuted import require
from .statement import Keys, Statement, fold_keys, read_statement, verify_statement, void_reason

_ANCHOR_CLASSES = ["development", "testnet", "public", "authority"]
_CLAIM = ["header", "entry", "entry_index", "entry_path", "terms", "leaf"]
_BUNDLE = ["trainmark", "file", "claim", "checkpoint", "leaves", "rows", "anchors", "as_of"]


@dataclass(frozen=True, slots=True)
class Trust:
    """What the verifier has decided; ``blocks`` maps ``<chain>/<genesis>`` to hashes of blocks."""

    policy: Policy
    registry: str
    anchors: tuple[dict[str, Json], ...]
    blocks: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A carried leaf and its path in the tree of the checkpoint."""

    index: int
    statement: Statement
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Anchor:
    """A carried anchor."""

    size: int
    root: bytes
    consistency: tuple[bytes, ...]
    record: dict[str, Json]


@dataclass(frozen=True, slots=True)
class Finding:
    """What an anchor says; ``time`` is None while nobody vouches for the block."""

    kind: str
    anchor_class: str
    size: int
    time: int | None
    block_hash: str | None


@dataclass(slots=True)
class Result:
    """What a bundle shows.

    ``proved``: ``file entry header terms signatures checkpoint leaves key log snapshot anchor as-of``.
    ``asserted``, what the registry answers for: ``keys-complete``; ``absent``, or the state of the row.
    ``not_checked``: ``witnesses`` (the policy asks for none), ``file`` (only its digest was at hand), ``snapshot``,
    ``anchor``, ``block-hash``, ``rfc3161``, ``as-of``.
    ``void``: carried leaves that count for nothing, with the reason.
    """

    checkpoint: Checkpoint
    proved: set[str] = field(default_factory=set)
    asserted: set[str] = field(default_factory=set)
    not_checked: set[str] = field(default_factory=set)
    anchors: list[Finding] = field(default_factory=list)
    rows: list[list[snapshot.Row]] = field(default_factory=list)
    void: dict[int, str] = field(default_factory=dict)


def parse_trust(data: bytes) -> Trust:
    """Reads ``trust.json``.

    Raises:
        RefutedError: ``malformed``.
    """
    fields = as_object(parse(data), ["trainmark", "policy", "registry", "anchors", "blocks"], "trust")
    as_word(fields["trainmark"], ["trust/v1"], "trust.trainmark")
    ed25519.did_decode(fields["registry"], "trust.registry")
    anchors = []
    for item in as_list(fields["anchors"], "trust.anchors"):
        kind = item.get("kind") if isinstance(item, dict) else None
        names = ["chain", "genesis", "contract", "publisher"] if kind == "evm" else ["certificates"]
        anchor = as_object(item, ["kind", "class", *names], "trust.anchors")
        as_word(anchor["kind"], ["evm", "rfc3161"], "trust.anchors.kind")
        as_word(anchor["class"], _ANCHOR_CLASSES, "trust.anchors.class")
        anchors.append(anchor)
    blocks = fields["blocks"]
    require(isinstance(blocks, dict), "malformed", "trust.blocks: not an object")
    assert isinstance(blocks, dict)
    trusted = {}
    for chain, hashes in blocks.items():
        as_pattern(chain, "eip155:[1-9][0-9]*/0x[0-9a-f]{64}", "trust.blocks")
        items = as_list(hashes, "trust.blocks")
        trusted[chain] = frozenset(as_pattern(item, "0x[0-9a-f]{64}", "trust.blocks") for item in items)
    policy = parse_policy(as_text(fields["policy"], "trust.policy"))
    return Trust(policy, as_text(fields["registry"], "trust.registry"), tuple(anchors), trusted)


def verify_bundle(data: bytes, trust: Trust, block_hashes: Collection[str] = (), file: bytes | None = None) -> Result:
    """Checks a proof bundle (``*.proof.json``).

    Raises:
        RefutedError: with the code of the first step that refuses.
    """
    # 1 malformed
    bundle = as_object(parse(data), _BUNDLE, "bundle")
    as_word(bundle["trainmark"], ["proof/v1"], "bundle.trainmark")
    named = as_object(bundle["file"], ["digest", "kind"], "file")
    file_digest = digest_bytes(named["digest"], "file.digest")
    claim = None if bundle["claim"] is None else _read_claim(bundle["claim"])
    if claim is None:
        require(named["kind"] is None, "malformed", "file.kind: null in a proof of absence")
    else:
        as_word(named["kind"], list(snapshot.KINDS), "file.kind")
    note_data = as_text(bundle["checkpoint"], "checkpoint").encode()
    size = size_of(note_data)
    leaves = read_leaves(bundle["leaves"], size)
    statements = {leaf.index: leaf.statement for leaf in leaves}
    proofs = [snapshot.read_proof(item) for item in as_list(bundle["rows"], "rows")]
    require(len(proofs) <= 2, "malformed", "rows: more than two")
    anchors = read_anchors(bundle["anchors"])
    as_of = None
    if bundle["as_of"] is not None:
        as_of = as_time(as_object(bundle["as_of"], ["time"], "as_of")["time"], "as_of.time")
    manifest = None
    if claim is not None:
        manifest = statements.get(as_integer(claim["leaf"], "claim.leaf"))
        require(manifest is not None and manifest.type == "manifest", "malformed", "claim.leaf: no carried manifest")

    proved: set[str] = set()
    if claim is not None:
        assert manifest is not None
        header, entry = documents.check_header(claim["header"]), documents.check_entry(claim["entry"])
        # 2 file-mismatch
        if file is not None and named["kind"] != "content":
            require(hashlib.sha256(file).digest() == file_digest, "file-mismatch", "the file has another digest")
        documents.verify_file_digest(str(named["digest"]), str(named["kind"]), entry)
        # 3 entry-path
        index = as_integer(claim["entry_index"], "claim.entry_index")
        documents.verify_entry(header, entry, index, digest_list(claim["entry_path"], "claim.entry_path"))
        # 4 header-digest
        header_digest = digest(canonical(claim["header"]))
        require(header_digest == manifest.body["manifest"], "header-digest", "the leaf names another header")
        require(header["creator_id"] == manifest.by, "header-digest", "the leaf is not by the creator of the header")
        # 5 terms-digest
        terms_digest = digest(canonical(claim["terms"]))
        require(terms_digest == header["license_digest"], "terms-digest", "the header names other terms")
        proved |= {"file", "entry", "header", "terms"}
    elif file is not None:
        require(hashlib.sha256(file).digest() == file_digest, "file-mismatch", "the file has another digest")
    # 6 bad-signature
    for leaf in leaves:
        verify_statement(leaf.statement)
    # 7 checkpoint
    checkpoint = verify_checkpoint(note_data, trust.policy)
    # 8 leaf-path
    verify_leaves(leaves, checkpoint)
    result = Result(checkpoint, proved | {"signatures", "checkpoint", "leaves"})
    result.not_checked |= {"witnesses"} if trust.policy.quorum is None else set()
    result.not_checked |= {"file"} if file is None or named["kind"] == "content" else set()
    # 9 key-invalid
    parties = fold_keys([(leaf.index, leaf.statement) for leaf in leaves], checkpoint.origin)
    carried = {trust.registry} if manifest is None else {trust.registry, manifest.by}
    if claim is not None:
        assert manifest is not None
        at = as_integer(claim["leaf"], "claim.leaf")
        require(
            parties[manifest.by].is_valid(manifest.key, at, "manifest"),
            "key-invalid",
            "the key that signed the manifest statement is not valid at its index",
        )
        result.proved.add("key")
        result.asserted.add("keys-complete")
    # 10 wrong-log, void
    complete = {party: keys for party, keys in parties.items() if party in carried}
    result.void = void_leaves(leaves, checkpoint.origin, trust.registry, complete)
    needed = [as_integer(proof["leaf"], "rows.leaf") for proof in proofs]
    needed += [] if claim is None else [as_integer(claim["leaf"], "claim.leaf")]
    for index in needed:
        if index in statements:
            require(statements[index].log == checkpoint.origin, "wrong-log", f"leaf {index} is of another log")
            require(index not in result.void, "void", f"leaf {index}: {result.void.get(index)}")
    result.proved |= {"log"} if claim is not None else set()
    # 11 snapshot
    for proof in proofs:
        _verify_snapshot(proof, statements, file_digest, claim, str(named["kind"]), result)
    result.not_checked |= set() if proofs else {"snapshot"}
    # 12 anchor
    verify_anchors(anchors, checkpoint, trust, block_hashes, result)
    if as_of is not None:
        _verify_as_of(as_of, result)
    return result


def read_leaves(value: Json, size: int) -> list[Leaf]:
    """The carried leaves, ascending by index, all below the size of the checkpoint.

    Raises:
        RefutedError: ``malformed``.
    """
    leaves = []
    for item in as_list(value, "leaves"):
        fields = as_object(item, ["index", "statement", "path"], "leaves")
        index = as_integer(fields["index"], "leaves.index")
        require(index < size, "malformed", f"leaf {index} is not covered by the checkpoint")
        path = digest_list(fields["path"], "leaves.path")
        leaves.append(Leaf(index, read_statement(fields["statement"]), tuple(path)))
    indices = [leaf.index for leaf in leaves]
    require(indices == sorted(set(indices)), "malformed", "leaves not ascending by index")
    return leaves


def verify_leaves(leaves: Sequence[Leaf], checkpoint: Checkpoint) -> None:
    """Each carried leaf is in the tree of the checkpoint.

    Raises:
        RefutedError: ``leaf-path``.
    """
    for leaf in leaves:
        hashed = merkle.leaf_hash(leaf.statement.data)
        merkle.verify_inclusion(leaf.index, checkpoint.size, hashed, leaf.path, checkpoint.root, "leaf-path")


def void_leaves(leaves: Sequence[Leaf], origin: str, registry: str, parties: Mapping[str, Keys]) -> dict[int, str]:
    """Why carried leaves are void, as far as the carried leaves tell.

    ``parties`` holds those whose key leaves are all carried; the keys of others are not judged.
    """
    valid: dict[int, Statement] = {}
    void: dict[int, str] = {}
    for leaf in leaves:
        keys = parties.get(leaf.statement.by)
        reason = void_reason(leaf.index, leaf.statement, origin, registry, valid, keys)
        if reason is None:
            valid[leaf.index] = leaf.statement
        else:
            void[leaf.index] = reason
    return void


def read_anchors(value: Json) -> list[Anchor]:
    """The carried anchors, at most two.

    Raises:
        RefutedError: ``malformed``.
    """
    anchors = []
    for item in as_list(value, "anchors"):
        fields = as_object(item, ["size", "root", "consistency", "record"], "anchors")
        record = fields["record"]
        require(isinstance(record, dict), "malformed", "anchors.record: not an object")
        assert isinstance(record, dict)
        if record.get("kind") == "evm":
            receipt.read_record(record)
        else:
            as_object(record, ["kind", "token"], "anchors.record")
            as_word(record["kind"], ["rfc3161"], "anchors.record.kind")
            b64_decode(as_text(record["token"], "anchors.record.token"), "anchors.record.token")
        consistency = digest_list(fields["consistency"], "anchors.consistency", 128)
        root = digest_bytes(fields["root"], "anchors.root")
        anchors.append(Anchor(as_integer(fields["size"], "anchors.size", 1), root, tuple(consistency), record))
    require(len(anchors) <= 2, "malformed", "anchors: more than two")
    return anchors


def verify_anchors(
    anchors: Sequence[Anchor], checkpoint: Checkpoint, trust: Trust, block_hashes: Collection[str], result: Result
) -> None:
    """Checks the anchors and enters what they show into the result.

    Raises:
        RefutedError: ``anchor``.
    """
    for anchor in anchors:
        require(anchor.size <= checkpoint.size, "anchor", "an anchor of a size beyond the checkpoint")
        merkle.verify_consistency(
            anchor.size, checkpoint.size, anchor.root, checkpoint.root, anchor.consistency, "anchor"
        )
        if anchor.record["kind"] == "rfc3161":
            lines = [line for line in trust.anchors if line["kind"] == "rfc3161"]
            require(bool(lines), "anchor", "the trust file names no time-stamping authority")
            result.not_checked.add("rfc3161")
            result.anchors.append(Finding("rfc3161", str(lines[0]["class"]), anchor.size, None, None))
            continue
        names = ("kind", "chain", "genesis", "contract", "publisher")
        lines = [line for line in trust.anchors if all(line.get(name) == anchor.record[name] for name in names)]
        require(bool(lines), "anchor", "the trust file names no such anchor")
        found = receipt.verify_record(anchor.record)
        origin = hashlib.sha256(checkpoint.origin.encode()).digest()
        require(found.origin == origin, "anchor", "an anchor of another log")
        require((found.size, found.root) == (anchor.size, anchor.root), "anchor", "an anchor of another head")
        chain = f"{anchor.record['chain']}/{anchor.record['genesis']}"
        is_trusted = found.block_hash in trust.blocks.get(chain, frozenset()) or found.block_hash in block_hashes
        if is_trusted:
            result.proved.add("anchor")
        else:
            result.not_checked.add("block-hash")
        time = found.time if is_trusted else None
        result.anchors.append(Finding("evm", str(lines[0]["class"]), anchor.size, time, found.block_hash))
    if "anchor" not in result.proved:
        result.not_checked.add("anchor")


def _read_claim(value: Json) -> dict[str, Json]:
    claim = as_object(value, _CLAIM, "claim")
    documents.check_header(claim["header"])
    documents.check_entry(claim["entry"])
    as_integer(claim["entry_index"], "claim.entry_index")
    digest_list(claim["entry_path"], "claim.entry_path")
    documents.check_terms(claim["terms"])
    as_integer(claim["leaf"], "claim.leaf")
    return claim


def size_of(note_data: bytes) -> int:
    """The size that the checkpoint names, read before its signatures are checked (step 7)."""
    lines = parse_note(note_data).text.split("\n")
    require(len(lines) > 1 and lines[1].isascii() and lines[1].isdecimal(), "malformed", "the size of the checkpoint")
    return int(lines[1])


def _verify_snapshot(
    proof: dict[str, Json],
    statements: Mapping[int, Statement],
    file_digest: bytes,
    claim: dict[str, Json] | None,
    kind: str,
    result: Result,
) -> None:
    statement = statements.get(as_integer(proof["leaf"], "rows.leaf"))
    require(statement is not None and statement.type == "snapshot", "snapshot", "its snapshot leaf is not carried")
    assert statement is not None
    rows = snapshot.verify_rows(proof, statement.body, file_digest)
    result.proved.add("snapshot")
    result.rows.append(rows)
    if claim is None:
        require(not rows, "snapshot", "a proof of absence that shows rows")
        result.asserted.add("absent")
        return
    named = (claim["leaf"], claim["entry_index"], snapshot.KINDS[kind])
    matching = [row for row in rows if (row.leaf, row.entry, row.kind) == named]
    require(len(matching) <= 1, "snapshot", "two rows of one manifest, entry and kind")
    if not matching:
        result.asserted.add("absent")
        return
    terms = documents.check_terms(claim["terms"])
    uses = terms["uses"]
    assert isinstance(uses, dict)
    require(matching[0].uses == documents.uses_code(uses), "snapshot", "the row holds other uses than the terms")
    result.asserted.add(next(name for name, code in snapshot.STATES.items() if code == matching[0].state))


def _verify_as_of(time: int, result: Result) -> None:
    """N is the last anchored size whose block time is not after T, N' the next one (section 4, terms as of T)."""
    if not result.anchors or any(finding.time is None for finding in result.anchors):
        result.not_checked.add("as-of")
        return
    times = [finding.time for finding in result.anchors if finding.time is not None]
    require(times == sorted(times) and times[0] <= time, "anchor", "the first anchor is later than as_of")
    if len(times) == 1:
        result.not_checked.add("as-of")  # the next anchored size is not shown
        return
    require(time < times[1], "anchor", "the second anchor is not later than as_of")
    require(result.anchors[0].size < result.anchors[1].size, "anchor", "the second anchor is of no larger size")
    result.proved.add("as-of")
