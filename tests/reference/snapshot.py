"""Snapshots: rows, buckets, and the proof that a digest has these rows or none: docs/format.md, section 7."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import merkle
from .jcs import Json, as_integer, as_list, as_object, as_pattern, as_text, digest_bytes, digest_list
from .refuted import require

KINDS = {"provenance": 1, "published": 2, "content": 3}
STATES = {"listed": 1, "disputed": 2, "withdrawing": 3, "ended": 4, "contested": 5}
ROW_BYTES = 48

_PROOF = ["leaf", "bits", "bucket", "top_path", "count", "root", "run"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row; ``data`` is its 48 bytes."""

    data: bytes
    digest: bytes
    leaf: int
    entry: int
    kind: int
    state: int
    uses: int


def pack_row(digest: bytes, leaf: int, entry: int, kind: int, state: int, uses: int) -> bytes:
    """digest 32, manifest leaf u64, entry u24, kind * 16 + state u8, uses u32, all big-endian."""
    assert len(digest) == 32
    return (
        digest
        + leaf.to_bytes(8, "big")
        + entry.to_bytes(3, "big")
        + bytes([kind * 16 + state])
        + uses.to_bytes(4, "big")
    )


def parse_row(data: bytes) -> Row:
    """Reads a row.

    Raises:
        RefutedError: another length, a kind or a state that does not exist.
    """
    require(len(data) == ROW_BYTES, "malformed", f"a row of {len(data)} bytes")
    kind, state = divmod(data[43], 16)
    require(kind in KINDS.values() and state in STATES.values(), "malformed", "the kind or the state of a row")
    leaf, entry, uses = (int.from_bytes(part, "big") for part in (data[32:40], data[40:43], data[44:]))
    return Row(data, data[:32], leaf, entry, kind, state, uses)


def bits_of(rows: int) -> int:
    """clamp(floor(log2(rows / 128)), 0, 24)."""
    bits = 0
    while bits < 24 and rows >= 128 * 2 ** (bits + 1):
        bits += 1
    return bits


def bucket_of(digest: bytes, bits: int) -> int:
    """The number that the first ``bits`` bits of a digest write."""
    return int.from_bytes(digest[:4], "big") >> (32 - bits)


def split_rows(rows: Sequence[bytes]) -> list[list[bytes]]:
    """The buckets of a snapshot of these rows, which are sorted and distinct."""
    require(list(rows) == sorted(set(rows)), "malformed", "rows not ascending")
    bits = bits_of(len(rows))
    buckets: list[list[bytes]] = [[] for _ in range(2**bits)]
    for row in rows:
        buckets[bucket_of(row, bits)].append(row)
    return buckets


def top_leaf(count: int, root: bytes) -> bytes:
    """A leaf of the top tree: the number of rows of a bucket (u32) and its root."""
    return count.to_bytes(4, "big") + root


def top(rows: Sequence[bytes]) -> list[bytes]:
    """The top leaves of a snapshot of these rows; its ``root`` is ``merkle.root`` of them."""
    return [top_leaf(len(bucket), merkle.root(bucket)) for bucket in split_rows(rows)]


def prove(rows: Sequence[bytes], digest: bytes, leaf: int) -> dict[str, Json]:
    """The proof of all rows of a digest in a snapshot of these rows that is logged at index ``leaf``."""
    buckets = split_rows(rows)
    number = bucket_of(digest, bits_of(len(rows)))
    bucket = buckets[number]
    hashes = [merkle.leaf_hash(row) for row in bucket]
    first = max(0, sum(row[:32] < digest for row in bucket) - 1)
    last = min(len(bucket), sum(row[:32] <= digest for row in bucket) + 1)
    run: list[Json] = [
        {"index": i, "row": bucket[i].hex(), "path": _digests(merkle.path(i, hashes))} for i in range(first, last)
    ]
    path = merkle.path(number, [merkle.leaf_hash(item) for item in top(rows)])
    return {
        "leaf": leaf,
        "bits": bits_of(len(rows)),
        "bucket": number,
        "top_path": _digests(path),
        "count": len(bucket),
        "root": _digests([merkle.tree(hashes)])[0],
        "run": run,
    }


def read_proof(value: Json) -> dict[str, Json]:
    """The fields of a proof, of the exact shape.

    Raises:
        RefutedError: ``malformed``.
    """
    proof = as_object(value, _PROOF, "rows")
    as_integer(proof["leaf"], "rows.leaf")
    bits = as_integer(proof["bits"], "rows.bits", 0, 24)
    as_integer(proof["bucket"], "rows.bucket", 0, 2**bits - 1)
    digest_list(proof["top_path"], "rows.top_path")
    as_integer(proof["count"], "rows.count", 0, 2**32 - 1)
    digest_bytes(proof["root"], "rows.root")
    for item in as_list(proof["run"], "rows.run"):
        step = as_object(item, ["index", "row", "path"], "rows.run")
        as_integer(step["index"], "rows.run.index")
        as_pattern(step["row"], "[0-9a-f]{96}", "rows.run.row")
        digest_list(step["path"], "rows.run.path")
    return proof


def verify_rows(value: Json, snapshot: Mapping[str, Json], digest: bytes) -> list[Row]:
    """All rows of a digest in a logged snapshot, none if it holds none; ``snapshot`` is the body of its statement.

    Raises:
        RefutedError: ``malformed`` for the shape, ``snapshot`` for what it holds.
    """
    proof = read_proof(value)
    bits = as_integer(proof["bits"], "rows.bits")
    bucket = as_integer(proof["bucket"], "rows.bucket")
    count = as_integer(proof["count"], "rows.count")
    total, size = as_integer(snapshot["count"], "snapshot.count"), as_integer(snapshot["size"], "snapshot.size")
    require(bits == snapshot["bits"], "snapshot", "another number of bits than the snapshot says")
    require(bits == bits_of(total), "snapshot", "a number of bits that does not follow from the count")
    require(count <= total, "snapshot", "a bucket of more rows than the snapshot has")
    require(bucket == bucket_of(digest, bits), "snapshot", "the bucket of another digest")
    root = digest_bytes(proof["root"], "rows.root")
    top_hash = merkle.leaf_hash(top_leaf(count, root))
    top_path = digest_list(proof["top_path"], "rows.top_path")
    snapshot_root = digest_bytes(snapshot["root"], "snapshot.root")
    merkle.verify_inclusion(bucket, 2**bits, top_hash, top_path, snapshot_root, "snapshot")
    run = [as_object(item, ["index", "row", "path"], "rows.run") for item in as_list(proof["run"], "rows.run")]
    if count == 0:
        require(not run and root == hashlib.sha256(b"").digest(), "snapshot", "an empty bucket with rows or a root")
        return []
    require(bool(run), "snapshot", "a bucket with rows, and none shown")
    indices = [as_integer(step["index"], "rows.run.index") for step in run]
    require(indices == list(range(indices[0], indices[0] + len(run))), "snapshot", "rows that do not follow each other")
    rows = []
    for index, step in zip(indices, run, strict=True):
        data = bytes.fromhex(as_text(step["row"], "rows.run.row"))
        path = digest_list(step["path"], "rows.run.path")
        merkle.verify_inclusion(index, count, merkle.leaf_hash(data), path, root, "snapshot")
        rows.append(parse_row(data))
    _verify_run(rows, indices[0], count, digest)
    found = [row for row in rows if row.digest == digest]
    require(all(bucket_of(row.digest, bits) == bucket for row in rows), "snapshot", "a row in a bucket not its own")
    require(all(row.leaf < size for row in rows), "snapshot", "a row of a leaf beyond the snapshot's size")
    return found


def _verify_run(rows: list[Row], first: int, count: int, digest: bytes) -> None:
    """The run goes from the last row before the digest to the first one behind it, or to the ends of the bucket."""
    data = [row.data for row in rows]
    require(data == sorted(set(data)), "snapshot", "rows not ascending")
    before = sum(row.digest < digest for row in rows)
    behind = sum(row.digest > digest for row in rows)
    require(before == 1 or (before == 0 and first == 0), "snapshot", "the run does not begin just before the digest")
    at_end = first + len(rows) == count
    require(behind == 1 or (behind == 0 and at_end), "snapshot", "the run does not end just behind the digest")


def _digests(hashes: Sequence[bytes]) -> list[Json]:
    return ["sha256:" + item.hex() for item in hashes]
