"""A log with witnesses: what is published has their cosignatures, or is not published; nothing is lost while it is not.

The witnesses are those written from the specification, over real HTTP; the stores are the in-memory reference.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from ledger.canonical import Object
from ledger.encoding import digest_encode
from ledger.errors import BackendError, ConflictError
from ledger.note import ED25519, VerifierKey, format_vkey, parse_note
from ledger.policy import parse_policy, verify_checkpoint
from ledger.ports import Head
from ledger.registry import log as log_module
from ledger.registry.log import Log, Logged
from ledger.statements import Statement, sign_statement
from ledger.store.memory import MemoryEntryStore, MemoryLog, MemoryTileStore
from ledger.tiles import Tile
from ledger.witness.cosigners import HttpCosigners
from tests.reference import note as reference
from tests.reference.witness import Answer, Witness, serving
from tests.simulator import ORIGIN, digest, identity, key, library
from tests.simulator import World as RegistryWorld

REGISTRY = identity()
VKEY = format_vkey(VerifierKey(ORIGIN, ED25519, REGISTRY.log_key.public))
PATIENCE = 0.4
WAIT = 20.0


class Entries(MemoryEntryStore):
    """A database that tells what was done in which order."""

    def __init__(self, log: MemoryLog, done: list[str]) -> None:
        super().__init__(log)
        self._done = done

    def commit(self, old_size: int, head: Head, leaves: Sequence[bytes], tiles: Sequence[tuple[Tile, bytes]]) -> None:
        super().commit(old_size, head, leaves, tiles)
        self._done.append("commit")

    def published(self) -> None:
        super().published()
        self._done.append("published")


class Tiles(MemoryTileStore):
    """A public side that refuses a checkpoint without the quorum, and tells what was done in which order."""

    def __init__(self, done: list[str]) -> None:
        super().__init__()
        self._done = done
        self.policy: str = ""
        self.shown: list[bytes] = []

    def write(self, tiles: Sequence[tuple[Tile, bytes]]) -> None:
        super().write(tiles)
        self._done.append("tiles")

    def write_checkpoint(self, note: bytes) -> None:
        reference.verify_checkpoint(note, reference.parse_policy(self.policy))
        super().write_checkpoint(note)
        self._done.append("checkpoint")
        self.shown.append(note)


class World:
    """One log whose stores and witnesses outlive it."""

    def __init__(self, stack: ExitStack, quorum: str) -> None:
        self.done: list[str] = []
        self.memory = MemoryLog()
        self.tiles = Tiles(self.done)
        self.dead: set[str] = set()
        self.witnesses = {name: Witness(name, [VKEY]) for name in ("w0", "w1")}
        urls = {name: stack.enter_context(serving(self._answer(name))) for name in self.witnesses}
        lines = [f"witness {name} {w.key.vkey} {urls[name]}" for name, w in self.witnesses.items()]
        self.tiles.policy = "\n".join([f"log {VKEY}", *lines, quorum, ""])
        self.log = self.opened()

    def _answer(self, name: str) -> Callable[[bytes], Answer]:
        def answer(request: bytes) -> Answer:
            self.done.append(name)
            if name in self.dead:
                return Answer(500, "text/plain", b"dead\n")
            return self.witnesses[name].answer(request)

        return answer

    def opened(self) -> Log:
        """Opens the log over what is there."""
        entries = Entries(self.memory, self.done)
        self.cosigners = HttpCosigners(parse_policy(self.tiles.policy), 2.0)
        try:
            return Log(ORIGIN, REGISTRY.log_key, entries, self.tiles, self.cosigners, PATIENCE)
        except BaseException:
            entries.close()
            self.cosigners.close()
            raise

    def close(self) -> None:
        """Closes the log, if it is open."""
        self.log.close()
        self.cosigners.close()

    def reopen(self) -> Log:
        """Starts again."""
        self.close()
        self.done.clear()
        self.log = self.opened()
        return self.log

    def kill(self) -> None:
        """Ends the log as a crash would: it takes nothing with it, and nothing is finished."""
        self.log.stop(ConflictError("killed"))
        self.close()

    def witnesses_of(self, note: bytes) -> tuple[str, ...]:
        """Returns whose cosignatures a published note has, as a verifier finds them."""
        return verify_checkpoint(parse_note(note), parse_policy(self.tiles.policy))[1]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What ends with the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def world(stack: ExitStack) -> Iterator[World]:
    """A log of one leaf, its policy, which needs both of its witnesses."""
    world = World(stack, "group both all w0 w1\nquorum both")
    world.log.append(policy())
    yield world
    world.close()


def policy() -> Statement:
    """Returns leaf 0."""
    body: Object = {
        "origin": ORIGIN,
        "log_key": VKEY,
        "issuer": REGISTRY.issuer,
        "token_keys": [REGISTRY.token_key.did],
        "rules": digest_encode(digest("rules")),
    }
    return sign_statement("policy", REGISTRY.did, REGISTRY.key, ORIGIN, body)


def record(number: int) -> Statement:
    """Returns a statement that any log takes."""
    eva = key("eva")
    body: Object = {"kind": "audit", "refs": [], "evidence": digest_encode(digest(f"record {number}"))}
    return sign_statement("record", eva.did, eva, ORIGIN, body)


def refused(log: Log, statement: Statement) -> BackendError:
    """Returns how the log refuses a statement for want of witnesses."""
    with pytest.raises(BackendError) as caught:
        log.append(statement)
    assert caught.value.code == "quorum"
    return caught.value


def until(condition: Callable[[], bool]) -> None:
    """Waits for what must come."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_order_of_a_batch(world: World) -> None:
    world.done.clear()
    logged = world.log.append(record(1))
    assert (world.done[:2], sorted(world.done[2:4]), world.done[4:]) == (
        ["commit", "tiles"],
        ["w0", "w1"],
        ["checkpoint", "published"],
    )
    assert logged == Logged(1, 2, world.tiles.shown[-1])
    assert world.witnesses_of(logged.note) == ("w0", "w1")
    assert world.log.head.note == world.tiles.read_checkpoint() == logged.note


def test_the_database_holds_the_logs_own_note(world: World) -> None:
    assert world.memory.head is not None
    assert len(parse_note(world.memory.head.note).signatures) == 1
    assert world.log.head.note.startswith(world.memory.head.note)


def test_without_the_quorum_nothing_is_shown(world: World) -> None:
    old, fold_size = world.log.head, world.log.fold.size
    world.dead.add("w1")
    began = time.monotonic()
    error = refused(world.log, record(1))
    assert time.monotonic() - began >= PATIENCE
    assert "quorum both is not reached: w1 answered 500" in error.message
    assert world.memory.head is not None
    assert world.memory.head.size == 2  # it is in the log for ever
    assert (world.log.head, world.log.fold.size) == (old, fold_size)
    assert world.tiles.read_checkpoint() == old.note
    assert world.log.broken is not None
    assert world.log.broken.code == "quorum"
    began = time.monotonic()
    refused(world.log, record(2))  # at once, and it is not in the log
    assert time.monotonic() - began < PATIENCE
    assert world.memory.head.size == 2

    world.dead.clear()
    until(lambda: world.log.broken is None)
    assert (world.log.head.size, world.log.fold.size) == (2, 2)
    assert world.log.append(record(1)).index == 1  # said again
    assert world.log.append(record(2)).index == 2
    assert world.witnesses_of(world.log.head.note) == ("w0", "w1")


def test_who_waits_is_told_and_who_reads_is_not_held_up(world: World) -> None:
    world.dead.add("w0")
    errors: list[BackendError] = []

    def say(number: int) -> None:
        errors.append(refused(world.log, record(number)))

    threads = [threading.Thread(target=say, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: "commit" in world.done[4:])
    while any(thread.is_alive() for thread in threads):
        began = time.monotonic()
        with world.log.fold_lock:
            assert world.log.fold.size == world.log.head.size == 1
        assert time.monotonic() - began < PATIENCE / 2
    assert len(errors) == 8
    world.dead.clear()
    until(lambda: world.log.broken is None)
    places = [world.log.append(record(n)).index for n in range(8)]
    assert sorted(places) == list(range(1, 9))


def test_a_moment_without_a_witness_is_waited_out(world: World) -> None:
    world.dead.add("w0")
    timer = threading.Timer(PATIENCE / 4, world.dead.clear)
    timer.start()
    assert world.log.append(record(1)).index == 1
    timer.join()


def test_one_dead_witness_does_no_harm_where_the_quorum_does_without(stack: ExitStack) -> None:
    world = World(stack, "group one any w0 w1\nquorum one")
    stack.callback(world.close)
    world.dead.add("w0")
    world.log.append(policy())
    for number in range(1, 5):
        assert world.witnesses_of(world.log.append(record(number)).note) == ("w1",)
    world.dead.clear()
    until(lambda: world.witnesses_of(world.log.append(record(int(time.monotonic() * 1e6))).note) == ("w0", "w1"))


def test_witnesses_that_no_quorum_asks_for_are_asked_all_the_same(stack: ExitStack) -> None:
    world = World(stack, "quorum none")
    stack.callback(world.close)
    assert world.witnesses_of(world.log.append(policy()).note) == ("w0", "w1")
    world.dead.update(("w0", "w1"))
    assert world.witnesses_of(world.log.append(record(1)).note) == ()
    world.dead.clear()
    assert world.witnesses_of(world.reopen().head.note) == ("w0", "w1")


def test_who_waits_is_told_in_time(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "FIRST_PAUSE", 5.0)
    world = World(stack, "quorum w0")
    stack.callback(world.close)
    world.dead.add("w0")
    began = time.monotonic()
    refused(world.log, policy())
    assert PATIENCE <= time.monotonic() - began < 5.0


def test_a_start_finishes_what_was_not_published(world: World) -> None:
    world.dead.add("w1")
    refused(world.log, record(1))
    world.kill()
    world.dead.clear()
    world.log = world.opened()
    assert (world.log.head.size, world.log.fold.size, world.log.broken) == (2, 2, None)
    assert world.tiles.read_checkpoint() == world.log.head.note
    assert world.log.append(record(1)).index == 1


def test_a_start_without_the_quorum_shows_what_was_published(world: World) -> None:
    world.log.append(record(1))
    old = world.log.head
    world.dead.add("w1")
    refused(world.log, record(2))
    world.kill()
    world.log = world.opened()
    assert (world.log.head, world.log.fold.size) == (old, 2)
    refused(world.log, record(3))
    assert world.log.consistency(1, 2)
    world.dead.clear()
    until(lambda: world.log.broken is None)
    assert (world.log.head.size, world.log.fold.size) == (3, 3)
    assert [world.log.append(record(n)).index for n in (1, 2, 3)] == [1, 2, 3]


def test_a_first_start_without_the_quorum_begins_no_log_that_is_seen(stack: ExitStack) -> None:
    world = World(stack, "quorum w0")
    world.dead.add("w0")
    refused(world.log, policy())
    world.kill()
    world.log = world.opened()
    assert (world.log.head.size, world.log.fold.size, world.tiles.read_checkpoint()) == (0, 0, None)
    world.dead.clear()
    until(lambda: world.log.broken is None)
    assert world.log.append(policy()).index == 0
    assert world.log.head.size == 1
    world.close()


def test_a_start_keeps_what_is_published(world: World) -> None:
    logged = world.log.append(record(1))
    log = world.reopen()
    assert (log.head.note, world.tiles.read_checkpoint()) == (logged.note, logged.note)
    assert "w0" not in world.done  # nobody had to be asked


def test_a_checkpoint_published_without_witnesses_gets_them_at_the_next_start(stack: ExitStack) -> None:
    world = World(stack, "quorum w0")
    world.close()
    world.tiles.policy = f"log {VKEY}\nquorum none\n"
    plain = Log(ORIGIN, REGISTRY.log_key, Entries(world.memory, world.done), world.tiles)
    plain.append(policy())
    plain.close()
    own = plain.head.note
    world.tiles.policy = world.tiles.policy.replace("quorum none", "") + (
        f"witness w0 {world.witnesses['w0'].key.vkey} {stack.enter_context(serving(world._answer('w0')))}\nquorum w0\n"
    )
    world.log = world.opened()
    assert world.log.head.note.startswith(own)
    assert world.witnesses_of(world.log.head.note) == ("w0",)
    world.close()


@pytest.mark.parametrize("change", [lambda n: n.replace(b"w0", b"w9"), lambda n: n[:-8] + b"AAAA" + n[-4:]])
def test_false_lines_in_the_published_note_are_not_kept(world: World, change: Callable[[bytes], bytes]) -> None:
    world.close()
    good = world.log.head.note
    MemoryTileStore.write_checkpoint(world.tiles, change(good))
    world.log = world.opened()
    assert world.witnesses_of(world.log.head.note) == ("w0", "w1")
    assert world.tiles.read_checkpoint() == world.log.head.note


def test_a_published_note_that_the_log_did_not_sign_is_not_shown(world: World) -> None:
    world.dead.add("w1")
    refused(world.log, record(1))
    world.kill()
    note = world.tiles.read_checkpoint()
    assert note is not None
    MemoryTileStore.write_checkpoint(
        world.tiles, note.replace(b"\xe2\x80\x94 " + ORIGIN.encode(), b"\xe2\x80\x94 other")
    )
    with pytest.raises(ConflictError, match="the published checkpoint is signed by other") as caught:
        world.opened()
    assert caught.value.code == "log-disagreement"


def test_a_start_as_of_yesterday_is_noticed_by_the_witnesses(world: World) -> None:
    """The database and the tiles are set back together, so nothing on the disk tells."""
    leaves, head, shown = list(world.memory.leaves), world.memory.head, world.tiles.read_checkpoint()
    tiles = dict(world.tiles._tiles)
    assert shown is not None
    for number in range(1, 4):
        world.log.append(record(number))
    world.close()
    world.memory = MemoryLog()
    assert head is not None
    entries = Entries(world.memory, [])
    entries.commit(0, head, leaves, [])
    entries.close()
    world.tiles._tiles = tiles
    MemoryTileStore.write_checkpoint(world.tiles, shown)
    world.log = world.opened()
    assert "w0 says to have cosigned 4 leaves, this log has 2" in refused(world.log, record(9)).message


def test_closing_while_the_quorum_is_missing_ends(world: World) -> None:
    world.dead.add("w1")
    refused(world.log, record(1))
    began = time.monotonic()
    world.close()
    assert time.monotonic() - began < WAIT / 2
    assert world.tiles.read_checkpoint() == world.tiles.shown[-1]


class Lying(HttpCosigners):
    """An adapter that breaks its own rule: it gives fewer cosignatures than were asked for."""

    def cosign(self, note: bytes, consistency: Callable[[int], Sequence[bytes]]) -> tuple[()]:
        return ()


def test_an_adapter_that_breaks_its_rule_publishes_nothing(world: World, tmp_path: Path) -> None:
    world.close()
    lying = Lying(parse_policy(world.tiles.policy), 1.0)
    log = Log(ORIGIN, REGISTRY.log_key, Entries(world.memory, world.done), world.tiles, lying, PATIENCE)
    with pytest.raises(BackendError, match="the witnesses' quorum both is not reached") as caught:
        log.append(record(1))
    assert caught.value.code == "log-stopped"
    assert log.head.size == 1
    log.close()
    lying.close()


# -- what a registry does when the quorum comes too late


@dataclass(frozen=True)
class Witnessed:
    """A registry in memory, and the switch that lets its witness die."""

    world: RegistryWorld
    dead: threading.Event

    def fails(self, act: Callable[[], object]) -> None:
        """Does something that waits in vain for the witness, which comes back afterwards."""
        self.dead.set()
        with pytest.raises(BackendError) as caught:
            act()
        assert caught.value.code == "quorum"
        self.dead.clear()
        until(lambda: self.world.registry.log.broken is None)


@pytest.fixture
def registry(stack: ExitStack) -> Witnessed:
    """A whole registry with one witness."""
    witness, dead = Witness("w0", [VKEY]), threading.Event()

    def answer(request: bytes) -> Answer:
        return Answer(500, "text/plain", b"dead\n") if dead.is_set() else witness.answer(request)

    url = stack.enter_context(serving(answer))
    text = f"log {VKEY}\nwitness w0 {witness.key.vkey} {url}\nquorum w0\n"
    cosigners = HttpCosigners(parse_policy(text), 2.0)
    stack.callback(cosigners.close)
    world = RegistryWorld(cosigners=cosigners, quorum_seconds=0.1)
    stack.callback(world.close)
    assert world.registry.log.head.size == 1
    return Witnessed(world, dead)


def test_a_place_is_taken_by_what_was_published_late(registry: Witnessed) -> None:
    world, eva = registry.world, key("eva")
    first, rival = library("one", eva, 2), library("one", eva, 3)
    registry.fails(lambda: world.publish(first))
    assert world.registry.log.head.size == 2
    with pytest.raises(ConflictError) as caught:
        world.publish(rival)
    assert caught.value.code == "version-conflict"
    assert world.registry.manifest(1)[1] == "listed"
    assert world.publish(first).logged.index == 1


def test_an_erasure_that_was_published_late_is_done(registry: Witnessed) -> None:
    world, eva = registry.world, key("eva")
    leaf = world.publish(library("one", eva)).logged.index
    registry.fails(lambda: world.review(leaf, "erased"))
    assert world.catalog.manifest(leaf) is not None
    world.publish(library("two", eva))  # whatever comes next
    assert world.catalog.manifest(leaf) is None
