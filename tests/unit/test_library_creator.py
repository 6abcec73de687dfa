"""The creator's profile and key files."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from ledger.errors import BackendError, ConflictError, MalformedError, NotFoundError, RefusedError
from ledger.keys import SigningKey
from ledger.library.creator import (
    PROFILE_FILE,
    RECOVERY_FILE,
    RECOVERY_KEY_FILE,
    SIGNING_KEY_FILE,
    Profile,
    create_creator,
    decode_key,
    encode_key,
    format_profile,
    load_key,
    load_profile,
    parse_profile,
    save_key,
)

PASSPHRASE = "correct horse"
SEED = bytes(range(32))


def counting() -> Callable[[int], bytes]:
    """Entropy that is another one at each call, and the same in each test."""
    calls = 0

    def draw(size: int) -> bytes:
        nonlocal calls
        calls += 1
        return hashlib.shake_256(calls.to_bytes(4, "big")).digest(size)

    return draw


def create(folder: Path, **changed: object) -> Profile:
    arguments: dict[str, object] = {
        "name": "Sam Rivers",
        "attribution_url": "https://sam.example/",
        "label": "studio",
        "passphrase": PASSPHRASE,
        "recovery_passphrase": "another horse",
        "entropy": counting(),
    }
    return create_creator(folder, **{**arguments, **changed})  # type: ignore[arg-type]


def test_a_new_creator_has_a_profile_two_keys_and_what_registers_one(tmp_path: Path) -> None:
    profile = create(tmp_path)
    assert load_profile(tmp_path) == profile
    signing = load_key(tmp_path / SIGNING_KEY_FILE, PASSPHRASE)
    recovery = load_key(tmp_path / RECOVERY_KEY_FILE, "another horse")
    assert signing.did == profile.did
    assert recovery.did != signing.did
    names = [PROFILE_FILE, RECOVERY_FILE, RECOVERY_KEY_FILE, SIGNING_KEY_FILE]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes[SIGNING_KEY_FILE] == modes[RECOVERY_KEY_FILE] == 0o600


def test_the_secret_is_not_in_the_files(tmp_path: Path) -> None:
    create(tmp_path)
    seed = counting()(32)
    for path in tmp_path.iterdir():
        assert seed not in path.read_bytes()
        assert PASSPHRASE.encode() not in path.read_bytes()
    assert b"ENCRYPTED PRIVATE KEY" in (tmp_path / SIGNING_KEY_FILE).read_bytes()


@pytest.mark.parametrize("existing", [PROFILE_FILE, SIGNING_KEY_FILE, RECOVERY_KEY_FILE, RECOVERY_FILE])
def test_nothing_that_exists_is_replaced_and_nothing_else_is_left(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("mine")
    with pytest.raises(ConflictError, match=rf"{existing}' exists and is not replaced") as error:
        create(tmp_path)
    assert error.value.code == "exists"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {existing: "mine"}


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": "Sam\nRivers"}, "creator.name"),
        ({"attribution_url": "ftp://sam.example"}, "creator.attribution_url"),
        ({"label": "my studio"}, "creator.label"),
        ({"passphrase": None}, "passphrase"),
        ({"passphrase": "seven77"}, "passphrase"),
        ({"passphrase": "x" * 1025}, "passphrase"),
        ({"passphrase": "half \ud800 pair"}, "passphrase"),
        ({"recovery_passphrase": None}, "passphrase"),
        ({"no_passphrase": True}, "passphrase"),
    ],
)
def test_bad_answers_leave_nothing(tmp_path: Path, changed: dict[str, object], field: str) -> None:
    with pytest.raises(MalformedError) as error:
        create(tmp_path, **changed)
    assert error.value.field == field
    assert list(tmp_path.iterdir()) == []


def test_no_passphrase_has_to_be_asked_for(tmp_path: Path) -> None:
    create(tmp_path, passphrase=None, recovery_passphrase=None, no_passphrase=True)
    assert load_key(tmp_path / SIGNING_KEY_FILE).did == load_profile(tmp_path).did
    assert stat.S_IMODE((tmp_path / SIGNING_KEY_FILE).stat().st_mode) == 0o600
    with pytest.raises(MalformedError, match="is not encrypted; give no passphrase"):
        load_key(tmp_path / SIGNING_KEY_FILE, PASSPHRASE)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no folder"):
        create(tmp_path / "no")


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        folder = Path("/proc/self")  # where even root may not create a file
    else:
        folder = tmp_path
        tmp_path.chmod(0o500)
    with pytest.raises(BackendError, match="cannot write"):
        create(folder)


def test_the_key_is_pkcs8_that_others_read() -> None:
    pem = encode_key(SEED, PASSPHRASE, counting())
    key = load_pem_private_key(pem, PASSPHRASE.encode())
    raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    assert raw == SEED


def test_the_cost_of_a_guess_is_in_the_file() -> None:
    # scrypt's OID, then N = 2^14, r = 8, p = 5 as DER integers
    body = b"".join(encode_key(SEED, PASSPHRASE, counting()).splitlines()[1:-1])
    der = base64.b64decode(body)
    assert bytes.fromhex("06092b06010401da47040b") in der
    assert bytes.fromhex("02024000 020108 020105") in der


def test_the_same_key_is_never_the_same_file() -> None:
    entropy = counting()
    assert encode_key(SEED, PASSPHRASE, entropy) != encode_key(SEED, PASSPHRASE, entropy)


def test_save_and_load(tmp_path: Path) -> None:
    path = tmp_path / "next.key.pem"
    assert save_key(path, SEED, PASSPHRASE, counting()).did == load_key(path, PASSPHRASE).did == SigningKey(SEED).did
    with pytest.raises(ConflictError):
        save_key(path, bytes(32), PASSPHRASE, counting())
    assert load_key(path, PASSPHRASE).did == SigningKey(SEED).did


def test_a_wrong_or_missing_passphrase_is_told(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    save_key(path, SEED, PASSPHRASE, counting())
    for passphrase, words in [("wrong horse", "wrong, or the file is damaged"), (None, "is encrypted"), ("", "is enc")]:
        with pytest.raises(RefusedError, match=words) as error:
            load_key(path, passphrase)
        assert error.value.code == "passphrase"
        assert "horse" not in str(error.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    save_key(path, SEED, PASSPHRASE, counting())
    path.chmod(mode)
    with pytest.raises(RefusedError, match=rf"mode {mode:04o}.*chmod 600") as error:
        load_key(path, PASSPHRASE)
    assert error.value.code == "key-permissions"


def test_other_keys_and_junk_are_refused(tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(MalformedError, match="another kind, expected Ed25519"):
        decode_key(other, None)
    with pytest.raises(MalformedError, match="not a private key in PEM"):
        decode_key(b"ssh-ed25519 AAAA", None)
    with pytest.raises(MalformedError, match="is damaged"):
        decode_key(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", None)
    with pytest.raises(NotFoundError):
        load_key(tmp_path / "no.pem", None)
    with pytest.raises(MalformedError, match="is a folder, not a file"):
        load_key(tmp_path, None)
    (tmp_path / "big.pem").write_bytes(bytes(16 * 1024 + 1))
    with pytest.raises(MalformedError, match="more than 16384 bytes"):
        load_key(tmp_path / "big.pem", None)


def test_a_damaged_key_never_passes_for_the_key() -> None:
    # CBC has no checksum: damage in the middle of the seed gives another key, which the profile's did then shows.
    pem = encode_key(SEED, PASSPHRASE, counting())
    for at in range(len(pem) - 110, len(pem) - 36, 9):  # in the encrypted part
        changed = pem[:at] + (b"A" if pem[at : at + 1] != b"A" else b"B") + pem[at + 1 :]
        with suppress(RefusedError):
            assert decode_key(changed, PASSPHRASE).did != SigningKey(SEED).did


def test_profile_bytes() -> None:
    profile = Profile("Sam", "https://sam.example/", SigningKey(SEED).did, "studio")
    data = format_profile(profile)
    assert parse_profile(data) == profile
    with pytest.raises(MalformedError, match="unknown key"):
        parse_profile(data.replace(b'{"', b'{"a":1,"', 1))
    with pytest.raises(MalformedError, match="expected 'creator/v1'"):
        parse_profile(data.replace(b"creator/v1", b"creator/v2"))
    with pytest.raises(MalformedError, match=r"creator\.did"):
        parse_profile(data.replace(profile.did.encode(), b"did:key:z6Mk"))
