"""Where a registry's tiles and blobs are: in a folder, unless a setting names a bucket."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Final

from ledger.errors import MalformedError
from ledger.ports import BlobStore, TileStore
from ledger.store.files import FolderBlobStore, FolderTileStore

TILES: Final = "TRAINMARK_TILES"
BLOBS: Final = "TRAINMARK_BLOBS"


def open_tiles(url: str | None, folder: Path) -> TileStore:
    """Opens the tiles at the setting `url`, else in `folder`, which is made if it is not there.

    Raises:
        MalformedError: not a URL of a bucket, or what is needed for one is not installed, or not in the environment.
        BackendError: the folder or the bucket cannot be used.
    """
    return FolderTileStore(folder) if url is None else _s3(TILES).S3TileStore(url, TILES)


def open_blobs(url: str | None, folder: Path) -> BlobStore:
    """Opens the blobs, as ``open_tiles`` does."""
    return FolderBlobStore(folder) if url is None else _s3(BLOBS).S3BlobStore(url, BLOBS)


def _s3(field: str) -> ModuleType:
    try:
        from ledger.store import s3
    except ModuleNotFoundError as e:
        raise MalformedError(
            "a bucket needs the package obstore: pip install '.[s3]' in the checkout", field=field
        ) from e
    return s3
