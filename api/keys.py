"""A registry's own keys: one PKCS#8 PEM file each in ``<data_dir>/keys``, readable by its owner only, or a setting.

Made at the first start, never replaced: a lost or changed key is a matter for a person, since a log without its keys
cannot go on and new keys would be another registry's.  Encrypted where there is a passphrase.  ``registry`` signs
statements, ``log`` checkpoints and ``token`` tokens (Ed25519); ``anchor`` signs transactions (secp256k1).  Further keys
lie beside the first one as ``<name>-<number>.<key>.pem``: statement keys, which ``trainmark keys add --key`` makes, log
and token keys, which ``trainmark keys rotate`` makes.  Which of them signs, the log says.  A log or token key that was
replaced may be taken away.

A key that is given by a setting (``TRAINMARK_LOG_KEY`` …), as PEM or as the path of a file with it, is in that place
alone: nothing of its name in the folder is read or made.  Several, one after the other, are the oldest first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256K1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ledger.errors import BackendError, MalformedError, RefusedError
from ledger.files import read_file, shown_path
from ledger.keys import Signer, SigningKey, did_encode
from ledger.library.creator import Keyring

KEY_NAMES = ("registry", "log", "token", "anchor")
ROTATED = ("log", "token")
"""Keys that a policy of the log replaces."""
MAX_PEM_BYTES = 16 * 1024

_PEM = re.compile(r"-----BEGIN [A-Z ]+-----[^-]+-----END [A-Z ]+-----")


@dataclass(frozen=True, slots=True)
class RegistryKeys:
    """The four keys; `anchor` are the 32 bytes of the secp256k1 key, kept out of any output; `further` are statement
    keys beside `registry`, `further_log` and `further_token` those made after `log` and `token`, the oldest first."""

    registry: Signer
    log: Signer
    token: Signer
    anchor: bytes
    further: tuple[Signer, ...] = ()
    further_log: tuple[Signer, ...] = ()
    further_token: tuple[Signer, ...] = ()

    def __repr__(self) -> str:
        return f"RegistryKeys({self.registry.did})"


def open_keys(
    folder: Path, passphrase: bytes | None, *, may_make: bool = True, given: Mapping[str, str] = MappingProxyType({})
) -> RegistryKeys:
    """Reads the keys in `folder`, but for those `given` by their names; at the first start makes them.

    Nothing is made unless it `may_make` keys, which is so while there is no log yet.  The file ``complete`` says that
    all were made once: from then on a missing key is an error, before it a cut-off start is finished.

    Raises:
        RefusedError: ``keys-incomplete`` one is missing; ``passphrase`` a wrong or missing one, or one
            given for keys that are not encrypted.
        MalformedError: what is given is no PEM, and not the path of one.
        BackendError: a file cannot be read or written, or is no such key.
    """
    loaded = {name: _read_given(name, value, passphrase) for name, value in given.items()}
    try:
        files = {name: folder / f"{name}.pem" for name in KEY_NAMES if name not in given}
        missing = [
            name
            for name, file in files.items()
            if not file.exists() and not (name in ROTATED and _further(folder, name))
        ]
        if missing and (not may_make or (folder / "complete").exists()):
            raise RefusedError(
                f"{', '.join(f'{name}.pem' for name in missing)} missing in {folder}; restore it from your backup",
                code="keys-incomplete",
            )
        if missing:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in missing:
                _write(files[name], _make(name, passphrase))
            _write(folder / "complete", b"")
        for name in files:
            paths = [files[name]] if name == "anchor" else key_files(folder, name)
            loaded[name] = [(path.name, _load(path, passphrase)) for path in paths]
    except OSError as e:
        raise BackendError(f"the keys in {folder} cannot be used: {e.strerror}", code="keys") from e
    anchor = _anchor_key(*loaded["anchor"][-1])
    registry, log, token = ([_signing_key(*one) for one in loaded[name]] for name in ("registry", "log", "token"))
    return RegistryKeys(registry[0], log[0], token[0], anchor, tuple(registry[1:]), tuple(log[1:]), tuple(token[1:]))


def setting_of(name: str) -> str:
    """Returns the setting that gives a key."""
    return f"TRAINMARK_{name.upper()}_KEY"


def _read_given(name: str, value: str, passphrase: bytes | None) -> list[tuple[str, object]]:
    """Returns the keys that a setting gives, with what messages call them; never shows what it holds."""
    field = setting_of(name)
    if os.path.isfile(value):  # else not named: it may be a key in another spelling
        value = read_file(Path(value), MAX_PEM_BYTES, field).decode("ascii", "replace")
    blocks = _PEM.findall(value)
    if not blocks:
        raise MalformedError("holds no private key in PEM, and is not the path of a file that does", field=field)
    return [(field, _decode(b.encode(), passphrase if "ENCRYPTED" in b else None, field)) for b in blocks]


def key_files(folder: Path, name: str) -> list[Path]:
    """Returns the files of a registry's ``registry``, ``log`` or ``token`` keys, the oldest first."""
    first = folder / f"{name}.pem"
    return [*([first] if first.exists() else []), *_further(folder, name)]


def _further(folder: Path, name: str) -> list[Path]:
    """Returns the files of the keys that were made after the first one, the oldest first."""
    if not folder.exists():
        return []
    first = folder / f"{name}.pem"
    return [file.path for file in Keyring(first, "").files(recovery=False) if file.path != first]


def add_key(folder: Path, name: str, passphrase: bytes | None) -> Path:
    """Makes another ``log`` or ``token`` key beside those that are there, as the first one was made.

    Raises:
        BackendError: the file cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    did = did_encode(key.public_key().public_bytes_raw())
    numbers = [file.number for file in Keyring(folder / f"{name}.pem", "").files(recovery=False)]
    path = Keyring(folder / f"{name}.pem", "").path(max(numbers, default=1) + 1, did, recovery=False)
    try:
        _write(path, _encode(key, passphrase))
    except OSError as e:
        raise BackendError(f"cannot write {shown_path(path)}: {e.strerror}", code="keys") from e
    return path


def _make(name: str, passphrase: bytes | None) -> bytes:
    return _encode(generate_private_key(SECP256K1()) if name == "anchor" else Ed25519PrivateKey.generate(), passphrase)


def _encode(key: EllipticCurvePrivateKey | Ed25519PrivateKey, passphrase: bytes | None) -> bytes:
    encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def _write(path: Path, data: bytes) -> None:
    """Writes a new file whole and to the disk, or not at all."""
    temporary = path.with_suffix(".new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _load(path: Path, passphrase: bytes | None) -> object:
    return _decode(path.read_bytes()[:MAX_PEM_BYTES], passphrase, path.name)


def _decode(data: bytes, passphrase: bytes | None, name: str) -> object:
    try:
        return load_pem_private_key(data, passphrase)
    except TypeError as e:  # encrypted without passphrase, or the other way round
        wrong = "is not encrypted, but a passphrase is set" if passphrase else "is encrypted: set the passphrase"
        raise RefusedError(f"{name} {wrong}", code="passphrase", field="TRAINMARK_KEY_PASSPHRASE") from e
    except (ValueError, UnsupportedAlgorithm) as e:
        raise RefusedError(
            f"{name} cannot be decrypted, or is no key file", code="passphrase", field="TRAINMARK_KEY_PASSPHRASE"
        ) from e


def _signing_key(name: str, key: object) -> SigningKey:
    if not isinstance(key, Ed25519PrivateKey):
        raise BackendError(f"{name} is no Ed25519 key", code="keys")
    return SigningKey(key.private_bytes_raw())


def _anchor_key(name: str, key: object) -> bytes:
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256K1):
        raise BackendError(f"{name} is no secp256k1 key", code="keys")
    return key.private_numbers().private_value.to_bytes(32, "big")
