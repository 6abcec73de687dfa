"""``trainmark check CORPUS``: the gate before a training run; a yes needs a proof, everything else is a no."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from ledger.canonical import Json, Object, as_int
from ledger.cli import NO, YES
from ledger.cli.kinds import expect
from ledger.cli.output import emit, escaped, json_option, progress
from ledger.cli.resolving import registry_option
from ledger.cli.trusting import load_trust, trust_option
from ledger.cli.verifying import MAX_BUNDLE_BYTES
from ledger.encoding import digest_decode
from ledger.errors import MalformedError, RefusedError
from ledger.files import read_file, replace_file
from ledger.gate.folder import check_folder
from ledger.gate.verdict import REASONS, Covering, Verdict, Wanted, Word
from ledger.terms import AUDIENCES, USES
from ledger.tokens.bundle import parse_token_bundle, verify_token_bundle
from ledger.trust import Trust

if TYPE_CHECKING:
    from ledger.client import RegistryClient

SHOWN = 20


class _Resolver:
    """The gate's questions, put to a registry over HTTP."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client

    def claim_leaves(self, digests: Sequence[bytes]) -> Mapping[bytes, Sequence[int] | None]:
        unread: list[bytes] = []
        leaves: dict[bytes, Sequence[int] | None] = {}
        for answer in self._client.resolve(digests, failed=lambda digest, error: unread.append(digest)):
            found = [as_int(_leaf_of(claim), "leaf") for claim in answer["claims"]]
            if found:
                leaves[digest_decode(answer["digest"])] = found
        return {**leaves, **dict.fromkeys(unread)}

    def checkpoint(self) -> bytes:
        return self._client.checkpoint()

    def proof(self, digest: bytes, leaf: int) -> bytes:
        return self._client.proof(digest, leaf)


def _country(_context: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[A-Z]{2}", value):
        raise click.BadParameter(f"{value}: expected a two-letter country code (ISO 3166) like NZ")
    return value


@click.command("check")
@click.argument("corpus", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--use", "uses", multiple=True, type=click.Choice(USES), help="What you want to do; default: train.")
@click.option("--audience", type=click.Choice(AUDIENCES), default="any", show_default=True, help="As whom you do it.")
@click.option("--territory", callback=_country, help="The country you do it in, like NZ; default: everywhere.")
@click.option("--token", "token_paths", multiple=True, type=click.Path(path_type=Path), help="A *.token.json you hold.")
@click.option(
    "--leave-out",
    "left_out",
    multiple=True,
    metavar="PATTERN",
    help="Files you do not train on, by name or path, like '*.txt'; repeat for more.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the report here, a line of JSON per file.")
@registry_option
@trust_option
@json_option
def check(
    corpus: Path,
    uses: tuple[str, ...],
    audience: str,
    territory: str | None,
    token_paths: tuple[Path, ...],
    left_out: tuple[str, ...],
    output: Path | None,
    url: str,
    trust_path: Path,
    as_json: bool,
) -> int:
    """Check every file of a folder.  Exit code 0 only if each is allowed; no answer, no proof or an error is a no.

    Set aside, and no training data, are files that Trainmark wrote for a claim checked here (manifests, license,
    sidecars), and what --leave-out names.
    """
    from ledger.client import RegistryClient

    trust, now = load_trust(trust_path), int(time.time())
    wanted = Wanted(uses or ("train",), audience, territory)
    tokens = [_covering(path, trust, now, wanted) for path in token_paths]
    with RegistryClient(url) as client, progress("checking") as report:
        if not client.is_private:
            raise RefusedError(
                "over plain http whoever is between decides what is allowed; use https",
                code="insecure",
                field="registry",
            )
        verdicts = check_folder(
            corpus,
            _Resolver(client),
            trust,
            wanted,
            registry=url,
            now=now,
            tokens=tokens,
            left_out=left_out,
            report=report,
        )
    counts = Counter(str(v.verdict) for v in verdicts)
    if counts["aside"] == len(verdicts):
        raise MalformedError("there is no file in it to train on: nothing was checked", field=str(corpus))
    if output is not None:
        replace_file(output, "".join(_report_line(v) for v in verdicts).encode())
    value: Object = {
        "registry": url,
        "uses": list(wanted.uses),
        "counts": {word: counts[word] for word in get_args(Word)},
        "verdicts": [v.value() for v in verdicts],
    }
    emit(as_json, value, _lines(verdicts, counts, wanted))
    return NO if counts["review"] or counts["deny"] else YES


def _covering(path: Path, trust: Trust, now: int, wanted: Wanted) -> Covering:
    """Verifies a token; one for another audience, or without its list of files, covers nothing and is refused."""
    data = read_file(path, MAX_BUNDLE_BYTES, "--token")
    expect(data, "--token", "token/v1")
    result, bundle = verify_token_bundle(data, trust, now), parse_token_bundle(data)
    if not result.files_checked or bundle.files is None:
        raise MalformedError("the token's list of files is not in the bundle", field=str(path))
    if result.token.audience not in ("any", wanted.audience):
        raise MalformedError(f"the token is for {result.token.audience} only", field=str(path))
    manifests = frozenset((m.index, m.digest) for m in result.token.manifests)
    return Covering(result.digest, result.token.uses, manifests, frozenset(bundle.files))


def _report_line(verdict: Verdict) -> str:
    return escaped(json.dumps(verdict.value(), ensure_ascii=False, separators=(",", ":"))) + "\n"


def _leaf_of(claim: object) -> Json:
    """Returns what a registry calls the leaf of a claim, whatever it is."""
    return claim.get("leaf") if isinstance(claim, dict) else None


def _lines(verdicts: Sequence[Verdict], counts: Counter[str], wanted: Wanted) -> list[str]:
    why = Counter((v.verdict, v.reasons) for v in verdicts)
    lines = [
        f"{len(verdicts) - counts['aside']} files for {', '.join(wanted.uses)}: "
        f"{counts['allow']} allowed, {counts['review']} for a person to decide, {counts['deny']} denied"
        + (f"; {counts['aside']} more set aside" if counts["aside"] else ""),
        *(
            f"  {word:7}{count:6}  {'; '.join(REASONS[reason] for reason in reasons)}"
            for (word, reasons), count in sorted(why.items())
        ),
    ]
    refused = [v for v in verdicts if v.verdict in ("review", "deny")]
    lines += [f"  {v.verdict:7}{v.file}: {', '.join(v.reasons)}" for v in refused[:SHOWN]]
    return lines + ([f"  and {len(refused) - SHOWN} more"] if len(refused) > SHOWN else [])
