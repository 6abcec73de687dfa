"""Things that come at once: what is decided from a state is logged before anybody else changes that state."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest

from ledger.canonical import Object
from ledger.encoding import time_encode
from ledger.errors import ConflictError, RefusedError
from ledger.ports import Match
from ledger.registry.grants import GrantRequest, Grants
from ledger.registry.turns import Turns
from ledger.store.memory import MemoryBlobStore, MemoryCatalog
from tests.simulator import DAY, START, Library, World, digest, entry, key, library

EVA, BOB = key("eva"), key("bob")
ALIKE = pytest.mark.parametrize("alike", [False, True], ids=["the same files", "look-alikes"])
WAIT = 20.0
A_MOMENT = 0.3
"""Seconds in which whoever need not wait would be done."""


class Gate:
    """A place where a thread can be held."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.opened.set()

    def shut(self) -> None:
        self.reached.clear()
        self.opened.clear()

    def passed(self) -> None:
        self.reached.set()
        assert self.opened.wait(WAIT)


class SlowBlobs(MemoryBlobStore):
    """Blobs on a disk that takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    def put(self, data: bytes) -> bytes:
        self.gate.passed()
        return super().put(data)


class SlowCatalog(MemoryCatalog):
    """A catalog that takes its time to reserve a status slot, and once, when told so, to hand over what it found."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()
        self.find_gate: Gate | None = None

    def find(self, digests: Sequence[bytes]) -> Mapping[bytes, Sequence[Match]]:
        found, gate = super().find(digests), self.find_gate
        if gate is not None:
            self.find_gate = None
            gate.passed()
        return found

    def reserve_status(self, status_list: int, status_index: int) -> bool:
        self.gate.passed()
        return super().reserve_status(status_list, status_index)


@pytest.fixture
def blobs() -> SlowBlobs:
    return SlowBlobs()


@pytest.fixture
def catalog() -> SlowCatalog:
    return SlowCatalog()


@pytest.fixture
def world(blobs: SlowBlobs, catalog: SlowCatalog) -> Iterator[World]:
    """A registry of its own."""
    world = World(blobs=blobs, catalog=catalog)
    assert world.registry.log.head.size == 1  # opened before threads ask for it
    yield world
    world.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def must_wait(future: Future[Any]) -> None:
    """Checks that a thread does not go on before another has finished."""
    assert not wait([future], A_MOMENT).done


def test_two_manifests_of_one_place(world: World, blobs: SlowBlobs, threads: ThreadPoolExecutor) -> None:
    one, other = library("pictures", EVA), library("pictures", EVA, 5)
    blobs.gate.shut()
    first = threads.submit(world.publish, one)
    assert blobs.gate.reached.wait(WAIT)
    second = threads.submit(world.publish, other)
    must_wait(second)
    blobs.gate.opened.set()
    assert first.result(WAIT).decision.outcome == "list"
    with pytest.raises(ConflictError) as caught:
        second.result(WAIT)
    assert caught.value.code == "version-conflict"


def test_an_erasure_and_the_same_manifest_again(world: World, blobs: SlowBlobs, threads: ThreadPoolExecutor) -> None:
    pictures = library("pictures", EVA)
    leaf = world.publish(pictures).logged.index
    kept = set(blobs.digests())
    blobs.gate.shut()
    again = threads.submit(world.publish, pictures)
    assert blobs.gate.reached.wait(WAIT)
    erasure: Future[Any] = threads.submit(world.review, leaf, "erased")
    must_wait(erasure)
    blobs.gate.opened.set()
    assert again.result(WAIT).logged.index == leaf
    erasure.result(WAIT)
    assert world.catalog.manifest(leaf) is None
    assert kept - set(blobs.digests()) >= {pictures.header.digest}
    assert world.reopen().catalog.manifest(leaf) is None


@pytest.mark.parametrize("by", ["creator", "registry"])
def test_a_grant_and_what_ends_it(world: World, catalog: SlowCatalog, threads: ThreadPoolExecutor, by: str) -> None:
    """A token that was granted on a listed manifest stands before the leaf that takes it off the list."""
    leaf = world.publish(library("pictures", EVA)).logged.index
    request = GrantRequest((leaf,), None, None, None, None, (), "any", "a card", START + 30 * DAY)
    grants = Grants(world.registry)
    catalog.gate.shut()
    granted = threads.submit(grants.issue, request, EVA.did)
    assert catalog.gate.reached.wait(WAIT)
    ended: Future[Any]
    if by == "creator":
        withdrawal: Object = {"leaf": leaf, "effective_at": time_encode(START + 31 * DAY)}
        ended = threads.submit(world.speak, EVA, "withdraw", withdrawal)
    else:
        ended = threads.submit(world.review, leaf, "delisted")
    must_wait(ended)
    catalog.gate.opened.set()
    token = granted.result(WAIT).leaf
    ended.result(WAIT)
    assert world.registry.log.head.size == token + 2
    with pytest.raises(RefusedError) as caught:
        grants.issue(request, EVA.did)
    assert caught.value.code == "not-listed"


def two_that_collide(n: int, alike: bool) -> tuple[Library, Library]:
    """Returns libraries of two creators with one file each: two that look alike, or the same one, without a code."""
    codes: Object = {"dhash": None, "iscc": digest(f"code {n}").hex() if alike else None, "pdq": None}
    mine = entry(f"picture {n}", fingerprints=codes)
    theirs = entry(f"copy {n}", fingerprints=codes) if alike else mine
    header: Object = {"version": str(n)}
    return Library.of(EVA, [mine], header=header), Library.of(BOB, [theirs], header=header)


@ALIKE
def test_of_two_that_collide_one_is_listed(world: World, threads: ThreadPoolExecutor, alike: bool) -> None:
    """However the two are interleaved: never both, never none."""
    for n in range(15):
        start = threading.Barrier(2)

        def publish(made: Library, start: threading.Barrier) -> str:
            start.wait(WAIT)
            return world.publish(made).decision.outcome

        both = [threads.submit(publish, made, start) for made in two_that_collide(n, alike)]
        assert sorted(future.result(WAIT) for future in both) == ["list", "wait"]


@ALIKE
def test_what_is_listed_during_a_long_search_counts(
    world: World, catalog: SlowCatalog, threads: ThreadPoolExecutor, alike: bool
) -> None:
    mine, theirs = two_that_collide(0, alike)
    gate = Gate()
    gate.shut()
    catalog.find_gate = gate
    first = threads.submit(world.publish, mine)
    assert gate.reached.wait(WAIT)
    assert world.publish(theirs).decision.outcome == "list"
    gate.opened.set()
    assert first.result(WAIT).decision.outcome == "wait"


def test_turns_of_many(threads: ThreadPoolExecutor) -> None:
    """Turns of one party never overlap, those of two may; a turn of all overlaps with none, and comes in time."""
    turns, guard = Turns(), threading.Lock()
    inside: Counter[str] = Counter()
    worst: Counter[str] = Counter()

    def enter(party: str) -> None:
        with guard:
            inside[party] += 1
            for name, count in inside.items():
                worst[name] = max(worst[name], count)
            if inside["all"]:
                assert inside.total() == 1

    def leave(party: str) -> None:
        with guard:
            inside[party] -= 1

    def take(party: str) -> None:
        for _ in range(100):
            with turns.of_all() if party == "all" else turns.of(party):
                enter(party)
                leave(party)

    for future in [threads.submit(take, party) for party in ("eva", "eva", "bob", "bob", "all", "all")]:
        future.result(WAIT)
    assert set(worst.values()) == {1}
    with turns.of("eva"):
        both = threads.submit(lambda: turns.of("bob").__enter__())
        both.result(WAIT)
