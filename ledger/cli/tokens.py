"""``trainmark token issue|verify``: attribution tokens."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ledger.cli.output import emit, json_option
from ledger.cli.trusting import load_trust, trust_option
from ledger.encoding import digest_encode, time_encode
from ledger.errors import MalformedError
from ledger.library.files import read_file
from ledger.tokens.bundle import TokenResult, verify_token_bundle
from ledger.tokens.files import decode_files
from ledger.trust import Trust

MAX_BUNDLE_BYTES = 256 * 1024 * 1024


@click.group("token")
def token() -> None:
    """Attribution tokens: exactly which files, for whom, for what, until when."""


@token.command("verify")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--files", "files_path", type=click.Path(path_type=Path), help="The *.files list, if it lies beside it.")
@click.option("--block-hash", "block_hashes", multiple=True, help="A block hash (0x…) you got from a source you trust.")
@trust_option
@json_option
def verify(file: Path, files_path: Path | None, block_hashes: tuple[str, ...], trust_path: Path, as_json: bool) -> None:
    """Verify a *.token.json offline under your trust file."""
    from ledger.cli.verifying import with_blocks

    trust = with_blocks(load_trust(trust_path), block_hashes)
    verify_bundle(read_file(file, MAX_BUNDLE_BYTES, "file"), trust, int(time.time()), files_path, as_json)


def verify_bundle(data: bytes, trust: Trust, now: int, files_path: Path | None, as_json: bool) -> TokenResult:
    """Verifies a token bundle and prints what it shows."""
    files = None if files_path is None else decode_files(read_file(files_path, MAX_BUNDLE_BYTES, "--files"))
    result = verify_token_bundle(data, trust, now, files=files)
    emit(as_json, {"verified": True, **token_value(result)}, token_lines(result))
    return result


def token_value(result: TokenResult) -> dict[str, object]:
    """Returns a verified token as JSON."""
    claims = result.token
    return {
        "token": digest_encode(result.digest),
        "license_id": claims.license_id,
        "uses": list(claims.uses),
        "audience": claims.audience,
        "purpose": claims.purpose,
        "files": claims.files_count,
        "files_checked": result.files_checked,
        "expires": time_encode(claims.exp),
        "licensee": None if result.licensee is None else {"name": result.licensee.name, "id": result.licensee.id},
        "attribution": [a.text for a in claims.attribution],
        "leaf": result.leaf,
        "status_age": result.status_age,
        "proved": list(result.proved),
        "asserted": list(result.asserted),
        "not_checked": list(result.not_checked),
    }


def token_lines(result: TokenResult) -> list[str]:
    """Returns a verified token in lines for people."""
    claims = result.token
    who = "anybody (attribution only)" if claims.holder is None else "the holder of its key"
    if result.licensee is not None:
        who = f"{result.licensee.name} ({result.licensee.id})"
    lines = [
        f"verified: {claims.license_id} for {who}, {claims.files_count} files, until {time_encode(claims.exp)}",
        f"  uses: {', '.join(claims.uses) or 'none'}; audience: {claims.audience}; purpose: {claims.purpose}",
        *(f"  attribution: {a.text}" for a in claims.attribution),
    ]
    for title, sentences in (
        ("proved", result.proved),
        ("asserted", result.asserted),
        ("not checked", result.not_checked),
    ):
        lines += [f"  {title}:", *(f"    - {sentence}" for sentence in sentences)] if sentences else []
    return lines


def read_holder(text: str) -> bytes:
    """Reads a licensee's public key: a did:key.

    Raises:
        MalformedError: not one.
    """
    from ledger.keys import did_decode

    if not text.startswith("did:key:"):
        raise MalformedError("expected the licensee's did:key:z6Mk…", field="--holder")
    return did_decode(text, "--holder")
