"""``trainmark token issue|verify``: attribution tokens."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ledger.cli.creating import home_option, load_creator, load_license
from ledger.cli.kinds import expect
from ledger.cli.output import emit, json_option, reading_answer
from ledger.cli.trusting import load_trust, trust_option, with_blocks
from ledger.cli.verifying import MAX_BUNDLE_BYTES, verify_bundle
from ledger.encoding import MAX_SAFE_INTEGER, decimal_decode, digest_encode, time_encode
from ledger.errors import ConflictError, MalformedError
from ledger.files import create_file, read_file, shown_path
from ledger.library.output import license_files, load_manifest
from ledger.terms import AUDIENCES, USES
from ledger.tokens.bundle import parse_token_bundle

DAY = 86_400
MAX_DAYS = 36_500


def _two(_context: click.Context, param: click.Parameter, value: tuple[str, str] | None) -> tuple[str, str] | None:
    """Refuses the next option as a second word."""
    if value is not None and value[1].startswith("-"):
        raise click.BadParameter(f"takes {param.metavar}, found {value[0]!r} and the option {value[1]}")
    return value


@click.group("token")
def token() -> None:
    """Attribution tokens: exactly which files, for whom, for what, until when."""


@token.command("verify")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--files", "files_path", type=click.Path(path_type=Path), help="The *.files list, if it lies beside it.")
@click.option("--block-hash", "block_hashes", multiple=True, help="A block hash (0x…) you got from a source you trust.")
@trust_option
@json_option
def verify(file: Path, files_path: Path | None, block_hashes: tuple[str, ...], trust_path: Path, as_json: bool) -> None:
    """Verify a *.token.json offline under your trust file."""
    trust = with_blocks(load_trust(trust_path), block_hashes)
    data = read_file(file, MAX_BUNDLE_BYTES, "file")
    expect(data, "file", "token/v1")
    verify_bundle(data, trust, int(time.time()), files_path, block_hashes, as_json)


@token.command("issue")
@click.argument("manifest_path", metavar="MANIFEST", type=click.Path(path_type=Path))
@click.option("--to", "url", required=True, envvar="TRAINMARK_REGISTRY", help="The registry that lists it.")
@click.option("--holder", help="The licensee's did:key; without one the token is for attribution only.")
@click.option(
    "--licensee",
    nargs=2,
    metavar="NAME ID",
    callback=_two,
    help="Who it is for; seen only by whom the token is shown to.",
)
@click.option(
    "--price",
    nargs=2,
    metavar="CURRENCY MINOR",
    callback=_two,
    help="What was paid, such as EUR 12500 for 125.00 euro.",
)
@click.option("--use", "uses", multiple=True, type=click.Choice(USES), help="What is permitted; repeat for more.")
@click.option("--audience", type=click.Choice(AUDIENCES), help="Default: that of the license.")
@click.option("--purpose", required=True, help="One line that says what it is for; it decides nothing.")
@click.option(
    "--days",
    type=click.IntRange(1, MAX_DAYS),
    default=365,
    show_default=True,
    help="Until when training may begin, in days from now.",
)
@click.option("--path", "paths", multiple=True, help="Only this file of the manifest; repeat for more. Default: all.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The *.token.json to write.")
@home_option
@json_option
def issue(
    manifest_path: Path,
    url: str,
    holder: str | None,
    licensee: tuple[str, str] | None,
    price: tuple[str, str] | None,
    uses: tuple[str, ...],
    audience: str | None,
    purpose: str,
    days: int,
    paths: tuple[str, ...],
    output: Path,
    home: Path,
    as_json: bool,
) -> None:
    """Grant a license on your published MANIFEST: the registry issues a token that anybody verifies offline."""
    from ledger.cli.publishing import leaf_of, library_folder
    from ledger.client import RegistryClient

    if output.exists():  # before a token is logged that could not be written
        raise ConflictError(f"{shown_path(output)} exists and is not replaced", code="exists", field="-o")
    folder = library_folder(manifest_path)
    manifest = load_manifest(folder)
    terms, _ = load_license(folder / license_files(manifest.header.license_id)[0])
    by_path = {entry.path: entry.provenance_hash for entry in manifest.entries}
    unknown = [path for path in paths if path not in by_path]
    if unknown:
        raise MalformedError("there is no such file in the manifest", field=unknown[0])
    with RegistryClient(url) as client:
        profile, key = load_creator(home, client)
        client.authenticate(key, profile.did, ("token",))
        leaf = leaf_of(client, folder)
        issued = client.issue_token(
            {
                "manifests": [leaf],
                "files": sorted(digest_encode(by_path[path]) for path in paths) or None,
                "holder": holder,
                "licensee": None if licensee is None else {"name": licensee[0], "id": licensee[1]},
                "price": None if price is None else {"currency": price[0], "minor": _minor(price[1])},
                "uses": sorted(set(uses)),
                "audience": audience or terms.audience,
                "purpose": purpose,
                "expires_at": time_encode(int(time.time()) + days * DAY),
            }
        )
        data = client.token(issued.digest)
    with reading_answer():
        sd_jwt = parse_token_bundle(data).sd_jwt
        if sd_jwt.digest != issued.digest:
            raise ValueError("another token")
    create_file(output, data)
    count = sd_jwt.token.files_count
    emit(
        as_json,
        {"token": digest_encode(issued.digest), "leaf": issued.leaf, "file": str(output), "files": count},
        [f"{output}  {count} files; logged as leaf {issued.leaf}", f"token {digest_encode(issued.digest)}"],
    )


def _minor(text: str) -> int:
    return decimal_decode(text, "--price", MAX_SAFE_INTEGER)
