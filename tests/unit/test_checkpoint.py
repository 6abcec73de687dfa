"""Checkpoints (C2SP tlog-checkpoint; docs/format.md, section 4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import (
    MAX_LOG_SIZE,
    Checkpoint,
    check_origin,
    format_text,
    parse_checkpoint,
    parse_text,
    sign_checkpoint,
)
from ledger.encoding import b64_encode
from ledger.errors import MalformedError
from ledger.note import ED25519, VerifierKey, verify_note
from tests.reference import note as reference
from tests.reference.refuted import RefutedError
from tests.simulator import key

# C2SP tlog-checkpoint: its example.
EXAMPLE = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
ROOT = b64_encode(bytes(32))


def test_the_example() -> None:
    checkpoint = parse_text(EXAMPLE)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert format_text(checkpoint) == EXAMPLE


@given(st.integers(0, MAX_LOG_SIZE), st.binary(min_size=32, max_size=32))
def test_round_trip(size: int, root: bytes) -> None:
    checkpoint = Checkpoint("log.example/2026", size, root)
    assert parse_text(format_text(checkpoint)) == checkpoint
    read = reference.parse_checkpoint(format_text(checkpoint))
    assert (read.origin, read.size, read.root) == ("log.example/2026", size, root)


BAD = {
    "x": ["", "a\n1\n", f"a\n1\n{ROOT}", f"a\n1\n{ROOT}\nmore\n", f"a\n1\n{ROOT}\n\n"],
    "x.origin": [
        f"\n1\n{ROOT}\n",
        f"a b\n1\n{ROOT}\n",
        f"a+b\n1\n{ROOT}\n",
        f"é\n1\n{ROOT}\n",
        f"https://a\n1\n{ROOT}\n",
    ],
    "x.size": [f"a\n{size}\n{ROOT}\n" for size in ("", "-1", "01", "+1", "1.0", "9007199254740992", "1_0", "٣", " 1")],
    "x.root": [
        f"a\n1\n{root}\n"
        for root in ("", ROOT[:-1], ROOT + "=", b64_encode(bytes(31)), b64_encode(bytes(33)), "0" * 64)
    ],
}


@pytest.mark.parametrize(("field", "text"), [(field, text) for field, texts in BAD.items() for text in texts])
def test_what_no_checkpoint_is(field: str, text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_text(text, "x")
    assert caught.value.field == field
    if "https" not in text and "é" not in text:
        with pytest.raises(RefutedError):
            reference.parse_checkpoint(text)


def test_two_keys_sign_while_one_replaces_the_other() -> None:
    checkpoint = Checkpoint("log.example/2026", 7, bytes(32))
    old, new = key("old log key"), key("new log key")
    read, note = parse_checkpoint(sign_checkpoint(checkpoint, old, new))
    assert read == checkpoint
    for signer in (old, new):
        verify_note(note, VerifierKey(checkpoint.origin, ED25519, signer.public))


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "é", "https://a", "a\n", "a" * 257])
def test_what_no_origin_is(origin: str) -> None:
    with pytest.raises(MalformedError) as caught:
        check_origin(origin, "x.log")
    assert caught.value.field == "x.log"
