"""``trainmark review list|show|approve|reject|delist|erase|hold|decide``: for the registry's own people.

What they decide is logged, signed with the registry's key, with a commitment to the evidence where there is some.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ledger.canonical import Object
from ledger.cli.asking import answered_by
from ledger.cli.committing import commitment, evidence_option
from ledger.cli.creating import open_key
from ledger.cli.disputing import case_line, checked_entries, entries_option, no_manifest
from ledger.cli.output import emit, json_option, reading_answer
from ledger.cli.resolving import registry_option
from ledger.errors import NotFoundError, RefusedError
from ledger.files import shown_path
from ledger.keys import SigningKey
from ledger.statements import DECISIONS, VISIBILITIES, sign_statement

if TYPE_CHECKING:
    from ledger.client import LoggedAt, RegistryClient, RegistryPolicy


@click.group("review")
def review() -> None:
    """Manifests that wait for a person, and cases: what the registry says of them."""


def key_option(command: click.decorators.FC) -> click.decorators.FC:
    """Adds ``--key FILE``: the registry's signing key."""
    return click.option(
        "--key",
        "key_path",
        type=click.Path(path_type=Path),
        default=Path(".trainmark/keys/registry.pem"),
        show_default=True,
        help="The registry's signing key, in its data folder.",
    )(command)


def desk_options(command: click.decorators.FC) -> click.decorators.FC:
    """Adds what each of these commands takes: ``--registry``, ``--key`` and ``--json``."""
    return registry_option(key_option(json_option(command)))


def registry_key(path: Path) -> SigningKey:
    if not os.path.lexists(path):
        raise NotFoundError(
            f"there is no file {shown_path(path)}: name the registry's key with --key; it is keys/registry.pem in the"
            " registry's data folder",
            field="--key",
        )
    return open_key(path, "Passphrase of the registry's key", "TRAINMARK_KEY_PASSPHRASE")


@contextmanager
def speaking(url: str, key_path: Path) -> Iterator[tuple[RegistryClient, RegistryPolicy, SigningKey]]:
    """Gives a client that may speak for the registry at `url`, its policy, and the key that signs."""
    from ledger.client import RegistryClient

    key = registry_key(key_path)
    with RegistryClient(url) as client:
        policy = client.policy()
        client.authenticate(key, policy.registry, ("statement",))
        yield client, policy, key


@review.command("list")
@desk_options
def list_(url: str, key_path: Path, as_json: bool) -> None:
    """List what waits, with the reasons, and the cases that are not decided."""
    with speaking(url, key_path) as (client, _, _):
        waiting, cases = client.reviews(), list(client.cases())
    with reading_answer():
        lines = [
            line
            for item in waiting
            for line in (
                f'leaf {item["leaf"]}  "{item["title"]}" by {item["creator"]["name"]} ({item["creator"]["id"]})',
                *(f"  - {reason}" for reason in item["reasons"]),
            )
        ]
        lines += [case_line(case) for case in cases]
    emit(as_json, {"waiting": waiting, "cases": cases}, lines or ["nothing waits"])


@review.command("show")
@click.argument("leaf", type=click.IntRange(0))
@desk_options
def show(leaf: int, url: str, key_path: Path, as_json: bool) -> None:
    """Show a manifest leaf, hidden and erased ones too: its state, what was said of it, its cases."""
    with speaking(url, key_path) as (client, _, _):
        value = client.review(leaf)
    with reading_answer():
        lines = list(_told(value))
    emit(as_json, value, lines)


def _told(value: Any) -> Iterator[str]:
    """Yields what is known of a manifest leaf, in lines for people."""
    about = value["dataset"]
    yield f"leaf {value['leaf']} is {value['state']} (at {value['size']} leaves)"
    if about is None:
        yield f"by {value['by']}; the registry has no payload of it"
    else:
        yield f'"{about["manifest"]["title"]}" version {about["manifest"]["version"]}, {about["entry_count"]} entries'
        yield f"by {about['creator']['name']} ({about['creator']['id']}), license {about['license']['id']}"
    yield from (f"  - {reason}" for reason in value["reasons"])
    for said in value["reviews"]:
        visibility = "" if said["visibility"] is None else f", {said['visibility']}"
        evidence = "" if said["evidence"] is None else f", evidence {said['evidence']}"
        yield f"leaf {said['statement']}: {said['outcome']}{visibility}{evidence}"
    yield from (f"leaf {index}: withdrawn" for index in value["withdrawals"])
    if value["superseded_at"] is not None:
        yield f"leaf {value['superseded_at']}: superseded"
    yield from map(case_line, value["cases"])


@review.command("approve")
@click.argument("leaf", type=click.IntRange(0))
@click.option("--visibility", type=click.Choice(VISIBILITIES), default="public", show_default=True)
@evidence_option
@desk_options
def approve(leaf: int, visibility: str, evidence_path: Path | None, url: str, key_path: Path, as_json: bool) -> None:
    """List a manifest."""
    _review(leaf, "listed", visibility, evidence_path, url, key_path, as_json)


@review.command("reject")
@click.argument("leaf", type=click.IntRange(0))
@evidence_option
@desk_options
def reject(leaf: int, evidence_path: Path | None, url: str, key_path: Path, as_json: bool) -> None:
    """Reject a manifest that waits."""
    _review(leaf, "rejected", None, evidence_path, url, key_path, as_json)


@review.command("delist")
@click.argument("leaf", type=click.IntRange(0))
@evidence_option
@desk_options
def delist(leaf: int, evidence_path: Path | None, url: str, key_path: Path, as_json: bool) -> None:
    """Take a listed manifest off: no new grants; its payload stays, and it may be approved again."""
    _review(leaf, "delisted", None, evidence_path, url, key_path, as_json)


@review.command("erase")
@click.argument("leaf", type=click.IntRange(0))
@click.option("--yes", is_flag=True, help="Do not ask.")
@evidence_option
@desk_options
def erase(leaf: int, yes: bool, evidence_path: Path | None, url: str, key_path: Path, as_json: bool) -> None:
    """Delete a manifest's payload and salts for good; its leaf stays, and earlier proofs still verify.

    A token that was granted keeps the hashes of its files.
    """
    if not yes:
        with answered_by("--yes"):
            what = f"names, files' hashes and salts of leaf {leaf}; tokens granted keep the hashes of their files"
            click.confirm(f"Delete for ever: {what}?", abort=True, err=True)
    _review(leaf, "erased", None, evidence_path, url, key_path, as_json)


def _review(
    leaf: int,
    outcome: str,
    visibility: str | None,
    evidence_path: Path | None,
    url: str,
    key_path: Path,
    as_json: bool,
) -> None:
    with speaking(url, key_path) as (client, policy, key):
        if leaf >= policy.size:
            raise no_manifest(leaf, policy.size)
        body: Object = {
            "leaf": leaf,
            "outcome": outcome,
            "visibility": visibility,
            "evidence": commitment(evidence_path),
        }
        try:
            logged = client.speak(sign_statement("review", policy.registry, key, policy.origin, body))
        except RefusedError as e:
            if e.code != "void":
                raise
            raise no_manifest(leaf, policy.size) from e
    emit(
        as_json,
        {"leaf": leaf, "outcome": outcome, "statement": logged.leaf, "evidence": body["evidence"]},
        [f"leaf {leaf} is {outcome} (logged as leaf {logged.leaf})"],
    )


def all_option(command: click.decorators.FC) -> click.decorators.FC:
    """Adds ``--all``: every entry of the manifest."""
    return click.option("--all", "is_all", is_flag=True, help="All entries, whatever the case was opened over.")(
        command
    )


@review.command("hold")
@click.argument("case", type=click.IntRange(0))
@entries_option
@all_option
@evidence_option
@desk_options
def hold(
    case: int,
    entries: tuple[int, ...],
    is_all: bool,
    evidence_path: Path | None,
    url: str,
    key_path: Path,
    as_json: bool,
) -> None:
    """Hold what CASE is about: disputed, without new grants, until it is decided."""
    with speaking(url, key_path) as (client, policy, key):
        state = client.case(case)
        with reading_answer():
            leaf, over = int(state["leaf"]), [int(entry) for entry in state["entries"]]
        numbers = _over(client, leaf, over, entries, is_all)
        logged = _move(client, policy, key, "hold", case, leaf, numbers, commitment(evidence_path), None)
    _moved(as_json, case, leaf, numbers, "held", logged)


@review.command("decide")
@click.argument("case", type=click.IntRange(0))
@click.option(
    "--outcome",
    type=click.Choice(DECISIONS),
    required=True,
    help="upheld ends the entries; rejected and settled lift the hold.",
)
@entries_option
@all_option
@evidence_option
@desk_options
def decide(
    case: int,
    outcome: str,
    entries: tuple[int, ...],
    is_all: bool,
    evidence_path: Path | None,
    url: str,
    key_path: Path,
    as_json: bool,
) -> None:
    """Decide CASE, for ever: over the entries that were held, else those it was opened over."""
    with speaking(url, key_path) as (client, policy, key):
        state = client.case(case)
        with reading_answer():
            leaf, held = int(state["leaf"]), state["held"] is not None
            over = [int(entry) for entry in state["held_entries" if held else "entries"]]
        numbers = _over(client, leaf, over, entries, is_all)
        logged = _move(client, policy, key, "decide", case, leaf, numbers, commitment(evidence_path), outcome)
    _moved(as_json, case, leaf, numbers, outcome, logged)


def _over(client: RegistryClient, leaf: int, over: list[int], entries: Sequence[int], is_all: bool) -> list[int]:
    """Returns the entries that a move is over; none means all of them.

    Raises:
        UsageError: some and all at once.
        MalformedError: the manifest has no such entry.
    """
    if entries and is_all:
        raise click.UsageError("give --entry or --all, not both")
    return [] if is_all else checked_entries(client, leaf, entries or over)


def _move(
    client: RegistryClient,
    policy: RegistryPolicy,
    key: SigningKey,
    op: str,
    case: int,
    leaf: int,
    entries: Sequence[int],
    evidence: str | None,
    outcome: str | None,
) -> LoggedAt:
    body: Object = {
        "op": op,
        "case": case,
        "leaf": leaf,
        "entries": [*entries],
        "evidence": evidence,
        "outcome": outcome,
    }
    return client.speak(sign_statement("dispute", policy.registry, key, policy.origin, body))


def _moved(as_json: bool, case: int, leaf: int, entries: Sequence[int], word: str, logged: LoggedAt) -> None:
    value = {"case": case, "leaf": leaf, "entries": list(entries), "outcome": word, "statement": logged.leaf}
    about = f"entries {', '.join(map(str, entries))} of leaf {leaf}" if entries else f"leaf {leaf}"
    emit(as_json, value, [f"case {case} about {about} is {word} (logged as leaf {logged.leaf})"])
