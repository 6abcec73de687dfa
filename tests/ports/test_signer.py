"""Rules of the Signer port, on a key in memory and on those that a registry signs with."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from api.keys import open_keys
from ledger.keys import SIGNATURE_BYTES, SigningKey, check_public
from ledger.library.creator import encode_key
from ledger.ports import Signer
from tests.reference.ed25519 import did_encode, verify

SEED = bytes(range(32))
PEM = encode_key(SEED, None, lambda n: bytes(n), no_passphrase=True).decode()
MESSAGES = [b"", b"\0", "a note\n— and its line".encode(), bytes(100_000)]


@pytest.fixture(params=["memory", "file", "setting"])
def signer(request: pytest.FixtureRequest, tmp_path: Path) -> Signer:
    match request.param:
        case "memory":
            return SigningKey(SEED)
        case "file":
            return open_keys(tmp_path, b"a passphrase").log
        case _:
            return open_keys(tmp_path, None, given={"log": PEM}).log


def test_it_is_named_by_its_key(signer: Signer) -> None:
    assert check_public(signer.public, "public") == signer.public
    assert signer.did == did_encode(signer.public)


@pytest.mark.parametrize("message", MESSAGES)
def test_what_it_signs_verifies_elsewhere(signer: Signer, message: bytes) -> None:
    signature = signer.sign(message)
    assert len(signature) == SIGNATURE_BYTES
    verify(signer.public, message, signature)
    Ed25519PublicKey.from_public_bytes(signer.public).verify(signature, message)
    assert signer.sign(message) == signature
    assert signer.sign(message + b"!") != signature


def test_it_signs_from_any_thread(signer: Signer) -> None:
    with ThreadPoolExecutor(8) as threads:
        signed = list(threads.map(lambda n: (n, signer.sign(b"%d" % n)), range(200)))
    for number, signature in signed:
        verify(signer.public, b"%d" % number, signature)


def test_it_shows_no_secret(signer: Signer) -> None:
    if signer.public == SigningKey(SEED).public:
        assert SEED.hex() not in repr(signer)
    assert repr(signer) == f"SigningKey({signer.did})"
