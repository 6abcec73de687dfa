"""``trainmark show FILE``: any of our files, for people."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ledger.canonical import load_json
from ledger.cli.output import emit, json_option
from ledger.encoding import digest_encode, time_encode
from ledger.errors import MalformedError
from ledger.files import read_file
from ledger.manifests import MAX_MANIFEST_BYTES, Header, parse_attribution, parse_manifest


@click.command("show")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def show(file: Path, as_json: bool) -> None:
    """Print one of our files in words; it is read strictly, but nothing is verified."""
    data = read_file(file, MAX_MANIFEST_BYTES, "file")
    try:
        value = load_json(data, "file", MAX_MANIFEST_BYTES)
    except MalformedError:
        value = None
    if not isinstance(value, dict):
        value, lines = {"text": data.decode("utf-8", "replace")}, _text(data)
    else:
        lines = _lines(value, data)
    emit(as_json, value, lines)


def _lines(value: dict[str, object], data: bytes) -> list[str]:
    match value.get("trainmark") or value.get("type"):
        case "manifest/v1":
            manifest = parse_manifest(data)
            entries = [f"  {e.path}  {digest_encode(e.provenance_hash)}  {e.rights_status}" for e in manifest.entries]
            logs = ", ".join(s.log or "whoever holds the file" for s in manifest.statements)
            return ["dataset manifest (not verified)", *header_lines(manifest.header), f"signed for: {logs}", *entries]
        case "attribution/v1":
            attribution = parse_attribution(data)
            return [
                "attribution manifest (not verified)",
                *header_lines(attribution.header),
                f"file: {attribution.entry.path}, entry {attribution.entry_index}",
                f"hash: {digest_encode(attribution.entry.provenance_hash)}",
            ]
        case "license":
            from ledger.library.licenses import explain
            from ledger.terms import parse_terms

            terms = parse_terms(data)
            return [
                f"license {terms.license_id} ({digest_encode(terms.digest)})",
                *(f"  {line.label}: {line.answer} - {line.sentence}" for line in explain(terms)),
            ]
        case "proof/v1":
            from ledger.proof import parse_proof

            bundle = parse_proof(data)
            return [
                "proof bundle (not verified: use trainmark verify)",
                f"file: {digest_encode(bundle.digest)} ({bundle.kind})",
                *header_lines(bundle.claim.header),
                f"entry {bundle.claim.entry_index} of leaf {bundle.claim.leaf}",
                f"checkpoint: {bundle.checkpoint.origin} at {bundle.checkpoint.size} leaves",
                f"leaves carried: {', '.join(f'{leaf.index} {leaf.statement.type}' for leaf in bundle.leaves)}",
                f"anchors carried: {len(bundle.anchors)}",
            ]
        case "trust/v1":
            from ledger.cli.trusting import describe_trust
            from ledger.trust import parse_trust

            return describe_trust(parse_trust(data))
        case _:
            return json.dumps(value, indent=2, ensure_ascii=False).splitlines()


def header_lines(header: Header) -> list[str]:
    """Returns a header in lines for people."""
    return [
        f'title: "{header.title}" version {header.version}, part {header.part} of {header.parts}',
        f"creator: {header.creator_name} ({header.creator_id})",
        f"license: {header.license_id} ({digest_encode(header.license_digest)})",
        f"entries: {header.entry_count}, root {digest_encode(header.entries_root)}",
        f"manifest: {digest_encode(header.digest)}, created {time_encode(header.created_at)} (claimed)",
    ]


def _text(data: bytes) -> list[str]:
    """A note (checkpoint), a key or a text is readable as it is."""
    try:
        return data.decode("utf-8").splitlines()
    except UnicodeDecodeError as e:
        raise MalformedError("not one of our files", field="file") from e
