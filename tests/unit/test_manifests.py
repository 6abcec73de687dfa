"""Headers, entries, the manifest file and the attribution manifest (docs/format.md, section 2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ledger import manifests as m
from ledger.canonical import Object, parse
from ledger.encoding import digest_encode, sha256
from ledger.errors import MalformedError, VerificationError
from ledger.manifests import (
    Attribution,
    Manifest,
    entries_root,
    format_attribution,
    format_manifest,
    parse_attribution,
    parse_manifest,
    read_entry,
    read_header,
    same_place,
    verify_entry,
    with_statement,
)
from ledger.merkle import Tree, leaf_hashes
from ledger.statements import Statement, manifest_body, sign_statement
from tests.reference import documents as reference
from tests.reference import merkle as reference_merkle
from tests.reference.refuted import RefutedError
from tests.simulator import ORIGIN, Library, digest, entry, entry_fields, key, library, license_of, reading, writing
from tests.support.mangling import WRONG, extended, places, refusal, removed, replaced

EVA = key("eva")
PICTURES = library("pictures", EVA, 5)
STATEMENTS = (PICTURES.statement(log=None), PICTURES.statement())
MANIFEST = Manifest(PICTURES.header, PICTURES.entries, STATEMENTS)
DATA = format_manifest(MANIFEST)
PATH = tuple(Tree(leaf_hashes(e.data for e in PICTURES.entries)).inclusion_proof(2))
ATTRIBUTION = Attribution(PICTURES.header, PICTURES.entries[2], 2, PATH, STATEMENTS)
ATTRIBUTION_DATA = format_attribution(ATTRIBUTION)


# -- entries


def test_an_entry() -> None:
    item = entry("one")
    assert item.digests == (
        ("provenance", digest("one, original")),
        ("published", digest("one, published")),
        ("content", digest("one, content")),
    )
    assert [item.kind_of(d) for _, d in item.digests] == ["provenance", "published", "content"]
    assert item.kind_of(digest("other")) is None
    assert item.blocks_listing is None
    assert read_entry(reading(item.data)) == item
    plain = entry("plain", content_hash=None, published_hash=digest_encode(digest("plain, original")))
    assert [kind for kind, _ in plain.digests] == ["provenance", "published"]
    assert plain.kind_of(plain.provenance_hash) == "provenance"  # the first kind under which it has that digest


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rights_status": "restricted"}, "rights_status restricted"),
        ({"rights_status": "needs-release"}, "rights_status needs-release"),
        ({"release_status": "missing"}, "release_status missing"),
        ({"privacy": {"face": "unknown", "minor": "no", "pii": "unknown", "biometric": "no"}}, "privacy face unknown"),
        ({"rights_status": "licensed"}, None),
        ({"privacy": {"face": "yes", "minor": "yes", "pii": "yes", "biometric": "yes"}}, None),
    ],
)
def test_what_blocks_a_listing(changes: Object, why: str | None) -> None:
    assert entry("one", **changes).blocks_listing == why


def test_every_value_of_an_entry() -> None:
    every_value(entry_fields("one"), read_entry, "entry", 30)


def test_every_value_of_a_header() -> None:
    every_value(reading(PICTURES.header.data), read_header, "header", 25)


def every_value(value: Any, read: Any, field: str, most: int) -> None:
    """Asserts that a value of another form is refused by its name, and what is accepted has another digest.

    And that whatever the reference refuses is refused here.
    """
    check = reference.check_entry if field == "entry" else reference.check_header
    accepted = 0
    for path in places(value):
        for wrong in WRONG:
            changed = replaced(value, path, wrong)
            if changed == value:
                continue
            error = refusal(lambda data: read(parse(data, field, 9999)), writing(changed))
            if error is None:
                accepted += 1
                assert read(changed).data != read(value).data
                check(changed)
                continue
            name = [str(part) for part in path if isinstance(part, str)][-1]
            assert name in str(error), (path, wrong, error)
            assert (error.field or "").startswith(field)
        if isinstance(path[-1], str):
            for changed, why in ((removed(value, path), "missing key"), (extended(value, path), "unknown key")):
                with pytest.raises(MalformedError, match=why):
                    read(changed)
                with pytest.raises(RefutedError):
                    check(changed)
    assert accepted <= most


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"path": "../a"}, "path"),
        ({"media_type": "Image/PNG"}, "media_type"),
        ({"media_type": "image"}, "media_type"),
        ({"media_type": "image/" + "x" * 128}, "media_type"),
        ({"size": -1}, "size"),
        ({"provenance_hash": None}, "provenance_hash"),
        ({"published_hash": "sha256:0"}, "published_hash"),
        ({"fingerprints": {"dhash": None, "iscc": "AB" * 32, "pdq": None}}, "fingerprints.iscc"),
        ({"fingerprints": {"dhash": "0" * 63, "iscc": None, "pdq": None}}, "fingerprints.dhash"),
        ({"rights_status": "mine"}, "rights_status"),
        ({"release_status": "yes"}, "release_status"),
        ({"releases": [{"kind": "pet", "evidence": digest_encode(bytes(32))}]}, "releases[0].kind"),
        ({"releases": [{"kind": "model", "evidence": None}]}, "releases[0].evidence"),
        ({"releases": [{"kind": "model", "evidence": digest_encode(bytes(32))}] * 33}, "releases"),
        ({"privacy": {"face": "maybe", "minor": "no", "pii": "no", "biometric": "no"}}, "privacy.face"),
        ({"price_tier": "Gold"}, "price_tier"),
        ({"price_tier": ""}, "price_tier"),
        ({"salt": "A" * 42}, "salt"),
        ({"salt": "A" * 43 + "="}, "salt"),
    ],
)
def test_what_no_entry_is(changes: Object, field: str) -> None:
    with pytest.raises(MalformedError) as caught:
        entry("one", **changes)
    assert caught.value.field == f"entry.{field}"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"v": 2}, "v"),
        ({"type": "license"}, "type"),
        ({"dataset_id": "00000000-0000-4000-8000-000000000001"}, "dataset_id"),
        ({"dataset_id": "urn:uuid:00000000-0000-4000-8000-00000000000G"}, "dataset_id"),
        ({"title": ""}, "title"),
        ({"title": "two\nlines"}, "title"),
        ({"version": "v 1"}, "version"),
        ({"version": "1" * 65}, "version"),
        ({"part": 0}, "part"),
        ({"part": 2}, "part"),
        ({"parts": 0}, "parts"),
        ({"parts": 10_001}, "parts"),
        ({"creator_id": "eva"}, "creator_id"),
        ({"creator_name": " Eva"}, "creator_name"),
        ({"license_url": "//x"}, "license_url"),
        ({"entry_count": 0}, "entry_count"),
        ({"entry_count": 100_001}, "entry_count"),
        ({"created_at": "2026"}, "created_at"),
    ],
)
def test_what_no_header_is(changes: Object, field: str) -> None:
    with pytest.raises(MalformedError) as caught:
        read_header({**reading(PICTURES.header.data), **changes})
    assert caught.value.field == f"header.{field}"


# -- the manifest file


def test_a_manifest_is_read_back() -> None:
    assert parse_manifest(DATA) == MANIFEST
    assert format_manifest(parse_manifest(DATA)) == DATA
    read = reference.verify_manifest(DATA)
    assert read.digest == digest_encode(PICTURES.header.digest) == digest_encode(sha256(PICTURES.header.data))
    assert len(read.entries) == 5
    assert entries_root(PICTURES.entries) == reference_merkle.root([e.data for e in PICTURES.entries])


def test_the_header_binds_the_entries() -> None:
    value = reading(DATA)
    others = [
        replaced(value, ("entries", 0, "size"), 1),
        replaced(value, ("entries", 0, "salt"), value["entries"][1]["salt"]),
        {**value, "entries": value["entries"][:-1]},
        {**value, "entries": [*value["entries"], entry_fields("z")]},
    ]
    for changed in others:
        with pytest.raises(VerificationError) as caught:
            parse_manifest(writing(changed))
        assert (caught.value.code, caught.value.field) == ("entry-path", "entries")
        with pytest.raises(RefutedError):
            reference.verify_manifest(writing(changed))


def test_entries_are_sorted_by_the_bytes_of_their_path() -> None:
    names = ["B", "a", "b/a", "b0", "é", "\uffee", "😀"]  # UTF-8 order, which UTF-16 does not have
    entries = [entry(f"{n}", path=name) for n, name in enumerate(names)]
    m.check_order(entries)
    for at in range(len(entries) - 1):
        swapped = [*entries[:at], entries[at + 1], entries[at], *entries[at + 2 :]]
        with pytest.raises(MalformedError, match="comes too late"):
            m.check_order(swapped)
    with pytest.raises(MalformedError, match="comes too late"):
        m.check_order([entries[0], entries[0]])


@pytest.mark.parametrize(("one", "other"), [("A.png", "a.png"), ("STRASSE", "straße"), ("a/B", "a/b")])
def test_paths_differ_where_case_does_not_count(one: str, other: str) -> None:
    with pytest.raises(MalformedError, match="one name where case does not count") as caught:
        m.check_order([entry("1", path=one), entry("2", path=other)])
    assert caught.value.field == "entries"


def test_statements_are_of_this_header_and_in_order() -> None:
    other = sign_statement("manifest", EVA.did, EVA, ORIGIN, manifest_body(bytes(32)))
    token = sign_statement("token", EVA.did, EVA, ORIGIN, {"token": digest_encode(bytes(32))})
    first, second = STATEMENTS
    third = PICTURES.statement(log="other.example/log")
    for statements in ((other,), (token,), (second, first), (first, first), (second, third), (first, second, second)):
        with pytest.raises(MalformedError) as caught:
            parse_manifest(format_manifest(replace(MANIFEST, statements=statements)))
        assert caught.value.field == "statements"
    good: list[tuple[Statement, ...]] = [(), (first,), (second,), (first, third, second)]
    for found in good:
        whole = replace(MANIFEST, statements=found)
        assert parse_manifest(format_manifest(whole)) == whole


def test_a_statement_takes_its_place() -> None:
    first, second = STATEMENTS
    third = PICTURES.statement(log="other.example/log")
    found: tuple[Statement, ...] = ()
    for added in (second, third, first):
        found = with_statement(found, added)
    assert found == (first, third, second)
    again = PICTURES.statement(supersedes=(3,))
    assert with_statement(found, again) == (first, third, again)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("trainmark",), "manifest/v2"),
        (("entries",), []),
        (("entries",), {}),
        (("header",), None),
        (("statements",), None),
        (("statements",), [reading(STATEMENTS[1].data)] * 65),
    ],
)
def test_what_no_manifest_is(path: tuple[str, ...], wrong: Any) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_manifest(writing(replaced(reading(DATA), path, wrong)))
    assert path[-1] in (caught.value.field or "")


def test_errors_name_the_entry() -> None:
    with pytest.raises(MalformedError) as caught:
        parse_manifest(writing(replaced(reading(DATA), ("entries", 3, "price_tier"), "Gold")))
    assert caught.value.field == "entries[3].price_tier"


# -- one file's attribution manifest


def test_an_attribution_is_read_back() -> None:
    assert parse_attribution(ATTRIBUTION_DATA) == ATTRIBUTION
    assert reference.verify_attribution(ATTRIBUTION_DATA)["entry_index"] == 2


def test_every_value_of_an_attribution() -> None:
    """All of it follows from header and entry, or is a statement: no value can be changed without a refusal."""
    value = reading(ATTRIBUTION_DATA)
    refused = 0
    for path in places(value):
        for wrong in WRONG:
            changed = writing(replaced(value, path, wrong))
            if changed == ATTRIBUTION_DATA:
                continue
            if path[0] == "statements" and len(path) > 1:
                continue  # whose signatures are checked elsewhere
            if path == ("statements",) and wrong == []:
                continue
            with pytest.raises((MalformedError, VerificationError)):
                parse_attribution(changed)
            refused += 1
    assert refused > 500


def test_the_path_of_an_entry() -> None:
    header, entries = PICTURES.header, PICTURES.entries
    verify_entry(header, entries[2], 2, PATH)
    for item, index, path in (
        (entries[1], 2, PATH),
        (entries[2], 1, PATH),
        (entries[2], 3, PATH),
        (entries[2], 5, PATH),
        (entries[2], 2, PATH[:-1]),
        (entries[2], 2, (*PATH, bytes(32))),
        (entries[2], 2, PATH[::-1]),
    ):
        with pytest.raises(VerificationError) as caught:
            verify_entry(header, item, index, path)
        assert (caught.value.code, caught.value.field) == ("entry-path", "entry_path")


def test_places() -> None:
    one = PICTURES.header
    assert same_place(one, Library.of(EVA, [entry("x")], header={"dataset_id": one.dataset_id}).header)
    for change in ({"version": "2"}, {"part": 1, "parts": 2}):
        header: Object = {**reading(one.data), **change}
        assert same_place(one, read_header(header)) == ("version" not in change)
    assert not same_place(one, library("pictures", key("bob"), 5).header)
    assert not same_place(one, library("others", EVA, 5).header)
    assert license_of()[0].digest == one.license_digest
