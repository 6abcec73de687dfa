"""The auditor: what it finds, what it remembers, and that nothing can be changed behind its back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.audit import auditor
from ledger.audit.auditor import Audit, audit
from ledger.audit.folder import (
    MAX_OPEN,
    MAX_REFUSED,
    AuditFolder,
    History,
    LogFolder,
    format_history,
    parse_history,
    read_signed,
)
from ledger.audit.frontier import Frontier
from ledger.audit.wording import sentence
from ledger.canonical import Object, canonical
from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.encoding import digest_encode
from ledger.errors import BackendError, ConflictError, MalformedError, NotFoundError, TrainmarkError, VerificationError
from ledger.fork import verify_fork
from ledger.keys import Signer
from ledger.merkle import Tree, leaf_hashes
from ledger.note import COSIGNATURE, Note, VerifierKey, cosign_note, format_note, format_vkey, parse_note
from ledger.policy import parse_policy
from ledger.state import Fold
from ledger.statements import key_add_body, manifest_body, sign_statement
from ledger.tiles import ENTRIES, Tile, format_path
from ledger.trust import Trust, format_trust
from tests.simulator import ORIGIN, HandMadeLog, digest, dispute_body, identity, key, policy_text, review_body, trust_in
from tests.support.logs import content, endless, flip, serving, status, write_log
from tests.support.process import call

WHO = identity()
TRUST = trust_in(WHO)
EVA, MALLORY = key("eva"), key("mallory")
RECORD: Object = {"kind": "statement", "refs": [], "evidence": digest_encode(digest("evidence"))}


def record(number: int, by: Signer = EVA) -> bytes:
    """Returns a statement without effect, each another one."""
    evidence = digest_encode(digest(f"evidence {number}"))
    return sign_statement("record", by.did, by, ORIGIN, {**RECORD, "evidence": evidence}).data


@lru_cache
def leaves(size: int) -> tuple[bytes, ...]:
    """Returns a log of `size` leaves: policy, a listed manifest, and statements on record."""
    log = HandMadeLog()
    log.add(sign_statement("manifest", EVA.did, EVA, ORIGIN, manifest_body(digest("a manifest"))))
    log.add(log.by_registry("review", review_body(1, "listed")))
    known = [leaf.data for leaf in log.leaves]
    return (*known, *(record(n) for n in range(3, size)))[:size]


def note(of: Sequence[bytes], signer: Signer = WHO.log_key, origin: str = ORIGIN) -> bytes:
    """Returns the checkpoint over leaves."""
    return sign_checkpoint(Checkpoint(origin, len(of), Tree(leaf_hashes(of)).root()), signer)


@dataclass
class Case:
    """A published log and its auditor."""

    log: Path
    state: Path
    asked: list[Tile] = field(default_factory=list)

    def publish(self, of: Sequence[bytes], signer: Signer = WHO.log_key) -> None:
        """Publishes a log, over what lies there."""
        write_log(self.log, of, note(of, signer))

    def rewrite(self, of: Sequence[bytes]) -> None:
        """Publishes another log in place of what lies there."""
        shutil.rmtree(self.log)
        self.publish(of)

    def checkpoint(self) -> bytes:
        return LogFolder(self.log).checkpoint()

    def tile(self, tile: Tile) -> bytes:
        self.asked.append(tile)
        return LogFolder(self.log).tile(tile)

    def audit(
        self, trust: Trust = TRUST, *, jobs: int = 1, watch: Sequence[str] = (), others: Sequence[bytes] = ()
    ) -> Audit:
        """Audits the log."""
        self.asked.clear()
        self.state.mkdir(exist_ok=True)
        return audit(self, trust, AuditFolder(self.state), jobs=jobs, watch=watch, others=others)

    def refused(self, trust: Trust = TRUST, others: Sequence[bytes] = ()) -> TrainmarkError:
        """Returns why the log is refused; what was seen before stays as it was."""
        before = AuditFolder(self.state).load().last
        with pytest.raises(TrainmarkError) as caught:
            self.audit(trust, others=others)
        assert AuditFolder(self.state).load().last == before
        return caught.value

    @property
    def evidence(self) -> list[Path]:
        return sorted(self.state.glob("*.fork.json"))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path / "log", tmp_path / "state")


# -- what is right


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 600])
def test_a_log_that_is_right(case: Case, size: int) -> None:
    case.publish(leaves(size))
    found = case.audit()
    assert (found.origin, found.size, found.since, found.void) == (ORIGIN, size, 0, ())
    assert found.root == Tree(leaf_hashes(leaves(size))).root()
    if size:
        wanted = {path.relative_to(case.log): path.read_bytes() for path in case.log.rglob("*") if path.is_file()}
        kept = {
            path.relative_to(case.state / "log"): path.read_bytes()
            for path in (case.state / "log").rglob("*")
            if path.is_file()
        }
        assert kept == wanted


def test_its_state_is_the_fold(case: Case) -> None:
    case.publish(leaves(300))
    found, fold = case.audit().fold, Fold(leaves(300))
    assert (found.manifests, found.keys, found.registry) == (fold.manifests, fold.keys, fold.registry)
    assert found.manifest_state(1) == "listed"


@pytest.mark.parametrize(("old", "new"), [(0, 3), (3, 3), (3, 4), (3, 256), (200, 600), (256, 257), (600, 600)])
def test_a_log_that_grew(case: Case, old: int, new: int) -> None:
    case.publish(leaves(old))
    case.audit()
    case.publish(leaves(new))
    found = case.audit()
    assert (found.size, found.since) == (new, old)
    assert all(tile.index >= old // 256 for tile in case.asked if tile.level < 1)
    again = Case(case.state / "log", case.state.parent / "second")
    if new:
        assert again.audit().root == found.root


@given(st.lists(st.integers(1, 256), max_size=4), st.integers(1, 255))
def test_the_edge_is_that_of_the_tree(full: list[int], width: int) -> None:
    hashes = leaf_hashes(b"%d" % n for n in range(256 * len(full) + width))
    edge, tiles = Frontier(), []
    for at in range(0, len(hashes), 256):
        tiles += edge.add(hashes[at : at + 256])
    assert edge.root() == Tree(hashes).root()
    assert [tile for tile, _ in tiles] == [Tile(0, n) for n in range(len(full))]
    with pytest.raises(ValueError, match="do not go on"):
        edge.add(hashes[:1])


def test_several_processes_find_the_same(case: Case) -> None:
    case.publish((*leaves(256 * 17), b"no statement", record(1)[:-3] + b"1}}", record(9999)))
    one = case.audit()
    two = Case(case.log, case.state.parent / "second").audit(jobs=2)
    assert one.void == two.void
    assert [index for index, _ in two.void] == [256 * 17, 256 * 17 + 1]
    assert (one.root, one.fold.manifests) == (two.root, two.fold.manifests)


# -- what was rewritten


def replaced(of: Sequence[bytes], index: int) -> list[bytes]:
    """Returns the leaves with another one in place of `index`."""
    return [*of[:index], record(100_000 + index, MALLORY), *of[index + 1 :]]


@pytest.mark.parametrize("new", [300, 301, 700])
@pytest.mark.parametrize("index", [2, 200, 299])
def test_a_log_rewritten_by_hand_and_signed_again_is_found(case: Case, index: int, new: int) -> None:
    case.publish(leaves(300))
    case.audit()
    case.rewrite(replaced(leaves(new), index))
    assert Case(case.log, case.state.parent / "newcomer").audit().size == new  # nobody else can see it
    refused = case.refused()
    assert (type(refused), refused.code) == (VerificationError, "fork")
    [file] = case.evidence
    result = verify_fork(file.read_bytes(), TRUST.policy)
    assert (result.first.size, result.second.size) == (300, new)
    assert case.refused().code == "fork"
    assert case.evidence == [file]
    trust = case.state.parent / "trust.json"
    trust.write_bytes(format_trust(TRUST))
    said = call("verify", file, "--trust", trust)
    assert (said.code, ORIGIN in said.out) == (0, True)
    flip(file, file.stat().st_size // 2)
    assert call("verify", file, "--trust", trust).code in (1, 2)


@pytest.mark.parametrize("new", [1, 255, 256, 290, 511])
def test_a_shorter_log(case: Case, new: int) -> None:
    case.publish(leaves(600))
    case.audit()
    case.rewrite(leaves(new))
    refused = case.refused()
    assert (refused.code, "shows" in str(refused), case.evidence) == ("rollback", True, [])
    case.rewrite(replaced(leaves(new), new - 1))
    assert case.refused().code == "fork"
    result = verify_fork(case.evidence[0].read_bytes(), TRUST.policy)
    assert (result.first.size, result.second.size) == (new, 600)
    case.rewrite(leaves(601))
    assert case.audit().since == 600


def test_a_checkpoint_somebody_else_was_shown(case: Case) -> None:
    case.publish(leaves(300))
    longer, shorter = note(leaves(400)), note(leaves(17))
    found = case.audit(others=[longer, shorter, note(leaves(300))])
    assert [sentence for sentence in found.not_checked if "400" in sentence] == [
        "a checkpoint of 400 leaves: the log shows 300 so far"
    ]
    for other in (replaced(leaves(300), 5), replaced(leaves(20), 19)):
        assert case.refused(others=[note(other)]).code == "fork"
    results = [verify_fork(file.read_bytes(), TRUST.policy) for file in case.evidence]
    assert [(result.first.size, result.second.size) for result in results] == [(20, 300), (300, 300)]
    assert case.refused(others=[note(leaves(300), MALLORY)]).code == "checkpoint"
    assert case.refused(others=[b"rubbish"]).code == "malformed"


# -- what was signed and never read


def withhold(case: Case, kind: str) -> None:
    """Has the log serve its checkpoint, and none of the tiles of one kind any more."""
    shutil.rmtree(case.log / "tile" / kind)


def rewritten(size: int) -> list[bytes]:
    """Returns a log whose first 250 leaves are as ever."""
    return replaced(leaves(size), 250)


@pytest.mark.parametrize("kind", ["entries", "0"])
@pytest.mark.parametrize("first", [0, 100])
@pytest.mark.parametrize("new", [300, 350])
def test_a_log_is_held_to_what_it_signed_though_nobody_could_read_it(
    case: Case, kind: str, first: int, new: int
) -> None:
    if first:
        case.publish(leaves(first))
        case.audit()
    case.publish(leaves(300))
    withhold(case, kind)
    assert case.refused().code == "tile-missing"
    case.rewrite(rewritten(new))
    assert case.refused().code == "fork"
    result = verify_fork(case.evidence[0].read_bytes(), TRUST.policy)
    assert (result.first.size, result.second.size) == (300, new)
    case.rewrite(leaves(new))
    assert (case.audit().size, case.audit().since) == (new, new)
    assert AuditFolder(case.state).load().shown == ()


def test_each_checkpoint_that_was_never_compared_is_held_against_the_log(case: Case) -> None:
    case.state.mkdir()
    for of in (leaves(300), rewritten(280), leaves(400)):
        case.publish(of)
        withhold(case, "0")
        assert case.refused().code in ("tile-missing", "rollback")
    assert [signed.checkpoint.size for signed in AuditFolder(case.state).load().shown] == [300, 280, 400]
    case.rewrite(leaves(500))
    assert case.refused().code == "fork"
    result = verify_fork(case.evidence[0].read_bytes(), TRUST.policy)
    assert (result.first.size, result.second.size) == (280, 500)


@pytest.mark.parametrize("new", [103, 300, 599])
def test_fewer_leaves_than_an_interrupted_first_audit_was_shown(
    case: Case, new: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditor, "COMMIT_EVERY", 1)
    case.publish(leaves(600))
    (case.log / format_path(Tile(ENTRIES, 2, 88))).unlink()
    assert case.refused().code == "tile-missing"
    assert AuditFolder(case.state).load().size == 512
    case.rewrite(leaves(new))
    refused = case.refused()
    assert (refused.code, f"shows {new} leaves; it showed 600" in str(refused)) == ("rollback", True)
    case.rewrite(leaves(600))
    assert case.audit().size == 600


def test_what_others_were_shown_is_asked_until_the_log_is_as_big(case: Case) -> None:
    case.publish(leaves(300))
    true, false = note(leaves(400)), note(rewritten(450))
    case.audit(others=[true, false, true])
    case.publish(leaves(400))
    withhold(case, "entries")
    assert case.refused().code == "tile-missing"
    case.rewrite(leaves(400))
    assert "a checkpoint of 450 leaves: the log shows 400 so far" in case.audit().not_checked
    case.publish(leaves(500))
    with pytest.raises(VerificationError) as refused:
        case.audit()
    assert refused.value.code == "fork"
    result = verify_fork(case.evidence[0].read_bytes(), TRUST.policy)
    assert (result.first.size, result.second.size) == (450, 500)
    assert (case.audit().since, AuditFolder(case.state).load().others) == (500, ())


def test_what_others_were_shown_is_kept_though_the_audit_fails(case: Case) -> None:
    case.publish(leaves(300))
    withhold(case, "entries")
    assert case.refused(others=[note(rewritten(300))]).code == "tile-missing"
    case.rewrite(leaves(300))
    with pytest.raises(VerificationError) as refused:
        case.audit()
    assert (refused.value.code, len(case.evidence)) == ("fork", 1)


def test_as_many_open_questions_as_can_be_kept(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditor, "MAX_OPEN", 2)
    case.publish(leaves(5))
    others = [note(leaves(size)) for size in (7, 8, 9)]
    case.audit(others=others[:2])
    refused = case.refused(others=others[2:])
    assert (type(refused), refused.field) == (MalformedError, "--checkpoint")
    for size in (10, 11, 12):
        case.publish(leaves(size))
        withhold(case, "0")
        assert case.refused().code == "tile-missing"
    assert [signed.checkpoint.size for signed in AuditFolder(case.state).load().shown] == [10, 11]
    case.rewrite(leaves(12))
    assert case.audit().size == 12


# -- what is damaged


def files_of(size: int) -> list[str]:
    """Returns the names of all tiles of a log."""
    counts = ((-1, size), (0, size), (1, size >> 8), (2, size >> 16))
    return [
        format_path(Tile(level, n, min(256, count - 256 * n)))
        for level, count in counts
        for n in range((count + 255) // 256)
    ]


@pytest.mark.parametrize("name", files_of(600))
@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_tile_changed_by_one_bit(case: Case, name: str, place: int) -> None:
    case.publish(leaves(600))
    flip(case.log / name, place, 3)
    refused = case.refused()
    assert isinstance(refused, VerificationError)
    assert refused.code in ("tile", "leaf-path")
    assert name in str(refused)
    case.publish(leaves(600))
    assert case.audit().size == 600


def test_which_leaf_is_another(case: Case) -> None:
    case.publish(leaves(600))
    bundle = case.log / "tile/entries/001"
    data = bundle.read_bytes()
    at = data.index(b"evidence 300") if b"evidence 300" in data else data.index(record(300)) + 50
    flip(bundle, at)
    refused = case.refused()
    assert (refused.code, refused.field) == ("leaf-path", "tile/entries/001")
    assert "leaf 300 is not the one whose hash tile/0/001 holds" in str(refused)


@pytest.mark.parametrize("name", files_of(600))
def test_a_tile_cut_off(case: Case, name: str) -> None:
    case.publish(leaves(600))
    file = case.log / name
    file.write_bytes(file.read_bytes()[:-1])
    assert case.refused().code in ("tile", "leaf-path")


@pytest.mark.parametrize("name", files_of(600))
def test_a_tile_with_more_behind_it(case: Case, name: str) -> None:
    case.publish(leaves(600))
    with (case.log / name).open("ab") as file:
        file.write(bytes(32))
    assert case.refused().code == "tile"


@pytest.mark.parametrize("name", ["tile/0/000", "tile/entries/000"])
def test_a_partial_tile_where_the_full_one_is_promised(case: Case, name: str) -> None:
    case.publish(leaves(200))
    case.publish(leaves(600))
    shutil.copyfile(case.log / f"{name}.p/200", case.log / name)
    refused = case.refused()
    assert (refused.code, "expected 256" in str(refused)) == ("tile", True)


def test_a_partial_tile_that_is_gone_because_the_log_grew(case: Case) -> None:
    case.publish(leaves(200))
    old = case.checkpoint()
    case.publish(leaves(300))
    for part in case.log.rglob("*.p"):
        if part.name == "000.p" and part.parent.name in ("0", "entries"):
            shutil.rmtree(part)
    (case.log / "checkpoint").write_bytes(old)
    assert case.audit().size == 200


@pytest.mark.parametrize("name", files_of(600))
def test_a_tile_that_is_missing(case: Case, name: str) -> None:
    case.publish(leaves(600))
    (case.log / name).unlink()
    refused = case.refused()
    assert (type(refused), refused.code, refused.field) == (BackendError, "tile-missing", name)


def test_a_log_changed_throughout_and_not_signed_again(case: Case) -> None:
    case.publish(leaves(300))
    signed = case.checkpoint()
    case.rewrite(replaced(leaves(300), 7))
    (case.log / "checkpoint").write_bytes(signed)
    assert case.refused().code == "tile"


class TwoFaced:
    """A log that shows each tile truly the first time it is asked, and another one after that."""

    def __init__(self, true: Path, other: Path) -> None:
        self._true, self._other, self._shown = LogFolder(true), LogFolder(other), set[Tile]()

    def checkpoint(self) -> bytes:
        return self._true.checkpoint()

    def tile(self, tile: Tile) -> bytes:
        shown = self._true if tile.level == 0 and tile not in self._shown else self._other
        self._shown.add(tile)
        return shown.tile(tile)


def test_a_server_that_answers_otherwise_the_second_time(case: Case) -> None:
    case.publish(leaves(5))
    other = Case(case.log.parent / "other", case.state)
    other.publish(replaced(leaves(5), 4))
    case.state.mkdir()
    with pytest.raises(VerificationError) as refused:
        audit(TwoFaced(case.log, other.log), TRUST, AuditFolder(case.state))
    assert refused.value.code == "root"


# -- the note


def test_a_note_by_another_key(case: Case) -> None:
    case.publish(leaves(5), MALLORY)
    assert case.refused().code == "checkpoint"
    write_log(case.log, leaves(5), note(leaves(5), origin="another.example/log"))
    assert case.refused().code == "checkpoint"


def test_a_note_without_the_quorum(case: Case) -> None:
    witness = VerifierKey("w.example", COSIGNATURE, key("w").public)
    text = policy_text(WHO).replace("quorum none", f"witness w {format_vkey(witness)}\nquorum w")
    trust = Trust(text, parse_policy(text), WHO.did, (), {})
    case.publish(leaves(5))
    assert case.refused(trust).code == "checkpoint"
    bare = parse_note(case.checkpoint())
    cosigned = Note(bare.text, (*bare.signatures, cosign_note(bare.text, "w.example", key("w"), 7)))
    (case.log / "checkpoint").write_bytes(format_note(cosigned))
    assert case.audit(trust).witnesses == ("w",)


@pytest.mark.parametrize("data", [b"", b"<html>not found</html>", b"\xff" * 40, b"x" * 70_000])
def test_a_checkpoint_that_is_none(case: Case, data: bytes) -> None:
    case.publish(leaves(5))
    (case.log / "checkpoint").write_bytes(data)
    refused = case.refused()
    assert (type(refused), refused.code) == (BackendError, "protocol")


def test_no_log_at_all(case: Case) -> None:
    assert type(case.refused()) is NotFoundError


def test_another_registrys_log(case: Case) -> None:
    case.publish(leaves(5))
    stranger = Trust(TRUST.policy_text, TRUST.policy, EVA.did, (), {})
    assert case.refused(stranger).code == "wrong-log"


def test_each_log_has_a_folder_of_its_own(case: Case) -> None:
    case.publish(leaves(5))
    case.audit()
    other = identity("other", "other.example/log")
    both = f"{policy_text(WHO).splitlines()[0]}\n{policy_text(other)}"
    write_log(case.log, leaves(5), note(leaves(5), other.log_key, other.origin))
    refused = case.refused(Trust(both, parse_policy(both), WHO.did, (), {}))
    assert (type(refused), refused.code) == (ConflictError, "other-log")


# -- leaves without effect


def test_void_leaves_are_told_once_and_counted_for_ever(case: Case) -> None:
    badly_signed = json.loads(record(4))
    badly_signed["sig"] = json.loads(record(5))["sig"]
    elsewhere = sign_statement("record", EVA.did, EVA, "elsewhere.example/log", RECORD).data
    void = [
        canonical(badly_signed),
        b"rubbish",
        elsewhere,
        sign_statement("record", EVA.did, MALLORY, ORIGIN, RECORD).data,
        sign_statement("review", EVA.did, EVA, ORIGIN, review_body(1, "delisted")).data,
        sign_statement("withdraw", EVA.did, EVA, ORIGIN, {"leaf": 99, "effective_at": "2030-01-01T00:00:00Z"}).data,
    ]
    case.publish((*leaves(250), *void))
    found = case.audit()
    assert [index for index, _ in found.void] == list(range(250, 256))
    assert [reason.split(":")[0] for _, reason in found.void] == [
        *("bad-signature", "malformed", "wrong-log", "key-invalid", "void", "void")
    ]
    assert found.fold.manifest_state(1) == "listed"
    assert AuditFolder(case.state).load().refused == (250, 251)
    poem = sign_statement("poem", EVA.did, EVA, ORIGIN, {"lines": []}).data
    case.publish((*leaves(250), *void, record(7), poem))
    again = case.audit()
    assert (again.since, again.void, len(again.fold.void), again.fold.unknown) == (256, (), 6, [257])
    assert again.fold.void == Fold((*leaves(250), *void, record(7), poem)).void


def test_more_leaves_without_a_signature_than_are_remembered(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditor, "MAX_REFUSED", 3)
    monkeypatch.setattr(auditor, "COMMIT_EVERY", 1)
    case.publish((*leaves(254), b"one", b"two", b"three"))
    assert case.audit().size == 257
    case.publish((*leaves(254), b"one", b"two", b"three", *leaves(600)[257:], b"four"))
    refused = case.refused()
    assert (type(refused), refused.code, "leaf 600 " in str(refused)) == (VerificationError, "refused-leaves", True)
    assert (AuditFolder(case.state).load().size, AuditFolder(case.state).load().refused) == (257, (254, 255, 256))
    case.rewrite((*leaves(254), b"one", b"two", b"three", *leaves(600)[257:], record(600)))
    assert case.refused().code == "fork"  # with what was shown


# -- interruptions


class Stopping:
    """A log whose reader is interrupted after some tiles."""

    def __init__(self, log: Path, after: int, error: BaseException) -> None:
        self._log, self.left, self._error = LogFolder(log), after, error

    def checkpoint(self) -> bytes:
        return self._log.checkpoint()

    def tile(self, tile: Tile) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise self._error
        return self._log.tile(tile)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BackendError("gone", code="unreachable")])
@pytest.mark.parametrize("first", [0, 300])
def test_an_audit_goes_on_where_it_was_interrupted(
    case: Case, first: int, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditor, "COMMIT_EVERY", 2)
    if first:
        case.publish(leaves(first))
        case.audit()
    case.publish(leaves(2000))
    case.state.mkdir(exist_ok=True)
    with pytest.raises(type(error)):
        audit(Stopping(case.log, 14, error), TRUST, AuditFolder(case.state))
    seen = AuditFolder(case.state).load()
    assert (first, seen.size % 512) == (seen.since, first and 256)
    assert first < seen.size < 2000
    found = case.audit(watch=["1000"])
    assert (found.size, found.since) == (2000, first)
    assert min(tile.index for tile in case.asked if tile.level == ENTRIES) == seen.size // 256
    assert [event.index for event in found.watched[0].events] == [1000]


def test_what_was_read_on_the_way_to_a_refusal_is_read_again(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditor, "COMMIT_EVERY", 1)
    case.publish(leaves(100))
    case.audit()
    case.publish(leaves(1100))
    # A leaf and its tile are changed alike: only the tile above shows it, after both were written down.
    other = replaced(leaves(1100), 300)
    elsewhere = Case(case.log.parent / "other", case.state)
    elsewhere.publish(other)
    for name in ("tile/0/001", "tile/entries/001"):
        shutil.copyfile(elsewhere.log / name, case.log / name)
    assert case.refused().code == "tile"
    seen = AuditFolder(case.state).load()
    assert (seen.size, seen.refused) == (100, ())
    case.publish(leaves(1100))
    assert (case.audit().size, case.audit().since) == (1100, 1100)


def test_a_copy_that_was_changed_is_not_believed(case: Case) -> None:
    case.publish(leaves(600))
    case.audit()
    for file in sorted((case.state / "log/tile").rglob("*")):
        if file.is_file() and "/1/" not in str(file):
            flip(file, 9)
            refused = case.refused()
            assert (type(refused), refused.code) == (BackendError, "audit-state")
            flip(file, 9)
    assert case.audit().since == 600


def test_a_copy_and_its_root_changed_alike_are_not_believed(case: Case) -> None:
    case.publish(leaves(300))
    case.audit()
    other = replaced(leaves(300), 7)
    tree = write_log(case.state / "log", other, note(leaves(300)))
    seen = AuditFolder(case.state).load()
    (case.state / "state.json").write_bytes(format_history(replace(seen, root=tree.root())))
    assert case.refused().code == "audit-state"  # not the log's fault


def test_a_damaged_copy_refutes_no_log(case: Case) -> None:
    case.publish(leaves(600))
    case.audit()
    flip(case.state / "log/tile/1/000.p/2")
    case.rewrite(leaves(513))
    assert (case.refused().code, case.evidence) == ("audit-state", [])
    (case.state / "log/tile/1/000.p/2").unlink()
    assert (case.refused().code, case.evidence) == ("audit-state", [])


@pytest.mark.parametrize(
    "change",
    [
        lambda v: {**v, "trainmark": "audit/v2"},
        lambda v: {**v, "read": {**v["read"], "size": 4}},
        lambda v: {**v, "read": {**v["read"], "root": digest_encode(bytes(32))}},
        lambda v: {**v, "checkpoint": "rubbish"},
        lambda v: {**v, "refused": [3, 1]},
    ],
)
def test_a_state_that_was_changed_is_not_believed(case: Case, change: Callable[[dict[str, object]], object]) -> None:
    case.publish(leaves(5))
    case.audit()
    file = case.state / "state.json"
    file.write_bytes(canonical(change(json.loads(file.read_bytes())), max_text=65536))  # type: ignore[arg-type]
    with pytest.raises(BackendError) as refused:
        case.audit()
    assert refused.value.code == "audit-state"


@pytest.mark.parametrize("name", ["checkpoint", "shown", "others"])
def test_a_note_in_the_state_that_the_log_did_not_sign_is_not_believed(case: Case, name: str) -> None:
    case.publish(leaves(5))
    case.audit()
    file = case.state / "state.json"
    value = json.loads(file.read_bytes())
    other = parse_note(note(leaves(6)))
    false = format_note(Note(other.text, parse_note(value["checkpoint"].encode()).signatures)).decode()
    value[name] = false if name == "checkpoint" else [false]
    value["read"]["size"] = 6 if name == "checkpoint" else 5
    file.write_bytes(canonical(value, max_text=65536))
    refused = case.refused()
    assert (refused.code, "the checkpoint of 6 leaves" in str(refused)) == ("audit-state", True)


def test_the_state_is_read_as_it_was_written() -> None:
    last, shown, other = (read_signed(note(leaves(size))) for size in (5, 9, 20))
    seen = History(last, (shown,), (other,), 7, bytes(32), (1, 6))
    assert parse_history(format_history(seen)) == seen
    assert parse_history(format_history(History())) == History()
    biggest = History(
        last, (shown,) * MAX_OPEN, (other,) * MAX_OPEN, 7, bytes(32), tuple(range(10**15, 10**15 + 10**6))
    )
    assert len(biggest.refused) == MAX_REFUSED
    assert parse_history(format_history(biggest)) == biggest
    with pytest.raises(MalformedError, match="fewer leaves were read than the checkpoint covers"):
        parse_history(format_history(History(last, size=4)))
    with pytest.raises(MalformedError, match="more leaves were read than the log showed"):
        parse_history(format_history(History(last, (shown,), (other,), 10)))


# -- watching


def test_what_happened_to_what_is_watched(case: Case) -> None:
    case.publish(leaves(5))
    case.audit()
    log = HandMadeLog()
    more = [
        sign_statement("dispute", MALLORY.did, MALLORY, ORIGIN, dispute_body("open", 1)),
        log.by_registry("dispute", dispute_body("hold", 1, 5)),
        sign_statement("manifest", MALLORY.did, MALLORY, ORIGIN, manifest_body(digest("a manifest"))),
        sign_statement("key", EVA.did, EVA, ORIGIN, key_add_body(EVA.did, key("eva, second"), recovery=False)),
        log.by_registry("review", review_body(7, "rejected")),
        log.by_registry("token", {"token": digest_encode(digest("a token"))}),
    ]
    case.publish((*leaves(5), *(statement.data for statement in more), b"rubbish"))
    words = [EVA.did, digest_encode(digest("a manifest")), "2", key("eva, second").did]
    words += [digest_encode(digest("a token")), "11", MALLORY.did]
    found = {watched.word: watched for watched in case.audit(watch=words).watched}
    told = {word: [event.index for event in watched.events] for word, watched in found.items()}
    assert told == dict(zip(words, [[5, 6, 8], [5, 6, 7, 9], [], [8], [10], [11], [5, 7, 9]], strict=True))
    eva = found[EVA.did]
    assert (eva.before, eva.after) == ({1: "listed"}, {1: "disputed"})
    assert (eva.count, found["2"].count) == (7, 1)
    assert [event.text for event in eva.events] == [
        f"opens a dispute over leaf 1, by {MALLORY.did}",
        f"holds case 5 over leaf 1, by {WHO.did}",
        f"adds the key {key('eva, second').did}, by {EVA.did}",
    ]
    assert found["11"].events[0].text.startswith("no statement: malformed")
    assert found[MALLORY.did].after == {7: "ended"}
    assert [w.events for w in case.audit(watch=words).watched] == [[]] * len(words)


def test_what_is_watched_in_words(case: Case, trust_file: Path) -> None:
    case.publish(leaves(5))
    nobody, words = digest_encode(digest("a file")), ("log", "audit", case.log, "--state", case.state)

    def told() -> str:
        return call(*words, "--trust", trust_file, "--watch", "1", "--watch", nobody).out

    first = told()
    assert "watched 1: in 2 leaves, 2 of them new\n" in first
    assert f"    leaf 1: manifest {digest_encode(digest('a manifest'))}, by {EVA.did}\n" in first
    assert f"    leaf 2: review of leaf 1: listed, public, by {WHO.did}\n" in first
    assert "    manifest leaf 1 is listed (new)\n" in first
    assert f"watched {nobody}: not in this log" in first
    log = HandMadeLog()
    case.publish((*leaves(5), log.by_registry("review", review_body(1, "delisted")).data))
    second = told()
    assert "watched 1: in 3 leaves, 1 of them new\n" in second
    assert "    leaf 5: review of leaf 1: delisted, by" in second
    assert "    manifest leaf 1 is ended (was listed)\n" in second


WITNESSED = digest_encode(digest("evidence"))
SAID: list[tuple[str, Object, str]] = [
    (
        "key",
        {"op": "revoke", "key": EVA.did, "since": 3},
        f"revokes the key {EVA.did}, and disputes its leaves from 3 on",
    ),
    ("key", key_add_body(EVA.did, MALLORY, recovery=True), f"adds the recovery key {MALLORY.did}"),
    ("manifest", manifest_body(digest("m"), (1, 4)), f"manifest {digest_encode(digest('m'))}, in place of leaves 1, 4"),
    ("withdraw", {"leaf": 1, "effective_at": "2027-01-01T00:00:00Z"}, "withdraws leaf 1 from 2027-01-01T00:00:00Z on"),
    ("identity", {"creator": EVA.did, "level": "domain", "evidence": None}, f"identity of {EVA.did}: domain"),
    ("dispute", {**dispute_body("open", 1), "entries": [0, 2]}, "opens a dispute over leaf 1, entries 0, 2"),
    ("dispute", dispute_body("answer", 1, 5), "answers case 5 over leaf 1"),
    ("dispute", {**dispute_body("decide", 1, 5), "outcome": "upheld"}, "decides case 5 over leaf 1: upheld"),
    ("token", {"token": WITNESSED}, f"token {WITNESSED}"),
    (
        "status",
        {"uri": "https://r.example/s", "bits": 2, "count": 8, "digest": WITNESSED},
        "status list https://r.example/s",
    ),
    ("snapshot", {"size": 9, "bits": 0, "count": 1, "root": WITNESSED}, "snapshot of 9 leaves"),
    (
        "training",
        {"model": WITNESSED, "corpus": {"root": WITNESSED, "count": 3}, "tokens": [6], "size": 9},
        f"training of the model {WITNESSED} under the tokens of leaf 6",
    ),
    ("record", {"kind": "audit", "refs": [], "evidence": WITNESSED}, f"record of kind audit, {WITNESSED}"),
    ("poem", {"lines": []}, "a statement of type poem that this program does not know"),
]


@pytest.mark.parametrize(("kind", "body", "said"), SAID)
def test_each_statement_in_words(kind: str, body: Object, said: str) -> None:
    statement = sign_statement(kind, EVA.did, MALLORY, ORIGIN, body)
    assert sentence(statement, None) == f"{said}, by {EVA.did} with the key {MALLORY.did}"
    assert sentence(statement, "void: no").endswith("; without effect: void: no")


@pytest.mark.parametrize("word", ["did:key:z6Mk", "sha256:12", "-1", "koi.png", "", "01"])
def test_what_cannot_be_watched(case: Case, word: str) -> None:
    case.publish(leaves(5))
    with pytest.raises(MalformedError):
        case.audit(watch=[word])


# -- over HTTP, and on the command line


@pytest.fixture
def trust_file(tmp_path: Path) -> Path:
    path = tmp_path / "trust.json"
    path.write_bytes(format_trust(TRUST))
    return path


def test_a_log_behind_any_web_server(case: Case, trust_file: Path) -> None:
    case.publish(leaves(600))
    with serving(case.log) as served:
        said = call("log", "audit", served.url, "--state", case.state, "--trust", trust_file, "--json")
        assert said.code == 0, said.err
        assert (said.value["size"], said.value["differences"]) == (600, [])
        assert any(sentence.startswith("what the registry's API says") for sentence in said.value["not_checked"])
        case.publish(leaves(700))
        said = call("log", "audit", served.url, "--state", case.state, "--trust", trust_file, "--tiles-only")
    assert (said.code, "at 700 leaves, 100 of them new" in said.out) == (0, True)


@pytest.mark.parametrize(
    ("path", "answer", "code", "exit_code"),
    [
        ("/checkpoint", status(404), "not-found", 2),
        ("/checkpoint", status(500), "backend", 3),
        ("/checkpoint", content(b"<html>rubbish"), "protocol", 3),
        ("/checkpoint", endless, "protocol", 3),
        ("/tile/0/000", status(404), "tile-missing", 3),
        ("/tile/0/000", status(500), "backend", 3),
        ("/tile/0/000", content(b"<html>rubbish"), "tile", 1),
        ("/tile/0/000", endless, "protocol", 3),
        ("/tile/entries/001", status(404), "tile-missing", 3),
        ("/tile/entries/001", status(500), "backend", 3),
        ("/tile/entries/001", content(b"<html>rubbish"), "tile", 1),
        ("/tile/entries/001", endless, "protocol", 3),
        ("/tile/1/000.p/2", content(bytes(64)), "tile", 1),
    ],
)
def test_a_server_that_answers_wrongly(
    case: Case, trust_file: Path, path: str, answer: object, code: str, exit_code: int
) -> None:
    case.publish(leaves(600))
    with serving(case.log) as served:
        served.answers[path] = answer  # type: ignore[assignment]
        said = call("log", "audit", served.url, "--state", case.state, "--trust", trust_file)
    assert (said.code, f"[{code}]" in said.err) == (exit_code, True), said.err
    assert replace(AuditFolder(case.state).load(), shown=()) == History()


@pytest.mark.parametrize(("said_size", "signed", "code"), [(300, 300, 1), (301, 300, 1), (301, 301, 0), (9999, 301, 1)])
def test_what_the_registry_says_is_compared_with_its_log(
    case: Case, trust_file: Path, said_size: int, signed: int, code: int
) -> None:
    case.publish(leaves(300))
    body = HandMadeLog().policy_body()
    wrong = {"registry": WHO.did, "origin": ORIGIN, "log_vkey": body["log_key"], "issuer": "https://other.example"}
    wrong |= {"token_keys": body["token_keys"], "rules": body["rules"], "size": said_size, "anchors": []}

    def answer(request: BaseHTTPRequestHandler) -> None:
        case.publish(leaves(signed))
        content(json.dumps(wrong).encode())(request)

    with serving(case.log) as served:
        served.answers["/v1/policy"] = answer
        said = call("log", "audit", served.url, "--state", case.state, "--trust", trust_file, "--json")
    assert (said.code, said.value["size"]) == (code, 300)
    assert [difference["what"] for difference in said.value["differences"]] == ["policy: issuer"] * code
    open_ = "what changed while the log was read: policy: issuer"
    assert (open_ in said.value["not_checked"]) == (not code)
    held = [signed for signed in (said_size > 300) * [signed] if signed > 300]
    assert [shown.checkpoint.size for shown in AuditFolder(case.state).load().shown] == held


def test_void_leaves_are_a_no(case: Case, trust_file: Path) -> None:
    case.publish((*leaves(5), b"rubbish"))
    said = call("log", "audit", case.log, "--state", case.state, "--trust", trust_file)
    assert (said.code, "leaf 5: malformed" in said.out) == (1, True)
    assert call("log", "audit", case.log, "--state", case.state, "--trust", trust_file).code == 0


def test_the_command_names_the_evidence(case: Case, trust_file: Path, tmp_path: Path) -> None:
    case.publish(leaves(5))
    other = tmp_path / "shown-to-bob"
    other.write_bytes(note(replaced(leaves(5), 4)))
    said = call("log", "audit", case.log, "--state", case.state, "--trust", trust_file, "--checkpoint", other)
    [file] = case.evidence
    assert (said.code, "[fork]" in said.err, file.name in said.err) == (1, True, True)
    assert call("verify", file, "--trust", trust_file).code == 0


def test_two_audits_of_one_folder_wait_for_each_other(case: Case, trust_file: Path) -> None:
    from ledger.files import locked

    case.publish(leaves(5))
    with locked(case.state, create=True):
        said = call("log", "audit", case.log, "--state", case.state, "--trust", trust_file)
    assert (said.code, "[in-use]" in said.err) == (3, True)
