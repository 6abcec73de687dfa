"""``trainmark review list|approve|reject``: for the registry's own people; what they decide is logged."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ledger.canonical import Object
from ledger.cli.creating import open_key
from ledger.cli.output import emit, json_option, reading_answer
from ledger.cli.resolving import registry_option
from ledger.errors import NotFoundError, RefusedError
from ledger.files import shown_path
from ledger.keys import SigningKey
from ledger.statements import VISIBILITIES, sign_statement


@click.group("review")
def review() -> None:
    """Manifests that wait for a person."""


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


def _registry_key(path: Path) -> SigningKey:
    if not os.path.lexists(path):
        raise NotFoundError(
            f"there is no file {shown_path(path)}: name the registry's key with --key; it is keys/registry.pem in the"
            " registry's data folder",
            field="--key",
        )
    return open_key(path, "Passphrase of the registry's key", "TRAINMARK_KEY_PASSPHRASE")


@review.command("list")
@registry_option
@key_option
@json_option
def list_(url: str, key_path: Path, as_json: bool) -> None:
    """List what waits, with the reasons."""
    from ledger.client import RegistryClient

    key = _registry_key(key_path)
    with RegistryClient(url) as client:
        client.authenticate(key, client.policy().registry, ("statement",))
        waiting = client.reviews()
    with reading_answer():
        lines = [
            line
            for item in waiting
            for line in (
                f'leaf {item["leaf"]}  "{item["title"]}" by {item["creator"]["name"]} ({item["creator"]["id"]})',
                *(f"  - {reason}" for reason in item["reasons"]),
            )
        ]
    emit(as_json, {"waiting": waiting}, lines or ["nothing waits"])


@review.command("approve")
@click.argument("leaf", type=click.IntRange(0))
@click.option("--visibility", type=click.Choice(VISIBILITIES), default="public", show_default=True)
@registry_option
@key_option
@json_option
def approve(leaf: int, visibility: str, url: str, key_path: Path, as_json: bool) -> None:
    """List a manifest."""
    _decide(leaf, "listed", visibility, url, key_path, as_json)


@review.command("reject")
@click.argument("leaf", type=click.IntRange(0))
@click.option("--outcome", type=click.Choice(["rejected", "delisted", "erased"]), default="rejected", show_default=True)
@registry_option
@key_option
@json_option
def reject(leaf: int, outcome: str, url: str, key_path: Path, as_json: bool) -> None:
    """Reject a manifest, delist one, or erase its payload for good."""
    _decide(leaf, outcome, None, url, key_path, as_json)


def _decide(leaf: int, outcome: str, visibility: str | None, url: str, key_path: Path, as_json: bool) -> None:
    from ledger.client import RegistryClient

    body: Object = {"leaf": leaf, "outcome": outcome, "visibility": visibility, "evidence": None}
    key = _registry_key(key_path)
    with RegistryClient(url) as client:
        policy = client.policy()
        client.authenticate(key, policy.registry, ("statement",))
        try:
            logged = client.speak(sign_statement("review", policy.registry, key, policy.origin, body))
        except RefusedError as e:
            if e.code != "void":
                raise
            raise NotFoundError(
                f"leaf {leaf} is no manifest" if leaf < policy.size else f"there is no leaf {leaf}", field="LEAF"
            ) from e
    emit(
        as_json,
        {"leaf": leaf, "outcome": outcome, "statement": logged.leaf},
        [f"leaf {leaf} is {outcome} (logged as leaf {logged.leaf})"],
    )
