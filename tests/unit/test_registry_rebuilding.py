"""Bringing a database forward to what is published: what refuses it, being cut off, and status lists that are lost."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ledger.encoding import sha256
from ledger.errors import BackendError, ConflictError, NotFoundError, TrainmarkError, VerificationError
from ledger.note import ED25519, VerifierKey, is_signed, parse_note, sign_note
from ledger.ports import Head
from ledger.registry import rebuilding
from ledger.registry.grants import Grants
from ledger.registry.rebuilding import Rebuilt
from ledger.store.memory import MemoryCatalog, MemoryEntryStore, MemoryLog
from ledger.tiles import ENTRIES, Tile
from ledger.tokens.status import REVOKED, STATUS_COUNT, SUSPENDED, VALID, parse_status_list, status_value
from ledger.witnessing import add_cosignatures
from tests.simulator import START, World, key, library
from tests.unit.test_registry_grants import request_of

EVA = key("eva")


@pytest.fixture
def world() -> Iterator[World]:
    """A registry with two libraries, at leaves 1 and 3, and its database, which is then closed."""
    world = World()
    world.publish(library("pictures", EVA))
    world.publish(library("more pictures", EVA))
    world.registry.close()
    world._open = None
    yield world
    world.close()


def lost(world: World) -> World:
    """Returns the same registry with an empty database."""
    return replace(world, log=MemoryLog(), catalog=MemoryCatalog(), _open=None)


def rebuild(world: World) -> Rebuilt:
    """Rebuilds the database of a registry that is not open."""
    own = VerifierKey(world.identity.origin, ED25519, world.identity.log_key.public)
    entries = MemoryEntryStore(world.log)
    try:
        return rebuilding.rebuild(world.tiles, entries, world.catalog, world.blobs, own, START)
    finally:
        entries.close()


def test_out_of_nothing(world: World) -> None:
    new = lost(world)
    assert rebuild(new) == Rebuilt(0, 5, (1, 3), (), 0, ())
    assert (new.log.head, new.log.leaves, new.log.first) == (world.log.head, world.log.leaves, world.log.first)
    assert new.registry.log.head == world.log.head
    new.close()


def test_the_note_in_the_database_is_the_logs_own(world: World) -> None:
    """The published one has the witnesses' lines as well, which are theirs to give again."""
    own = world.tiles.read_checkpoint()
    assert own is not None
    world.tiles.write_checkpoint(add_cosignatures(own, [sign_note(parse_note(own).text, "witness.example", EVA)]))
    new = lost(world)
    rebuild(new)
    assert new.log.head is not None
    assert new.log.head.note == own


def test_while_the_log_key_changes_both_have_signed(world: World) -> None:
    old, new = world.identity.log_key, key("another log key")
    world.identity = replace(world.identity, further_log=(new,))
    world.publish(library("signed by both", EVA))
    own = world.registry.log.head.note
    world.registry.close()
    world._open = None
    for known in (old, new):
        found = lost(world)
        entries, vkey = MemoryEntryStore(found.log), VerifierKey(world.identity.origin, ED25519, known.public)
        rebuilding.rebuild(found.tiles, entries, found.catalog, found.blobs, vkey, START)
        entries.close()
        assert found.log.head is not None
        assert found.log.head.note == own
        assert [is_signed(parse_note(own), VerifierKey(vkey.name, ED25519, k.public)) for k in (old, new)] == [True] * 2


def test_a_database_that_is_newer_or_of_another_log_is_left_as_it_is(world: World) -> None:
    other = World()
    other.publish(library("others", EVA))
    other.close()
    for log, message in (
        (other.log, "the database has another leaf 1 than the tiles"),
        (_cut(world, 3, sha256(b"another root")), "the database has another root at 3 leaves than the tiles"),
        (_longer(world), "the database is at 6 leaves, the published checkpoint at 5"),
    ):
        before = copy.deepcopy((log.head, log.leaves))
        with pytest.raises(ConflictError, match=f"{message}.*: nothing was changed") as caught:
            rebuild(replace(world, log=log, catalog=MemoryCatalog(), _open=None))
        assert caught.value.code == "log-disagreement"
        assert (log.head, log.leaves) == before


def _cut(world: World, size: int, root: bytes) -> MemoryLog:
    """Returns a database that stopped at `size` leaves, with a head of that root."""
    note = b"" if world.log.head is None else world.log.head.note
    return MemoryLog(Head(size, root, note), world.log.leaves[:size])


def _longer(world: World) -> MemoryLog:
    return _cut(replace(world, log=replace(world.log, leaves=[*world.log.leaves, b"more"])), 6, bytes(32))


def other_leaf(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    ("tile", "change", "kind", "message"),
    [
        (Tile(ENTRIES, 0, 5), other_leaf, VerificationError, "leaf 4 is not the one its tile holds"),
        (Tile(0, 0, 5), other_leaf, VerificationError, "leaf 4 is not the one its tile holds"),
        (Tile(ENTRIES, 0, 5), None, NotFoundError, "no tile/entries/000.p/5"),
    ],
)
def test_a_log_that_is_not_whole_changes_nothing(
    world: World, tile: Tile, change: Callable[[bytes], bytes] | None, kind: type[TrainmarkError], message: str
) -> None:
    data = world.tiles._tiles.pop(tile)
    if change is not None:
        world.tiles._tiles[tile] = change(data)
    new = lost(world)
    with pytest.raises(kind, match=message):
        rebuild(new)
    assert (new.log.head, new.catalog.manifests(None, 9)) == (None, [])


def test_tiles_of_another_log_change_nothing(world: World) -> None:
    """Each tile is in order, and they are not those of the checkpoint."""
    other = World()
    for name in ("some", "others"):
        other.publish(library(name, EVA))
    other.close()
    other.tiles.write_checkpoint(world.tiles.read_checkpoint() or b"")
    new = replace(lost(world), tiles=other.tiles)
    with pytest.raises(ConflictError, match="the leaves in the tiles have another root than the checkpoint at 5"):
        rebuild(new)
    assert new.log.head is None


def test_a_checkpoint_of_another_key_changes_nothing(world: World) -> None:
    new = replace(lost(world), identity=replace(world.identity, log_key=EVA))
    with pytest.raises(VerificationError, match="not signed by"):
        rebuild(new)
    assert new.log.head is None


def test_cut_off_it_does_not_open_and_is_done_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "LEAVES_AT_ONCE", 2)
    commit, new = MemoryEntryStore.commit, lost(world)

    def cut_off(self: MemoryEntryStore, old: int, *rest: object) -> None:
        if old == 2:
            raise BackendError("the disk is full", code="disk-full")
        commit(self, old, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryEntryStore, "commit", cut_off)
    with pytest.raises(BackendError, match="the disk is full"):
        rebuild(new)
    monkeypatch.setattr(MemoryEntryStore, "commit", commit)
    assert len(new.log.leaves) == 2
    with pytest.raises(ConflictError, match="the database's checkpoint is of") as caught:
        new.reopen()
    assert caught.value.code == "log-disagreement"
    assert rebuild(new).old_size == 2
    assert new.reopen().log.head.size == 5
    new.close()


def test_a_payload_that_is_gone_is_named(world: World) -> None:
    record = world.catalog.manifest(3)
    assert record is not None
    world.blobs.delete(record.entries)
    assert rebuild(lost(world)).lacking == (3,)


# Status lists


def granted(world: World) -> tuple[int, int]:
    """Issues two tokens, revokes one and suspends the other; returns their slots."""
    grants = Grants(world.reopen())
    records = [grants.issue(request_of(), EVA.did) for _ in range(2)]
    for record, value in zip(records, (REVOKED, SUSPENDED), strict=True):
        grants.set_status(record.digest, value, world.identity.did)
    world.close()
    return records[0].status_index, records[1].status_index


def values(world: World, *slots: int) -> list[int]:
    array = parse_status_list(Grants(world.reopen()).status_list(0)).array
    return [status_value(array, slot) for slot in slots]


def test_what_is_revoked_stays_revoked(world: World) -> None:
    slots = granted(world)
    new = lost(world)
    found = rebuild(new)
    assert (found.forgotten, found.revoked) == (2, ())
    size = found.size
    assert values(new, *slots) == [REVOKED, SUSPENDED]
    assert new.registry.log.head.size == size  # the array is the logged one
    assert new.catalog.statuses(0) == world.catalog.statuses(0)
    issued = Grants(new.registry).issue(request_of(), EVA.did)
    assert issued.status_list == 1  # no slot of a forgotten token is given again
    new.close()


def test_the_slot_of_a_forgotten_token_stays_taken_though_nothing_was_revoked(world: World) -> None:
    Grants(world.reopen()).issue(request_of(), EVA.did)
    world.close()
    new = lost(world)
    assert rebuild(new).forgotten == 1
    assert Grants(new.registry).issue(request_of(), EVA.did).status_list == 1
    new.close()


def test_a_status_list_that_is_lost_is_revoked_as_a_whole(world: World) -> None:
    slots = granted(world)
    array = Grants(world.reopen()).array(0)
    world.close()
    world.blobs.delete(sha256(array))
    new = lost(world)
    assert len(rebuild(new).revoked) == 1
    assert values(new, *slots, 0, STATUS_COUNT - 1) == [REVOKED] * 4
    new.close()


def test_without_its_lists_no_log_opens(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would sign lists in which nothing is revoked."""
    slots = granted(world)
    new = lost(world)

    def failing(*_: object) -> None:
        raise BackendError("the disk failed", code="disk")

    monkeypatch.setattr(new.catalog, "fill_statuses", failing)
    with pytest.raises(BackendError, match="the disk failed"):
        rebuild(new)
    with pytest.raises(ConflictError, match="the database has no leaf"):
        new.reopen()
    monkeypatch.undo()
    assert rebuild(new).old_size == 0
    assert values(new, *slots) == [REVOKED, SUSPENDED]
    new.close()


def test_a_copy_of_an_older_checkpoint_finds_its_array(world: World) -> None:
    """Blobs are copied last: what was revoked meanwhile does not take away what the older checkpoint needs."""
    slots = granted(world)
    copied = copy.deepcopy(world.tiles)
    record = Grants(world.reopen()).issue(request_of(), EVA.did)
    Grants(world.registry).set_status(record.digest, REVOKED, world.identity.did)
    world.close()
    new = replace(lost(world), tiles=copied)
    assert rebuild(new).revoked == ()
    assert values(new, *slots, record.status_index) == [REVOKED, SUSPENDED, VALID]
    new.close()


def test_a_database_that_knows_all_tokens_keeps_its_lists(world: World) -> None:
    granted(world)
    found = rebuild(world)
    assert (found.old_size, found.forgotten) == (found.size, 0)
    issued = Grants(world.reopen()).issue(request_of(), EVA.did)
    assert (issued.status_list, Grants(world.registry).status(issued)) == (0, VALID)
