"""``trainmark dispute open|answer|list``: what is said about somebody's manifest, and what they say to it.

Opening a case changes no state: it puts on record who objects to what, before whatever comes later.  The registry holds
and decides (:mod:`ledger.cli.reviewing`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ledger.canonical import Object
from ledger.cli.committing import commitment, evidence_option
from ledger.cli.creating import home_option, load_creator
from ledger.cli.output import emit, json_option, reading_answer
from ledger.cli.publishing import to_option
from ledger.errors import MalformedError, NotFoundError, RefusedError
from ledger.statements import MAX_ENTRY_REFERENCES, sign_statement

if TYPE_CHECKING:
    from ledger.client import RegistryClient


def entries_option(command: click.decorators.FC) -> click.decorators.FC:
    """Adds ``--entry N``, again for more."""
    return click.option(
        "--entry",
        "entries",
        type=click.IntRange(0),
        multiple=True,
        help="An entry of the manifest that it is about; again for more.",
    )(command)


def checked_entries(client: RegistryClient, leaf: int, entries: Sequence[int]) -> list[int]:
    """Returns entry numbers as a statement has them.

    Raises:
        MalformedError: too many, or a public manifest has no such entry.
    """
    numbers = sorted(set(entries))
    if len(numbers) > MAX_ENTRY_REFERENCES:
        raise MalformedError(
            f"at most {MAX_ENTRY_REFERENCES} entries, found {len(numbers)}; leave --entry out for all", field="--entry"
        )
    if numbers:
        try:
            info = client.dataset(leaf)
        except NotFoundError:
            return numbers  # hidden or erased: its entries cannot be counted from here
        with reading_answer():
            count = int(info["entry_count"])
        if numbers[-1] >= count:
            raise MalformedError(f"leaf {leaf} has {count} entries, from 0; there is no {numbers[-1]}", field="--entry")
    return numbers


def no_manifest(leaf: int, size: int) -> NotFoundError:
    """Returns what is wrong where a statement about `leaf` was void and the leaf is all that can be wrong with it."""
    return NotFoundError(f"leaf {leaf} is no manifest" if leaf < size else f"there is no leaf {leaf}", field="LEAF")


def case_line(case: Any) -> str:
    """Returns a case in a line for people."""
    about = f"entries {', '.join(map(str, case['entries']))} of leaf" if case["entries"] else "leaf"
    said = "open"
    if case["decided"] is not None:
        said = f"{case['outcome']} at leaf {case['decided']}"
    elif case["held"] is not None:
        said = f"held at leaf {case['held']}"
    evidence = "" if case["evidence"] is None else f", evidence {case['evidence']}"
    return f"case {case['case']}  {said}: {case['by']} about {about} {case['leaf']} by {case['creator']}{evidence}"


@click.group("dispute")
def dispute() -> None:
    """Object to somebody's manifest, or answer what is said about yours."""


@dispute.command("open")
@click.argument("leaf", type=click.IntRange(0))
@entries_option
@evidence_option
@to_option
@home_option
@json_option
def open_(leaf: int, entries: tuple[int, ...], evidence_path: Path | None, url: str, home: Path, as_json: bool) -> None:
    """Open a case about manifest LEAF (as 'trainmark resolve' shows it); without --entry it is about all of it."""
    from ledger.client import RegistryClient

    with RegistryClient(url) as client:
        profile, key = load_creator(home, client)
        policy = client.policy()
        client.authenticate(key, profile.did, ("statement",))
        numbers = checked_entries(client, leaf, entries)
        body: Object = {
            "op": "open",
            "case": None,
            "leaf": leaf,
            "entries": numbers,
            "evidence": commitment(evidence_path),
            "outcome": None,
        }
        try:
            case = client.speak(sign_statement("dispute", profile.did, key, policy.origin, body)).leaf
        except RefusedError as e:
            if e.code != "void":
                raise
            raise no_manifest(leaf, policy.size) from e
        state = client.case(case)
    with reading_answer():
        lines = [case_line(state), f"the creator answers with 'trainmark dispute answer {case}'; the registry decides"]
    emit(as_json, state, lines)


@dispute.command("answer")
@click.argument("case", type=click.IntRange(0))
@evidence_option
@to_option
@home_option
@json_option
def answer(case: int, evidence_path: Path | None, url: str, home: Path, as_json: bool) -> None:
    """Answer CASE, which is about a manifest of yours."""
    from ledger.client import RegistryClient

    with RegistryClient(url) as client:
        profile, key = load_creator(home, client)
        policy = client.policy()
        client.authenticate(key, profile.did, ("statement",))
        state = client.case(case)
        with reading_answer():
            if state["creator"] != profile.did:
                raise RefusedError(
                    f"case {case} is about a manifest of {state['creator']}, who alone answers it; you are"
                    f" {profile.did}",
                    code="void",
                    field="CASE",
                )
            leaf, entries = int(state["leaf"]), [int(entry) for entry in state["entries"]]
        body: Object = {
            "op": "answer",
            "case": case,
            "leaf": leaf,
            "entries": [*entries],
            "evidence": commitment(evidence_path),
            "outcome": None,
        }
        said = client.speak(sign_statement("dispute", profile.did, key, policy.origin, body)).leaf
    value = {"case": case, "leaf": leaf, "statement": said, "evidence": body["evidence"]}
    emit(as_json, value, [f"case {case} about leaf {leaf} is answered (logged as leaf {said})"])


@dispute.command("list")
@to_option
@home_option
@json_option
def list_(url: str, home: Path, as_json: bool) -> None:
    """List the undecided cases about your manifests, and those that you opened."""
    from ledger.client import RegistryClient

    with RegistryClient(url) as client:
        profile, key = load_creator(home, client)
        client.authenticate(key, profile.did, ("statement",))
        cases = list(client.cases())
    with reading_answer():
        lines = [case_line(case) for case in cases]
    emit(as_json, {"cases": cases}, lines or ["no case is open"])
