"""Our witness on the wire, asked by a log that was written from the specification: every status code, and its state."""

from __future__ import annotations

import base64
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ledger.errors import BackendError, RefusedError
from ledger.keys import SigningKey
from ledger.note import COSIGNATURE, parse_vkey
from ledger.witness.server import Witness, open_witness
from ledger.witness.state import WitnessState
from ledger.witnessing import MAX_REQUEST_BYTES, Seen
from tests.reference.refuted import RefutedError
from tests.reference.witness import SIZE_TYPE, Answer, Log, checkpoint_text, post, request_body
from tests.support.witness import Served, running_witness, witness_key

NOW = 1_800_000_000
LEAVES = [b"leaf %d" % n for n in range(40)]
OTHER = Log("other.example/log")


@pytest.fixture
def log() -> Log:
    """An honest log."""
    return Log("log.example/2026", list(LEAVES))


@pytest.fixture
def rewritten() -> Log:
    """The same log under the same key, one of its leaves replaced."""
    return Log("log.example/2026", [*LEAVES[:3], b"another story", *LEAVES[4:]])


@pytest.fixture
def served(tmp_path: Path, log: Log) -> Iterator[Served]:
    """A witness of two logs."""
    with running_witness(tmp_path / "w", [log.key.vkey, OTHER.key.vkey], clock=lambda: NOW) as served:
        yield served


def is_cosigned(log: Log, answer: Answer, size: int, served: Served) -> bool:
    """Whether the answer is a true cosignature of the log's checkpoint, made now."""
    return answer.status == 200 and log.cosignature(answer, size, served.witness.vkey) == NOW


def is_refused(answer: Answer, status: int, word: str) -> bool:
    """Whether the answer is a refusal with that status which says why."""
    return answer.status == status and answer.media_type.startswith("text/plain") and word.encode() in answer.body


def is_size(answer: Answer, size: int) -> bool:
    """Whether the answer says the last cosigned size."""
    return (answer.status, answer.media_type, answer.body) == (409, SIZE_TYPE, b"%d\n" % size)


def test_a_log_grows(log: Log, served: Served) -> None:
    old = 0
    for size in (1, 2, 2, 3, 7, 8, 8, 31, 32, 40):
        assert is_cosigned(log, log.ask(served.url, old, size), size, served)
        old = size
    assert parse_vkey(served.witness.vkey).kind == COSIGNATURE


def test_an_empty_log_is_cosigned(log: Log, served: Served) -> None:
    assert is_cosigned(log, log.ask(served.url, 0, 0), 0, served)
    text = checkpoint_text(log.origin, 0, bytes(32))
    answer = post(served.url, request_body(0, [], f"{text}\n{log.key.line(text)}"))
    assert is_refused(answer, 409, "[other-root]")


def test_logs_do_not_mix(log: Log, served: Served) -> None:
    other = Log(OTHER.origin, [b"x"])
    assert is_cosigned(log, log.ask(served.url, 0, 5), 5, served)
    assert is_cosigned(other, other.ask(served.url, 0, 1), 1, served)
    assert is_size(log.ask(served.url, 0, 6), 5)


def test_200_passes_over_other_signatures_and_covers_extension_lines(log: Log, served: Served) -> None:
    text = log.text(3) + "an extension\n"
    lines = OTHER.key.line("something else\n") + log.key.line(text)
    answer = post(served.url, request_body(0, [], f"{text}\n{lines}"))
    assert answer.status == 200
    with pytest.raises(RefutedError):
        log.cosignature(answer, 3, served.witness.vkey)  # it is over the whole text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n\n",
        b"old 0\n",
        b"old 0\n\nnot a note",
        b"old 0\n\norigin\n1\n\n",
        *(
            b"old %b\n\n{}" % old
            for old in (b"-1", b"01", b"+1", b"1 ", b"x", b"", b"18446744073709551616", b"\xd9\xa3")
        ),
        b"0\n\n{}",
        b"Old 0\n\n{}",
        b"old 0\n\n\n{}",
        b"old 0\r\n\n{}",
        b"old 0\nnot base64\n\n{}",
        b"old 0\n" + base64.b64encode(bytes(31)) + b"\n\n{}",
        b"old 0\n" + (base64.b64encode(bytes(32)) + b"\n") * 64 + b"\n{}",
        b"old 0\n" + base64.b64encode(bytes(32)) + b"{}",
    ],
)
def test_400_malformed(log: Log, served: Served, body: bytes) -> None:
    answer = post(served.url, body.replace(b"{}", log.checkpoint(1).encode()))
    assert is_refused(answer, 400, "[malformed]")
    assert is_cosigned(log, log.ask(served.url, 0, 1), 1, served)


def test_400_the_old_size_is_larger(log: Log, served: Served) -> None:
    assert is_cosigned(log, log.ask(served.url, 0, 9), 9, served)
    answer = post(served.url, request_body(9, [], log.checkpoint(8)))
    assert is_refused(answer, 400, "9 is beyond the checkpoint's 8")


def test_403_no_known_signature(log: Log, served: Served) -> None:
    text = log.text(1)
    false = log.key.line("another text\n")
    for lines in (OTHER.key.line(text), false):
        assert is_refused(post(served.url, request_body(0, [], f"{text}\n{lines}")), 403, "[not-signed]")


def test_404_an_unknown_log(served: Served) -> None:
    stranger = Log("stranger.example", [b"x"])
    assert is_refused(stranger.ask(served.url, 0, 1), 404, "[unknown-log]")


def test_404_and_405_elsewhere(log: Log, served: Served) -> None:
    body = request_body(0, [], log.checkpoint(1))
    assert post(served.url, body, "/").status == 404
    assert post(served.url, body, "/add-checkpoint/").status == 404
    assert post(served.url, body, method="PUT").status == 405
    assert post(served.url, b"", method="GET").status == 405
    assert post(served.url, b"", method="HEAD").status == 405


def test_408_a_body_that_does_not_come(tmp_path: Path, log: Log) -> None:
    with running_witness(tmp_path / "w", [log.key.vkey], body_seconds=0.2) as served:
        port = urlsplit(served.url).port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 100\r\n\r\nold")
            assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_409_says_the_last_size(log: Log, served: Served) -> None:
    assert is_size(log.ask(served.url, 3, 5), 0)
    assert is_cosigned(log, log.ask(served.url, 0, 5), 5, served)
    for old in (0, 4, 6):
        assert is_size(log.ask(served.url, old, 9), 5)
    assert is_size(log.ask(served.url, 0, 3), 5)  # smaller than what it cosigned


def test_409_one_size_with_two_roots(log: Log, rewritten: Log, served: Served) -> None:
    assert is_cosigned(log, log.ask(served.url, 0, 8), 8, served)
    assert is_refused(rewritten.ask(served.url, 8, 8), 409, "[other-root]")
    assert is_cosigned(log, log.ask(served.url, 8, 8), 8, served)


def test_what_a_log_signed_is_told_and_does_not_move_the_cursor(
    log: Log, rewritten: Log, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """An extension line may hold any character but the controls of ASCII."""
    assert is_cosigned(log, log.ask(served.url, 0, 8), 8, served)
    text = f"{rewritten.text(8)}\x9b2J\u202e \U000e0041 caf\u00e9 'a' \"b\"\n"
    note = f"{text}\n{log.key.line(text)}"
    assert is_refused(post(served.url, request_body(8, [], note)), 409, "[other-root]")
    [record] = caplog.records
    told = record.getMessage().partition("\n")[2]
    assert told == note.replace("\x9b", "\\x9b").replace("\u202e", "\\u202e").replace("\U000e0041", "\\U000e0041")


def test_413_a_body_without_end(served: Served) -> None:
    assert post(served.url, b"old 0\n" + b"x" * MAX_REQUEST_BYTES).status == 413


def test_422_the_proof_is_wrong(log: Log, rewritten: Log, served: Served) -> None:
    proof = [bytes(32)]
    assert is_refused(post(served.url, request_body(0, proof, log.checkpoint(7))), 422, "[consistency]")
    assert is_cosigned(log, log.ask(served.url, 0, 7), 7, served)
    right = log.proof(7, 11)
    wrong = [right[:-1], [*right, bytes(32)], right[::-1], [], [bytes([right[0][0] ^ 1]) + right[0][1:], *right[1:]]]
    for proof in wrong:
        assert is_refused(post(served.url, request_body(7, proof, log.checkpoint(11))), 422, "[consistency]")
    assert is_refused(post(served.url, request_body(7, proof, log.checkpoint(7))), 422, "[consistency]")
    assert is_refused(rewritten.ask(served.url, 7, 11), 422, "[consistency]")
    assert is_cosigned(log, log.ask(served.url, 7, 11), 11, served)


def test_503_what_cannot_be_written_down_is_not_cosigned(log: Log, tmp_path: Path) -> None:
    state = WitnessState(tmp_path / "witness.db", "w", create=True)
    witness = Witness("w", SigningKey(bytes(32)), [parse_vkey(log.key.vkey)], state, lambda: NOW)
    with sqlite3.connect(tmp_path / "witness.db") as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON seen BEGIN SELECT RAISE(FAIL, 'disk full'); END")
    other.close()
    answer = witness.add_checkpoint(request_body(0, [], log.checkpoint(1)))
    assert (answer.status, b"disk full" in answer.body) == (503, True)
    assert state.seen(log.origin) == Seen()
    state.close()


# -- state


class WatchedKey(SigningKey):
    """A key that looks at the disk whenever it signs."""

    path: Path
    found: list[tuple[int]]

    def sign(self, message: bytes) -> bytes:
        with sqlite3.connect(self.path) as disk:
            self.found += disk.execute("SELECT size FROM seen").fetchall()
        disk.close()
        return super().sign(message)


def test_it_is_written_down_before_it_is_signed(log: Log, tmp_path: Path) -> None:
    state = WitnessState(tmp_path / "witness.db", "w", create=True)
    key = WatchedKey(bytes(32))
    key.path, key.found = tmp_path / "witness.db", []
    witness = Witness("w", key, [parse_vkey(log.key.vkey)], state, lambda: NOW)
    for old, size in ((0, 4), (4, 9)):
        assert witness.add_checkpoint(request_body(old, log.proof(old, size), log.checkpoint(size))).status == 200
    assert key.found == [(4,), (9,)]
    state.close()


def test_a_witness_remembers(tmp_path: Path, log: Log, rewritten: Log) -> None:
    vkeys = set()
    for size, old in ((5, 0), (9, 5), (9, 9)):
        with running_witness(tmp_path / "w", [log.key.vkey], clock=lambda: NOW) as served:
            vkeys.add(served.witness.vkey)
            assert is_size(rewritten.ask(served.url, 4, 8), old)
            assert is_cosigned(log, log.ask(served.url, old, size), size, served)
    assert len(vkeys) == 1


def test_a_clock_that_is_set_back_contradicts_nothing(tmp_path: Path, log: Log) -> None:
    times = [NOW, NOW - 1000, NOW + 7]
    with running_witness(tmp_path / "w", [log.key.vkey], clock=lambda: times.pop(0)) as served:
        told = [log.cosignature(log.ask(served.url, n, n + 1), n + 1, served.witness.vkey) for n in range(3)]
    assert told == [NOW, NOW, NOW + 7]


def opened(folder: Path, name: str = "w") -> None:
    """Opens the witness in `folder` and closes it."""
    with open_witness(folder, name, [], lambda: NOW, witness_key):
        pass


def test_a_witness_that_forgot_is_refused(tmp_path: Path, log: Log) -> None:
    opened(tmp_path / "w")
    (tmp_path / "w" / "witness.db").unlink()
    with pytest.raises(RefusedError, match=r"witness\.db is missing") as caught:
        opened(tmp_path / "w")
    assert caught.value.code == "witness-state"
    with running_witness(tmp_path / "v", [log.key.vkey], "w") as served:
        assert log.ask(served.url, 0, 1).status == 200
    (tmp_path / "v" / "witness.pem").unlink()
    with pytest.raises(RefusedError, match=r"witness\.pem is missing"):
        opened(tmp_path / "v")


@pytest.mark.parametrize("name", ["w", "another"])
def test_a_state_that_was_emptied_is_refused(tmp_path: Path, log: Log, name: str) -> None:
    """Whatever emptied it; and it stays refused."""
    with running_witness(tmp_path / "w", [log.key.vkey], "w") as served:
        assert log.ask(served.url, 0, 5).status == 200
    (tmp_path / "w" / "witness.db").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(RefusedError, match=r"witness\.db is empty") as caught:
            opened(tmp_path / "w", name)
        assert caught.value.code == "witness-state"
        assert (tmp_path / "w" / "witness.db").read_bytes() == b""


def test_what_was_cosigned_is_in_the_one_file(tmp_path: Path, log: Log) -> None:
    """Copied alone from a witness that runs, it has all that was cosigned."""
    with running_witness(tmp_path / "w", [log.key.vkey], "w") as served:
        for old, size in ((0, 4), (4, 9)):
            assert log.ask(served.url, old, size).status == 200
            shutil.copy(tmp_path / "w" / "witness.db", tmp_path / "copy.db")
            copy = WitnessState(tmp_path / "copy.db", "w", create=False)
            assert copy.seen(log.origin).size == size
            copy.close()


def test_a_start_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    WitnessState(tmp_path / "w" / "witness.db", "w", create=True).close()
    opened(tmp_path / "w")
    opened(tmp_path / "w")


def test_a_witness_keeps_its_name(tmp_path: Path) -> None:
    opened(tmp_path / "w")
    with pytest.raises(RefusedError, match="state of w, not of another") as caught:
        opened(tmp_path / "w", "another")
    assert caught.value.code == "other-witness"


def test_a_file_that_is_no_state(tmp_path: Path) -> None:
    (tmp_path / "witness.db").write_bytes(b"rubbish" * 1000)
    with pytest.raises(BackendError) as caught:
        WitnessState(tmp_path / "witness.db", "w", create=True)
    assert caught.value.code == "witness-state"
