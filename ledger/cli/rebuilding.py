"""``trainmark log rebuild``: a registry's database, lost or older than the log, made of what is published."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ledger.cli.fsck import log_key
from ledger.cli.output import emit, json_option, progress
from ledger.cli.registry_settings import read_settings, registry_packages
from ledger.errors import NotFoundError
from ledger.files import shown_path

if TYPE_CHECKING:
    from ledger.registry.rebuilding import Rebuilt


@click.command("rebuild")
@click.option("--data-dir", type=click.Path(path_type=Path), help="The registry's folder; default: as for serve.")
@json_option
def rebuild_command(data_dir: Path | None, as_json: bool) -> None:
    """Make the database anew, or bring an older one forward, out of tiles, checkpoint and blobs.

    The registry must not run. Issued tokens that the database does not have are forgotten.
    """
    settings = read_settings({"data_dir": data_dir})
    folder = settings.data_dir
    if settings.tiles is None and not (folder / "log" / "checkpoint").exists():  # opening would make the folder
        raise NotFoundError(f"there is no published log in {shown_path(folder)}: no log/checkpoint", field="--data-dir")
    key = log_key(folder)
    if key is None:
        raise NotFoundError(f"put it back into {shown_path(folder)}: it says whose log this is", field="log.vkey")
    with registry_packages():
        from api.composition import open_database
        from ledger.registry.rebuilding import rebuild
        from ledger.store.catalog import SqlCatalog
        from ledger.store.places import open_blobs, open_tiles
    tiles, blobs = open_tiles(settings.tiles, folder / "log"), open_blobs(settings.blobs, folder / "blobs")
    with open_database(settings) as (engine, entries), progress("reading") as report:
        found = rebuild(tiles, entries, SqlCatalog(engine), blobs, key, int(time.time()), report)
    value = {
        "size": found.size,
        "was": found.old_size,
        "manifests": list(found.entered),
        "without_payload": list(found.lacking),
        "forgotten_tokens": found.forgotten,
        "revoked_lists": list(found.revoked),
    }
    emit(as_json, value, _lines(found))


def _lines(found: Rebuilt) -> Iterator[str]:
    yield f"the database had {found.old_size} leaves, now it has {found.size}; {len(found.entered)} manifests entered"
    if found.lacking:
        yield f"  without a payload: leaves {', '.join(map(str, found.lacking))}"
    if found.forgotten:
        yield f"  {found.forgotten} tokens are forgotten: they stay valid, and cannot be revoked one by one any more"
    for uri in found.revoked:
        yield f"  {uri} is revoked as a whole: what it said is lost"
    yield "start the registry: it compares all of this once more"
