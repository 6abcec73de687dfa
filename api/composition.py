"""Puts a registry together from settings: keys, stores, chain, log.  The only place that names concrete adapters.

::

    <data_dir>/keys/*.pem      the registry's own keys
              /registry.db     leaves, head, catalog (SQLite)
              /lock            held by the one process that writes
              /log/            checkpoint and tiles: may be served as it stands
              /blobs/          manifests, entries, terms, license texts
              /chain.db        the embedded chain, if it is used
              /log.vkey        the log's public key, for people
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from anchors.embedded import EmbeddedChain
from api.anchorer import Anchorer
from api.keys import RegistryKeys, open_keys
from api.settings import EMBEDDED, Settings, check_settings
from ledger.encoding import sha256
from ledger.ports import Anchor
from ledger.registry.grants import Grants
from ledger.registry.service import Identity, Registry
from ledger.store.catalog import SqlCatalog
from ledger.store.engine import open_engine
from ledger.store.entries import SqlEntryStore
from ledger.store.files import FolderBlobStore, FolderTileStore, disk_errors


def _now() -> int:
    return int(time.time())


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
class Running:
    """An open registry with all that belongs to it."""

    settings: Settings
    registry: Registry
    grants: Grants
    anchorer: Anchorer


def origin_of(settings: Settings, log_key: bytes) -> str:
    """Returns the log's name: as set; else the issuer's host and path; on plain http one of its own by its key."""
    if settings.origin is not None:
        return settings.origin
    url = urlsplit(settings.public_url)
    if url.scheme == "https":
        return url.netloc + url.path
    return f"localhost/{sha256(log_key).hex()[:12]}"


@contextmanager
def open_registry(settings: Settings) -> Iterator[Running]:
    """Opens the registry in ``settings.data_dir``, and makes it where there is none; closes it at the end.

    A change of issuer, token key or rules since the last start becomes a new ``policy`` statement.

    Raises:
        RefusedError: settings or keys that must not be used.
        ConflictError: another process writes, or database, tiles, checkpoint and chain disagree.
        BackendError: a file or the database cannot be used.
    """
    check_settings(settings)
    folder = settings.data_dir
    with disk_errors(str(folder)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    passphrase = settings.key_passphrase.get_secret_value().encode() if settings.key_passphrase else None
    has_log = (folder / "registry.db").exists() or (folder / "log" / "checkpoint").exists()
    keys = open_keys(folder / "keys", passphrase, may_make=not has_log)
    with ExitStack() as stack:
        registry = stack.enter_context(_opened(settings, keys))
        with disk_errors("log.vkey"):
            (folder / "log.vkey").write_text(f"{registry.log.vkey}\n")
        anchorer = Anchorer(registry, partial(_open_chain, settings, keys.anchor), settings.anchor_interval)
        stack.callback(anchorer.close)
        anchorer.open(must_answer=settings.chain == EMBEDDED)
        _renew_policy(registry)  # after the comparison: a log that was rolled back would fork with it
        yield Running(settings, registry, Grants(registry), anchorer)


@contextmanager
def _opened(settings: Settings, keys: RegistryKeys) -> Iterator[Registry]:
    folder: Path = settings.data_dir
    identity = Identity(
        origin_of(settings, keys.log.public),
        settings.public_url,
        keys.registry.did,
        keys.registry,
        keys.log,
        keys.token,
        keys.further,
    )
    engine = open_engine(f"sqlite:///{(folder / 'registry.db').resolve()}")
    try:
        entries = SqlEntryStore(engine, folder / "lock")
        try:
            registry = Registry(
                identity,
                entries,
                FolderTileStore(folder / "log"),
                FolderBlobStore(folder / "blobs"),
                SqlCatalog(engine),
                _now,
                secrets.token_bytes,
            )
        except BaseException:
            entries.close()
            raise
        try:
            yield registry
        finally:
            registry.close()
    finally:
        engine.dispose()


def _renew_policy(registry: Registry) -> None:
    last = registry.log.fold.policy
    body = registry.policy_body()
    if last is None or (last.log_key, last.issuer, list(last.token_keys), last.rules.hex()) != (
        body["log_key"],
        body["issuer"],
        body["token_keys"],
        str(body["rules"]).removeprefix("sha256:"),
    ):
        registry.log.append(registry.sign("policy", body))
