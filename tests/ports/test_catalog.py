"""Rules of the Catalog port, on the in-memory reference, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.encoding import b64url_encode, digest_encode, sha256
from ledger.errors import ConflictError, NotFoundError
from ledger.manifests import Entry, read_entry
from ledger.ports import Access, AnchorRow, Catalog, ManifestRecord, Match, TokenRecord
from ledger.store.catalog import SqlCatalog
from ledger.store.engine import open_engine
from ledger.store.memory import MemoryCatalog
from tests.support.postgres import Cluster

Open = Callable[[], Catalog]
"""Opens one catalog again and again, as another process would."""


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def open_catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    if request.param == "memory":
        catalog = MemoryCatalog()
        yield lambda: catalog
        return
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    if request.param == "postgres":
        server: Cluster = request.getfixturevalue("postgres")
        url = server.url(server.new_database())
    opened: list[SqlCatalog] = []

    def open_sql() -> Catalog:
        opened.append(SqlCatalog(open_engine(url)))
        return opened[-1]

    yield open_sql
    for each in opened:
        each.close()


def digest(name: str) -> bytes:
    return sha256(name.encode())


def entry(name: str, provenance: str | None = None, published: str | None = None, content: str | None = None) -> Entry:
    """Returns an entry whose digests are of those words: by default one of its own, and no content."""
    own = provenance or name
    return read_entry(
        {
            "path": f"{name}.jpg",
            "media_type": "image/jpeg",
            "size": 5,
            "provenance_hash": digest_encode(digest(own)),
            "published_hash": digest_encode(digest(published or own)),
            "content_hash": digest_encode(digest(content)) if content else None,
            "fingerprints": {"dhash": None, "iscc": None, "pdq": None},
            "rights_status": "owned",
            "release_status": "not-required",
            "releases": [],
            "privacy": {"face": "no", "minor": "no", "pii": "no", "biometric": "no"},
            "price_tier": "standard",
            "salt": b64url_encode(digest(f"salt of {name}")),
        }
    )


def record(leaf: int, place: str = "place/a/1/1") -> ManifestRecord:
    return ManifestRecord(
        leaf=leaf,
        manifest=digest(f"manifest {leaf}"),
        by="did:key:z6Mk",
        header=b'{"leaf":%d}' % leaf,
        entries=digest(f"entries {leaf}"),
        license=digest("license"),
        place=place,
        received_at=1_700_000_000 + leaf,
    )


def find_all(catalog: Catalog, *names: str) -> dict[str, list[Match]]:
    found = catalog.find([digest(name) for name in names])
    return {name: list(found[digest(name)]) for name in names if digest(name) in found}


# Manifests.


def test_an_empty_catalog(open_catalog: Open) -> None:
    catalog = open_catalog()
    assert catalog.manifest(0) is None
    assert (catalog.manifests(None, 10), catalog.manifests_at("place/a/1/1")) == ([], [])
    assert catalog.entries(0, 0, 10) == []
    assert catalog.find([digest("a")]) == catalog.find([]) == {}
    with pytest.raises(NotFoundError, match="no entry 0 of manifest leaf 0"):
        catalog.entry(0, 0)
    catalog.remove_manifest(0)


def test_a_manifest_is_there_with_its_entries_also_when_opened_again(open_catalog: Open) -> None:
    entries = [entry("a"), entry("b"), entry("c")]
    first = open_catalog()
    first.add_manifest(record(7), entries)
    for catalog in (first, open_catalog()):
        assert catalog.manifest(7) == record(7)
        assert catalog.entries(7, 0, 10) == [e.data for e in entries]
        assert [catalog.entry(7, n) for n in range(3)] == [e.data for e in entries]
        assert find_all(catalog, "a", "c") == {
            "a": [Match(7, 0, "provenance"), Match(7, 0, "published")],
            "c": [Match(7, 2, "provenance"), Match(7, 2, "published")],
        }


@pytest.mark.parametrize("number", [-1, 3, 2**80])
def test_no_entry_outside_the_manifest(open_catalog: Open, number: int) -> None:
    catalog = open_catalog()
    catalog.add_manifest(record(7), [entry("a"), entry("b"), entry("c")])
    with pytest.raises(NotFoundError, match=f"no entry {number} of manifest leaf 7"):
        catalog.entry(7, number)
    with pytest.raises(NotFoundError):
        catalog.entry(2**80, 0)


@pytest.mark.parametrize(
    ("start", "limit", "expected"),
    [(0, 2, [0, 1]), (1, 2, [1, 2]), (2, 5, [2]), (3, 5, []), (0, 0, []), (-2, 2, [0, 1]), (2**80, 1, [])],
)
def test_pages_of_entries(open_catalog: Open, start: int, limit: int, expected: list[int]) -> None:
    entries = [entry("a"), entry("b"), entry("c")]
    catalog = open_catalog()
    catalog.add_manifest(record(7), entries)
    catalog.add_manifest(record(8), [entry("d")])
    assert catalog.entries(7, start, limit) == [entries[n].data for n in expected]


def test_lists_are_never_unlimited(open_catalog: Open) -> None:
    catalog = open_catalog()
    lists: list[Callable[[], Sequence[object]]] = [
        lambda: catalog.manifests(None, -1),
        lambda: catalog.entries(0, 0, -1),
        lambda: catalog.licenses(None, -1),
        lambda: catalog.tokens(None, None, -1),
        lambda: catalog.anchors(None, -1),
    ]
    for each in lists:
        with pytest.raises(ValueError, match="a limit is 0 or more"):
            each()


def test_entries_of_all_manifests_in_pages(open_catalog: Open) -> None:
    catalog = open_catalog()
    entries = [entry("a"), entry("b"), entry("c")]
    for leaf, count in ((9, 2), (0, 1), (7, 3)):
        catalog.add_manifest(record(leaf), entries[:count])
    places = [(0, 0), (7, 0), (7, 1), (7, 2), (9, 0), (9, 1)]
    assert catalog.entries_after((-1, 0), 10) == [(leaf, n, entries[n].data) for leaf, n in places]
    for at, place in enumerate(places):
        assert [row[:2] for row in catalog.entries_after(place, 2)] == places[at + 1 : at + 3]
    assert [row[:2] for row in catalog.entries_after((7, 2**80), 1)] == [(9, 0)]
    assert catalog.entries_after((2**80, 0), 1) == catalog.entries_after((7, 0), 0) == []
    with pytest.raises(ValueError, match="limit"):
        catalog.entries_after((0, 0), -1)


def test_manifests_newest_first(open_catalog: Open) -> None:
    catalog = open_catalog()
    for leaf in (5, 900, 2, 40):
        catalog.add_manifest(record(leaf), [entry(str(leaf))])
    pages = [(None, 10), (None, 2), (900, 10), (40, 1), (5, 10), (2, 10), (None, 0), (2**80, 1), (-1, 1)]
    found = [[each.leaf for each in catalog.manifests(before, limit)] for before, limit in pages]
    assert found == [[900, 40, 5, 2], [900, 40], [40, 5, 2], [5], [2], [], [], [900], []]


def test_manifests_of_one_party(open_catalog: Open) -> None:
    catalog = open_catalog()
    for leaf, by in ((5, "a"), (900, "b"), (2, "a"), (40, "a"), (41, "A")):
        catalog.add_manifest(replace(record(leaf), by=by), [entry(str(leaf))])
    questions: list[tuple[int | None, int, str | None]] = [
        *((None, 10, "a"), (None, 2, "a"), (40, 10, "a"), (2, 10, "a"), (900, 10, "b"), (2**80, 1, "b")),
        *((None, 10, "c"), (None, 0, "a"), (41, 10, None)),
    ]
    found = [[each.leaf for each in catalog.manifests(*question)] for question in questions]
    assert found == [[40, 5, 2], [40, 5], [5, 2], [], [], [900], [], [], [40, 5, 2]]
    catalog.remove_manifest(40)
    assert [each.leaf for each in open_catalog().manifests(None, 10, "a")] == [5, 2]


def test_manifests_at_a_place_oldest_first(open_catalog: Open) -> None:
    catalog = open_catalog()
    for leaf, place in ((9, "here"), (3, "there"), (4, "here"), (10, "HERE")):
        catalog.add_manifest(record(leaf, place), [entry(str(leaf))])
    assert catalog.manifests_at("here") == [record(4, "here"), record(9, "here")]
    catalog.remove_manifest(4)
    assert catalog.manifests_at("here") == [record(9, "here")]


def test_adding_a_leaf_again_replaces_it_with_all_that_hung_on_it(open_catalog: Open) -> None:
    catalog = open_catalog()
    catalog.add_manifest(record(7, "before"), [entry("a"), entry("b"), entry("both")])
    catalog.add_manifest(record(8), [entry("a")])
    catalog.add_manifest(record(7, "after"), [entry("both"), entry("c")])
    assert catalog.manifest(7) == record(7, "after")
    assert catalog.manifests_at("before") == []
    assert catalog.entries(7, 0, 10) == [entry("both").data, entry("c").data]
    assert find_all(catalog, "a", "b", "both", "c") == {
        "a": [Match(8, 0, "provenance"), Match(8, 0, "published")],
        "both": [Match(7, 0, "provenance"), Match(7, 0, "published")],
        "c": [Match(7, 1, "provenance"), Match(7, 1, "published")],
    }


def test_erasing_leaves_nothing_of_a_manifest_and_all_of_the_others(open_catalog: Open) -> None:
    catalog = open_catalog()
    catalog.add_manifest(record(7), [entry("a", content="x"), entry("b")])
    catalog.add_manifest(record(8), [entry("a", content="x")])
    catalog.remove_manifest(7)
    catalog.remove_manifest(7)
    for seen in (catalog, open_catalog()):
        assert seen.manifest(7) is None
        assert seen.manifests(None, 10) == seen.manifests_at("place/a/1/1") == [record(8)]
        assert seen.entries(7, 0, 10) == []
        with pytest.raises(NotFoundError):
            seen.entry(7, 0)
        found = find_all(seen, "a", "b", "x")
        assert {name: [match.leaf for match in matches] for name, matches in found.items()} == {"a": [8, 8], "x": [8]}


def test_erasing_a_manifest_of_many_entries(open_catalog: Open) -> None:
    catalog = open_catalog()
    entries = [entry(f"{n:05}", content=f"content {n}") for n in range(4_500)]
    catalog.add_manifest(record(7), entries)
    names = [name for n in range(4_500) for name in (f"{n:05}", f"content {n}")]
    assert len(find_all(catalog, *names)) == 9_000
    catalog.remove_manifest(7)
    assert find_all(catalog, *names) == {}
    assert catalog.entries(7, 0, 5_000) == []


# Looking up.


def test_all_matches_of_a_digest_in_order(open_catalog: Open) -> None:
    catalog = open_catalog()
    catalog.add_manifest(record(300), [entry("p", "x", "x", "x")])
    catalog.add_manifest(record(20), [entry("a"), entry("q", "own", "x"), entry("r", "own", "own", "x")])
    assert find_all(catalog, "x", "nothing") == {
        "x": [
            Match(20, 1, "published"),
            Match(20, 2, "content"),
            Match(300, 0, "provenance"),
            Match(300, 0, "published"),
            Match(300, 0, "content"),
        ]
    }


def test_a_digest_asked_twice_is_found_once(open_catalog: Open) -> None:
    catalog = open_catalog()
    catalog.add_manifest(record(7), [entry("a")])
    assert dict(catalog.find([digest("a"), digest("a")])) == dict(catalog.find([digest("a")]))


def test_ten_thousand_digests_at_once_and_not_one_more(open_catalog: Open) -> None:
    catalog = open_catalog()
    catalog.add_manifest(record(7), [entry(f"{n:05}") for n in range(5_000)])
    wanted = [digest(f"{n:05}") for n in range(10_000)]
    found = catalog.find(wanted)
    assert set(found) == set(wanted[:5_000])
    assert all(
        found[each] == [Match(7, n, "provenance"), Match(7, n, "published")] for n, each in enumerate(wanted[:5_000])
    )
    with pytest.raises(ValueError, match="at most 10000 digests"):
        catalog.find([*wanted, digest("one more")])


# Licenses.


def test_licenses(open_catalog: Open) -> None:
    catalog = open_catalog()
    assert catalog.license(digest("a")) is None
    catalog.add_license(digest("a"), b"terms", b"text")
    catalog.add_license(digest("a"), b"other terms", b"other text")
    assert open_catalog().license(digest("a")) == (b"terms", b"text")


def test_licenses_in_order(open_catalog: Open) -> None:
    catalog = open_catalog()
    digests = sorted(digest(str(n)) for n in range(5))
    for each in (digests[3], digests[0], digests[4], digests[1], digests[2]):
        catalog.add_license(each, b"", b"")
    assert catalog.licenses(None, 10) == digests
    assert catalog.licenses(None, 2) == digests[:2]
    assert catalog.licenses(digests[1], 2) == digests[2:4]
    assert catalog.licenses(digests[4], 2) == []
    assert catalog.licenses(bytes(32), 1) == digests[:1]


# Tokens and their status.


def token(leaf: int, creator: str = "did:key:z6MkA", slot: tuple[int, int] = (0, 5)) -> TokenRecord:
    name = digest(f"token {leaf}")
    return TokenRecord(name, leaf, creator, f"jwt.{leaf}.sig~disclosure~", b"files" * leaf, slot[0], slot[1])


def test_a_token(open_catalog: Open) -> None:
    catalog = open_catalog()
    assert catalog.reserve_status(0, 5)
    catalog.add_token(token(3))
    catalog.add_token(token(3))
    assert open_catalog().token(token(3).digest) == token(3)
    assert catalog.token(digest("other")) is None


def test_another_token_under_a_known_digest(open_catalog: Open) -> None:
    catalog = open_catalog()
    catalog.reserve_status(0, 5)
    catalog.add_token(token(3))
    with pytest.raises(ConflictError) as caught:
        catalog.add_token(replace(token(3), files=b"more files"))
    assert caught.value.code == "token-conflict"
    assert catalog.token(token(3).digest) == token(3)


def test_a_token_without_a_slot(open_catalog: Open) -> None:
    catalog = open_catalog()
    catalog.reserve_status(1, 5)
    with pytest.raises(NotFoundError, match="slot 5 of status list 0 is not reserved"):
        catalog.add_token(token(3))
    assert catalog.token(token(3).digest) is None


def test_tokens_newest_first(open_catalog: Open) -> None:
    catalog = open_catalog()
    for slot, (leaf, creator) in enumerate([(4, "a"), (100, "b"), (30, "a"), (2, "b")]):
        catalog.reserve_status(0, slot)
        catalog.add_token(token(leaf, creator, (0, slot)))
    questions: list[tuple[str | None, int | None, int]] = [
        *((None, None, 10), (None, None, 2), (None, 100, 10), ("a", None, 10), ("b", 100, 10), ("b", 2, 10)),
        *(("c", None, 10), (None, 2**80, 1), (None, None, 0)),
    ]
    found = [[each.leaf for each in catalog.tokens(*question)] for question in questions]
    assert found == [[100, 30, 4, 2], [100, 30], [30, 4, 2], [30, 4], [2], [], [], [100], []]


def test_a_slot_is_reserved_once_and_for_ever(open_catalog: Open) -> None:
    catalog = open_catalog()
    assert [catalog.reserve_status(0, 5), catalog.reserve_status(0, 6), catalog.reserve_status(1, 5)] == [True] * 3
    assert not catalog.reserve_status(0, 5)
    catalog.clear_derived()
    assert not open_catalog().reserve_status(0, 5)
    assert catalog.statuses(0) == {}


def test_statuses_that_are_not_valid(open_catalog: Open) -> None:
    catalog = open_catalog()
    for slot in range(5):
        catalog.reserve_status(0, slot)
    catalog.reserve_status(1, 2)
    for slot, value in ((0, 1), (1, 2), (2, 3), (3, 1), (3, 0)):
        catalog.set_status(0, slot, value)
    assert open_catalog().statuses(0) == {0: 1, 1: 2, 2: 3}
    assert (catalog.statuses(1), catalog.statuses(2)) == ({}, {})
    assert not catalog.reserve_status(0, 0)  # taken, and not made valid again
    assert catalog.statuses(0)[0] == 1


def test_a_list_is_filled(open_catalog: Open) -> None:
    catalog = open_catalog()
    catalog.reserve_status(0, 5)
    catalog.add_token(token(3))
    for slot in (1, 2, 9):
        catalog.reserve_status(0, slot)
        catalog.set_status(0, slot, 1)
    catalog.reserve_status(1, 0)
    catalog.fill_statuses(0, [0, 2, 1, 0, 0, 0, 3, 0])
    catalog.fill_statuses(0, [0, 2, 1, 0, 0, 0, 3, 0])
    assert open_catalog().statuses(0) == {1: 2, 2: 1, 6: 3, 9: 1}
    assert [catalog.reserve_status(0, slot) for slot in (0, 3, 5, 7, 8)] == [False, False, False, False, True]
    assert catalog.reserve_status(1, 1)
    assert catalog.token(token(3).digest) == token(3)
    with pytest.raises(ValueError, match="a status is 0 to 3"):
        catalog.fill_statuses(0, [1, 4])
    assert catalog.statuses(0) == {1: 2, 2: 1, 6: 3, 9: 1}


def test_a_slot_that_is_not_reserved_has_no_status(open_catalog: Open) -> None:
    catalog = open_catalog()
    with pytest.raises(NotFoundError, match="slot 7 of status list 0 is not reserved"):
        catalog.set_status(0, 7, 1)
    assert catalog.statuses(0) == {}
    assert catalog.reserve_status(0, 7)


@pytest.mark.parametrize("value", [-1, 4])
def test_a_status_has_two_bits(open_catalog: Open, value: int) -> None:
    catalog = open_catalog()
    catalog.reserve_status(0, 7)
    with pytest.raises(ValueError, match="a status is 0 to 3"):
        catalog.set_status(0, 7, value)


# Anchors.


def anchor(size: int, transaction: str, anchored: bool = True) -> AnchorRow:
    state = ("final", size * 10, f"0x{size:064x}", b'{"kind":"evm"}') if anchored else ("pending", None, None, None)
    return AnchorRow(size, digest(f"root {size}"), "eip155:31337", transaction, *state)


def test_anchors_biggest_first(open_catalog: Open) -> None:
    catalog = open_catalog()
    for size, transaction in ((10, "0x1"), (5, "0x2"), (70, "0x3"), (10, "0x0")):
        catalog.add_anchor(anchor(size, transaction))
    pages = [(None, 10), (None, 3), (70, 10), (10, 10), (5, 10), (2**80, 1)]
    found = [[row.transaction for row in catalog.anchors(before, limit)] for before, limit in pages]
    assert found == [["0x3", "0x0", "0x1", "0x2"], ["0x3", "0x0", "0x1"], ["0x0", "0x1", "0x2"], ["0x2"], [], ["0x3"]]


def test_an_anchor_with_the_same_transaction_is_replaced(open_catalog: Open) -> None:
    catalog = open_catalog()
    catalog.add_anchor(anchor(10, "0x1", anchored=False))
    assert catalog.anchors(None, 10) == [anchor(10, "0x1", anchored=False)]
    catalog.add_anchor(anchor(10, "0x1"))
    assert open_catalog().anchors(None, 10) == [anchor(10, "0x1")]
    catalog.add_anchor(anchor(10, "0x1", anchored=False))  # its block is no longer in the chain
    assert catalog.anchors(None, 10) == [anchor(10, "0x1", anchored=False)]
    assert catalog.anchor_covering(0) is None


def test_the_smallest_anchor_that_covers_a_leaf(open_catalog: Open) -> None:
    catalog = open_catalog()
    assert catalog.anchor_covering(0) is None
    for row in (anchor(20, "0x2"), anchor(10, "0x1"), anchor(7, "0x0", anchored=False), anchor(30, "0x3")):
        catalog.add_anchor(row)
    found = [catalog.anchor_covering(index) for index in (0, 9, 10, 19, 29, 30, 2**80)]
    assert [row.size if row else None for row in found] == [10, 10, 20, 20, 30, None, None]


# What is remembered for a while.


def test_a_word_is_good_once_until_it_expires(open_catalog: Open) -> None:
    catalog = open_catalog()
    assert catalog.use_once("word", 100, 50)
    assert not catalog.use_once("word", 200, 50)
    assert catalog.use_once("Word", 200, 50)
    assert not open_catalog().use_once("word", 100, 99)
    assert catalog.use_once("word", 200, 100)
    assert not catalog.use_once("word", 300, 199)
    assert catalog.use_once("word", 300, 200)


def test_a_bearer_token_until_it_expires(open_catalog: Open) -> None:
    catalog = open_catalog()
    access = Access(digest("bearer"), "did:key:z6Mk", "did:key:z6MkKey", ("publish", "token"), 100)
    catalog.add_access(access)
    catalog.add_access(access)
    bare = Access(digest("bare"), "did:key:z6Mk", "did:key:z6MkKey", (), 300)
    catalog.add_access(bare)
    assert open_catalog().access(digest("bearer"), 99) == access
    assert catalog.access(digest("bearer"), 100) is None
    assert catalog.access(digest("other"), 99) is None
    assert catalog.access(digest("bare"), 299) == bare


def test_a_bearer_token_cannot_be_widened(open_catalog: Open) -> None:
    catalog = open_catalog()
    access = Access(digest("bearer"), "did:key:z6Mk", "did:key:z6MkKey", ("publish",), 100)
    catalog.add_access(access)
    with pytest.raises(ConflictError) as caught:
        catalog.add_access(replace(access, scopes=("publish", "token")))
    assert caught.value.code == "access-conflict"
    with pytest.raises(ConflictError):
        catalog.add_access(replace(access, key="did:key:z6MkOther"))
    assert catalog.access(digest("bearer"), 50) == access


def test_expired_bearer_tokens_are_forgotten_with_expired_words(open_catalog: Open) -> None:
    catalog = open_catalog()
    old, new = (
        Access(digest(name), "did:key:z6Mk", "did:key:z6MkKey", (), until)
        for name, until in (("old", 100), ("new", 101))
    )
    catalog.add_access(old)
    catalog.add_access(new)
    catalog.use_once("word", 500, 100)
    assert catalog.access(digest("old"), 0) is None  # not even for somebody whose clock is behind
    assert catalog.access(digest("new"), 0) == new


def test_only_one_of_many_threads_gets_a_word_or_a_slot(open_catalog: Open) -> None:
    catalog = open_catalog()
    with ThreadPoolExecutor(8) as pool:
        words = list(pool.map(lambda n: catalog.use_once(f"word {n % 5}", 100, 0), range(40)))
        slots = list(pool.map(lambda n: catalog.reserve_status(0, n % 5), range(40)))
    assert (sum(words), sum(slots)) == (5, 5)


def test_threads_read_whole_manifests_while_one_is_replaced(open_catalog: Open) -> None:
    catalog = open_catalog()
    catalog.add_manifest(record(7), [entry(f"0 {n}") for n in range(20)])

    def work(turn: int) -> set[bytes]:
        if turn % 4 == 0:
            catalog.add_manifest(record(7), [entry(f"{turn} {n}") for n in range(20)])
        return set(catalog.entries(7, 0, 100))

    whole = [{entry(f"{turn} {n}").data for n in range(20)} for turn in range(0, 40, 4)]
    with ThreadPoolExecutor(8) as pool:
        assert all(seen in whole for seen in pool.map(work, range(40)))


# All of it.


def test_clearing_what_is_derived_keeps_the_rest(open_catalog: Open) -> None:
    catalog = open_catalog()
    catalog.add_manifest(record(7), [entry("a")])
    catalog.add_license(digest("license"), b"terms", b"text")
    catalog.reserve_status(0, 5)
    catalog.set_status(0, 5, 1)
    catalog.add_token(token(3))
    catalog.add_anchor(anchor(10, "0x1"))
    catalog.use_once("word", 100, 0)
    access = Access(digest("bearer"), "did:key:z6Mk", "did:key:z6MkKey", ("publish",), 100)
    catalog.add_access(access)
    catalog.clear_derived()
    for seen in (catalog, open_catalog()):
        assert (seen.manifests(None, 10), seen.entries(7, 0, 10), seen.find([digest("a")])) == ([], [], {})
        assert (seen.licenses(None, 10), seen.license(digest("license"))) == ([], None)
        assert (seen.tokens(None, None, 10), seen.statuses(0)) == ([token(3)], {5: 1})
        assert (seen.anchors(None, 10), seen.access(digest("bearer"), 50)) == ([anchor(10, "0x1")], access)
        assert not seen.use_once("word", 100, 0)
    catalog.add_manifest(record(7), [entry("a")])
    assert find_all(catalog, "a") == {"a": [Match(7, 0, "provenance"), Match(7, 0, "published")]}


def test_closing_twice(open_catalog: Open) -> None:
    catalog = open_catalog()
    catalog.add_license(digest("a"), b"terms", b"text")
    catalog.close()
    catalog.close()
    assert open_catalog().license(digest("a")) == (b"terms", b"text")


def test_what_is_erased_is_in_none_of_the_databases_files(tmp_path: Path) -> None:
    catalog = SqlCatalog(open_engine(f"sqlite:///{tmp_path / 'catalog.db'}"))
    salt = b64url_encode(digest("salt of secret")).encode()

    def files_with(needle: bytes) -> set[str]:
        return {path.name for path in tmp_path.iterdir() if needle in path.read_bytes()}

    catalog.add_manifest(record(7), [entry("secret"), entry("other")])
    catalog.add_manifest(record(8), [entry("kept")])
    assert files_with(salt)
    catalog.remove_manifest(7)
    assert files_with(salt) == files_with(digest("secret")) == files_with(b"secret.jpg") == set()
    assert files_with(b"kept.jpg") == {"catalog.db"}
    catalog.clear_derived()
    assert files_with(b"kept.jpg") == set()
    catalog.close()
