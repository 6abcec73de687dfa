"""The port ``Cosigners`` over HTTP: witnesses written from the specification, and those that do not cosign."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from ledger.checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint
from ledger.errors import BackendError, MalformedError, NotFoundError
from ledger.merkle import Tree, leaf_hash
from ledger.note import ED25519, VerifierKey, format_vkey, parse_note
from ledger.policy import parse_policy, verify_checkpoint
from ledger.witness import cosigners as cosigners_module
from ledger.witness.cosigners import MOMENT_SECONDS, HttpCosigners
from ledger.witnessing import add_cosignatures
from tests.reference.witness import SIZE_TYPE, Answer, Witness, serving
from tests.simulator import ORIGIN, key

LOG = key("log")
VKEY = format_vkey(VerifierKey(ORIGIN, ED25519, LOG.public))
TREE = Tree(leaf_hash(b"leaf %d" % n) for n in range(40))
SECONDS = 5.0
SOON = 3.0
"""Well below SECONDS: nobody waited for the limit."""
TEXT = "text/plain"


def note_at(size: int) -> bytes:
    """Returns the log's checkpoint."""
    return sign_checkpoint(Checkpoint(ORIGIN, size, TREE.root(size)), LOG)


def witness(name: str) -> Witness:
    """Returns an honest witness of the log."""
    return Witness(name, [VKEY])


@contextmanager
def asking(quorum: str, *urls: str, seconds: float = SECONDS) -> Iterator[HttpCosigners]:
    """Asks the witnesses w0, w1, … at these URLs; `quorum` are the policy's last lines."""
    lines = [f"witness w{n} {Witness(f'w{n}', []).key.vkey} {url}" for n, url in enumerate(urls)]
    cosigners = HttpCosigners(parse_policy("\n".join([f"log {VKEY}", *lines, quorum])), seconds)
    try:
        yield cosigners
    finally:
        cosigners.close()


def cosign(cosigners: HttpCosigners, size: int) -> tuple[str, ...]:
    """Has a checkpoint cosigned; returns who did, as whoever reads the published note finds."""
    lines = cosigners.cosign(note_at(size), lambda old: TREE.consistency_proof(old, size))
    return verify_checkpoint(parse_note(add_cosignatures(note_at(size), lines)), cosigners.policy)[1]


def refused(cosigners: HttpCosigners, size: int) -> str:
    """Returns why the quorum is not reached."""
    with pytest.raises(BackendError) as caught:
        cosign(cosigners, size)
    assert caught.value.code == "quorum"
    return caught.value.message


def test_a_log_grows_and_is_asked_for_what_is_new() -> None:
    w0 = witness("w0")
    with serving(w0.answer) as url, asking("quorum w0", url) as cosigners:
        for size in (1, 2, 7, 8, 40):
            assert cosign(cosigners, size) == ("w0",)
        assert cosign(cosigners, 40) == ("w0",)
    assert [body.split(b"\n")[0] for body in w0.requests] == [b"old %d" % n for n in (0, 1, 2, 7, 8, 40)]


def test_who_cosigned_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "ledger.witness.cosigners")
    w0, w1 = witness("w0"), witness("w1")
    with serving(w0.answer) as one, serving(w1.answer) as two, asking("group g all w0 w1\nquorum g", one, two) as asked:
        cosign(asked, 5)
        [record] = caplog.records
        assert record.getMessage() == "cosigned"
        assert record.__dict__["witnesses"] == 2
        assert 0 < record.__dict__["milliseconds"] < SECONDS * 1000
        states = asked.states()
    assert [(state.failing, state.size) for state in states.values()] == [(False, 5)] * 2


def test_whoever_forgot_the_size_is_told() -> None:
    w0 = witness("w0")
    with serving(w0.answer) as url:
        for size in (3, 9, 9):
            with asking("quorum w0", url) as cosigners:
                assert cosign(cosigners, size) == ("w0",)
        assert len(w0.requests) == 1 + 2 + 2
        with asking("quorum w0", url) as cosigners:
            assert cosign(cosigners, 9) == ("w0",)
            w0.seen.clear()  # another witness under the same key, say
            assert cosign(cosigners, 11) == ("w0",)


def test_a_witness_that_has_seen_more_refuses() -> None:
    w0 = witness("w0")
    with serving(w0.answer) as url, asking("quorum w0", url) as cosigners:
        cosign(cosigners, 20)
    with serving(w0.answer) as url, asking("quorum w0", url) as cosigners:
        assert "w0 says to have cosigned 20 leaves, this log has 12" in refused(cosigners, 12)


def test_proofs_that_cannot_be_made_are_the_logs_own_trouble() -> None:
    w0 = witness("w0")

    def no_tiles(old: int) -> Sequence[bytes]:
        raise NotFoundError("a tile is missing")

    with serving(w0.answer) as url, asking("quorum w0", url) as cosigners, pytest.raises(NotFoundError):
        cosigners.cosign(note_at(3), no_tiles)


@pytest.mark.parametrize(
    ("quorum", "enough"),
    [
        ("group g any w0 w1 w2\nquorum g", (1, 2, 3)),
        ("group g 2 w0 w1 w2\nquorum g", (2, 3)),
        ("group g all w0 w1 w2\nquorum g", (3,)),
        ("group h any w1 w2\ngroup g all w0 h\nquorum g", (2, 3)),
        ("quorum w0", (1, 2, 3)),
        ("quorum none", (0, 1, 2, 3)),
    ],
)
def test_the_quorum_decides_how_many_may_be_dead(quorum: str, enough: Sequence[int]) -> None:
    dead = dead_url()
    for alive in range(4):
        with ExitStack() as stack:
            urls = [stack.enter_context(serving(witness(f"w{n}").answer)) if n < alive else dead for n in range(3)]
            cosigners = stack.enter_context(asking(quorum, *urls))
            began = time.monotonic()
            if alive in enough:
                assert cosign(cosigners, 5) == tuple(f"w{n}" for n in range(alive))
            else:
                message = refused(cosigners, 5)
                assert all(f"w{n} cannot be asked" in message for n in range(alive, 3))
            assert time.monotonic() - began < SOON


def dead_url() -> str:
    """Returns a URL where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


# -- witnesses that do anything but cosign


def answering(status: int, media_type: str, body: bytes) -> Callable[[bytes], Answer]:
    """Answers everything alike."""
    return lambda request: Answer(status, media_type, body)


def other_logs_cosignature(request: bytes) -> Answer:
    """Cosigns, but another log's checkpoint of this size and root."""
    text = parse_note(request.partition(b"\n\n")[2]).text.replace(ORIGIN, "other.example")
    return Answer(200, TEXT, Witness("w0", []).key.line(text, 1_800_000_000).encode())


def another_root(request: bytes) -> Answer:
    """Cosigns another root at this size."""
    checkpoint, _ = parse_checkpoint(request.partition(b"\n\n")[2])
    note = sign_checkpoint(Checkpoint(ORIGIN, checkpoint.size, bytes(32)), LOG)
    return Answer(200, TEXT, Witness("w0", []).key.line(parse_note(note).text, 1_800_000_000).encode())


def another_key(request: bytes) -> Answer:
    """Answers as another witness would."""
    return Witness("w9", [VKEY]).answer(request)


def false_signature(request: bytes) -> Answer:
    """Cosigns, and one bit is wrong."""
    line = bytearray(Witness("w0", [VKEY]).answer(request).body)
    line[-5] = ord("A") if line[-5] != ord("A") else ord("B")
    return Answer(200, TEXT, bytes(line))


WRONG = {
    "rubbish": answering(200, TEXT, b"\x00\xff\x00\xff"),
    "page": answering(200, "text/html", b"<html>welcome\n"),
    "empty": answering(200, TEXT, b""),
    "other log": other_logs_cosignature,
    "other root": another_root,
    "other key": another_key,
    "false": false_signature,
    "redirect": answering(302, TEXT, b""),
    "400": answering(400, TEXT, b"no\n"),
    "403": answering(403, TEXT, b"no\n"),
    "404": answering(404, TEXT, b"no\n"),
    "422": answering(422, TEXT, b"no\n"),
    "500": answering(500, TEXT, b"no\n"),
    "409 text": answering(409, TEXT, b"no\n"),
    "409 small": answering(409, SIZE_TYPE, b"3\n"),
    "409 big": answering(409, SIZE_TYPE, b"9000000\n"),
    "409 rubbish": answering(409, SIZE_TYPE, b"many\n"),
    "too much": answering(200, TEXT, b"x" * 100_000),
    "terminal": answering(500, TEXT, b"\x1b[2J\n\n" * 40),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_witness_that_does_not_cosign(wrong: Callable[[bytes], Answer]) -> None:
    asked: list[bytes] = []

    def answer(request: bytes) -> Answer:
        asked.append(request)
        return wrong(request)

    w1 = witness("w1")
    with serving(answer) as bad, serving(w1.answer) as good:
        with asking("quorum w0", bad, good) as cosigners:
            message = refused(cosigners, 5)
            assert message.startswith("the witnesses' quorum w0 is not reached: w0 ")
            assert message.isprintable()
            assert len(message) < 300
            assert len(asked) <= 2
        with asking("group g any w0 w1\nquorum g", bad, good) as cosigners:
            assert cosign(cosigners, 6) == ("w1",)
            assert cosign(cosigners, 7) == ("w1",)


@contextmanager
def never_ending(first: bytes, drop: bytes) -> Iterator[str]:
    """Accepts requests and answers `first`, then `drop` again and again for as long as anybody reads."""
    stop = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                connection.sendall(first)
                while not stop.wait(0.02):
                    connection.sendall(drop)
            except OSError:
                pass  # nobody reads any more

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        stop.set()
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
SLOW = {
    "nothing": (b"", b""),
    "header without end": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "body in drops": (CHUNKED, b"1\r\nx\r\n"),
    "body that never comes": (b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n", b""),
}


@pytest.mark.parametrize(("first", "drop"), SLOW.values(), ids=SLOW)
def test_a_witness_that_never_ends(first: bytes, drop: bytes) -> None:
    w1 = witness("w1")
    with never_ending(first, drop) as slow, serving(w1.answer) as good:
        with asking("quorum w0", slow, good, seconds=0.5) as cosigners:
            began = time.monotonic()
            assert "w0 has not answered in time" in refused(cosigners, 5)
            assert 0.4 < time.monotonic() - began < SOON
        with asking("group g any w0 w1\nquorum g", slow, good) as cosigners:
            began = time.monotonic()
            for size in range(6, 20):
                assert cosign(cosigners, size) == ("w1",)
            assert time.monotonic() - began < SOON  # the moment is given once, not fourteen times


def test_a_witness_puts_nothing_into_what_others_are_asked() -> None:
    """Cookies of one go to all on its host, and a request whose headers are too big is answered by nobody."""
    w0 = witness("w0")
    cookies = [("Set-Cookie", f"c{n}={'x' * 4000}; Path=/") for n in range(20)]
    with (
        serving(w0.answer) as good,
        serving(lambda _: Answer(500, TEXT, b"no\n", cookies)) as bad,
        asking("quorum w0", good, bad) as cosigners,
    ):
        for size in (5, 6, 7):
            assert cosign(cosigners, size) == ("w0",)


def test_a_body_without_end_is_cut_off() -> None:
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    with never_ending(CHUNKED, chunk) as endless, asking("quorum w0", endless) as cosigners:
        began = time.monotonic()
        assert "at most 16384 bytes are read" in refused(cosigners, 5)
        assert time.monotonic() - began < SOON


def test_a_slow_witness_counts_while_the_quorum_needs_it() -> None:
    w0, w1 = witness("w0"), witness("w1")

    def slowly(request: bytes) -> Answer:
        time.sleep(4 * MOMENT_SECONDS)
        return w1.answer(request)

    with serving(w0.answer) as fast, serving(slowly) as slow:
        with asking("group g all w0 w1\nquorum g", fast, slow) as cosigners:
            assert cosign(cosigners, 5) == ("w0", "w1")
            assert cosign(cosigners, 6) == ("w0", "w1")
        with asking("group g any w0 w1\nquorum g", fast, slow) as cosigners:
            assert cosign(cosigners, 7) == ("w0",)


def test_a_busy_log_waits_again_for_a_witness_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is slower than the others, within the moment; what it missed meanwhile is not held against it."""
    monkeypatch.setattr(cosigners_module, "TROUBLE_SECONDS", 0.5)
    w0, w1, dead = witness("w0"), witness("w1"), threading.Event()

    def slowly(request: bytes) -> Answer:
        if dead.is_set():
            return Answer(500, TEXT, b"dead\n")
        time.sleep(MOMENT_SECONDS / 3)
        return w1.answer(request)

    dead.set()
    with (
        serving(w0.answer) as fast,
        serving(slowly) as slow,
        asking("group g any w0 w1\nquorum g", fast, slow) as cosigners,
    ):
        assert cosign(cosigners, 5) == ("w0",)
        dead.clear()
        assert cosign(cosigners, 6) == ("w0",)  # nobody waits for it yet
        deadline = time.monotonic() + SECONDS
        while cosign(cosigners, 6) == ("w0",):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert cosign(cosigners, 7) == ("w0", "w1")


def test_a_witness_that_comes_back_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    w0 = witness("w0")
    with serving(w0.answer) as url, asking("quorum w0", url) as cosigners:
        assert cosign(cosigners, 5) == ("w0",)
        w0.logs = []
        refused(cosigners, 6)
        refused(cosigners, 6)
        w0.logs = [VKEY]
        assert cosign(cosigners, 6) == ("w0",)
    assert [record.message.split(" ")[2:4] for record in caplog.records] == [["w0", "answered"], ["w0", "cosigns"]]


# -- witnesses that hold another history


CONTRADICTIONS = {name: WRONG[name] for name in ("409 big", "409 text", "422")}


@pytest.mark.parametrize("contradict", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_contradiction_stands_while_nobody_cosigns(
    contradict: Callable[[bytes], Answer], caplog: pytest.LogCaptureFixture
) -> None:
    """A log that is older than itself, say: its witness knows better, and no quorum is no reason not to listen."""
    w0, w1 = witness("w0"), witness("w1")
    answers = [contradict]

    def other(request: bytes) -> Answer:
        return answers[0](request)

    with serving(other) as bad, asking("quorum none", bad) as cosigners:
        message = refused(cosigners, 5)
        assert message == f"nobody cosigned, and {cosigners.warning}"
        assert message.startswith("nobody cosigned, and the witness w0 ")
        answers[0] = WRONG["500"]  # it said so, and takes nothing back
        assert refused(cosigners, 5) == message
        answers[0] = w0.answer
        assert (cosign(cosigners, 5), cosigners.warning) == (("w0",), None)
    assert [r.message[:40] for r in caplog.records if r.levelname == "ERROR"] == [
        "the witness w0 contradicts this log: it "
    ]
    with serving(contradict) as bad, serving(w1.answer) as good:
        for quorum in ("quorum none", "quorum w1"):
            with asking(quorum, bad, good) as cosigners:
                assert cosign(cosigners, 5) == ("w1",)
                assert cosigners.warning is not None
                assert cosigners.warning.startswith("the witness w0 ")
        with asking("quorum w0", bad, good) as cosigners:
            assert refused(cosigners, 5).startswith("the witnesses' quorum w0 is not reached: w0 ")


def test_a_witness_that_does_not_answer_contradicts_nothing() -> None:
    for wrong in ("404", "500", "409 small", "rubbish"):
        with serving(WRONG[wrong]) as bad, asking("quorum none", bad) as cosigners:
            assert cosign(cosigners, 5) == ()
            assert cosigners.warning is None


def test_without_a_quorum_each_witness_is_waited_for_once() -> None:
    def slowly(request: bytes) -> Answer:
        time.sleep(3 * MOMENT_SECONDS)
        return WRONG["409 big"](request)

    with serving(slowly) as slow, asking("quorum none", slow) as cosigners:
        assert "the witness w0 says to have cosigned 9000000 leaves, this log has 5" in refused(cosigners, 5)
    with never_ending(b"", b"") as silent, asking("quorum none", silent, seconds=0.5) as cosigners:
        began = time.monotonic()
        for size in range(6, 20):
            assert cosign(cosigners, size) == ()
        assert 0.4 < time.monotonic() - began < SOON


# -- policies that cannot be asked


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "has no URL at which it is asked"),
        ("witness.example", "expected a URL like"),
        ("ftp://witness.example", "expected a URL like"),
        ("https://user:secret@witness.example", "expected a URL like"),
        ("https://witness.example/?x=1", "expected a URL like"),
        ("https://[::1", "expected a URL like"),
        ("https://", "expected a URL like"),
    ],
)
def test_a_witness_that_cannot_be_asked(url: str, message: str) -> None:
    with pytest.raises(MalformedError, match=message), asking("quorum w0", url):
        pass


def test_more_witnesses_than_a_note_has_lines() -> None:
    many = ["http://127.0.0.1:1"] * 31
    with (
        pytest.raises(MalformedError, match="at most 30 witnesses can sign one checkpoint, found 31"),
        asking("quorum none", *many),
    ):
        pass


def test_closing_twice_is_closing() -> None:
    with asking("quorum none", "http://127.0.0.1:1") as cosigners:
        cosigners.close()
