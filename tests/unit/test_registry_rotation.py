"""A registry's log and token keys change: which signs, who can follow, and a rotation that is cut off at each point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from api.composition import open_registry, rotate
from api.keys import add_key, key_files
from api.settings import Settings
from ledger.errors import BackendError, ConflictError, NotFoundError, RefusedError, VerificationError
from ledger.keys import Signer
from ledger.note import ED25519, VerifierKey, format_vkey, is_signed, parse_note
from ledger.policy import format_policy, parse_policy, verify_checkpoint
from ledger.ports import Head
from ledger.registry.rotation import checkpoint_signers, to_sign
from ledger.statements import PolicyBody, parse_statement, sign_statement
from ledger.store.memory import MemoryTileStore
from ledger.tiles import Tile
from tests.simulator import ORIGIN, World, key, library

OLD, NEW, NEWER = key("registry, log"), key("second log key"), key("third log key")
EVA = key("eva")


@pytest.fixture
def world() -> Iterator[World]:
    """A registry that has begun its log under the old key."""
    world = World()
    assert world.registry.log.head.size == 1
    yield world
    world.close()


def vkey(signer: Signer) -> VerifierKey:
    """Returns a log key of the world's registry."""
    return VerifierKey(ORIGIN, ED25519, signer.public)


def signers(note: bytes) -> list[Signer]:
    """Returns which of the three keys signed a note, truly."""
    return [one for one in (OLD, NEW, NEWER) if is_signed(parse_note(note), vkey(one))]


def hold(world: World, first: Signer, *further: Signer) -> None:
    """Gives the registry these log keys, the oldest first, from its next start on."""
    world.identity = replace(world.identity, log_key=first, further_log=further)


def renew(world: World) -> None:
    """Starts the registry anew, which logs the policy of now."""
    world.reopen()


# Which key signs


def test_the_newest_that_no_policy_named_signs_next() -> None:
    held = (OLD, NEW, NEWER)
    assert to_sign(held, [], "log") is NEWER
    assert to_sign(held, [OLD.public], "log") is NEWER
    assert to_sign(held, [OLD.public, NEWER.public], "log") is NEW
    assert to_sign(held, [OLD.public, NEWER.public, NEW.public], "log") is NEW
    assert to_sign(held, [key.public for key in (OLD, NEWER, NEW, OLD)], "log") is OLD


def test_a_replaced_key_never_returns() -> None:
    with pytest.raises(RefusedError, match=rf"the log key is {NEW.did} since .* \(trainmark keys rotate log\)") as e:
        to_sign((OLD,), [OLD.public, NEW.public], "log")
    assert e.value.code == "keys-incomplete"


def test_a_checkpoint_is_signed_by_the_last_key_and_the_one_it_replaced() -> None:
    named = [OLD.public, NEW.public, NEW.public]
    assert checkpoint_signers((OLD, NEW), [OLD.public]) == (OLD,)
    assert checkpoint_signers((OLD, NEW), named) == (NEW, OLD)
    assert checkpoint_signers((NEW,), named) == (NEW,)
    assert checkpoint_signers((OLD, NEW, NEWER), [*named, NEWER.public]) == (NEWER, NEW)
    assert checkpoint_signers((OLD, NEWER), named) == (OLD,)
    assert checkpoint_signers((OLD, NEW), []) == (NEW,)
    with pytest.raises(RefusedError, match=rf"the log key is {NEWER.did}"):
        checkpoint_signers((OLD,), [NEW.public, NEWER.public])


# A log whose key changes


def test_who_trusts_the_old_key_follows_to_the_new_one(world: World) -> None:
    before, trust = world.registry.log.head, world.trust()
    hold(world, OLD, NEW)
    renew(world)
    head = world.registry.log.head
    assert signers(before.note) == [OLD]
    assert signers(head.note) == [OLD, NEW]
    assert verify_checkpoint(parse_note(head.note), trust.policy)[0].size == 2
    policy = parse_statement(world.registry.log.leaf(1)).body
    assert isinstance(policy, PolicyBody)
    assert policy.log_key == world.registry.log.vkey == format_vkey(vkey(NEW))
    world.publish(library("meanwhile", EVA))
    assert signers(world.registry.log.head.note) == [OLD, NEW]
    hold(world, NEW)  # the old file is taken away
    world.reopen()
    world.publish(library("after", EVA))
    last = parse_note(world.registry.log.head.note)
    assert signers(world.registry.log.head.note) == [NEW]
    with pytest.raises(VerificationError, match="no trusted key of"):
        verify_checkpoint(last, trust.policy)
    both = parse_policy(format_policy([vkey(OLD), vkey(NEW)]))
    for note in (parse_note(before.note), last):
        verify_checkpoint(note, both)


def test_without_the_new_key_the_registry_writes_nothing(world: World) -> None:
    hold(world, OLD, NEW)
    renew(world)
    note = world.registry.log.head.note
    world.close()
    hold(world, OLD)
    with pytest.raises(RefusedError, match="the log key is") as e:
        world.reopen()
    assert e.value.code == "keys-incomplete"
    assert world.tiles.read_checkpoint() == note
    hold(world, OLD, NEWER)  # the key that replaces the lost one
    renew(world)
    assert signers(world.registry.log.head.note) == [NEWER]


def test_an_old_key_taken_away_too_early_is_missed(world: World) -> None:
    world.close()
    hold(world, NEW)
    with pytest.raises(ConflictError, match=r"the database's checkpoint is signed by .*, the key is") as e:
        world.reopen()
    assert e.value.code == "log-disagreement"


def test_another_token_key_signs_once_it_is_named(world: World) -> None:
    assert world.registry.token_key is world.identity.token_key
    world.identity = replace(world.identity, further_token=(NEW,))
    renew(world)
    assert world.registry.token_key is NEW
    world.identity = replace(world.identity, further_token=())
    with pytest.raises(RefusedError, match=rf"the token key is {NEW.did}"):
        world.reopen()


def test_nobody_logs_a_policy_over_http(world: World) -> None:
    """Not with the registry's own statement key either: who stole it names no log key and no token key."""
    body = {**world.registry.policy_body(), "log_key": format_vkey(vkey(NEW)), "token_keys": [NEW.did]}
    statement = sign_statement("policy", world.identity.did, world.identity.key, ORIGIN, body)
    with pytest.raises(RefusedError) as e:
        world.registry.speak(statement.data, world.identity.did)
    assert (e.value.code, world.registry.log.head.size) == ("forbidden", 1)


# Cut off between any two steps


@dataclass
class Tiles(MemoryTileStore):
    """A public side that dies at one step of what follows the opening, which takes each step once."""

    dies_at: str = ""
    seen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def _step(self, name: str) -> None:
        self.seen.append(name)
        if name == self.dies_at and self.seen.count(name) > 1:
            raise BackendError("cut off")

    def write(self, tiles: Sequence[tuple[Tile, bytes]]) -> None:
        self._step("tiles")
        super().write(tiles)

    def write_checkpoint(self, note: bytes) -> None:
        self._step("checkpoint")
        super().write_checkpoint(note)


@pytest.mark.parametrize("step", ["tiles", "checkpoint"])
def test_a_rotation_that_is_cut_off_is_finished_by_the_next_start(step: str) -> None:
    tiles = Tiles()
    world = World(tiles=tiles)
    assert world.registry.log.head.size == 1
    trust = world.trust()
    hold(world, OLD, NEW)
    tiles.seen.clear()
    tiles.dies_at = step
    with pytest.raises(BackendError, match="cut off"):
        world.reopen()
    shown = tiles.read_checkpoint()
    assert shown is not None
    assert signers(shown) == [OLD]
    tiles.dies_at = ""
    world.reopen()
    assert signers(world.registry.log.head.note) == [OLD, NEW]
    assert world.registry.log.vkey == format_vkey(vkey(NEW))
    assert verify_checkpoint(parse_note(world.registry.log.head.note), trust.policy)[0].size == 2
    world.close()


def opened(folder: Path) -> tuple[str, Head]:
    """Opens the registry in a folder; returns its log's key and head."""
    with open_registry(Settings(data_dir=folder)) as running:
        return running.writer.registry.log.vkey, running.registry.log.head


@pytest.mark.parametrize("name", ["log", "token"])
def test_a_key_made_and_not_logged_yet_is_used_and_no_other_is_made(tmp_path: Path, name: str) -> None:
    old, head = opened(tmp_path)
    keys, settings = tmp_path / "keys", Settings(data_dir=tmp_path)
    (keys / f"{name}-2.zHalf.new").write_bytes(b"half a k")
    made = rotate(settings, name)
    assert rotate(settings, name) == made
    assert key_files(keys, name) == [keys / f"{name}.pem", made]
    new, after = opened(tmp_path)
    assert after.size == head.size + 1
    assert (new != old) is (name == "log")
    assert (tmp_path / "log.vkey").read_text() == f"{new}\n"
    assert opened(tmp_path)[1] == after  # a start without a new key logs nothing
    assert rotate(settings, name) not in key_files(keys, name)[:2]


def test_the_first_log_key_is_taken_away(tmp_path: Path) -> None:
    """The log keeps its name, which on plain http came of that key."""
    old, _ = opened(tmp_path)
    rotate(Settings(data_dir=tmp_path), "log")
    new, head = opened(tmp_path)
    (tmp_path / "keys" / "log.pem").unlink()
    assert opened(tmp_path) == (new, head)
    assert new.split("+")[0] == old.split("+")[0]


def test_a_lost_new_key_is_replaced(tmp_path: Path) -> None:
    opened(tmp_path)
    settings = Settings(data_dir=tmp_path)
    lost = rotate(settings, "log")
    second, _ = opened(tmp_path)
    lost.unlink()
    with pytest.raises(RefusedError, match="restore it from your backup, or make another one"):
        opened(tmp_path)
    rotate(settings, "log")
    assert opened(tmp_path)[0] != second


def test_a_registry_that_runs_is_not_rotated(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with open_registry(settings), pytest.raises(ConflictError) as e:
        rotate(settings, "log")
    assert e.value.code == "second-writer"
    assert key_files(tmp_path / "keys", "log") == [tmp_path / "keys" / "log.pem"]


def test_there_must_be_a_registry(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="--data-dir: there is no registry in"):
        rotate(Settings(data_dir=tmp_path / "none"), "log")
    assert not (tmp_path / "none").exists()


def test_a_key_that_cannot_be_written() -> None:
    with pytest.raises(BackendError, match=r"cannot write '/proc/self/log-2\.z6Mk"):
        add_key(Path("/proc/self"), "log", None)
