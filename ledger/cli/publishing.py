"""``trainmark publish|withdraw``: what a creator says to a registry."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from ledger.canonical import Object
from ledger.cli import NO, YES
from ledger.cli.creating import home_option, load_creator, load_license, profile_in
from ledger.cli.output import emit, json_option, reading_answer
from ledger.encoding import digest_decode, digest_encode, time_decode, time_encode
from ledger.errors import ConflictError, MalformedError, NotFoundError, RefusedError, shown
from ledger.files import shown_path
from ledger.keys import SigningKey
from ledger.library.creator import Profile, load_recovery
from ledger.library.output import license_files, load_manifest, refresh_statements
from ledger.library.source import MANIFEST_FILE
from ledger.manifests import Header, Manifest
from ledger.proof import parse_proof
from ledger.statements import ManifestBody, Statement, WithdrawBody, manifest_body, sign_statement, verify_statement
from ledger.terms import parse_terms

if TYPE_CHECKING:
    from ledger.client import RegistryClient

DAY = 86_400
OFFERED = ("logged", "listed", "disputed")
"""States of a manifest that is on offer, or may be by a decision of the registry."""

_LEAF = re.compile(r"[0-9]{1,15}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}(?![0-9a-f])")


class _Logged(NamedTuple):
    """What a registry says of a manifest of a dataset; not verified."""

    leaf: int
    state: str
    manifest: str
    version: str
    supersedes: tuple[int, ...]


def to_option(command: click.decorators.FC) -> click.decorators.FC:
    """Adds ``--to URL``."""
    return click.option("--to", "url", required=True, envvar="TRAINMARK_REGISTRY", help="Address of the registry.")(
        command
    )


@click.command("publish")
@click.argument("manifest_path", metavar="MANIFEST", type=click.Path(path_type=Path))
@click.option(
    "--supersedes", type=int, multiple=True, help="Your earlier leaf that this one replaces; may be given again."
)
@click.option("--beside", is_flag=True, help="Let earlier manifests of the same dataset and part stay on offer.")
@to_option
@home_option
@json_option
def publish(manifest_path: Path, supersedes: tuple[int, ...], beside: bool, url: str, home: Path, as_json: bool) -> int:
    """Publish a dataset manifest (its file or folder) in a registry's log; running it again changes nothing.

    Exit code 0: listed, or logged and waiting for a person; 1: rejected by the registry's rules.
    """
    from ledger.client import RegistryClient

    folder = library_folder(manifest_path)
    manifest = load_manifest(folder)
    profile = profile_in(home)
    if manifest.header.creator_id != profile.did:
        raise MalformedError(f"it is by {manifest.header.creator_id}, you are {profile.did}", field="creator_id")
    terms, text = load_license(folder / license_files(manifest.header.license_id)[0])
    with RegistryClient(url) as client:
        _, key = load_creator(home, client)
        policy = client.policy()
        client.authenticate(key, profile.did, ("publish", "statement"))
        statement = _said(manifest, profile, key, policy.origin, supersedes)
        _check_place(client, manifest.header, statement, beside)
        recovery = _register_recovery(client, home, profile, key, policy.origin)
        if recovery is not None:
            client.speak(recovery)
        manifest = refresh_statements(folder, statement)
        try:
            receipt = client.publish(manifest, terms.data, text)
        except RefusedError as e:
            if e.code != "key-invalid" or statement.key == key.did:
                raise
            # Signed by a key that was revoked before this was logged: nobody has it yet, so the newest key signs it.
            assert isinstance(statement.body, ManifestBody)
            body = manifest_body(manifest.header.digest, statement.body.supersedes)
            manifest = refresh_statements(folder, sign_statement("manifest", profile.did, key, policy.origin, body))
            receipt = client.publish(manifest, terms.data, text)
    value = {
        "leaf": receipt.leaf,
        "size": receipt.size,
        "manifest": digest_encode(manifest.header.digest),
        "decision": receipt.decision,
        "reasons": list(receipt.reasons),
        "log": policy.origin,
    }
    words = {
        "list": "listed: everybody can find it now",
        "reject": "rejected by the registry's rules: change what the reasons say and publish a new version",
        "wait": "logged; a person at the registry has to look at it before it is listed",
    }
    lines = [
        f"logged as leaf {receipt.leaf} of {policy.origin} (checkpoint of {receipt.size} leaves)",
        words.get(receipt.decision, receipt.decision),
        *(f"  - {_with_paths(reason, manifest)}" for reason in receipt.reasons),
    ]
    emit(as_json, value, lines)
    return NO if receipt.decision == "reject" else YES


def _with_paths(reason: str, manifest: Manifest) -> str:
    """Returns a registry's reason with the path of our file where it names a file by its hash."""
    digest = _DIGEST.match(reason)
    if digest is None:
        return reason
    named = digest_decode(digest[0])
    for entry in manifest.entries:
        if named in (entry.provenance_hash, entry.published_hash, entry.content_hash):
            return f"{entry.path} ({digest[0]}){reason[digest.end() :]}"
    return reason


def _said(manifest: Manifest, profile: Profile, key: SigningKey, origin: str, supersedes: tuple[int, ...]) -> Statement:
    """Returns the creator's statement for one log: the one in the manifest, unless it is to supersede other leaves."""
    statement = next((s for s in manifest.statements if s.log == origin), None)
    if statement is not None and not supersedes:
        return statement
    body = manifest_body(manifest.header.digest, tuple(sorted(set(supersedes))))
    return sign_statement("manifest", profile.did, key, origin, body)


def _check_place(client: RegistryClient, header: Header, statement: Statement, beside: bool) -> None:
    """Sees to it that no earlier manifest of this dataset and part stays on offer unasked.

    What the registry keeps back cannot be seen here; the log decides in the end.

    Raises:
        ConflictError: ``version-conflict``: an earlier one would stay, or this one was logged superseding other leaves.
    """
    assert isinstance(statement.body, ManifestBody)
    replaced = statement.body.supersedes
    of_dataset = _of_dataset(client, header.creator_id, header.dataset_id)
    for one in of_dataset:
        if one.manifest == digest_encode(header.digest):
            _check_same(one, replaced)
            return
    with reading_answer():
        others = [
            one
            for one in of_dataset
            if one.state in OFFERED and one.leaf not in replaced
            if client.dataset(one.leaf)["header"]["part"] == header.part
        ]
    if others and not beside:
        options = " ".join(f"--supersedes {leaf}" for leaf in sorted((*replaced, *(one.leaf for one in others))))
        raise ConflictError(
            f"{_named(others)} of the same dataset would stay on offer; give {options} to replace it,"
            " or --beside to let it stay",
            code="version-conflict",
            field="--supersedes",
        )


def _check_same(logged: _Logged, wanted: tuple[int, ...]) -> None:
    if logged.supersedes != wanted:
        found = f"superseding {', '.join(map(str, logged.supersedes))}" if logged.supersedes else "superseding nothing"
        options = " ".join(f"--supersedes {leaf}" for leaf in sorted({logged.leaf, *wanted}))
        raise ConflictError(
            f"this manifest is logged already, as leaf {logged.leaf} {found}, and what is logged stays; make a new"
            f" version (trainmark manifest … --version NEW) and publish that with {options}",
            code="version-conflict",
            field="--supersedes",
        )


def _of_dataset(client: RegistryClient, creator_id: str, dataset_id: str) -> list[_Logged]:
    """Returns the public manifests of a creator's dataset, newest first."""
    with reading_answer():
        return [
            _Logged(
                int(item["leaf"]),
                str(item["state"]),
                str(item["manifest"]["digest"]),
                str(item["manifest"]["version"]),
                tuple(int(leaf) for leaf in item["manifest"]["supersedes"]),
            )
            for item in client.manifests_of(creator_id)
            if item["manifest"]["dataset_id"] == dataset_id
        ]


def _named(manifests: Sequence[_Logged]) -> str:
    """Returns leaves with their versions, for people."""
    return ", ".join(f"leaf {one.leaf} (version {shown(one.version)})" for one in manifests)


def library_folder(path: Path) -> Path:
    """Returns the folder of a library, named by itself or by its manifest.

    Raises:
        NotFoundError: there is nothing at `path`.
        MalformedError: it is another file.
    """
    if path.is_dir():
        return path
    if not path.exists():
        raise NotFoundError(f"there is no {shown_path(path)}", field="MANIFEST")
    if path.name != MANIFEST_FILE:
        raise MalformedError(f"expected a {MANIFEST_FILE} or its folder, found {shown_path(path)}", field="MANIFEST")
    return path.parent


def _register_recovery(
    client: RegistryClient, home: Path, profile: Profile, key: SigningKey, origin: str
) -> Statement | None:
    """Returns the statement that registers the recovery key; None where there is none, or one was registered."""
    body = load_recovery(home)
    if body is None or any(known.recovery for known in client.party_keys(profile.did)):
        return None
    return sign_statement("key", profile.did, key, origin, body)


@click.command("withdraw")
@click.argument("dataset", metavar="MANIFEST|LEAF")
@click.option("--at", "at_text", help="When it takes effect, like 2026-12-31T00:00:00Z; default: after the notice.")
@to_option
@home_option
@json_option
def withdraw(dataset: str, at_text: str | None, url: str, home: Path, as_json: bool) -> None:
    """Withdraw an offer: no new grants from a date on; tokens already issued stay.  Again, nothing new is logged."""
    from ledger.client import RegistryClient

    with RegistryClient(url) as client:
        profile, key = load_creator(home, client)
        policy = client.policy()
        client.authenticate(key, profile.did, ("statement",))
        leaf = int(dataset) if _LEAF.fullmatch(dataset) else leaf_of(client, Path(dataset))
        info = client.dataset(leaf)
        with reading_answer():
            license_digest, state = digest_decode(info["license"]["digest"]), info["state"]
            dataset_id = info["manifest"]["dataset_id"]
        of_dataset = _of_dataset(client, profile.did, dataset_id)
        others = [one for one in of_dataset if one.state in OFFERED and one.leaf != leaf]
        terms = parse_terms(client.license(license_digest)[0])
        earliest = int(time.time()) + terms.notice_days * DAY + 60
        at = earliest if at_text is None else time_decode(at_text, "--at")
        found = None if state == "listed" else _withdrawal(client, leaf, profile.did, policy.origin)
        if found is not None and found[0] <= at:
            (at, statement_leaf), word = found, "withdrawn already"
        else:
            body: Object = {"leaf": leaf, "effective_at": time_encode(at)}
            statement = sign_statement("withdraw", profile.did, key, policy.origin, body)
            statement_leaf, word = client.speak(statement).leaf, "withdrawn"
    value = {
        "leaf": leaf,
        "statement": statement_leaf,
        "effective_at": time_encode(at),
        "still_offered": [one.leaf for one in others],
    }
    lines = [f"leaf {leaf} is {word}, effective {time_encode(at)} (logged as leaf {statement_leaf})"]
    if others:
        lines.append(f"still on offer from the same dataset: {_named(others)}; withdraw each by its leaf")
    emit(as_json, value, lines)


def _withdrawal(client: RegistryClient, leaf: int, by: str, origin: str) -> tuple[int, int] | None:
    """Returns (effective_at, leaf) of the withdrawal of manifest `leaf` that counts, None where there is none.

    They are in the proof of any entry.  Each is signed by its creator, so a registry can make none up; one that keeps
    it back gets it once more.
    """
    with reading_answer():
        digests = [digest_decode(entry["published_hash"]) for entry in client.entries(leaf, 1)]
        carried = [one for digest in digests for one in parse_proof(client.proof(digest, leaf)).leaves]
        said = [
            (one.statement.body.effective_at, one.index)
            for one in carried
            if isinstance(one.statement.body, WithdrawBody) and one.statement.body.leaf == leaf
            if verify_statement(one.statement).by == by and one.statement.log == origin
        ]
    return min(said, default=None)


def leaf_of(client: RegistryClient, path: Path) -> int:
    """Returns the leaf at which a manifest was published.

    Raises:
        NotFoundError: it is not in this registry.
    """
    header = (manifest := load_manifest(library_folder(path))).header
    for answer in client.resolve([manifest.entries[0].published_hash]):
        with reading_answer():
            for claim in answer["claims"]:
                if (
                    claim["manifest"]["digest"] == digest_encode(header.digest)
                    and claim["creator"]["id"] == header.creator_id
                ):
                    return int(claim["leaf"])
    raise NotFoundError("this manifest is not in the registry", field=str(path))
