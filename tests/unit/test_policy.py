"""Who must have signed a checkpoint (C2SP tlog-policy)."""

from __future__ import annotations

import cProfile
import itertools
from types import CodeType

import pytest

from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.errors import MalformedError, VerificationError
from ledger.note import (
    COSIGNATURE,
    ED25519,
    MAX_SIGNATURES,
    Note,
    Signature,
    VerifierKey,
    cosign_note,
    format_vkey,
    parse_note,
)
from ledger.note import format_note as note_bytes
from ledger.policy import MAX_LINES, Group, format_policy, parse_policy, verify_checkpoint
from tests.reference import note as reference
from tests.reference.refuted import RefutedError
from tests.simulator import key

ORIGIN = "log.example/2026"
LOG = key("log")
WITNESSES = [key(f"witness {n}") for n in range(4)]
LOG_KEY = VerifierKey(ORIGIN, ED25519, LOG.public)
WITNESS_KEYS = [VerifierKey(f"w{n}.example", COSIGNATURE, w.public) for n, w in enumerate(WITNESSES)]
LOG_LINE = f"log {format_vkey(LOG_KEY)}"
WITNESS_LINES = [f"witness w{n} {format_vkey(k)}" for n, k in enumerate(WITNESS_KEYS)]
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(32))


def policy(*lines: str) -> str:
    return "\n".join([LOG_LINE, *WITNESS_LINES, *lines]) + "\n"


def cosigned(*witnesses: int) -> Note:
    note = parse_note(sign_checkpoint(CHECKPOINT, LOG))
    lines = [cosign_note(note.text, f"w{n}.example", WITNESSES[n], 1_800_000_000 + n) for n in witnesses]
    return Note(note.text, (*note.signatures, *lines))


def test_reading() -> None:
    text = (
        "# a comment\n\n"
        f"{LOG_LINE} https://log.example/\n"
        f"{WITNESS_LINES[0]} https://w0.example/\n{WITNESS_LINES[1]}\n"
        "group two all w0 w1\n#another\nquorum two\n"
    )
    read = parse_policy(text)
    assert read.logs == (LOG_KEY,)
    assert read.witnesses == {"w0": WITNESS_KEYS[0], "w1": WITNESS_KEYS[1]}
    assert read.groups == {"two": Group(2, ("w0", "w1"))}
    assert read.quorum == "two"
    assert parse_policy(format_policy([LOG_KEY])).quorum == "none"


@pytest.mark.parametrize(
    ("lines", "needed"),
    [
        (("quorum none",), [()]),
        (("quorum w2",), [(2,)]),
        (("group g any w0 w1", "quorum g"), [(0,), (1,)]),
        (("group g all w0 w1", "quorum g"), [(0, 1)]),
        (("group g 2 w0 w1 w2", "quorum g"), [(0, 1), (0, 2), (1, 2)]),
        (("group a any w0 w1", "group b all w2 w3", "group c all a b", "quorum c"), [(0, 2, 3), (1, 2, 3)]),
        (("group a any w0 w1", "group c 2 a w2 w3", "quorum c"), [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]),
    ],
)
def test_quorums(lines: tuple[str, ...], needed: list[tuple[int, ...]]) -> None:
    """Every subset of witnesses: enough exactly when it holds one of those named, here and at the reference."""
    read, other = parse_policy(policy(*lines)), reference.parse_policy(policy(*lines))
    for count in range(5):
        for subset in itertools.combinations(range(4), count):
            note = cosigned(*subset)
            if any(set(each) <= set(subset) for each in needed):
                checkpoint, names = verify_checkpoint(note, read)
                assert checkpoint == CHECKPOINT
                assert names == tuple(f"w{n}" for n in subset)
                reference.verify_checkpoint(note_bytes(note), other)
            else:
                with pytest.raises(VerificationError, match="quorum") as caught:
                    verify_checkpoint(note, read)
                assert (caught.value.code, caught.value.field) == ("checkpoint", "checkpoint")
                with pytest.raises(RefutedError):
                    reference.verify_checkpoint(note_bytes(note), other)


def test_a_false_signature_of_a_known_key_refuses_the_note() -> None:
    """C2SP signed-note: whoever signs falsely is believed in nothing, asked for or not; strangers are passed over."""
    note = cosigned(0)
    line = note.signatures[1]
    false = Signature(line.name, line.key_id, line.raw[:-1] + bytes([line.raw[-1] ^ 1]))
    for signatures in ((note.signatures[0], false), (*note.signatures, false), (note.signatures[0], false, line)):
        forged = Note(note.text, signatures)
        for quorum in ("quorum w0", "quorum none"):
            with pytest.raises(VerificationError, match=r"signature of w0\.example is false") as caught:
                verify_checkpoint(forged, parse_policy(policy(quorum)))
            assert (caught.value.code, caught.value.field) == ("checkpoint", "checkpoint")
            with pytest.raises(RefutedError):
                reference.verify_checkpoint(note_bytes(forged), reference.parse_policy(policy(quorum)))
    stranger = Signature("w0.example", bytes(4), false.raw)
    assert verify_checkpoint(Note(note.text, (*note.signatures, stranger)), parse_policy(policy("quorum w0")))


def test_one_witness_twice_is_one_witness() -> None:
    note = cosigned(0, 0, 0)
    assert verify_checkpoint(note, parse_policy(policy("quorum w0")))[1] == ("w0",)
    with pytest.raises(VerificationError, match="quorum"):
        verify_checkpoint(note, parse_policy(policy("group g 2 w0 w1 w2", "quorum g")))


def test_a_note_costs_no_more_signatures_than_it_has_lines() -> None:
    """However many keys a policy names: a line is looked at for the one key that it names, once."""
    log = parse_note(sign_checkpoint(CHECKPOINT, LOG))
    note = Note(log.text, log.signatures * MAX_SIGNATURES)
    many = [f"witness x{n} {format_vkey(VerifierKey(ORIGIN, COSIGNATURE, key(str(n)).public))}" for n in range(200)]
    read, profile = parse_policy(policy(*many, "quorum none")), cProfile.Profile()
    assert profile.runcall(verify_checkpoint, note, read) == (CHECKPOINT, ())
    calls = {entry.code.co_name: entry.callcount for entry in profile.getstats() if isinstance(entry.code, CodeType)}
    assert calls["verify_signature"] == MAX_SIGNATURES


def test_spaces_and_tabs_separate_and_other_names_are_opaque() -> None:
    """C2SP tlog-policy: the bytes of a name mean nothing, so these four are four names."""
    names = ["K", "\u212a", "a\u00a0b", "caf\u00e9"]
    lines = [f" \twitness\t{name} \t {format_vkey(k)}\t" for name, k in zip(names, WITNESS_KEYS, strict=True)]
    text = "\n".join([LOG_LINE, *lines, f"group all all {' '.join(names)}", "\t# \u00a0", " \t", "quorum all"])
    assert parse_policy(text).groups == {"all": Group(4, tuple(names))}
    assert reference.parse_policy(text).groups == {"all": (4, tuple(names))}


def test_one_of_several_log_keys_is_enough() -> None:
    new = key("new log key")
    text = f"{LOG_LINE}\nlog {format_vkey(VerifierKey(ORIGIN, ED25519, new.public))}\nquorum none\n"
    for signers in ((LOG,), (new,), (LOG, new)):
        note = parse_note(sign_checkpoint(CHECKPOINT, *signers))
        assert verify_checkpoint(note, parse_policy(text)) == (CHECKPOINT, ())


@pytest.mark.parametrize(
    ("note", "why"),
    [
        (sign_checkpoint(CHECKPOINT, key("stranger")), "no trusted key"),
        (sign_checkpoint(Checkpoint("other.example", 7, bytes(32)), LOG), "names no log 'other.example'"),
    ],
)
def test_logs_that_are_not_trusted(note: bytes, why: str) -> None:
    with pytest.raises(VerificationError, match=why) as caught:
        verify_checkpoint(parse_note(note), parse_policy(policy("quorum none")))
    assert caught.value.code == "checkpoint"


def test_a_log_signs_under_its_own_name_only() -> None:
    """Another trusted log's key does not stand for this log."""
    other = key("other log")
    text = policy(f"log {format_vkey(VerifierKey('other.example', ED25519, other.public))}", "quorum none")
    with pytest.raises(VerificationError, match="no trusted key"):
        verify_checkpoint(parse_note(sign_checkpoint(CHECKPOINT, other)), parse_policy(text))


VKEY = format_vkey(LOG_KEY)
WKEY = format_vkey(WITNESS_KEYS[0])
TWIN = format_vkey(VerifierKey("twin.example", COSIGNATURE, WITNESSES[0].public))
LOG_AS_WITNESS = format_vkey(VerifierKey("w9.example", COSIGNATURE, LOG.public))
WITNESS_AS_LOG = format_vkey(VerifierKey("other.example", ED25519, WITNESSES[0].public))
OTHER_NAME = format_vkey(VerifierKey("other.example", ED25519, LOG.public))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "at least one log line"),
        ("quorum none\n", "at least one log line"),
        (f"{LOG_LINE}\n", "one quorum line"),
        (f"{LOG_LINE}\nquorum none\nquorum none\n", "not a line"),
        (f"{LOG_LINE}\nquorum w9\n", "'w9' is not defined"),
        (f"{LOG_LINE}\nquorum w0\n{WITNESS_LINES[0]}\n", "'w0' is not defined"),
        ("log\nquorum none\n", "not a line"),
        (f"{LOG_LINE} url more\nquorum none\n", "not a line"),
        (f"{LOG_LINE}\nlogs {VKEY}\nquorum none\n", "not a line"),
        (f"log {WKEY}\nquorum none\n", "kind 1 is needed"),
        (f"{LOG_LINE}\nwitness w {VKEY}\nquorum none\n", "kind 4 is needed"),
        (f"log {VKEY[:-1]}\nquorum none\n", "base64"),
        (policy(WITNESS_LINES[0], "quorum none"), "'w0' is taken"),
        (policy(f"witness none {WKEY}", "quorum none"), "'none' is taken"),
        (policy("group w0 any w1", "quorum none"), "'w0' is taken"),
        (policy("group none any w1", "quorum none"), "'none' is taken"),
        (policy("group g any", "quorum none"), "not a line"),
        (policy("group g any w9", "quorum none"), "defined above"),
        (policy("group g any g", "quorum none"), "defined above"),
        (policy("group g any w0 w0", "quorum none"), "distinct"),
        (policy("group g 0 w0", "quorum none"), "expected 1 to 1"),
        (policy("group g 3 w0 w1", "quorum none"), "expected 1 to 2"),
        (policy("group g 01 w0 w1", "quorum none"), "decimal"),
        (policy("group g some w0 w1", "quorum none"), "decimal"),
        (policy("group g all none", "quorum none"), "defined above"),
        (policy("group a any w0 w1", "group b any w1 w2", "quorum a"), "'w1' is in a group already"),
        (policy(f"witness twin {WKEY}", "group g 2 w0 twin", "quorum g"), "the key of 'twin' is that of 'w0'"),
        (policy(f"witness twin {TWIN}", "group g 2 w0 twin", "quorum g"), "the key of 'twin' is that of 'w0'"),
        (policy(LOG_LINE, "quorum none"), "a log line of this key stands above"),
        (policy(f"log {OTHER_NAME}", "quorum none"), "a log line of this key stands above"),
        (policy(f"witness w9 {LOG_AS_WITNESS}", "quorum w9"), "the key of 'w9' is a log's"),
        (policy(f"log {WITNESS_AS_LOG}", "quorum w0"), "the key of 'w0' is a log's"),
        (policy("quorum\u00a0none"), "not a line"),
        (policy("quorum\u2003none"), "not a line"),
        (policy("quorum none\r"), "U\\+000D is not allowed"),
        (policy("quorum none").replace("\n", "\r\n"), "U\\+000D is not allowed"),
        (policy("quorum\vnone"), "U\\+000B is not allowed"),
        (policy("# \x7f", "quorum none"), "U\\+007F is not allowed"),
        (policy(*[""] * MAX_LINES, "quorum none"), f"at most {MAX_LINES} lines"),
    ],
)
def test_what_no_policy_is(text: str, why: str) -> None:
    with pytest.raises(MalformedError, match=why) as caught:
        parse_policy(text, "x.policy")
    assert (caught.value.field or "").startswith("x.policy")
    with pytest.raises(RefutedError):
        reference.parse_policy(text)
