"""``trainmark verify``: any of our evidence files, offline, under the verifier's own trust file."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ledger.cli import NO, YES
from ledger.cli.kinds import expect
from ledger.cli.output import emit, json_option
from ledger.cli.trusting import load_trust, trust_option, with_blocks
from ledger.encoding import sha256, time_encode
from ledger.errors import VerificationError
from ledger.evidence import AnchorFinding, block_text
from ledger.files import read_file
from ledger.manifests import MAX_MANIFEST_BYTES, Entry, parse_attribution, parse_manifest
from ledger.proof import ProofResult, parse_proof, verify_proof
from ledger.receipt import hex_text
from ledger.statements import Statement, verify_statement
from ledger.tiles import MAX_TILE_BYTES, Tile, format_path, read_leaves
from ledger.trust import CLASSES, Trust

if TYPE_CHECKING:
    from ledger.fork import ForkResult
    from ledger.tokens.bundle import TokenResult

MAX_BUNDLE_BYTES = 256 * 1024 * 1024
_OPTIONS = {
    "proof/v1": ("--file", "--block-hash", "--log"),
    "token/v1": ("--files", "--block-hash"),
    "attribution/v1": ("--file",),
    "manifest/v1": (),
    "fork/v1": (),
}
REQUIREMENTS = ("anchor", *(f"anchor={name}" for name in CLASSES), "snapshot")


@click.command("verify")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--file",
    "picture",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The picture itself: its hash is compared too.",
)
@click.option(
    "--files", "files_path", type=click.Path(path_type=Path), help="A token's *.files list, if it lies beside it."
)
@click.option("--block-hash", "block_hashes", multiple=True, help="A block hash (0x…) you got from a source you trust.")
@click.option(
    "--log",
    "log_path",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A copy of the log's tiles: every leaf is read again, and what was asserted is proved or refuted.",
)
@click.option(
    "--require", "requirements", multiple=True, type=click.Choice(REQUIREMENTS), help="Make it a no if not proved."
)
@trust_option
@json_option
def verify(
    file: Path,
    picture: Path | None,
    files_path: Path | None,
    block_hashes: tuple[str, ...],
    log_path: Path | None,
    requirements: tuple[str, ...],
    trust_path: Path,
    as_json: bool,
) -> int:
    """Verify FILE: a proof, a token, an attribution or dataset manifest, evidence of a fork.  No network is used."""
    data = read_file(file, MAX_MANIFEST_BYTES, "file")
    kind = expect(data, "file", *_OPTIONS)
    given = {"--file": picture, "--files": files_path, "--block-hash": block_hashes, "--log": log_path}
    for option, used in given.items():
        if used and option not in _OPTIONS[kind]:  # ignored, it would seem to have been checked
            raise click.UsageError(f"{option} says nothing about a file of kind {kind}")
    match kind:
        case "proof/v1":
            trust = with_blocks(load_trust(trust_path), block_hashes)
            if picture is not None:
                compare_picture(data, read_file(picture, MAX_MANIFEST_BYTES, "file"))
            result = verify_proof(data, trust, replay=None if log_path is None else replay(data, log_path))
            compare_blocks(result.anchors, block_hashes)
            code = _required(requirements, result.anchors, result.leaf)  # what is missing is the first line
            emit(as_json, {"verified": True, **result.value()}, proof_lines(result))
            return code
        case "token/v1":
            trust = with_blocks(load_trust(trust_path), block_hashes)
            token = verify_bundle(data, trust, int(time.time()), files_path, block_hashes, as_json)
            return _required(requirements, token.anchors, token.leaf)
        case "fork/v1":
            verify_evidence(data, load_trust(trust_path), as_json)
        case "attribution/v1":
            attribution = parse_attribution(data)
            signers = _signers(attribution.statements)
            matched = None if picture is None else _matched(attribution.entry, picture)
            open_questions = _unproved(signers, attribution.header.creator_id)
            value = {
                "verified": True,
                "creator_id": attribution.header.creator_id,
                "creator_name": attribution.header.creator_name,
                "license_id": attribution.header.license_id,
                "provenance_hash": "sha256:" + attribution.entry.provenance_hash.hex(),
                "matched": matched,
                "required_attribution_text": attribution.header.required_attribution_text,
                "signed_by": signers,
                "not_checked": open_questions,
            }
            emit(
                as_json,
                value,
                [
                    f"verified: {attribution.header.creator_name} is named for this file under "
                    f"{attribution.header.license_id}",
                    *_listed(
                        "proved",
                        [f"{signer} signed a manifest that holds this file" for signer in signers]
                        + ([] if matched is None else [f"the file is the one meant, by its {matched} hash"]),
                    ),
                    f"  required attribution: {attribution.header.required_attribution_text}",
                    *_listed("not checked", open_questions),
                ],
            )
        case _:
            manifest = parse_manifest(data)
            signers = _signers(manifest.statements)
            open_questions = _unproved(signers, manifest.header.creator_id)
            value = {
                "verified": True,
                "manifest": "sha256:" + manifest.header.digest.hex(),
                "entries": len(manifest.entries),
                "signed_by": signers,
                "logs": [s.log for s in manifest.statements if s.log],
                "not_checked": open_questions,
            }
            emit(
                as_json,
                value,
                [
                    f"verified: {manifest.header.creator_name} is named for these files under "
                    f"{manifest.header.license_id}",
                    *_listed(
                        "proved",
                        [f"the {len(manifest.entries)} entries are those of the header"]
                        + [f"{signer} signed the header" for signer in signers],
                    ),
                    *_listed("not checked", open_questions),
                ],
            )
    return _required(requirements, (), 0)


def compare_picture(proof: bytes, picture: bytes) -> None:
    """Checks that a proof is about this file.

    Raises:
        VerificationError: ``file-mismatch``.
    """
    from ledger.images.content import content_hash

    bundle = parse_proof(proof)
    found = content_hash(picture) if bundle.kind == "content" else sha256(picture)
    if found != bundle.digest:
        said = f"the file's {bundle.kind} hash is not the one of the proof"
        if sha256(picture) == bundle.claim.entry.provenance_hash:
            said += "; it is the original, and the proof is for the tagged copy"
        raise VerificationError(said, code="file-mismatch", field="--file")


def compare_blocks(anchors: Iterable[AnchorFinding], block_hashes: Iterable[str]) -> None:
    """Checks that one of the block hashes a person gave, if any, is that of a carried block.

    Raises:
        VerificationError: ``anchor``.
    """
    given, carried = [text.lower() for text in block_hashes], list(anchors)
    if not given or any(hex_text(anchor.block_hash) in given for anchor in carried):
        return
    blocks = ", ".join(map(block_text, carried)) or "no anchor"
    raise VerificationError(
        f"the hash given is not that of the carried block: it carries {blocks}", code="anchor", field="--block-hash"
    )


def _matched(entry: Entry, path: Path) -> str:
    """Returns by which hash the file at `path` is the one of the entry.

    Raises:
        VerificationError: ``file-mismatch``: by none.
    """
    from ledger.images.content import content_hash

    data = read_file(path, MAX_MANIFEST_BYTES, "--file")
    found = sha256(data)
    if found == entry.provenance_hash:
        return "provenance"
    if found == entry.published_hash:
        return "published"
    if entry.content_hash is not None and content_hash(data) == entry.content_hash:
        return "content"
    raise VerificationError("the file is not the one the attribution is for", code="file-mismatch", field="--file")


def replay(proof: bytes, folder: Path) -> Iterator[bytes]:
    """Yields the leaves up to a proof's checkpoint out of a folder of tiles, in which nothing is written.

    Raises:
        NotFoundError: a tile of that size is not in the folder.
        VerificationError: ``leaf-path``: a leaf is not the one its tile holds.
    """

    def read(tile: Tile) -> bytes:
        return read_file(folder / format_path(tile), MAX_TILE_BYTES, "--log")

    return read_leaves(parse_proof(proof).checkpoint.size, read)


def proof_lines(result: ProofResult) -> list[str]:
    """Returns a verified proof in lines for people."""
    times = sorted((a.time, a.anchor_class) for a in result.anchors if a.time is not None and a.size > result.leaf)
    lines = [
        f"verified: {result.creator_name} claims this file under {result.license_id}",
        f"  state: {result.state} ({'replayed' if result.state_replayed else 'asserted'}, {result.size} leaves)",
        f"  logged before: {', '.join(f'{time_encode(t)} ({name})' for t, name in times) or 'not known'}",
        "  uses: " + ", ".join(f"{use} {answer}" for use, answer in result.uses.items()),
    ]
    lines += _listed("proved", result.proved)
    lines += _listed("replayed", result.replayed)
    lines += _listed("asserted", result.asserted)
    return lines + _listed("not checked", result.not_checked)


def verify_bundle(
    data: bytes, trust: Trust, now: int, files_path: Path | None, block_hashes: Iterable[str], as_json: bool
) -> TokenResult:
    """Verifies a token bundle and prints what it shows.

    Raises:
        VerificationError: ``files-root``: the list at `files_path` is not the one in the bundle.
    """
    from ledger.tokens.bundle import parse_token_bundle, verify_token_bundle
    from ledger.tokens.files import decode_files

    files = None if files_path is None else decode_files(read_file(files_path, MAX_BUNDLE_BYTES, "--files"))
    carried = parse_token_bundle(data).files
    if files is not None and carried is not None and files != carried:  # ignored, it would seem to have been checked
        raise VerificationError("the list is not the one in the token's file", code="files-root", field="--files")
    result = verify_token_bundle(data, trust, now, files=files)
    compare_blocks(result.anchors, block_hashes)
    emit(as_json, {"verified": True, **result.value()}, token_lines(result))
    return result


def verify_evidence(data: bytes, trust: Trust, as_json: bool) -> None:
    """Verifies evidence of a fork and prints what it shows."""
    from ledger.fork import verify_fork

    result = verify_fork(data, trust.policy)
    emit(as_json, {"verified": True, **result.value()}, fork_lines(result))


def fork_lines(result: ForkResult) -> list[str]:
    """Returns verified evidence of a fork in lines for people."""
    return [
        f"verified: {result.origin} forked its log",
        f"  {result.first.size:>12} leaves, root {result.first.root.hex()}, signed by {result.keys[0]}",
        f"  {result.second.size:>12} leaves, root {result.second.root.hex()}, signed by {result.keys[1]}",
        *_listed("proved", [result.sentence]),
        *_listed("not checked", ["which of the two is what happened", "when each was signed, and who was shown which"]),
    ]


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


def _listed(title: str, sentences: Iterable[str]) -> list[str]:
    found = list(sentences)
    return [f"  {title}:", *(f"    - {sentence}" for sentence in found)] if found else []


def _signers(statements: Iterable[Statement]) -> list[str]:
    signers = {verify_statement(statement).key for statement in statements}
    if not signers:
        raise VerificationError("nobody signed it", code="bad-signature", field="statements")
    return sorted(signers)


def _unproved(signers: Iterable[str], creator_id: str) -> list[str]:
    """What a signature outside a log leaves open: a key other than the creator's first is not shown to speak for it."""
    others = [
        f"that {signer} speaks for {creator_id}: only a log shows that" for signer in signers if signer != creator_id
    ]
    return [*others, "when it was signed", "its state: ask a registry, or verify a proof file"]


def _required(requirements: Iterable[str], anchors: Iterable[AnchorFinding], leaf: int) -> int:
    found = list(anchors)
    for requirement in requirements:
        name, _, wanted = requirement.partition("=")
        met = name == "anchor" and any(
            a.time is not None and a.size > leaf and wanted in ("", a.anchor_class) for a in found
        )
        if not met:
            unknown = [block_text(a) for a in found if a.time is None and name == "anchor"]
            how = f": ask a node you trust for {unknown[0]}, and give its hash with --block-hash" if unknown else ""
            click.echo(f"trainmark: {requirement} was required and is not proved{how}", err=True)
            return NO
    return YES
