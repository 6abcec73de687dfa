"""``trainmark keys list|add|revoke|rotate``: the keys of a creator, or of a registry.

Which key counts is decided by the log of each registry (docs/format.md, section 1), so each command asks one.  A key is
made here, encrypted, and logged with the proof that it agrees; a key file that the log does not know yet is used before
another one is made, so a run that was cut off is finished by the next one, and a key of one registry can be added at
another.  No key file is ever deleted or replaced.

``rotate`` is about the keys with which a registry signs checkpoints and tokens.  They are named by the policy in its
log, which only the registry itself writes: so it works on the folder of one that does not run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ledger.canonical import Object
from ledger.cli.asking import answered_by
from ledger.cli.creating import home_option, new_passphrase, open_key, open_key_of, profile_in, signing_key
from ledger.cli.output import emit, json_option
from ledger.cli.publishing import to_option
from ledger.cli.registry_settings import read_settings, registry_packages
from ledger.errors import ConflictError, MalformedError, NotFoundError, RefusedError, shown
from ledger.files import shown_path
from ledger.keys import DID_PREFIX, SigningKey, did_decode
from ledger.library.creator import SEED_BYTES, SIGNING_KEY_FILE, KeyFile, Keyring, save_key
from ledger.statements import key_add_body, sign_statement

if TYPE_CHECKING:
    from ledger.client import PartyKey, RegistryClient

KEY_PASSPHRASE = "TRAINMARK_KEY_PASSPHRASE"
NEW_PASSPHRASE = "TRAINMARK_NEW_PASSPHRASE"
RECOVERY_PASSPHRASE = "TRAINMARK_RECOVERY_PASSPHRASE"


@dataclass(frozen=True, slots=True)
class _Party:
    """Who speaks: where their key files are, and the settings that open the signing keys among them and new ones: a
    registry has one passphrase for all that lie in its folder."""

    keyring: Keyring
    setting: str
    new_setting: str


def key_option(command: click.decorators.FC) -> click.decorators.FC:
    """Adds ``--key FILE``: the keys are the registry's, not a creator's."""
    return click.option(
        "--key",
        "key_path",
        type=click.Path(path_type=Path),
        help="The registry's first signing key (keys/registry.pem in its data folder): the keys are the registry's.",
    )(command)


def recovery_option(command: click.decorators.FC) -> click.decorators.FC:
    """Adds ``--recovery FILE``: the recovery key signs."""
    return click.option(
        "--recovery",
        "recovery_path",
        type=click.Path(path_type=Path),
        help="A recovery key, which signs this instead of a signing key.",
    )(command)


@click.group("keys")
def keys() -> None:
    """Your keys in the log of a registry: list, add, revoke."""


def _party(client: RegistryClient, home: Path, key_path: Path | None) -> _Party:
    if key_path is None:
        return _Party(Keyring(home / SIGNING_KEY_FILE, profile_in(home).did), "TRAINMARK_PASSPHRASE", NEW_PASSPHRASE)
    if not os.path.isdir(key_path.parent):
        raise NotFoundError(f"there is no folder {shown_path(key_path.parent)}", field="--key")
    return _Party(Keyring(key_path, client.policy().registry), KEY_PASSPHRASE, KEY_PASSPHRASE)


def _signer(client: RegistryClient, party: _Party, recovery_path: Path | None) -> SigningKey:
    """Returns the key that signs a key statement.

    Raises:
        NotFoundError: there is no such key file; says what is left to do without it.
        RefusedError: ``key-invalid``: it is no recovery key of the party in this log.
    """
    if recovery_path is None:
        return signing_key(party.keyring, party.setting, client)
    if not os.path.lexists(recovery_path):
        raise NotFoundError(
            f"there is no file {shown_path(recovery_path)}; without a recovery key, a signing key that counts can still"
            " revoke itself and other signing keys (leave --recovery out)",
            field="--recovery",
        )
    key = open_key(recovery_path, "Passphrase of the recovery key", RECOVERY_PASSPHRASE)
    known = {one.key: one for one in client.party_keys(party.keyring.did)}.get(key.did)
    if known is not None and known.recovery and known.revoked is None:
        return key
    if known is None:
        found = "was never added"
    elif known.revoked is not None:
        found = f"was revoked at leaf {known.revoked}"
    else:
        found = "is a signing key: leave --recovery out"
    raise RefusedError(
        f"{key.did} is no recovery key of {party.keyring.did} at {client.url}; it {found}",
        code="key-invalid",
        field="--recovery",
    )


@keys.command("list")
@to_option
@home_option
@key_option
@json_option
def list_(url: str, home: Path, key_path: Path | None, as_json: bool) -> None:
    """List your keys: what the log says of each, and where its file is."""
    from ledger.client import RegistryClient

    with RegistryClient(url) as client:
        keyring = _party(client, home, key_path).keyring
        known = client.party_keys(keyring.did)
    files = {file.did: file for kind in (False, True) for file in keyring.files(recovery=kind)}
    rows = [_row(key, files.pop(key.key, None)) for key in known]
    rows += [
        {
            "key": file.did,
            "kind": "recovery" if file.recovery else "signing",
            "added": None,
            "revoked": None,
            "since": None,
            "counts": False,
            "file": str(file.path),
        }
        for file in files.values()
    ]
    emit(as_json, {"party": keyring.did, "registry": url, "keys": rows}, [_line(row) for row in rows])


def _row(key: PartyKey, file: KeyFile | None) -> Object:
    return {
        "key": key.key,
        "kind": "recovery" if key.recovery else "signing",
        "added": key.added,
        "revoked": key.revoked,
        "since": key.since,
        "counts": key.revoked is None,
        "file": None if file is None else str(file.path),
    }


def _line(row: Object) -> str:
    if row["added"] is None:
        said = "not in the log: 'trainmark keys add' adds it"
    else:
        said = "the first key" if row["added"] == -1 else f"added at leaf {row['added']}"
        if row["revoked"] is not None:
            since = "" if row["since"] is None else f" (not its owner since leaf {row['since']})"
            said += f", revoked at leaf {row['revoked']}{since}"
    return f"{row['kind']:<8}  {row['key']}  {said}; {row['file'] or 'no file here'}"


@keys.command("add")
@click.option(
    "--kind",
    type=click.Choice(["signing", "recovery"]),
    default="signing",
    show_default=True,
    help="A signing key, or one that only adds and revokes keys.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Where the new key is to be, or is; default: beside your other keys.",
)
@click.option("--no-passphrase", is_flag=True, help="Leave the key unencrypted: for tests and machines only you use.")
@recovery_option
@to_option
@home_option
@key_option
@json_option
def add(
    kind: str,
    output: Path | None,
    no_passphrase: bool,
    recovery_path: Path | None,
    url: str,
    home: Path,
    key_path: Path | None,
    as_json: bool,
) -> None:
    """Make a key and add it to yours; the newest signing key signs from then on.

    A key file of yours that the log does not know is added before another one is made.
    """
    from ledger.client import RegistryClient

    recovery = kind == "recovery"
    with RegistryClient(url) as client:
        party = _party(client, home, key_path)
        known = {key.key: key for key in client.party_keys(party.keyring.did)}
        signer = _signer(client, party, recovery_path)
        policy = client.policy()
        client.authenticate(signer, party.keyring.did, ("statement",))
        if recovery and recovery_path is None and any(key.recovery and key.revoked is None for key in known.values()):
            raise RefusedError(
                "you have a recovery key in this log, and beside one only a recovery key adds another: give --recovery",
                code="void",
                field="--kind",
            )
        path, new = _new_key(party, set(known), output, recovery, no_passphrase)
        if new.did in known:
            added = _known(known[new.did], path, recovery)
        else:
            body = key_add_body(party.keyring.did, new, recovery=recovery)
            added = client.speak(sign_statement("key", party.keyring.did, signer, policy.origin, body)).leaf
    lines = [f"{kind} key {new.did} is added (leaf {added}); {path}"]
    if recovery:
        lines.append("Move it to a place that is not this machine: it takes your name back if a signing key is lost.")
    emit(as_json, {"key": new.did, "kind": kind, "added": added, "file": str(path)}, lines)


def _new_key(
    party: _Party, known: set[str], output: Path | None, recovery: bool, no_passphrase: bool
) -> tuple[Path, SigningKey]:
    """Returns the file and the key that is to be added: one that is there and not in the log, else a new one."""
    setting = RECOVERY_PASSPHRASE if recovery else party.new_setting
    if output is not None and os.path.lexists(output):
        return output, open_key(output, "Passphrase of that key", setting)
    files = party.keyring.files(recovery=recovery)
    waiting = [file for file in files if file.did not in known]
    if output is None and waiting:
        return waiting[0].path, open_key_of(waiting[0], "Passphrase of the key that is there", setting)
    passphrase = None if no_passphrase else new_passphrase("Passphrase for the new key", setting)
    seed = os.urandom(SEED_BYTES)
    number = max((file.number for file in files), default=1) + 1
    path = output or party.keyring.path(number, SigningKey(seed).did, recovery=recovery)
    return path, save_key(path, seed, passphrase, os.urandom, no_passphrase=no_passphrase)


def _known(key: PartyKey, path: Path, recovery: bool) -> int:
    """Returns the leaf that added a key that is in the log already, if it is what is to be added.

    Raises:
        RefusedError: ``void``: it was revoked, or is of the other kind: neither can be changed.
    """
    if key.revoked is not None:
        raise RefusedError(
            f"{shown_path(path)} was revoked at leaf {key.revoked}; a revoked key never returns",
            code="void",
            field="-o",
        )
    if key.recovery != recovery:
        found = "recovery" if key.recovery else "signing"
        raise RefusedError(f"{shown_path(path)} is your {found} key already", code="void", field="-o")
    return key.added


def _did_of(what: str, keyring: Keyring) -> str:
    """Returns the did of a key that is named by it, or by its file.

    Raises:
        MalformedError: neither.
    """
    if what.startswith(DID_PREFIX[:-1]):
        did_decode(what, "KEY")
        return what
    path = Path(os.path.abspath(what))
    for file in (*keyring.files(recovery=False), *keyring.files(recovery=True)):
        if Path(os.path.abspath(file.path)) == path:
            return file.did
    raise MalformedError(f"expected a did:key, or one of your key files, found {shown(what)}", field="KEY")


@keys.command("revoke")
@click.argument("what", metavar="KEY")
@click.option(
    "--since",
    type=click.IntRange(0),
    metavar="LEAF",
    help="From this leaf on it was not you: manifests that the key signed from there on are disputed.",
)
@click.option("--yes", is_flag=True, help="Revoke it also where nobody could sign for you after it.")
@recovery_option
@to_option
@home_option
@key_option
@json_option
def revoke(
    what: str,
    since: int | None,
    yes: bool,
    recovery_path: Path | None,
    url: str,
    home: Path,
    key_path: Path | None,
    as_json: bool,
) -> None:
    """Revoke KEY (a did:key or key file, as 'keys list' shows them) for ever; after a theft with --recovery and
    --since."""
    from ledger.client import RegistryClient

    with RegistryClient(url) as client:
        party = _party(client, home, key_path)
        key = _did_of(what, party.keyring)
        known = {one.key: one for one in client.party_keys(party.keyring.did)}
        if key not in known:
            raise NotFoundError(
                f"{key} is no key of {party.keyring.did} in this log; 'trainmark keys list' shows them", field="KEY"
            )
        revoked = known[key].revoked
        if revoked is None:
            _check_since(since, client.policy().size)
            if not yes:
                _check_last(known.values(), key)
            signer = _signer(client, party, recovery_path)
            policy = client.policy()
            client.authenticate(signer, party.keyring.did, ("statement",))
            body: Object = {"op": "revoke", "key": key, "since": since}
            revoked = client.speak(sign_statement("key", party.keyring.did, signer, policy.origin, body)).leaf
            word = "revoked"
        elif known[key].since != since:
            said = "without --since" if known[key].since is None else f"with --since {known[key].since}"
            raise ConflictError(f"revoked at leaf {revoked} {said}, and what is logged stays", field="--since")
        else:
            word = "revoked already"
    lines = [f"{key} is {word} (leaf {revoked})"]
    if since is not None:
        lines.append(f"manifests that it signed from leaf {since} on are disputed until the registry decides each")
    emit(as_json, {"key": key, "revoked": revoked, "since": since}, lines)


def _check_since(since: int | None, size: int) -> None:
    if since is not None and since > size:
        raise NotFoundError(f"there is no leaf {since}: the log has {size} leaves", field="--since")


def _check_last(known: Iterable[PartyKey], key: str) -> None:
    """Asks before the last key is revoked: without any, nobody ever speaks for the party again in this log.

    Raises:
        UsageError: nobody is there to answer.
        Abort: the answer is no.
    """
    if any(one.revoked is None and one.key != key for one in known):
        return
    click.echo("This is your last key in this log: without it nobody can sign for you there, ever again.", err=True)
    with answered_by("--yes"):
        click.confirm("Revoke it?", abort=True, err=True)


@keys.command("rotate")
@click.argument("which", type=click.Choice(["log", "token"]))
@click.option("--data-dir", type=click.Path(path_type=Path), help="The registry's folder; default: as for serve.")
@json_option
def rotate(which: str, data_dir: Path | None, as_json: bool) -> None:
    """Replace the log key or the token key of a registry that does not run: make another, log it, sign with it.

    A run that was cut off is finished by the next one, or by the next start of the registry.
    """
    with registry_packages():
        from api.composition import open_registry
        from api.composition import rotate as make_key
    settings = read_settings({"data_dir": data_dir})
    path = make_key(settings, which)
    with open_registry(settings) as running:
        registry = running.writer.registry
        log, token, size = registry.log.vkey, registry.token_key.did, registry.log.head.size
    new = log if which == "log" else token
    lines = [f"the {which} key is {new}, by the policy at leaf {size - 1}; {path}"]
    if which == "log":
        lines.append("The old one signs beside it until you take its file away; tell witnesses and verifiers first.")
    emit(as_json, {"which": which, "key": new, "size": size, "file": str(path)}, lines)
