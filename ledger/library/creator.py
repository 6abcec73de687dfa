"""Who the creator is: a public profile and private keys.

``creator.json`` is public: ``trainmark:"creator/v1", name, attribution_url, did`` (of the first key, kept for ever) and
``label``, the short name by which the creator calls this identity: one person may have several.  The signing key signs
statements; the recovery key is added to the log as such, signs only ``key`` statements and belongs offline, away from
the signing key (docs/format.md, section 1).

Key files are PKCS#8 in PEM, mode 0600, encrypted with AES-256-CBC under a key that scrypt (N 2^14, r 8, p 5: 16 MiB
five times over) makes of the passphrase; ``openssl pkey`` reads them.  `cryptography` reads this form but writes PKCS#8
only with 2,048 rounds of PBKDF2, too few to hold up a thief; so the envelope is written here (RFC 8018, RFC 7914).  A
file without a passphrase is written only when that is asked for by name.

A further key lies beside the first ones, in a file named by its kind, its number and its did:
``signing-2.z6Mk….key.pem``.  It keeps no key in the profile, and no time or state of keys: those are in the log of each
registry, which alone decides which key signs there.
"""

from __future__ import annotations

import os
import re
import stat
from base64 import encodebytes
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ledger import text
from ledger.canonical import Object, as_constant, as_line, as_object, as_text, canonical, parse
from ledger.errors import BackendError, MalformedError, NotFoundError, RefusedError
from ledger.files import create_file, read_file, shown_path
from ledger.keys import DID_PREFIX, SigningKey, did_decode
from ledger.ports import Entropy
from ledger.statements import key_add_body

PROFILE_FILE: Final = "creator.json"
SIGNING_KEY_FILE: Final = "signing.key.pem"
RECOVERY_KEY_FILE: Final = "recovery.key.pem"
RECOVERY_FILE: Final = "recovery.json"
"""The body that registers the recovery key: public, made while that key is at hand."""

SEED_BYTES: Final = 32
MIN_PASSPHRASE: Final = 8
MAX_PASSPHRASE: Final = 1024
MAX_PROFILE_BYTES: Final = 16 * 1024
MAX_KEY_BYTES: Final = 16 * 1024
MAX_BODY_BYTES: Final = 4096
KEY_MODE: Final = 0o600

_PROFILE_KEYS = ("trainmark", "name", "attribution_url", "did", "label")
_DID_START = DID_PREFIX[:-1]
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_PLAIN = b"-----BEGIN PRIVATE KEY-----"

_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**14, 8, 5
_OID_PBES2 = bytes.fromhex("2a864886f70d01050d")
_OID_SCRYPT = bytes.fromhex("2b06010401da47040b")
_OID_AES256_CBC = bytes.fromhex("60864801650304012a")
_INTEGER, _OCTETS, _OID, _SEQUENCE = 0x02, 0x04, 0x06, 0x30


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key file of a party: whose did it holds, by its name, and whether it is a recovery key; `number` from 1."""

    path: Path
    did: str
    recovery: bool
    number: int


@dataclass(frozen=True, slots=True)
class Keyring:
    """Where a party keeps its key files: `first` is the file of the key its `did` names, the others are beside it."""

    first: Path
    did: str

    @property
    def folder(self) -> Path:
        """The folder of all of them."""
        return self.first.parent

    def path(self, number: int, key: str, *, recovery: bool) -> Path:
        """Returns where the further key number `number` belongs."""
        kind = RECOVERY_KEY_FILE.split(".")[0] if recovery else self._kind
        return self.folder / f"{kind}-{number}.{key.removeprefix(_DID_START)}{self._suffix}"

    def files(self, *, recovery: bool) -> list[KeyFile]:
        """Returns the files of signing keys, or of recovery keys, in the order in which they were made.

        Raises:
            MalformedError, BackendError: the body that names the first recovery key cannot be read.
        """
        kind = RECOVERY_KEY_FILE.split(".")[0] if recovery else self._kind
        name = re.compile(rf"{re.escape(kind)}-([0-9]{{1,4}})\.(z[0-9A-Za-z]{{1,72}}){re.escape(self._suffix)}")
        try:
            names = os.listdir(self.folder)
        except OSError as e:
            raise BackendError(f"cannot read {shown_path(self.folder)}: {e.strerror}", field="folder") from e
        found = [
            KeyFile(self.folder / match[0], _DID_START + match[2], recovery, int(match[1]))
            for match in map(name.fullmatch, names)
            if match is not None
        ]
        if recovery:
            body = load_recovery(self.folder)
            path = self.folder / RECOVERY_KEY_FILE
            if body is not None and os.path.lexists(path):
                found.append(KeyFile(path, as_text(body["key"], f"{RECOVERY_FILE}.key"), recovery, 1))
        elif os.path.lexists(self.first):
            found.append(KeyFile(self.first, self.did, recovery, 1))
        return sorted(found, key=lambda file: (file.number, file.did))

    @property
    def _kind(self) -> str:
        return self.first.name.partition(".")[0]

    @property
    def _suffix(self) -> str:
        return self.first.name[len(self._kind) :]


@dataclass(frozen=True, slots=True)
class Profile:
    """A creator as the public sees them; `attribution_url` is where they want to be found."""

    name: str
    attribution_url: str
    did: str
    label: str

    def __post_init__(self) -> None:
        text.line(self.name, "creator.name")
        text.url(self.attribution_url, "creator.attribution_url")
        did_decode(self.did, "creator.did")
        check_label(self.label, "creator.label")


def check_label(label: str, field: str) -> str:
    """Returns a creator's label. Raises MalformedError: not of its form."""
    return text.identifier(label, field, text.NAME, 64)


def format_profile(profile: Profile) -> bytes:
    """Writes ``creator.json``."""
    return canonical(
        {
            "trainmark": "creator/v1",
            "name": profile.name,
            "attribution_url": profile.attribution_url,
            "did": profile.did,
            "label": profile.label,
        }
    )


def parse_profile(data: bytes, field: str = "creator") -> Profile:
    """Reads ``creator.json``.

    Raises:
        MalformedError: not the format.
    """
    o = as_object(parse(data, field, MAX_PROFILE_BYTES), field, _PROFILE_KEYS)
    as_constant(o["trainmark"], f"{field}.trainmark", "creator/v1")
    return Profile(
        as_line(o["name"], f"{field}.name"),
        as_text(o["attribution_url"], f"{field}.attribution_url"),
        as_text(o["did"], f"{field}.did"),
        as_text(o["label"], f"{field}.label"),
    )


def load_profile(folder: Path) -> Profile:
    """Reads ``creator.json`` in `folder`.

    Raises:
        NotFoundError: there is none.
        MalformedError: not the format.
        BackendError: it cannot be read.
    """
    return parse_profile(read_file(folder / PROFILE_FILE, MAX_PROFILE_BYTES, "creator"))


def create_creator(
    folder: Path,
    *,
    name: str,
    attribution_url: str,
    label: str,
    passphrase: str | None,
    recovery_passphrase: str | None,
    entropy: Entropy,
    no_passphrase: bool = False,
) -> Profile:
    """Makes a new creator in `folder`: profile, signing key, recovery key and its body; nothing there is replaced.

    The profile is written last: a folder without it holds no creator.  What this call wrote is removed when it fails.

    Raises:
        ConflictError: ``exists``: one of the files is there already.
        MalformedError: a name, URL, label or passphrase is not of its form.
        NotFoundError: there is no such folder.
        BackendError: the disk refuses.
    """
    seeds = entropy(SEED_BYTES), entropy(SEED_BYTES)
    profile = Profile(name, attribution_url, SigningKey(seeds[0]).did, label)
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {shown_path(folder)}", field="folder")
    contents = {
        SIGNING_KEY_FILE: encode_key(seeds[0], passphrase, entropy, no_passphrase=no_passphrase),
        RECOVERY_KEY_FILE: encode_key(seeds[1], recovery_passphrase, entropy, no_passphrase=no_passphrase),
        RECOVERY_FILE: canonical(key_add_body(profile.did, SigningKey(seeds[1]), recovery=True)),
        PROFILE_FILE: format_profile(profile),
    }
    written: list[Path] = []
    try:
        for file, data in contents.items():
            create_file(folder / file, data, 0o644 if file in (PROFILE_FILE, RECOVERY_FILE) else KEY_MODE)
            written.append(folder / file)
    except BaseException:
        for path in written:
            path.unlink()
        raise
    return profile


def load_recovery(folder: Path) -> Object | None:
    """Reads the body that registers the recovery key, from ``recovery.json`` in `folder`; None where there is none.

    Raises:
        MalformedError: not the body of a key statement.
        BackendError: it cannot be read.
    """
    try:
        data = read_file(folder / RECOVERY_FILE, MAX_BODY_BYTES, RECOVERY_FILE)
    except NotFoundError:
        return None
    return as_object(parse(data, RECOVERY_FILE, MAX_BODY_BYTES), RECOVERY_FILE, ("op", "key", "possession", "recovery"))


def save_key(
    path: Path, seed: bytes, passphrase: str | None, entropy: Entropy, *, no_passphrase: bool = False
) -> SigningKey:
    """Writes a new key file and returns the key; an existing file is never replaced.

    Raises:
        ConflictError: ``exists``.
        MalformedError: no passphrase where `no_passphrase` was not asked for, or one that is too short.
        BackendError: the disk refuses.
    """
    create_file(path, encode_key(seed, passphrase, entropy, no_passphrase=no_passphrase), KEY_MODE)
    return SigningKey(seed)


def encode_key(seed: bytes, passphrase: str | None, entropy: Entropy, *, no_passphrase: bool = False) -> bytes:
    """Returns the PEM of an Ed25519 key, encrypted with `passphrase` unless `no_passphrase` says that there is none.

    Raises:
        MalformedError: not exactly one of the two, or a passphrase outside 8 to 1,024 characters.
    """
    key = Ed25519PrivateKey.from_private_bytes(seed)
    if no_passphrase:
        if passphrase is not None:
            raise MalformedError("give a passphrase or ask for none, not both", field="passphrase")
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    secret = _encoded(check_passphrase(passphrase))
    salt, iv = entropy(16), entropy(16)
    derived = Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P).derive(secret)
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    padding = 16 - len(plain) % 16
    encryptor = Cipher(algorithms.AES256(derived), modes.CBC(iv)).encryptor()
    encrypted = encryptor.update(plain + bytes([padding]) * padding) + encryptor.finalize()
    cost = b"".join(_der(_INTEGER, _der_number(n)) for n in (_SCRYPT_N, _SCRYPT_R, _SCRYPT_P))
    derivation = _sequence(_der(_OID, _OID_SCRYPT), _sequence(_der(_OCTETS, salt), cost))
    scheme = _sequence(_der(_OID, _OID_AES256_CBC), _der(_OCTETS, iv))
    algorithm = _sequence(_der(_OID, _OID_PBES2), _sequence(derivation, scheme))
    info = _sequence(algorithm, _der(_OCTETS, encrypted))
    end = _ENCRYPTED.replace(b"BEGIN", b"END")
    body = encodebytes(info).replace(b"\n", b"")
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    return b"\n".join([_ENCRYPTED, *lines, end, b""])


def check_passphrase(passphrase: str | None) -> str:
    """Returns a passphrase for a new key file.

    Raises:
        MalformedError: none, or one outside 8 to 1,024 characters.
    """
    if passphrase is None or not MIN_PASSPHRASE <= len(passphrase) <= MAX_PASSPHRASE:
        found = "none" if passphrase is None else f"{len(passphrase)}"
        raise MalformedError(
            f"expected {MIN_PASSPHRASE} to {MAX_PASSPHRASE} characters, found {found}", field="passphrase"
        )
    return passphrase


def _encoded(passphrase: str) -> bytes:
    try:
        return passphrase.encode()
    except UnicodeEncodeError as e:
        raise MalformedError("is not text in UTF-8", field="passphrase") from e


def _sequence(*parts: bytes) -> bytes:
    return _der(_SEQUENCE, b"".join(parts))


def _der(tag: int, body: bytes) -> bytes:
    """Returns a DER value; all of ours have fewer than 256 bytes."""
    length = bytes([len(body)]) if len(body) < 128 else bytes([0x81, len(body)])
    return bytes([tag]) + length + body


def _der_number(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def load_key(path: Path, passphrase: str | None = None) -> SigningKey:
    """Reads a key file.

    Raises:
        NotFoundError: there is none.
        RefusedError: ``key-permissions``: others may read the file; ``passphrase``: one is needed, or it is wrong.
        MalformedError: not a PKCS#8 PEM of an Ed25519 key, or a passphrase for a file that has none.
        BackendError: it cannot be read.
    """
    data = read_file(path, MAX_KEY_BYTES, "key")
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as e:
        raise BackendError(f"cannot read {shown_path(path)}: {e.strerror}", field="key") from e
    if mode & 0o077:
        raise RefusedError(
            f"{shown_path(path)} has mode {mode:04o}, others may read it; expected 0600 (chmod 600)",
            code="key-permissions",
            field="key",
        )
    return decode_key(data, passphrase, shown_path(path))


def decode_key(data: bytes, passphrase: str | None, name: str = "the key") -> SigningKey:
    """Reads the PEM of a key; `name` is what messages call it.

    Raises:
        RefusedError: ``passphrase``: one is needed, or it is wrong.
        MalformedError: not a PKCS#8 PEM of an Ed25519 key, or a passphrase for a key that has none.
    """
    encrypted = data.startswith(_ENCRYPTED)
    if not encrypted and not data.startswith(_PLAIN):
        raise MalformedError(f"{name} is not a private key in PEM (PKCS#8)", field="key")
    if encrypted and not passphrase:
        raise RefusedError(f"{name} is encrypted; give its passphrase", code="passphrase", field="key")
    if not encrypted and passphrase:
        raise MalformedError(f"{name} is not encrypted; give no passphrase", field="key")
    try:
        key = load_pem_private_key(data, _encoded(passphrase) if passphrase else None)
    except (ValueError, UnsupportedAlgorithm) as e:
        if encrypted:
            message = f"the passphrase of {name} is wrong, or the file is damaged"
            raise RefusedError(message, code="passphrase", field="key") from e
        raise MalformedError(f"{name} is damaged", field="key") from e
    if not isinstance(key, Ed25519PrivateKey):
        raise MalformedError(f"{name} is of another kind, expected Ed25519", field="key")
    return SigningKey(key.private_bytes_raw())
