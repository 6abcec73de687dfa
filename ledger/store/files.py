"""Tiles and the checkpoint, and blobs, as files in a folder.

A file comes to be whole: it is written under a temporary name in ``.tmp`` below the root, brought to the disk (fsync),
renamed, and its folder is brought to the disk.  ``.tmp`` is on the same file system and outside what a store lists, so
leftovers of a crash are never taken for a file and are found without walking millions of tiles.  A temporary file is
locked (flock) while its writer lives; before a store changes anything, it removes those that are not.

Tiles lie under the paths of docs/format.md, section 4, so the root may be served as it is.  Blobs lie under
``<2 hex>/<2 hex>/<64 hex>`` and are readable by their owner only.  Needs a file system with POSIX locks and renames.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ledger.encoding import HASH_BYTES, sha256
from ledger.errors import BackendError
from ledger.store import rules
from ledger.tiles import Tile, format_path

_TEMPORARY: Final = ".tmp"
_MAX_PLACED: Final = 4096
"""Folders that are known to be on the disk for good; more are forgotten, and brought there again."""
_CAUSES: Final = {
    errno.ENOSPC: ("disk-full", "the disk is full"),
    errno.EDQUOT: ("disk-full", "the disk quota is used up"),
    errno.EFBIG: ("disk-full", "the file is larger than is allowed here"),
    errno.EROFS: ("read-only", "the file system is read-only"),
    errno.EACCES: ("read-only", "permission is denied"),
    errno.EPERM: ("read-only", "the operation is not permitted"),
}


@contextmanager
def disk_errors(field: str) -> Iterator[None]:
    """Turns the system's errors into BackendError: ``disk-full``, ``read-only`` or ``disk``."""
    try:
        yield
    except OSError as e:
        code, cause = _CAUSES.get(e.errno or 0, ("disk", e.strerror or type(e).__name__))
        raise BackendError(cause, code=code, field=field) from e


class FolderTileStore:
    """``TileStore`` in a folder, which is made if it is not there; one process writes, any number read."""

    def __init__(self, path: Path) -> None:
        self._folder = _Folder(path, 0o755)

    def read(self, tile: Tile) -> bytes:
        with disk_errors(format_path(tile)):
            data = self._folder.read(format_path(tile))
        if data is None:
            raise rules.no_tile(tile)
        return data

    def write(self, tiles: Sequence[tuple[Tile, bytes]]) -> None:
        with disk_errors("tile"):
            for tile, data in tiles:
                found = self._folder.read(format_path(tile))
                if found is None:
                    self._folder.replace(format_path(tile), data)
                elif found != data:
                    raise rules.tile_conflict(tile)
            # Also for tiles that were there: a crash may have come between their rename and this step.
            self._folder.sync([format_path(tile) for tile, _ in tiles])

    def read_checkpoint(self) -> bytes | None:
        with disk_errors("checkpoint"):
            return self._folder.read("checkpoint")

    def write_checkpoint(self, note: bytes) -> None:
        with disk_errors("checkpoint"):
            self._folder.replace("checkpoint", note)
            self._folder.sync(["checkpoint"])


class FolderBlobStore:
    """``BlobStore`` in a folder, which is made if it is not there; any number of processes write and read."""

    def __init__(self, path: Path) -> None:
        self._folder = _Folder(path, 0o700)

    def put(self, data: bytes) -> bytes:
        digest = sha256(data)
        with disk_errors("blob"):
            if self._folder.read(_blob_name(digest)) != data:  # missing; or damaged, and whole again from here on
                self._folder.replace(_blob_name(digest), data)
            self._folder.sync([_blob_name(digest)])
        return digest

    def get(self, digest: bytes) -> bytes:
        with disk_errors("blob"):
            data = self._folder.read(_blob_name(digest))
        if data is None:
            raise rules.no_blob(digest)
        if sha256(data) != digest:
            raise rules.corrupt_blob(digest)
        return data

    def has(self, digest: bytes) -> bool:
        with disk_errors("blob"):
            return self._folder.holds(_blob_name(digest))

    def delete(self, digest: bytes) -> None:
        with disk_errors("blob"):
            self._folder.remove(_blob_name(digest))

    def digests(self) -> Iterator[bytes]:
        with disk_errors("blob"):
            for first in self._folder.names(""):
                for second in self._folder.names(first):
                    for name in self._folder.names(f"{first}/{second}"):
                        if (digest := _digest_of(name)) and _blob_name(digest) == f"{first}/{second}/{name}":
                            yield digest


def _blob_name(digest: bytes) -> str:
    rules.check_digest(digest)
    name = digest.hex()
    return f"{name[:2]}/{name[2:4]}/{name}"


def _digest_of(name: str) -> bytes | None:
    with suppress(ValueError):
        return bytes.fromhex(name) if len(name) == 2 * HASH_BYTES else None
    return None


class _Folder:
    """Files under a root, by relative name; `mode` is of folders, files are as open without the execute bits.

    ``replace`` is not durable before ``sync``: a batch needs each folder on the disk once only.
    """

    def __init__(self, path: Path, mode: int) -> None:
        self._root, self._mode = path, mode
        self._placed: set[Path] = set()  # folders whose names, and those of all above them, are on the disk
        with disk_errors(str(path)):
            if not path.is_dir():
                path.mkdir(mode=mode, parents=True, exist_ok=True)
                self._sync_folder(path.parent)
        self._is_clean = False

    def read(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def holds(self, name: str) -> bool:
        try:
            (self._root / name).stat()
        except FileNotFoundError:
            return False
        return True

    def names(self, folder: str) -> list[str]:
        """Returns what is in a folder; nothing if it is none, nothing of what is hidden."""
        with suppress(NotADirectoryError, FileNotFoundError):
            return [name for name in os.listdir(self._root / folder) if not name.startswith(".")]
        return []

    def replace(self, name: str, data: bytes) -> None:
        """Puts `data` under `name` by one atomic step."""
        self._clean()
        target = self._root / name
        if not target.parent.is_dir():
            # One that was there and is made anew is not on the disk again.
            self._placed.difference_update(p for p in Path(name).parents if not (self._root / p).is_dir())
            target.parent.mkdir(mode=self._mode, parents=True, exist_ok=True)
        temporary, fd = self._temporary()
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def remove(self, name: str) -> None:
        """Removes a file, if it is there, for good; durable also if an earlier removal was not."""
        self._clean()
        (self._root / name).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            self._sync_folder((self._root / name).parent)

    def sync(self, names: Sequence[str]) -> None:
        """Brings the names of files to the disk, with those of the folders above them that may not be there yet."""
        folders = set()
        for name in names:
            for folder in Path(name).parents:
                folders.add(folder)
                if folder in self._placed:
                    break
        for folder in sorted(folders, reverse=True):  # the deepest first: no name on the disk leads nowhere
            self._sync_folder(self._root / folder)
        if len(self._placed) > _MAX_PLACED:
            self._placed.clear()
        self._placed |= folders

    def _sync_folder(self, folder: Path) -> None:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _temporary(self) -> tuple[Path, int]:
        """Returns a new temporary file, open and locked until it is closed."""
        folder = self._root / _TEMPORARY
        folder.mkdir(mode=self._mode, exist_ok=True)
        while True:
            path = folder / secrets.token_hex(16)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self._mode & 0o666)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if os.fstat(fd).st_nlink:  # else _clean of another process came between the two calls
                    return path, fd
            except BaseException:
                path.unlink(missing_ok=True)
                os.close(fd)
                raise
            os.close(fd)

    def _clean(self) -> None:
        """Removes temporary files whose writer is dead, before the first change: whoever reads only changes nothing.
        What may not be removed does no harm and stays."""
        if self._is_clean:
            return
        self._is_clean = True
        for name in self.names(_TEMPORARY):
            path = self._root / _TEMPORARY / name
            with suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
