"""Evidence that a statement commits to: the log holds ``SHA-256(salt ‖ file)`` alone (docs/format.md, section 8).

The file stays here.  Beside it lies ``<file>.commitment.json`` with the salt: whoever gets both can compare them with
the leaf, and nobody who has the leaf alone can guess them.  The same file again is the same commitment, so a command
that was cut off may be repeated.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

from ledger.canonical import as_constant, as_object, canonical, parse
from ledger.encoding import b64url_decode, b64url_encode, digest_decode, digest_encode, sha256
from ledger.errors import ConflictError, NotFoundError
from ledger.files import create_file, read_file, shown_path

SUFFIX: Final = ".commitment.json"
SALT_BYTES: Final = 32
MAX_EVIDENCE_BYTES: Final = 256 << 20
MAX_COMMITMENT_BYTES: Final = 1024
COMMITMENT_MODE: Final = 0o600


def evidence_option(command: click.decorators.FC) -> click.decorators.FC:
    """Adds ``--evidence FILE``."""
    return click.option(
        "--evidence",
        "evidence_path",
        type=click.Path(path_type=Path),
        help=f"A file that shows why; the log gets a salted hash of it, the salt is kept in FILE{SUFFIX}.",
    )(command)


def commitment(evidence: Path | None) -> str | None:
    """Returns the commitment to a file, as a statement has it; makes the file with its salt, or reads the one there.

    Raises:
        NotFoundError: there is no evidence.
        ConflictError: the evidence is not what was committed to before.
        MalformedError: not a file, too big, or the file with the salt is not of its form.
        BackendError: the disk refuses.
    """
    if evidence is None:
        return None
    data = read_file(evidence, MAX_EVIDENCE_BYTES, "--evidence")
    beside = evidence.with_name(evidence.name + SUFFIX)
    try:
        stored = read_file(beside, MAX_COMMITMENT_BYTES, "commitment")
    except NotFoundError:
        salt = os.urandom(SALT_BYTES)
        found = digest_encode(sha256(salt + data))
        value = {"trainmark": "commitment/v1", "commitment": found, "salt": b64url_encode(salt)}
        create_file(beside, canonical(value), COMMITMENT_MODE)
        return found
    o = as_object(parse(stored, "commitment", MAX_COMMITMENT_BYTES), "commitment", ("trainmark", "commitment", "salt"))
    as_constant(o["trainmark"], "commitment.trainmark", "commitment/v1")
    wanted = digest_decode(o["commitment"], "commitment.commitment")
    if sha256(b64url_decode(o["salt"], "commitment.salt", SALT_BYTES) + data) != wanted:
        raise ConflictError(
            f"{shown_path(evidence)} is not the file that {shown_path(beside)} commits to; keep the old one, and give"
            " new evidence another name",
            field="--evidence",
        )
    return digest_encode(wanted)
