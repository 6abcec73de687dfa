"""``trainmark resolve|prove``: what a registry knows of a file, and the proof to take away."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from ledger.cli import NO, YES
from ledger.cli.output import emit, json_option, reading_answer
from ledger.cli.trusting import trust_option
from ledger.encoding import digest_decode, digest_encode, sha256
from ledger.errors import MalformedError, NotFoundError, RefusedError, TrainmarkError, shown
from ledger.files import create_file, read_file, replace_file, shown_path
from ledger.manifests import MAX_MANIFEST_BYTES, parse_manifest
from ledger.proof import MAX_PROOF_BYTES, Bundle, parse_proof, verify_proof
from ledger.trust import MAX_TRUST_BYTES, parse_trust

DEFAULT_REGISTRY = "http://127.0.0.1:8787"
NO_ANCHOR = "  not anchored yet: it proves no time; ask again in a minute"
_HEX = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_NEARLY_HEX = re.compile(r"(?:sha256:)([0-9A-Za-z]*)")


def registry_option(command: click.decorators.FC) -> click.decorators.FC:
    """Adds ``--registry URL``."""
    return click.option(
        "--registry",
        "url",
        default=DEFAULT_REGISTRY,
        envvar="TRAINMARK_REGISTRY",
        show_default=True,
        help="Address of the registry to ask.",
    )(command)


def digests_of(what: str) -> list[tuple[str, list[bytes]]]:
    """Returns the digests to look up for a file, a hash or a manifest: (name, digests in order of preference)."""
    match = _HEX.fullmatch(what)
    if match and not Path(what).exists():
        return [(what, [digest_decode(f"sha256:{match[1]}")])]
    near = _NEARLY_HEX.fullmatch(what)
    if near and not Path(what).exists():
        raise MalformedError(f"not a SHA-256: {len(near[1])} of 64 digits 0-9 and a-f", field=shown(what))
    if Path(what).is_dir():
        raise MalformedError("is a folder: use 'trainmark check' for all files of it", field=shown_path(what))
    data = read_file(Path(what), MAX_MANIFEST_BYTES, "file")
    if Path(what).suffix == ".json" and data.startswith(b'{"entries":'):
        return [(entry.path, [entry.published_hash]) for entry in parse_manifest(data).entries]
    from ledger.images.content import content_hash

    content = content_hash(data)
    return [(what, [sha256(data), *([content] if content is not None else [])])]


@click.command("resolve")
@click.argument("what", metavar="FILE|HASH|MANIFEST…", nargs=-1, required=True)
@registry_option
@json_option
def resolve(what: tuple[str, ...], url: str, as_json: bool) -> int:
    """Ask a registry who claims files; only hashes are sent.  Exit code 1: nobody, or not for all."""
    from ledger.client import RegistryClient

    wanted = [named for one in what for named in digests_of(one)]
    with RegistryClient(url) as client:
        answers = {a["digest"]: a for a in client.resolve([d for _, digests in wanted for d in digests])}
    found = []
    for name, digests in wanted:
        own = [answers[digest_encode(d)] for d in digests]
        found.append((name, next((a for a in own if a["claims"]), own[0])))
    value = {"registry": url, "answers": [{**answer, "file": name} for name, answer in found]}
    with reading_answer():
        told: set[str] = set()
        lines = [line for name, answer in found for line in answer_lines(name, answer, told)]
        if any(answer["claims"] for _, answer in found):
            lines.append("the registry says so: 'trainmark prove' gets the proof, 'trainmark verify' checks it")
    emit(as_json, value, lines)
    return YES if all(answer["claims"] for _, answer in found) else NO


def answer_lines(name: str, answer: dict[str, object], told: set[str]) -> list[str]:
    """Returns a registry's answer on one digest in lines for people; `told` grows by the licenses told in full."""
    claims = answer["claims"]
    assert isinstance(claims, list)
    lines = [f"{name}  {answer['digest']}"]
    if not claims:
        return [*lines, "  nobody claims this file here; unknown is not permission"]
    for claim in claims:
        training = claim["license"]["training"]
        may = "under conditions" if training["answer"] == "conditions" else training["answer"]
        conditions = json.dumps([claim["license"]["id"], training], sort_keys=True)
        if conditions in told and training["conditions"]:
            may += f", those of {claim['license']['id']} above"
        lines += [
            f"  {claim['creator']['name']} ({claim['creator']['id']})",
            f"    may I train on it? {may}",
            *(f"      - {condition}" for condition in training["conditions"] if conditions not in told),
            f"    license {claim['license']['id']}",
            f"    state {claim['state']}{', contested' if claim['contested'] else ''}",
            f"    leaf {claim['leaf']}, entry {claim['entry']}, matched by its {claim['kind']} hash",
            f"    anchor {_anchor(claim['anchor'])}",
        ]
        told.add(conditions)
    return lines


def _anchor(anchor: object) -> str:
    if not isinstance(anchor, dict):
        return "none yet"
    return f"{anchor['chain']} block {anchor['block_number']}, {anchor['state']}"


@click.command("prove")
@click.argument("what", metavar="FILE|HASH")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The *.proof.json to write.")
@click.option("--leaf", type=int, help="Of several claims, the one in this manifest leaf.")
@registry_option
@trust_option
@json_option
def prove(what: str, output: Path, leaf: int | None, url: str, trust_path: Path, as_json: bool) -> None:
    """Fetch the proof of a claim, and verify it before it is written if there is a trust file.

    An older proof of the same claim is replaced; any other file stays.
    """
    from ledger.client import RegistryClient

    wanted = digests_of(what)
    if len(wanted) != 1:
        raise click.UsageError("one file or hash at a time: a proof is about one file")
    data = None
    with RegistryClient(url) as client:
        for digest in wanted[0][1]:
            try:
                data = client.proof(digest, leaf)
                break
            except NotFoundError:
                continue
    if data is None:
        raise RefusedError("nobody claims this file here", code="unknown", field=what)
    with reading_answer():
        bundle = parse_proof(data)
        if bundle.digest != digest or leaf not in (None, bundle.claim.leaf):
            raise ValueError("a proof of something else")
    verified = trust_path.exists()
    if verified:
        verify_proof(data, parse_trust(read_file(trust_path, MAX_TRUST_BYTES, "trust")))
    if _is_older(output, bundle):
        replace_file(output, data)
    else:
        create_file(output, data)
    value = {"proof": str(output), "bytes": len(data), "verified": verified, "anchors": len(bundle.anchors)}
    lines = [f"{output}  {len(data)} bytes, {'verified' if verified else 'not verified: no trust file'}"]
    emit(as_json, value, lines if bundle.anchors else [*lines, NO_ANCHOR])


def _is_older(path: Path, bundle: Bundle) -> bool:
    """Returns whether the file at `path` is a proof of the claim that `bundle` is about."""
    try:
        old = parse_proof(read_file(path, MAX_PROOF_BYTES, "file"))
    except TrainmarkError:
        return False
    return (old.digest, old.claim.leaf, old.checkpoint.origin) == (
        bundle.digest,
        bundle.claim.leaf,
        bundle.checkpoint.origin,
    )
