"""``trainmark identity``: how far a registry vouches for who a creator is; for the registry's own people."""

from __future__ import annotations

from pathlib import Path

import click

from ledger.canonical import Object
from ledger.cli.committing import commitment, evidence_option
from ledger.cli.output import emit
from ledger.cli.reviewing import desk_options, speaking
from ledger.keys import did_decode
from ledger.statements import LEVELS, sign_statement


@click.command("identity")
@click.argument("creator")
@click.argument("level", type=click.Choice(LEVELS))
@evidence_option
@desk_options
def identity(creator: str, level: str, evidence_path: Path | None, url: str, key_path: Path, as_json: bool) -> None:
    """State for CREATOR (a did:key) what is known: self (their own word), domain (they control the page they name) or
    attested (somebody you trust confirmed who they are)."""
    did_decode(creator, "CREATOR")
    with speaking(url, key_path) as (client, policy, key):
        body: Object = {"creator": creator, "level": level, "evidence": commitment(evidence_path)}
        logged = client.speak(sign_statement("identity", policy.registry, key, policy.origin, body))
    value = {"creator": creator, "level": level, "statement": logged.leaf, "evidence": body["evidence"]}
    emit(as_json, value, [f"{creator} is {level} (logged as leaf {logged.leaf})"])
