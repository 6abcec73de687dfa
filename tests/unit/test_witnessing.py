"""What a log and its witnesses say to each other, without a wire: texts, and cosignatures that do not count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.errors import MalformedError, VerificationError
from ledger.keys import SigningKey
from ledger.merkle import EMPTY_ROOT
from ledger.note import (
    COSIGNATURE,
    MAX_SIGNATURES,
    Signature,
    VerifierKey,
    cosign_note,
    format_signatures,
    parse_note,
)
from ledger.witnessing import (
    MAX_PROOF_LINES,
    AddCheckpoint,
    add_cosignatures,
    format_request,
    format_size,
    parse_answer,
    parse_request,
    parse_size,
    true_cosignatures,
)
from tests.reference import note as reference
from tests.simulator import ORIGIN, key

LOG, NAME, NOW = key("log"), "w.example", 1_800_000_000
WITNESS = key("w")
VERIFIER = VerifierKey(NAME, COSIGNATURE, WITNESS.public)
NOTE = sign_checkpoint(Checkpoint(ORIGIN, 0, EMPTY_ROOT), LOG)
TEXT = parse_note(NOTE).text
TRUE = cosign_note(TEXT, NAME, WITNESS, NOW)
FALSE = Signature(TRUE.name, TRUE.key_id, TRUE.raw[:-1] + bytes([TRUE.raw[-1] ^ 1]))
OTHER_LOGS = cosign_note(TEXT.replace(ORIGIN, "other.example"), NAME, WITNESS, NOW)
OTHER_WITNESS = cosign_note(TEXT, NAME, key("v"), NOW)
OTHER_TIME = Signature(TRUE.name, TRUE.key_id, (NOW + 1).to_bytes(8, "big") + TRUE.raw[8:])
TOO_LATE = Signature(TRUE.name, TRUE.key_id, b"\xff" * 8 + TRUE.raw[8:])
AS_A_LOG = Signature(TRUE.name, TRUE.key_id, TRUE.raw[8:])


@given(st.integers(0, 2**53 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=MAX_PROOF_LINES))
def test_a_request_is_read_as_it_was_written(old: int, proof: list[bytes]) -> None:
    request = AddCheckpoint(old, tuple(proof), NOTE)
    assert parse_request(format_request(request)) == request
    assert parse_size(format_size(old)) == old


@pytest.mark.parametrize(
    "data", [b"", b"5", b"\n", b" 5\n", b"5\n\n", b"05\n", b"-5\n", b"5\r\n", b"\xd9\xa3\n", b"9" * 99]
)
def test_what_is_no_size(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_size(data)


def test_a_cosignature_is_taken_out_of_the_answer() -> None:
    lines = [OTHER_WITNESS, FALSE, TRUE, TRUE]
    assert parse_answer(format_signatures(lines).encode(), TEXT, VERIFIER) == TRUE
    published = add_cosignatures(NOTE, [TRUE])
    assert published.startswith(NOTE)
    assert reference.verify_note(
        reference.parse_note(published), [reference.VerifierKey(NAME, VERIFIER.key_id, 4, WITNESS.public)]
    )


@pytest.mark.parametrize(
    "line", [FALSE, OTHER_LOGS, OTHER_WITNESS, OTHER_TIME, TOO_LATE, AS_A_LOG], ids=lambda line: str(line.raw[:2])
)
def test_a_cosignature_that_does_not_count(line: Signature) -> None:
    with pytest.raises(VerificationError, match=r"no true cosignature of w\.example") as caught:
        parse_answer(format_signatures([line]).encode(), TEXT, VERIFIER)
    assert caught.value.code == "cosignature"
    assert true_cosignatures(TEXT, [line], [VERIFIER]) == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\xff\n",
        b"<html>\n",
        format_signatures([TRUE]).encode()[:-1],
        format_signatures([TRUE]).encode() + b"\n",
        b"\n" + format_signatures([TRUE]).encode(),
        format_signatures([TRUE] * (MAX_SIGNATURES + 1)).encode(),
    ],
)
def test_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_answer(data, TEXT, VERIFIER)


def test_each_key_counts_once() -> None:
    later = cosign_note(TEXT, NAME, WITNESS, NOW + 9)
    other = VerifierKey("v.example", COSIGNATURE, SigningKey(bytes(32)).public)
    assert true_cosignatures(TEXT, [FALSE, later, TRUE], [other, VERIFIER]) == (later,)
