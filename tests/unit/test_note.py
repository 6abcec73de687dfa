"""Signed notes and verifier keys (C2SP signed-note, tlog-cosignature)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.encoding import b64_encode
from ledger.errors import MalformedError, VerificationError
from ledger.note import (
    COSIGNATURE,
    ED25519,
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Note,
    Signature,
    VerifierKey,
    cosign_note,
    format_note,
    format_vkey,
    parse_note,
    parse_vkey,
    sign_note,
    verify_note,
)
from tests.reference import note as reference
from tests.reference.refuted import RefutedError
from tests.simulator import key

# The example of C2SP signed-note, and of Go's golang.org/x/mod/sumdb/note.
EXAMPLE_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
EXAMPLE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
LOG, WITNESS = key("log"), key("witness")
NAME = "log.example/2026"
TEXT = f"{NAME}\n1\nroot\n"


def test_the_example() -> None:
    vkey = parse_vkey(EXAMPLE_KEY)
    assert (vkey.name, vkey.kind, vkey.key_id.hex()) == ("PeterNeumann", ED25519, "c74f20a3")
    assert format_vkey(vkey) == EXAMPLE_KEY
    note = parse_note(EXAMPLE)
    assert verify_note(note, vkey) is None
    assert format_note(note) == EXAMPLE


@pytest.mark.parametrize("at", [0, 10, 60, 98])
def test_the_example_changed(at: int) -> None:
    changed = EXAMPLE[:at] + bytes([EXAMPLE[at] ^ 1]) + EXAMPLE[at + 1 :]
    with pytest.raises((VerificationError, MalformedError)):
        verify_note(parse_note(changed), parse_vkey(EXAMPLE_KEY))


def log_key() -> VerifierKey:
    return VerifierKey(NAME, ED25519, LOG.public)


def witness_key() -> VerifierKey:
    return VerifierKey("witness.example", COSIGNATURE, WITNESS.public)


def test_a_note_with_two_kinds_of_signature() -> None:
    note = Note(TEXT, (sign_note(TEXT, NAME, LOG), cosign_note(TEXT, "witness.example", WITNESS, 1_800_000_000)))
    read = parse_note(format_note(note))
    assert read == note
    assert verify_note(read, log_key()) is None
    assert verify_note(read, witness_key()) == 1_800_000_000
    keys = [reference.parse_vkey(format_vkey(k)) for k in (log_key(), witness_key())]
    assert reference.verify_note(reference.parse_note(format_note(note)), keys) == keys


@pytest.mark.parametrize("kind", [ED25519, COSIGNATURE])
def test_false_signatures(kind: int) -> None:
    vkey = log_key() if kind == ED25519 else witness_key()
    line = sign_note(TEXT, NAME, LOG) if kind == ED25519 else cosign_note(TEXT, "witness.example", WITNESS, 7)
    bad = [bytes([line.raw[0] ^ 1, *line.raw[1:]]), line.raw[:-1], line.raw + b"\0", b"\0", line.raw[8:]]
    for raw in bad:
        with pytest.raises(VerificationError) as caught:
            verify_note(Note(TEXT, (Signature(line.name, line.key_id, raw),)), vkey)
        assert caught.value.code == "checkpoint"
    with pytest.raises(VerificationError, match="is false"):
        verify_note(Note(TEXT + "x\n", (line,)), vkey)


def test_another_kind_of_key_is_another_key() -> None:
    """The key id holds the kind: a witness's signature of a note is none of the log with the same key."""
    note = Note(TEXT, (sign_note(TEXT, NAME, LOG),))
    with pytest.raises(VerificationError, match="not signed by"):
        verify_note(note, VerifierKey(NAME, COSIGNATURE, LOG.public))
    with pytest.raises(VerificationError, match="not signed by"):
        verify_note(note, VerifierKey("other.example", ED25519, LOG.public))
    with pytest.raises(VerificationError, match="not signed by"):
        verify_note(note, VerifierKey(NAME, ED25519, WITNESS.public))


def test_a_key_id_is_not_enough() -> None:
    """Four bytes are soon found twice: the name has to be the same as well."""
    line = sign_note(TEXT, NAME, LOG)
    for named in (Signature("other.example", line.key_id, line.raw), Signature(NAME, bytes(4), line.raw)):
        with pytest.raises(VerificationError, match="not signed by"):
            verify_note(Note(TEXT, (named,)), log_key())


def test_every_line_of_a_key_is_true() -> None:
    """C2SP signed-note: a line of a known key is verified, wherever it stands; the same one twice says it once."""
    good = sign_note(TEXT, NAME, LOG)
    bad = Signature(NAME, good.key_id, bytes(64))
    for lines in ((bad, good), (good, bad), (good, good, bad), (bad,)):
        with pytest.raises(VerificationError, match="is false"):
            verify_note(Note(TEXT, lines), log_key())
    assert verify_note(Note(TEXT, (good, good)), log_key()) is None
    times = [cosign_note(TEXT, "witness.example", WITNESS, at) for at in (7, 5, 9)]
    assert verify_note(Note(TEXT, tuple(times)), witness_key()) == 9


def test_the_time_of_a_cosignature_fits_63_bits() -> None:
    for at, good in ((2**63 - 1, True), (2**63, False), (2**64 - 1, False)):
        note = Note(TEXT, (cosign_note(TEXT, "witness.example", WITNESS, at),))
        if good:
            assert verify_note(note, witness_key()) == at
            continue
        with pytest.raises(VerificationError, match="is false"):
            verify_note(note, witness_key())
        with pytest.raises(RefutedError):
            reference.verify_note(
                reference.parse_note(format_note(note)), [reference.parse_vkey(format_vkey(witness_key()))]
            )


LINE = f"— {NAME} {b64_encode(bytes(68))}\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        TEXT.encode(),
        f"{TEXT}\n".encode(),
        f"{TEXT}\n\n".encode(),
        f"{TEXT}{LINE}".encode(),
        f"{TEXT}\n{LINE}"[:-1].encode(),
        f"{TEXT}\n{LINE}\n".encode(),
        f"{TEXT}\n{LINE} \n".encode(),
        f"{TEXT}\n{LINE.replace('— ', '- ')}".encode(),
        f"{TEXT}\n{LINE.replace('— ', '—')}".encode(),
        f"{TEXT}\n{LINE.replace('— ', '—  ')}".encode(),
        f"{TEXT}\n{LINE[:-1]} \n".encode(),
        f"{TEXT}\n— {NAME}\n".encode(),
        f"{TEXT}\n— {NAME} \n".encode(),
        f"{TEXT}\n— {NAME} {b64_encode(bytes(4))}\n".encode(),
        f"{TEXT}\n— {NAME} {b64_encode(bytes(68))[:-1]}\n".encode(),
        f"{TEXT}\n— a+b {b64_encode(bytes(68))}\n".encode(),
        f"{TEXT}\n— {'a' * 257} {b64_encode(bytes(68))}\n".encode(),
        f"a\tb\n\n{LINE}".encode(),
        f"a\rb\n\n{LINE}".encode(),
        f"a\0b\n\n{LINE}".encode(),
        f"{TEXT}\n{LINE}".encode()[:-3] + b"\xff=\n",
        f"{TEXT}\n{LINE * (MAX_SIGNATURES + 1)}".encode(),
        ("x" * MAX_NOTE_BYTES + f"\n\n{LINE}").encode(),
    ],
    ids=lambda d: repr(d[-30:]),
)
def test_what_no_note_is(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_note(data, "x")
    assert caught.value.field == "x"


def test_limits_of_a_note() -> None:
    assert len(parse_note(f"{TEXT}\n{LINE * MAX_SIGNATURES}".encode()).signatures) == MAX_SIGNATURES


def test_a_text_may_hold_blank_lines() -> None:
    text = "a\n\n— b c\n"
    note = Note(text, (sign_note(text, NAME, LOG),))
    assert parse_note(format_note(note)) == note


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "a",
        "a+b",
        EXAMPLE_KEY[:-1],
        EXAMPLE_KEY + "A",
        EXAMPLE_KEY.replace("c74f20a3", "c74f20a4"),
        EXAMPLE_KEY.replace("c74f20a3", "C74F20A3"),
        EXAMPLE_KEY.replace("PeterNeumann", "Peter"),
        EXAMPLE_KEY.replace("PeterNeumann", "Peter Neumann"),
        EXAMPLE_KEY.replace("PeterNeumann", ""),
        EXAMPLE_KEY.replace("+ARpc", "+AhpC"),
        EXAMPLE_KEY + "\n",
        f"a+{VerifierKey('a', 2, LOG.public).key_id.hex()}+{b64_encode(bytes([2]) + LOG.public)}",
        f"a+{VerifierKey('a', 1, LOG.public[:31]).key_id.hex()}+{b64_encode(bytes([1]) + LOG.public[:31])}",
        f"a+{VerifierKey('a', 1, bytes(32)).key_id.hex()}+{b64_encode(bytes([1]) + bytes(32))}",
    ],
)
def test_what_no_vkey_is(vkey: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_vkey(vkey, "x.key")
    assert caught.value.field == "x.key"
    with pytest.raises(RefutedError):
        reference.parse_vkey(vkey)


@given(st.binary(min_size=32, max_size=32), st.sampled_from([ED25519, COSIGNATURE]))
def test_vkeys_round_trip(seed: bytes, kind: int) -> None:
    vkey = VerifierKey("log.example/a", kind, key(seed.hex()).public)
    assert parse_vkey(format_vkey(vkey)) == vkey
    assert reference.parse_vkey(format_vkey(vkey)).key_id == vkey.key_id


@given(st.binary(max_size=60) | st.text("a\n— +A=", max_size=60).map(str.encode))
def test_notes_are_read_as_the_reference_reads(data: bytes) -> None:
    try:
        read = parse_note(data)
    except MalformedError:
        return
    assert format_note(read) == data
    assert reference.parse_note(data).text == read.text


def test_the_reference_refuses_what_is_refused_here() -> None:
    for data in (b"", TEXT.encode(), f"{TEXT}\n{LINE}\n".encode(), f"a\rb\n\n{LINE}".encode()):
        with pytest.raises(RefutedError):
            reference.parse_note(data)
