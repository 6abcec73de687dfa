"""Keys of 32 bytes that are no point of the curve (docs/format.md, section 0, rule 2): read, and good for nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger.assertion import audience_of, verify_assertion
from ledger.canonical import Object, canonical
from ledger.checkpoint import Checkpoint
from ledger.encoding import b64url_encode, digest_encode
from ledger.errors import VerificationError
from ledger.keys import check_public, did_decode, did_encode, thumbprint, verify_signature
from ledger.note import COSIGNATURE, ED25519, Note, Signature, VerifierKey, cosign_note, format_vkey, parse_vkey
from ledger.policy import parse_policy, verify_checkpoint
from ledger.state import Fold
from ledger.statements import Statement, key_add_body, parse_statement, sign_statement, verify_statement
from ledger.tokens.attribution import TokenIssuer, issue, parse_token, verify_token
from ledger.tokens.jwt import sign_jwt
from ledger.tokens.presentation import BINDING_TYPE, parse_presentation, verify_presentation
from scripts import make_token_vectors as vectors
from tests.reference import ed25519 as reference
from tests.reference import note as reference_note
from tests.reference import statement as reference_statement
from tests.reference.refuted import RefutedError
from tests.simulator import ORIGIN, HandMadeLog, identity, key

NO_POINT = b"\x02" + bytes(31)
DID = did_encode(NO_POINT)
EVA = key("Eva")
EVIDENCE = digest_encode(bytes(32))
NEUTRAL = b"\x01" + bytes(31)
SIGNATURES = [bytes(64), NEUTRAL + bytes(32), NO_POINT + bytes(32), EVA.sign(b"m")]


class Nobody:
    """Signs with what is at hand, in the name of the key that is no point."""

    def __init__(self, signature: bytes) -> None:
        self.did, self.public, self._signature = DID, NO_POINT, signature

    def sign(self, message: bytes) -> bytes:
        return self._signature


def test_it_is_no_point_and_is_read() -> None:
    assert reference._decode_point(NO_POINT) is None
    assert check_public(NO_POINT, "k") == did_decode(DID) == reference.did_decode(DID, "k") == NO_POINT
    vkey = format_vkey(VerifierKey(ORIGIN, ED25519, NO_POINT))
    assert parse_vkey(vkey).public == reference_note.parse_vkey(vkey).public == NO_POINT


@pytest.mark.parametrize("signature", SIGNATURES)
def test_no_signature_is_true_under_it(signature: bytes) -> None:
    assert not verify_signature(NO_POINT, b"m", signature)
    with pytest.raises(RefutedError):
        reference.verify(NO_POINT, b"m", signature)


def in_its_name(signature: bytes) -> Statement:
    """Returns a statement that says to be signed by it."""
    made = sign_statement("record", EVA.did, EVA, ORIGIN, {"kind": "usage", "refs": [], "evidence": EVIDENCE})
    fields: Object = {**reference_statement.as_value(reference_statement.parse_statement(made.data))}
    return parse_statement(canonical({**fields, "by": DID, "key": DID, "sig": b64url_encode(signature)}))


@pytest.mark.parametrize("signature", SIGNATURES)
def test_it_says_nothing_and_is_added_by_nobody(signature: bytes) -> None:
    log = HandMadeLog()
    body = {**key_add_body(EVA.did, EVA, recovery=False), "key": DID, "possession": b64url_encode(signature)}
    added = sign_statement("key", EVA.did, EVA, ORIGIN, body)
    for statement in (in_its_name(signature), added):
        with pytest.raises(VerificationError) as caught:
            verify_statement(statement)
        assert caught.value.code == "bad-signature"
        log.add(statement)
    leaves = [leaf.data for leaf in log.leaves]
    fold = Fold(leaves)
    assert set(fold.void) == {1, 2} == set(reference_statement.replay(leaves, ORIGIN, identity().did)[1])
    assert not fold.key_valid(EVA.did, DID, 3)


@pytest.mark.parametrize("signature", SIGNATURES)
def test_no_log_and_no_witness_has_it(signature: bytes) -> None:
    log, witness = key("log"), VerifierKey("w.example", COSIGNATURE, NO_POINT)
    text = f"{ORIGIN}\n7\n{'A' * 43}=\n"
    policy = f"log {format_vkey(VerifierKey(ORIGIN, ED25519, NO_POINT))}\n"
    line = Signature(ORIGIN, VerifierKey(ORIGIN, ED25519, NO_POINT).key_id, signature)
    with pytest.raises(VerificationError, match="is false"):
        verify_checkpoint(Note(text, (line,)), parse_policy(policy + "quorum none\n"))
    real = VerifierKey(ORIGIN, ED25519, log.public)
    policy = f"log {format_vkey(real)}\nwitness w {format_vkey(witness)}\nquorum w\n"
    lines = (Signature(ORIGIN, real.key_id, log.sign(text.encode())), cosigned(text, witness, signature))
    with pytest.raises(VerificationError, match="is false"):
        verify_checkpoint(Note(text, lines), parse_policy(policy))
    assert verify_checkpoint(Note(text, lines[:1]), parse_policy(policy.replace("quorum w", "quorum none"))) == (
        Checkpoint(ORIGIN, 7, bytes(32)),
        (),
    )


def cosigned(text: str, witness: VerifierKey, signature: bytes) -> Signature:
    """Returns the line of a witness over `text`, with another signature in it."""
    line = cosign_note(text, witness.name, EVA, 7)
    return Signature(witness.name, witness.key_id, line.raw[:8] + signature)


@pytest.mark.parametrize("signature", SIGNATURES)
def test_it_issues_and_holds_no_token_and_asks_for_none(signature: bytes) -> None:
    nobody = Nobody(signature)
    issuer = TokenIssuer(vectors.ISSUER, vectors.ORIGIN, {thumbprint(NO_POINT): NO_POINT})
    issued = issue(vectors.CLAIMS, nobody, licensee=None, price=None, salts=())
    with pytest.raises(VerificationError) as caught:
        verify_token(issued, issuer, vectors.NOW)
    assert caught.value.code == "bad-signature"

    held = issue(replace(vectors.CLAIMS, holder=NO_POINT), vectors.TOKEN, licensee=None, price=None, salts=())
    shown: Object = {"aud": vectors.AUDIENCE, "iat": vectors.NOW, "nonce": vectors.NONCE, "sd_hash": "A" * 43}
    presentation = parse_presentation(held.text + sign_jwt(BINDING_TYPE, shown, nobody, nameless=True))
    issuer = replace(issuer, keys={thumbprint(vectors.TOKEN.public): vectors.TOKEN.public})
    assert verify_token(parse_token(held.text), issuer, vectors.NOW).token.holder == NO_POINT
    with pytest.raises(VerificationError) as caught:
        verify_presentation(presentation, issuer, aud=vectors.AUDIENCE, nonce=vectors.NONCE, now=vectors.NOW)
    assert caught.value.code == "holder-signature"

    audience = audience_of(vectors.ISSUER)
    claims: Object = {"iss": DID, "sub": DID, "aud": audience, "iat": 7, "exp": 8, "jti": b64url_encode(bytes(16))}
    with pytest.raises(VerificationError) as caught:
        verify_assertion(sign_jwt("JWT", claims, nobody, kid=DID), audience, 7)
    assert caught.value.code == "bad-signature"
