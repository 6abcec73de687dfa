"""``trainmark trust add|witnesses|block|show``: a verifier's own decisions, written down; never taken from a bundle."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ledger.canonical import Object
from ledger.cli.asking import answered_by
from ledger.cli.kinds import expect
from ledger.cli.output import emit, json_option, printable
from ledger.encoding import sha256
from ledger.errors import ConflictError, MalformedError, shown
from ledger.files import read_file, replace_file
from ledger.keys import did_decode
from ledger.note import VerifierKey, parse_vkey
from ledger.policy import NO_QUORUM, format_policy, parse_policy, with_witnesses
from ledger.trust import CLASSES, MAX_TRUST_BYTES, Trust, TrustedEvm, block_hash_decode, format_trust, parse_trust

if TYPE_CHECKING:
    from ledger.ports import ChainIdentity

DEFAULT_TRUST = Path("trust.json")
NO_BLOCKS = "no block hash is known yet: 'trainmark trust block', or verify with --block-hash"


def trust_option(command: click.decorators.FC) -> click.decorators.FC:
    """Adds ``--trust FILE``."""
    return click.option(
        "--trust",
        "trust_path",
        type=click.Path(path_type=Path),
        default=DEFAULT_TRUST,
        envvar="TRAINMARK_TRUST",
        show_default=True,
        help="Your trust file (see: trainmark trust add).",
    )(command)


def load_trust(path: Path) -> Trust:
    """Reads a trust file, or says how to get one."""
    if not path.exists():
        raise click.UsageError(
            f"no trust file at {path}: make one with 'trainmark trust add REGISTRY-URL', or name yours with --trust"
        )
    data = read_file(path, MAX_TRUST_BYTES, "trust")
    expect(data, "trust", "trust/v1")
    return parse_trust(data)


def with_blocks(trust: Trust, block_hashes: Iterable[str]) -> Trust:
    """Returns the trust file's decisions and the block hashes a person named, on every chain it knows."""
    for text in block_hashes:
        raw = _block_hash(text, "--block-hash")
        for anchor in trust.anchors:
            if isinstance(anchor, TrustedEvm):
                trust = trust.with_block(anchor.chain, anchor.genesis, raw)
    return trust


def _block_hash(text: str, field: str) -> bytes:
    """Reads a block hash as a person gives it, capital digits too."""
    if not re.fullmatch(r"0x[0-9a-fA-F]{64}", text):
        raise MalformedError(f"expected 0x and 64 hex digits, found {shown(text)}", field=field)
    return block_hash_decode(text.lower(), field)


def fingerprint(public: bytes) -> str:
    """Returns a key's SHA-256 in groups of four, short enough to read aloud and compare."""
    digits = sha256(public).hex()[:32]
    return " ".join(digits[at : at + 4] for at in range(0, 32, 4))


@click.group("trust")
def trust() -> None:
    """Whom you believe: log keys, registries, contracts, blocks."""


@trust.command("add")
@click.argument("url")
@click.option("--class", "anchor_class", type=click.Choice(CLASSES), help="What anchors on its chain are worth to you.")
@click.option("--yes", is_flag=True, help="Do not ask; you have compared the fingerprints some other way.")
@click.option("--replace", is_flag=True, help="Drop the log keys and anchors of before, or another registry.")
@trust_option
@json_option
def add(url: str, anchor_class: str | None, yes: bool, replace: bool, trust_path: Path, as_json: bool) -> None:
    """Write a trust file from what the registry at URL says of itself, after you have compared the fingerprints.

    A log key or anchor that is new is put beside those that the file names, which verify what is older.
    """
    from ledger.client import RegistryClient

    with RegistryClient(url) as client:
        policy = client.policy()
    key = parse_vkey(policy.log_vkey, "log_vkey")
    anchor = policy.anchor
    known = parse_trust(read_file(trust_path, MAX_TRUST_BYTES, "trust")) if trust_path.exists() else None
    if known is not None and not _is_of(known, policy.registry, key):
        if not replace:
            raise ConflictError(
                f"names another registry ({known.registry}); use another --trust FILE, or --replace",
                field=str(trust_path),
            )
        known = None
    lines = [
        f"registry  {policy.registry}",
        f"          fingerprint {fingerprint(did_decode(policy.registry))}",
        f"log       {policy.origin}",
        f"          fingerprint {fingerprint(key.public)}",
    ]
    if anchor is not None:
        lines += [
            f"anchors   {anchor.chain}, genesis {anchor.genesis}",
            f"          contract {anchor.contract}, publisher {anchor.publisher}",
        ]
    before = [] if known is None else _before(known, key, anchor, alone=replace)
    if not as_json or not yes:  # nobody confirms what was not shown
        for line in (f"{url} says of itself:", *lines, *before):
            click.echo(printable(line), err=as_json)
    if not yes:
        with answered_by("--yes"):
            click.confirm(
                "Did you compare these with what the registry publishes elsewhere, and do you trust it?",
                abort=True,
                err=as_json,
            )
    anchors: tuple[TrustedEvm, ...] = ()
    if anchor is not None:
        if anchor_class is None:
            with answered_by("--class"):
                anchor_class = click.prompt(
                    "What is an anchor on that chain worth to you",
                    type=click.Choice(CLASSES),
                    default="development",
                    err=as_json,
                )
        anchors = (TrustedEvm(anchor_class, anchor.chain, anchor.genesis, anchor.contract, anchor.publisher),)
    if known is None:
        text = format_policy([key])
        made = Trust(text, parse_policy(text), policy.registry, anchors, {})
    else:
        made = known.following(key, anchors, alone=replace)
    replace_file(trust_path, format_trust(made))
    emit(
        as_json,
        {"trust": str(trust_path), "registry": made.registry, "log": policy.origin, "anchors": len(made.anchors)},
        [f"wrote {trust_path}", *([] if made.blocks else [NO_BLOCKS])],
    )


def _is_of(known: Trust, registry: str, key: VerifierKey) -> bool:
    """Whether a trust file is about this registry and the log of that name, whatever its key was."""
    return known.registry == registry and key.name in {other.name for other in known.policy.logs}


def _before(known: Trust, key: VerifierKey, anchor: ChainIdentity | None, *, alone: bool) -> list[str]:
    """Returns what the trust file says that the registry does not say any more, and what becomes of it."""
    gone = [f"log key   {fingerprint(other.public)}" for other in known.policy.logs if other.public != key.public]
    publisher = None if anchor is None else anchor.publisher
    gone += [
        f"publisher {other.publisher}"
        for other in known.anchors
        if isinstance(other, TrustedEvm) and other.publisher != publisher
    ]
    if not gone:
        return []
    if alone:
        return ["your trust file drops what it said before, and what it verified is refused from now on:", *gone]
    return [
        "your trust file says something else; that stays beside it, and verifies what is older:",
        *gone,
        "if it was stolen, drop it with --replace, and have what is older proved again",
    ]


@trust.command("witnesses")
@click.argument("vkeys", nargs=-1, metavar="VKEY...")
@click.option(
    "--quorum",
    default="all",
    show_default=True,
    metavar="any|all|N",
    help="How many of them must have cosigned a checkpoint before you believe it.",
)
@click.option("--yes", is_flag=True, help="Do not ask; you have compared the fingerprints some other way.")
@trust_option
@json_option
def witnesses(vkeys: tuple[str, ...], quorum: str, yes: bool, trust_path: Path, as_json: bool) -> None:
    """Ask for the cosignatures of these witnesses and no others; without VKEY, of none.

    VKEY is the line that a witness publishes (name+id+key), from them and not from the log.
    """
    known = load_trust(trust_path)
    keys = [parse_vkey(vkey.strip(), "VKEY") for vkey in vkeys]
    text = with_witnesses(known.policy_text, keys, quorum)
    made = dataclasses.replace(known, policy_text=text, policy=parse_policy(text, "VKEY"))
    needed = quorum if keys else NO_QUORUM
    lines = [f"{len(known.policy.witnesses)} witnesses until now, {len(keys)} from now on; quorum {needed}"]
    for key in keys:
        lines += [f"witness   {key.name}", f"          fingerprint {fingerprint(key.public)}"]
    if not as_json or not yes:
        for line in lines:
            click.echo(printable(line), err=as_json)
    if not yes:
        with answered_by("--yes"):
            click.confirm("Did you get these from the witnesses themselves?", abort=True, err=as_json)
    replace_file(trust_path, format_trust(made))
    value: Object = {"trust": str(trust_path), "witnesses": [key.name for key in keys], "quorum": needed}
    emit(as_json, value, [f"wrote {trust_path}"])


@trust.command("block")
@click.argument("block_hash")
@trust_option
@json_option
def block(block_hash: str, trust_path: Path, as_json: bool) -> None:
    """Add a block hash (0x…) that you got from a source you trust, such as your own node."""
    known = load_trust(trust_path)
    raw = _block_hash(block_hash, "block_hash")
    chains = [anchor for anchor in known.anchors if isinstance(anchor, TrustedEvm)]
    if len(chains) != 1:
        raise click.UsageError(
            f"{trust_path} names {len(chains)} chains; exactly one is needed to know where it belongs"
        )
    replace_file(trust_path, format_trust(known.with_block(chains[0].chain, chains[0].genesis, raw)))
    emit(as_json, {"trust": str(trust_path), "block_hash": block_hash}, [f"added {block_hash} to {trust_path}"])


@trust.command("show")
@trust_option
@json_option
def show(trust_path: Path, as_json: bool) -> None:
    """Show the trust file in words."""
    known = load_trust(trust_path)
    value = {
        "registry": known.registry,
        "policy": known.policy_text,
        "anchors": json.loads(format_trust(known))["anchors"],
        "blocks": {chain: len(hashes) for chain, hashes in known.blocks.items()},
    }
    emit(as_json, value, describe_trust(known))


def describe_trust(known: Trust) -> list[str]:
    """Returns the trust file in lines for people."""
    lines = [f"registry  {known.registry}", f"          fingerprint {fingerprint(did_decode(known.registry))}"]
    for key in known.policy.logs:
        lines += [f"log       {key.name}", f"          fingerprint {fingerprint(key.public)}"]
    for name, key in known.policy.witnesses.items():
        lines += [f"witness   {name}", f"          fingerprint {fingerprint(key.public)}"]
    lines.append(f"quorum    {known.policy.quorum}")
    for anchor in known.anchors:
        if isinstance(anchor, TrustedEvm):
            lines.append(f"anchors   {anchor.chain} counts as {anchor.anchor_class}")
            lines.append(f"          contract {anchor.contract}, publisher {anchor.publisher}")
        else:
            lines.append(f"anchors   time-stamping authority, counts as {anchor.anchor_class}")
    lines += [f"blocks    {len(hashes)} known of {chain.split('/')[0]}" for chain, hashes in known.blocks.items()]
    return lines
