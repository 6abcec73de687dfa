"""``trainmark log fsck``: whether what a registry keeps on its disks tells one story."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ledger.audit.folder import LogFolder
from ledger.cli import NO, YES
from ledger.cli.output import emit, json_option, progress
from ledger.cli.registry_settings import read_settings, registry_packages
from ledger.errors import NotFoundError
from ledger.files import read_file, shown_path
from ledger.note import VerifierKey, parse_vkey

if TYPE_CHECKING:
    from api.settings import Settings
    from ledger.ports import BlobStore, Catalog, EntryStore, TileStore
    from ledger.registry.fsck import Check, Published
    from ledger.tiles import Tile

MAX_VKEY_BYTES = 1024
DATABASE = "registry.db"


@click.command("fsck")
@click.option("--data-dir", type=click.Path(path_type=Path), help="The registry's folder; default: as for serve.")
@click.option("--deep", is_flag=True, help="Make every tile anew from leaves and every catalog row from blobs.")
@json_option
def fsck_command(data_dir: Path | None, deep: bool, as_json: bool) -> int:
    """Compare tiles, database, published checkpoint and last anchor of a registry, running or not; changes nothing.

    Exit code 1: they disagree; both sides of each disagreement are named.
    """
    from ledger.registry.fsck import fsck

    settings = read_settings({"data_dir": data_dir})
    folder = settings.data_dir
    with _opened(settings) as (entries, tiles, catalog, blobs), progress("checking") as report:
        found = fsck(entries, tiles, catalog, blobs, log_key(folder), deep=deep, report=report)
    value = {
        "agrees": not found.disagreements,
        "size": found.size,
        "published": found.published,
        "anchored": found.anchored,
        "disagreements": [{"what": d.what, "one": d.one, "other": d.other} for d in found.disagreements],
        "open": found.open,
    }
    emit(as_json, value, fsck_lines(found, deep))
    return NO if found.disagreements else YES


def fsck_lines(found: Check, deep: bool) -> list[str]:
    """Returns what was found in lines for people."""
    lines = [
        f"database: {found.size} leaves; published: {found.published}; last anchor: {found.anchored}",
        *(f"  disagreement: {disagreement}" for disagreement in found.disagreements),
        *(f"  the next start finishes: {sentence}" for sentence in found.open),
    ]
    if found.disagreements:
        return [*lines, f"{len(found.disagreements)} disagreements: the registry must not run"]
    seen = "leaves, every tile and every row" if deep else "roots and right edge (--deep looks at every tile and row)"
    return [*lines, f"all agree: {seen}"]


def log_key(folder: Path) -> VerifierKey | None:
    """Returns the log's public key as the registry left it for people; None where it did not."""
    try:
        text = read_file(folder / "log.vkey", MAX_VKEY_BYTES, "log.vkey").decode("utf-8", "replace")
    except NotFoundError:
        return None
    return parse_vkey(text.strip(), "log.vkey")


class _Stored:
    """A log's public side in a store, read only."""

    def __init__(self, store: TileStore) -> None:
        self._store = store

    def checkpoint(self) -> bytes:
        note = self._store.read_checkpoint()
        if note is None:
            raise NotFoundError("none is published", field="checkpoint")
        return note

    def tile(self, tile: Tile) -> bytes:
        return self._store.read(tile)


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[EntryStore, Published, Catalog, BlobStore]]:
    """Yields the stores of the registry with these settings, opened for reading beside whoever writes.

    Raises:
        NotFoundError: there is no registry.
        ConflictError: ``schema``: its database is of another version, which only a start may change.
    """
    with registry_packages():
        from ledger.store.catalog import SqlCatalog
        from ledger.store.engine import check, connect
        from ledger.store.entries import SqlEntryStore
        from ledger.store.places import open_blobs, open_tiles
    folder = settings.data_dir
    database, url = (folder / DATABASE).resolve(), settings.database
    needed = ([database] if url is None else []) + ([folder / "blobs"] if settings.blobs is None else [])
    for path in needed:  # opening would make them
        if not path.exists():
            raise NotFoundError(f"there is no registry in {shown_path(folder)}: no {path.name}", field="--data-dir")
    engine = connect(f"sqlite:///{database}" if url is None else url.get_secret_value())
    entries = SqlEntryStore(engine, None)
    try:
        check(engine)
        log = folder / "log"
        tiles = LogFolder(log) if settings.tiles is None else _Stored(open_tiles(settings.tiles, log))
        yield entries, tiles, SqlCatalog(engine), open_blobs(settings.blobs, folder / "blobs")
    finally:
        entries.close()
