"""Puts a registry together from settings: keys, stores, chain, log.  The only place that names concrete adapters.

::

    <data_dir>/keys/*.pem      the registry's own keys
              /registry.db     leaves, head, catalog (SQLite), unless they are in a PostgreSQL database
              /lock            held by the one process that writes
              /log/            checkpoint and tiles, unless they are in a bucket: may be served as it stands
              /blobs/          manifests, entries, terms, license texts, status arrays, unless they are in a bucket
              /outbox.db       what is, or is to be, on an IPFS node, if there is one
              /chain.db        the embedded chain, if it is used
              /log.vkey        the log's public key, for people
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import Engine

from anchors.embedded import EmbeddedChain
from api.anchorer import Anchorer
from api.clock import ForwardClock
from api.following import Following
from api.keys import RegistryKeys, add_key, key_files, open_keys, setting_of
from api.settings import EMBEDDED, Settings, check_settings
from api.sharer import Sharer
from ledger.checkpoint import parse_checkpoint
from ledger.encoding import sha256
from ledger.errors import MalformedError, NotFoundError, RefusedError
from ledger.files import read_file, replace_file, shown_path
from ledger.keys import SigningKey
from ledger.note import ED25519, VerifierKey, format_vkey
from ledger.policy import Policy, parse_policy
from ledger.ports import Anchor, BlobStore, Cosigners, Outbox, PinningNode, TileStore
from ledger.registry.grants import Grants
from ledger.registry.public import Follower, not_published
from ledger.registry.reading import Reading
from ledger.registry.rotation import log_keys, token_keys, waiting_key
from ledger.registry.service import Identity, Registry
from ledger.registry.sharing import SharedBlobStore, Sharing
from ledger.state import Fold
from ledger.store.catalog import SqlCatalog
from ledger.store.engine import check, connect, prepare
from ledger.store.entries import SqlEntryStore
from ledger.store.files import disk_errors
from ledger.store.outbox import SqliteOutbox
from ledger.store.places import open_blobs, open_tiles
from ledger.witness.cosigners import HttpCosigners, addresses

MAX_POLICY_BYTES: Final = 64 * 1024
WITNESSES: Final = "TRAINMARK_WITNESSES"
IPFS: Final = "TRAINMARK_IPFS"
_FORM: Final = VerifierKey("form", ED25519, SigningKey(bytes(32)).public)
"""A log key to read a policy with while the log's own is not known yet: before there are keys."""

RESTART_SECONDS: Final = 5.0
"""A database server may take a moment to notice that a writer was killed."""


def _open_chain(settings: Settings, key: bytes) -> Anchor:
    if settings.chain == EMBEDDED:
        return EmbeddedChain(settings.data_dir / "chain.db", key)
    from anchors.evm import EvmAnchor  # web3 takes a second to import

    return EvmAnchor(
        settings.chain,
        key,
        settings.contract or "",
        genesis=settings.genesis,
        confirmations=settings.confirmations,
    )


@dataclass(frozen=True, slots=True)
class Writer:
    """What only the one process has that writes."""

    registry: Registry
    grants: Grants
    anchorer: Anchorer
    cosigners: HttpCosigners | None
    sharer: Sharer | None


@dataclass(frozen=True, slots=True)
class Running:
    """An open registry with all that belongs to it; `beside` is what its own thread does: it anchors, or follows."""

    settings: Settings
    registry: Reading
    beside: Anchorer | Following
    writing: Writer | None

    @property
    def writer(self) -> Writer:
        """What writes.

        Raises:
            RefusedError: ``only-reads``: that is another process.
        """
        if self.writing is None:
            raise RefusedError(
                "this process only reads; ask the one that writes the log, to which a proxy sends all but public reads",
                code="only-reads",
            )
        return self.writing

    def start(self) -> None:
        """Begins what goes on beside the requests."""
        self.beside.start()
        if self.writing is not None and self.writing.sharer is not None:
            self.writing.sharer.start()

    @property
    def warning(self) -> str | None:
        """What is wrong though the registry runs, for people."""
        said = [self.beside.warning]
        if self.writing is not None:
            sharer, cosigners = self.writing.sharer, self.writing.cosigners
            said += [
                cosigners.warning if cosigners is not None else None,
                sharer.trouble if sharer is not None else None,
            ]
        return "; ".join(filter(None, said)) or None


def origin_of(settings: Settings, log_key: bytes, begun: str | None = None) -> str:
    """Returns the log's name: as set; else the issuer's host and path; on plain http the one under which it was
    `begun`, or, for a new one, one of its own by its key."""
    if settings.origin is not None:
        return settings.origin
    url = urlsplit(settings.public_url)
    if url.scheme == "https":
        return url.netloc + url.path
    return begun or f"localhost/{sha256(log_key).hex()[:12]}"


@contextmanager
def open_registry(settings: Settings) -> Iterator[Running]:
    """Opens the registry in ``settings.data_dir``, and makes it where there is none; closes it at the end.

    A change of issuer, log key, token key or rules since the last start becomes a new ``policy`` statement.

    Raises:
        RefusedError: settings or keys that must not be used.
        ConflictError: another process writes, or database, tiles, checkpoint and chain disagree.
        BackendError: a file, a bucket or the database cannot be used.
    """
    check_settings(settings)
    _witness_policy(settings, _FORM)  # before anything is made
    folder = settings.data_dir
    with ExitStack() as stack:
        engine, entries = stack.enter_context(open_database(settings))
        tiles = open_tiles(settings.tiles, folder / "log")
        head = entries.head()
        has_log = head is not None or tiles.read_checkpoint() is not None
        keys = open_keys(folder / "keys", _passphrase(settings), may_make=not has_log, given=settings.given_keys)
        origin = origin_of(settings, keys.log.public, parse_checkpoint(head.note)[0].origin if head else None)
        own = [VerifierKey(origin, ED25519, key.public) for key in (keys.log, *keys.further_log)]
        witnesses = _witness_policy(settings, *own)
        cosigners = None
        if witnesses is not None:
            cosigners = HttpCosigners(witnesses, settings.witness_seconds, WITNESSES)
            stack.callback(cosigners.close)
        blobs = open_blobs(settings.blobs, folder / "blobs")
        shared = None if settings.ipfs is None else _open_node(settings.ipfs, folder / "outbox.db", stack)
        if shared is not None:
            blobs = SharedBlobStore(blobs, *shared)
        registry = stack.enter_context(_opened(settings, keys, origin, engine, entries, tiles, blobs, cosigners))
        anchorer = Anchorer(registry, partial(_open_chain, settings, keys.anchor), settings.anchor_interval)
        stack.callback(anchorer.close)
        anchorer.open(must_answer=settings.chain == EMBEDDED)
        registry.begin()  # after the comparison: a log that was rolled back would fork with what it logs
        replace_file(folder / "log.vkey", f"{registry.log.vkey}\n".encode())
        sharer = None
        if shared is not None:
            sharer = Sharer(Sharing(registry, *shared))
            stack.callback(sharer.close)
        yield Running(settings, registry, anchorer, Writer(registry, Grants(registry), anchorer, cosigners, sharer))


def _open_node(address: str, path: Path, stack: ExitStack) -> tuple[Outbox, PinningNode]:
    """Opens the outbox and the client of an IPFS node; the node may be away."""
    try:
        from ledger.ipfs import IpfsNode
    except ModuleNotFoundError as e:
        raise MalformedError(
            "needs the package ipfshttpclient: pip install '.[ipfs]' in the checkout", field=IPFS
        ) from e
    node = IpfsNode(address, IPFS)
    stack.callback(node.close)
    outbox = SqliteOutbox(path)
    stack.callback(outbox.close)
    return outbox, node


@contextmanager
def open_reader(settings: Settings) -> Iterator[Running]:
    """Opens what another process publishes, for reading alone: no lock, no key, and nothing is changed.

    Raises:
        ConflictError: the database is of another version, or database and checkpoint disagree.
        BackendError: a file or the database cannot be used, or nothing is published yet.
    """
    check_settings(settings)
    if settings.database is None and not (settings.data_dir / "registry.db").exists():
        raise not_published()  # before a folder or a file is made
    with ExitStack() as stack:
        tiles = open_tiles(settings.tiles, settings.data_dir / "log")
        engine = connect(_database_url(settings))
        stack.callback(engine.dispose)
        check(engine)
        log = Follower(SqlEntryStore(engine, None), tiles, settings.origin)
        registry = Reading(log, tiles, SqlCatalog(engine), ForwardClock())
        stack.callback(registry.close)
        following = Following(log, registry.catalog)
        stack.callback(following.close)
        yield Running(settings, registry, following, None)


def rotate(settings: Settings, name: str) -> Path:
    """Makes another ``log`` or ``token`` key for the registry in ``settings.data_dir``, unless one waits there for its
    policy; returns its file.  The next opening logs the policy, and signs with it.

    Raises:
        NotFoundError: there is no registry.
        MalformedError: a setting gives the key: another one belongs there.
        RefusedError: settings or keys that must not be used.
        ConflictError: ``second-writer``: the registry runs.
        BackendError: a file or the database cannot be used.
    """
    check_settings(settings)
    if name in settings.given_keys:
        raise MalformedError(
            f"gives the {name} key: put another one behind it there, in PEM, and start", field=setting_of(name)
        )
    folder = settings.data_dir / "keys"
    if not folder.exists():  # opening would make one
        raise NotFoundError(f"there is no registry in {shown_path(settings.data_dir)}: no keys", field="--data-dir")
    with open_database(settings) as (_, entries):
        head = entries.head()
        keys = open_keys(folder, _passphrase(settings), may_make=False, given=settings.given_keys)
        policies = [policy for _, policy in Fold(entries.leaves(0, head.size if head else 0)).policies]
        if name == "log":
            held, named = (keys.log, *keys.further_log), log_keys(policies)
        else:
            held, named = (keys.token, *keys.further_token), token_keys(policies)
        waiting = waiting_key(held, named)
        if waiting is not None:
            return key_files(folder, name)[held.index(waiting)]
        return add_key(folder, name, _passphrase(settings))


def _passphrase(settings: Settings) -> bytes | None:
    return settings.key_passphrase.get_secret_value().encode() if settings.key_passphrase else None


def _witness_policy(settings: Settings, *logs: VerifierKey) -> Policy | None:
    """Returns the policy of the witnesses that the settings name, if they name any; its log lines may be left out: they
    are those of `logs`."""
    if settings.witnesses is None:
        return None
    try:
        text = read_file(settings.witnesses, MAX_POLICY_BYTES, WITNESSES).decode("utf-8")
    except UnicodeDecodeError as e:
        raise MalformedError("is not text in UTF-8", field=WITNESSES) from e
    missing = [vkey for vkey in map(format_vkey, logs) if vkey not in text.split()]
    policy = parse_policy("\n".join([text, *(f"log {vkey}" for vkey in missing)]), WITNESSES)
    if not policy.witnesses:
        raise MalformedError("names no witness; leave the setting out if there is none to ask", field=WITNESSES)
    addresses(policy, WITNESSES)  # each can be asked
    return policy


def stand_by(settings: Settings) -> None:
    """Waits, if the settings say so, until nobody writes the log; for a caller whom a signal ends meanwhile.

    Raises:
        MalformedError, RefusedError: settings that do not go together, or must not be used.
        BackendError: a file or the database cannot be used.
    """
    check_settings(settings)
    if settings.standby:
        with open_database(settings):
            pass


@contextmanager
def open_database(settings: Settings) -> Iterator[tuple[Engine, SqlEntryStore]]:
    """Opens the database, with the lock of the log's one writer: until it has that, it changes nothing.

    Raises:
        ConflictError: ``second-writer``; ``schema``.
        BackendError: a file or the database cannot be used.
    """
    folder = settings.data_dir
    with disk_errors(str(folder)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine, patience = connect(_database_url(settings)), 0.0 if settings.database is None else RESTART_SECONDS
    try:
        entries = SqlEntryStore(engine, folder / "lock", math.inf if settings.standby else patience)
        try:
            prepare(engine)
            yield engine, entries
        finally:
            entries.close()
    finally:
        engine.dispose()


def _database_url(settings: Settings) -> str:
    if settings.database is not None:
        return settings.database.get_secret_value()
    return f"sqlite:///{(settings.data_dir / 'registry.db').resolve()}"


@contextmanager
def _opened(
    settings: Settings,
    keys: RegistryKeys,
    origin: str,
    engine: Engine,
    entries: SqlEntryStore,
    tiles: TileStore,
    blobs: BlobStore,
    cosigners: Cosigners | None,
) -> Iterator[Registry]:
    identity = Identity(
        origin,
        settings.public_url,
        keys.registry.did,
        keys.registry,
        keys.log,
        keys.token,
        keys.further,
        keys.further_log,
        keys.further_token,
    )
    registry = Registry(
        identity,
        entries,
        tiles,
        blobs,
        SqlCatalog(engine),
        ForwardClock(),
        secrets.token_bytes,
        cosigners,
        settings.witness_seconds,
    )
    try:
        yield registry
    finally:
        registry.close()
