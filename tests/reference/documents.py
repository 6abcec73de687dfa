"""Header, entry, manifest file, attribution file and license terms: docs/format.md, sections 2 and 3.

Shapes are exact: each key, each vocabulary, each limit.  Pictures are not opened: content hashes and fingerprints are
compared, never computed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from . import ed25519, merkle
from .jcs import (
    Json,
    as_boolean,
    as_integer,
    as_list,
    as_object,
    as_pattern,
    as_text,
    as_time,
    as_word,
    b64url_decode,
    canonical,
    digest,
    digest_bytes,
    parse,
)
from .refuted import require
from .statement import Statement, read_statement, verify_statement

MAX_MANIFEST_BYTES = 128 * 2**20
MAX_ENTRIES = 100_000
MAX_TEXT = 4096

_HEADER = [
    "type",
    "v",
    "dataset_id",
    "title",
    "version",
    "part",
    "parts",
    "creator_id",
    "creator_name",
    "license_id",
    "license_url",
    "license_digest",
    "attribution_url",
    "required_attribution_text",
    "entries_root",
    "entry_count",
    "created_at",
]
_ENTRY = [
    "path",
    "media_type",
    "size",
    "provenance_hash",
    "published_hash",
    "content_hash",
    "fingerprints",
    "rights_status",
    "release_status",
    "releases",
    "privacy",
    "price_tier",
    "salt",
]
_TERMS = [
    "type",
    "v",
    "license_id",
    "license_url",
    "text_digest",
    "uses",
    "audience",
    "attribution_required",
    "exclusive_months",
    "exclusive_after",
    "term_months",
    "territory",
    "revocation",
    "payment",
    "audit_per_year",
    "require",
]
_PAYMENT = ["model", "currency", "tiers", "share_bp", "cadence", "minimum", "termination", "escrow"]
_ATTRIBUTION = [
    "trainmark",
    "creator_id",
    "creator_name",
    "license_id",
    "license_url",
    "provenance_hash",
    "required_attribution_text",
    "header",
    "entry",
    "entry_index",
    "entry_path",
    "statements",
]
USES = [
    "search",
    "mine",
    "evaluate",
    "infer",
    "train",
    "train-generative",
    "finetune",
    "deploy",
    "share-model",
    "sell-outputs",
    "share-data",
]
_DECIMAL = r"(0|[1-9][0-9]*)(\.[0-9]+)?"
# The characters that turn the direction of text: ALM, LRM, RLM, the embeddings and overrides, the isolates.
_BIDI = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest file that holds together; ``digest`` is that of its header."""

    digest: str
    header: dict[str, Json]
    entries: tuple[dict[str, Json], ...]
    statements: tuple[Statement, ...]


def check_header(value: Json) -> dict[str, Json]:
    """A header of the exact shape.

    Raises:
        RefutedError: ``malformed``.
    """
    header = as_object(value, _HEADER, "header")
    as_word(header["type"], ["manifest"], "header.type")
    as_integer(header["v"], "header.v", 1, 1)
    as_pattern(header["dataset_id"], "urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "header.dataset_id")
    parts = as_integer(header["parts"], "header.parts", 1)
    as_integer(header["part"], "header.part", 1, parts)
    ed25519.did_decode(header["creator_id"], "header.creator_id")
    for key in ("title", "version", "creator_name", "required_attribution_text"):
        check_line(header[key], f"header.{key}")
    for key in ("license_id", "license_url", "attribution_url"):
        _identifier(header[key], f"header.{key}")
    for key in ("license_digest", "entries_root"):
        digest_bytes(header[key], f"header.{key}")
    as_integer(header["entry_count"], "header.entry_count", 0, MAX_ENTRIES)
    as_time(header["created_at"], "header.created_at")
    return header


def check_entry(value: Json) -> dict[str, Json]:
    """An entry of the exact shape.

    Raises:
        RefutedError: ``malformed``.
    """
    entry = as_object(value, _ENTRY, "entry")
    _path(entry["path"])
    _identifier(entry["media_type"], "entry.media_type")
    as_integer(entry["size"], "entry.size")
    digest_bytes(entry["provenance_hash"], "entry.provenance_hash")
    digest_bytes(entry["published_hash"], "entry.published_hash")
    if entry["content_hash"] is not None:
        digest_bytes(entry["content_hash"], "entry.content_hash")
    for name, code in as_object(entry["fingerprints"], ["dhash", "iscc", "pdq"], "entry.fingerprints").items():
        if code is not None:
            as_pattern(code, "[0-9a-f]{64}", f"entry.fingerprints.{name}")
    as_word(entry["rights_status"], ["owned", "licensed", "restricted", "needs-release"], "entry.rights_status")
    as_word(entry["release_status"], ["not-required", "on-file", "missing"], "entry.release_status")
    for item in as_list(entry["releases"], "entry.releases"):
        release = as_object(item, ["kind", "evidence"], "entry.releases")
        as_word(release["kind"], ["model", "property", "guardian"], "entry.releases.kind")
        digest_bytes(release["evidence"], "entry.releases.evidence")
    for name, word in as_object(entry["privacy"], ["face", "minor", "pii", "biometric"], "entry.privacy").items():
        as_word(word, ["yes", "no", "unknown"], f"entry.privacy.{name}")
    as_pattern(entry["price_tier"], "[a-z0-9-]{1,32}", "entry.price_tier")
    b64url_decode(entry["salt"], "entry.salt", 32)
    return entry


def check_terms(value: Json) -> dict[str, Json]:
    """License terms of the exact shape.

    Raises:
        RefutedError: ``malformed``.
    """
    terms = as_object(value, _TERMS, "terms")
    as_word(terms["type"], ["license"], "terms.type")
    as_integer(terms["v"], "terms.v", 1, 1)
    _identifier(terms["license_id"], "terms.license_id")
    _identifier(terms["license_url"], "terms.license_url")
    digest_bytes(terms["text_digest"], "terms.text_digest")
    for name, word in as_object(terms["uses"], USES, "terms.uses").items():
        as_word(word, ["yes", "no", "ask"], f"terms.uses.{name}")
    as_word(terms["audience"], ["any", "non-commercial", "research"], "terms.audience")
    as_boolean(terms["attribution_required"], "terms.attribution_required")
    as_word(terms["exclusive_after"], ["non-exclusive", "delist"], "terms.exclusive_after")
    for key in ("exclusive_months", "term_months", "audit_per_year"):
        as_integer(terms[key], f"terms.{key}")
    for country in as_list(terms["territory"], "terms.territory"):
        as_pattern(country, "world|[A-Z]{2}", "terms.territory")
    revocation = as_object(terms["revocation"], ["notice_days", "trained_models"], "terms.revocation")
    as_integer(revocation["notice_days"], "terms.revocation.notice_days")
    as_word(revocation["trained_models"], ["keep", "retire"], "terms.revocation.trained_models")
    _check_payment(terms["payment"])
    for word in as_list(terms["require"], "terms.require"):
        as_word(word, ["manifest", "token"], "terms.require")
    return terms


def uses_code(uses: dict[str, Json]) -> int:
    """The number that a row of a snapshot holds: two bits for each use, 0 no, 1 yes, 2 ask."""
    return sum(["no", "yes", "ask"].index(str(uses[name])) << (2 * n) for n, name in enumerate(USES))


def verify_entry(header: dict[str, Json], entry: dict[str, Json], index: int, path: Sequence[bytes]) -> None:
    """The entry is number ``index`` of the header's tree; root and count come from the header.

    Raises:
        RefutedError: ``entry-path``.
    """
    size = as_integer(header["entry_count"], "header.entry_count")
    root = digest_bytes(header["entries_root"], "header.entries_root")
    merkle.verify_inclusion(index, size, merkle.leaf_hash(canonical(entry)), path, root, "entry-path")


def verify_file_digest(file_digest: str, kind: str, entry: dict[str, Json]) -> None:
    """The digest is the one that the entry holds under this kind.

    Raises:
        RefutedError: ``file-mismatch``.
    """
    held = entry[f"{as_word(kind, ['provenance', 'published', 'content'], 'kind')}_hash"]
    require(held is not None and held == file_digest, "file-mismatch", f"the entry holds another {kind} hash")


def verify_manifest(data: bytes) -> Manifest:
    """A whole ``dataset_manifest.json``: shapes, order, paths, root and count, every statement on it.

    Raises:
        RefutedError: with the code of the step.
    """
    require(len(data) <= MAX_MANIFEST_BYTES, "malformed", "a manifest of more than 128 MiB")
    file = as_object(parse(data), ["trainmark", "header", "entries", "statements"], "manifest")
    as_word(file["trainmark"], ["manifest/v1"], "trainmark")
    header = check_header(file["header"])
    entries = [check_entry(entry) for entry in as_list(file["entries"], "entries")]
    require(len(entries) == header["entry_count"], "entry-path", f"{len(entries)} entries, not entry_count")
    names = [str(entry["path"]) for entry in entries]
    require(names == sorted(set(names), key=str.encode), "malformed", "entries not ascending by path")
    folded = {unicodedata.normalize("NFC", name.casefold()) for name in names}
    require(len(folded) == len(names), "malformed", "two paths differ only in case")
    require(
        merkle.root([canonical(entry) for entry in entries]) == digest_bytes(header["entries_root"], "entries_root"),
        "entry-path",
        "the entries have another root than the header says",
    )
    statements = [read_statement(item) for item in as_list(file["statements"], "statements")]
    order = [(statement.log is not None, statement.log or "", statement.by) for statement in statements]
    require(order == sorted(set(order)), "malformed", "statements not ascending by log, or two of one by and log")
    for statement in statements:
        _verify_about(statement, header)
    return Manifest(digest(canonical(header)), header, tuple(entries), tuple(statements))


def verify_attribution(data: bytes) -> dict[str, Json]:
    """An attribution file: signature and membership; neither time nor state.

    Raises:
        RefutedError: with the code of the step.
    """
    file = as_object(parse(data), _ATTRIBUTION, "attribution")
    as_word(file["trainmark"], ["attribution/v1"], "trainmark")
    header, entry = check_header(file["header"]), check_entry(file["entry"])
    for key in ("creator_id", "creator_name", "license_id", "license_url", "required_attribution_text"):
        require(file[key] == header[key], "malformed", f"{key} differs from the header's")
    require(
        file["provenance_hash"] == entry["provenance_hash"], "malformed", "provenance_hash differs from the entry's"
    )
    path = [digest_bytes(item, "entry_path") for item in as_list(file["entry_path"], "entry_path")]
    verify_entry(header, entry, as_integer(file["entry_index"], "entry_index"), path)
    statements = [read_statement(item) for item in as_list(file["statements"], "statements")]
    require(bool(statements), "bad-signature", "no statement")
    for statement in statements:
        _verify_about(statement, header)
    return file


def check_line(value: object, field: str) -> None:
    """A name, title or attribution text: one line, not empty, without spaces around it or bidi controls.

    Raises:
        RefutedError: ``malformed``.
    """
    text = _short(value, field)
    require(bool(text) and text == text.strip(), "malformed", f"{field}: empty, or with spaces around it")
    bad = [c for c in text if unicodedata.category(c) in {"Cc", "Zl", "Zp"} or ord(c) in _BIDI]
    require(not bad, "malformed", f"{field}: not one line, or a bidi control")


def _verify_about(statement: Statement, header: dict[str, Json]) -> None:
    require(statement.type == "manifest", "header-digest", "a statement about something else")
    require(statement.by == header["creator_id"], "header-digest", "a statement by somebody else")
    named = statement.body["manifest"]
    require(named == digest(canonical(header)), "header-digest", "a statement about another header")
    verify_statement(statement)


def _check_payment(value: Json) -> None:
    payment = as_object(value, _PAYMENT, "payment")
    as_word(payment["model"], ["free", "per-sample", "dataset", "subscription", "per-use"], "payment.model")
    as_pattern(payment["currency"], "[A-Z]{3}", "payment.currency")
    tiers = payment["tiers"]
    require(isinstance(tiers, dict), "malformed", "payment.tiers: not an object")
    assert isinstance(tiers, dict)
    for tier, price in tiers.items():
        as_pattern(tier, "[a-z0-9-]{1,32}", "payment.tiers")
        as_pattern(price, _DECIMAL, f"payment.tiers.{tier}")
    as_integer(payment["share_bp"], "payment.share_bp", 0, 10_000)
    as_word(payment["cadence"], ["once", "monthly", "quarterly", "yearly"], "payment.cadence")
    as_pattern(payment["minimum"], _DECIMAL, "payment.minimum")
    as_pattern(payment["termination"], _DECIMAL, "payment.termination")
    as_boolean(payment["escrow"], "payment.escrow")


def _identifier(value: object, field: str) -> None:
    text = _short(value, field)
    require(bool(text) and all("!" <= c <= "~" for c in text), "malformed", f"{field}: not printable ASCII")


def _path(value: object) -> None:
    text = _short(value, "entry.path")
    bad = [c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp"} or c == "\\"]
    require(not bad, "malformed", "entry.path: a character that no path holds")
    parts = text.split("/")
    require(all(part not in ("", ".", "..") for part in parts), "malformed", "entry.path: not relative and plain")
    require(re.match("[A-Za-z]:", text) is None, "malformed", "entry.path: a drive")


def _short(value: object, field: str) -> str:
    text = as_text(value, field)
    require(len(text.encode()) <= MAX_TEXT, "malformed", f"{field}: more than 4 KiB")
    return text
