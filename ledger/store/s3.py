"""Tiles and the checkpoint, and blobs, as objects in a bucket of S3 or of whatever else speaks its protocol.

An object is there as a whole or not at all, and durable once its PUT is answered; readers see the newest one.  A tile
is put on the condition that there is none (``If-None-Match: *``), and compared with the one there is; the checkpoint on
the condition that it is still the one that was read, or written, last (``If-Match``).  So what a writer sends that was
too slow, while another one has taken over, does not replace what that one published.

Tiles and the checkpoint lie under the paths of docs/format.md, section 4, with the headers they are to be served with,
so a bucket that anybody may read serves the log as it stands; entry bundles are compressed.  Blobs lie under their 64
hex digits, in no bucket that others may read.

Where the service is, and who asks, stands in the environment, as for every program that uses one (``AWS_…``, see
docs/guides/operator.md).  No message shows any of it: only the word by which the service names its refusal.
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from ledger.encoding import HASH_BYTES, gunzip, sha256
from ledger.errors import BackendError, MalformedError
from ledger.store import rules
from ledger.tiles import ENTRIES, MAX_TILE_BYTES, Tile, format_path

RETRY_SECONDS: Final = 60.0
"""How long an answer of the service that says nothing (none, or 5xx) is asked for again."""
AT_ONCE: Final = 8
"""Tiles written at the same time."""

_URL: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_CODE: Final = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")
_STATUS: Final = re.compile(r"status code: ([0-9]{3} [A-Za-z ]{1,64})")
_NO_BUCKET: Final = "NoSuchBucket"
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")

_IMMUTABLE: Final = {"Content-Type": "application/octet-stream", "Cache-Control": "public, max-age=31536000, immutable"}
_PACKED: Final = {**_IMMUTABLE, "Content-Encoding": "gzip"}
_NOTE: Final = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-cache"}
_BLOB: Final = {"Content-Type": "application/octet-stream", "Cache-Control": "no-store"}


class S3TileStore:
    """``TileStore`` in a bucket, below ``s3://bucket/prefix``; one process writes, any number read."""

    def __init__(self, url: str, field: str = "tiles", retry_seconds: float = RETRY_SECONDS) -> None:
        """Asks whether the bucket is there, and writes nothing; `field` names the setting of `url`.

        Raises:
            MalformedError: not such a URL, or the environment names no service.
            BackendError: the bucket cannot be listed.
        """
        self._bucket = _Bucket(url, field, retry_seconds)
        self._shown: _Shown | None = None

    def read(self, tile: Tile) -> bytes:
        data = self._bucket.read(format_path(tile))
        if data is None:
            raise rules.no_tile(tile)
        return data

    def write(self, tiles: Sequence[tuple[Tile, bytes]]) -> None:
        with ThreadPoolExecutor(AT_ONCE, "tiles") as pool:
            list(pool.map(self._write, tiles))

    def _write(self, entry: tuple[Tile, bytes]) -> None:
        tile, data = entry
        name = format_path(tile)
        packed, headers = (gzip.compress(data, 6, mtime=0), _PACKED) if tile.level == ENTRIES else (data, _IMMUTABLE)
        if self._bucket.exchange(name, None, packed, headers) is None and self._bucket.read(name) != data:
            raise rules.tile_conflict(tile)

    def read_checkpoint(self) -> bytes | None:
        return self._look().note

    def write_checkpoint(self, note: bytes) -> None:
        before = self._shown or self._look()
        version = self._bucket.exchange("checkpoint", before.version, note, _NOTE)
        if version is not None:
            self._shown = _Shown(note, version)
        elif self._look().note != note:  # else it is this store's own, whose answer was lost
            self._shown = before
            raise rules.other_checkpoint()

    def _look(self) -> _Shown:
        found = self._bucket.find("checkpoint")
        self._shown = _Shown(None, None) if found is None else _Shown(*found)
        return self._shown


@dataclass(frozen=True, slots=True)
class _Shown:
    """The checkpoint as it was read or written last, and its version; None where there is none."""

    note: bytes | None
    version: str | None


class S3BlobStore:
    """``BlobStore`` in a bucket, below ``s3://bucket/prefix``; any number of processes write and read."""

    def __init__(self, url: str, field: str = "blobs", retry_seconds: float = RETRY_SECONDS) -> None:
        """As for :class:`S3TileStore`."""
        self._bucket = _Bucket(url, field, retry_seconds)

    def put(self, data: bytes) -> bytes:
        digest = sha256(data)
        self._bucket.replace(digest.hex(), data, _BLOB)  # also what is there: it is whole from here on
        return digest

    def get(self, digest: bytes) -> bytes:
        rules.check_digest(digest)
        data = self._bucket.read(digest.hex())
        if data is None:
            raise rules.no_blob(digest)
        if sha256(data) != digest:
            raise rules.corrupt_blob(digest)
        return data

    def has(self, digest: bytes) -> bool:
        rules.check_digest(digest)
        return self._bucket.holds(digest.hex())

    def delete(self, digest: bytes) -> None:
        rules.check_digest(digest)
        self._bucket.remove(digest.hex())

    def digests(self) -> Iterator[bytes]:
        for name in self._bucket.names():
            with suppress(ValueError):
                digest = bytes.fromhex(name)
                if len(digest) == HASH_BYTES and digest.hex() == name:
                    yield digest


class _Bucket:
    """Objects below a URL, by relative name."""

    def __init__(self, url: str, field: str, retry_seconds: float) -> None:
        if not _URL.fullmatch(url):
            # Not shown: what looks like a URL may hold a key.
            raise MalformedError("expected s3://bucket/prefix, the keys in the environment", field=field)
        _check_endpoint()
        with _errors(field):
            self._store = S3Store.from_url(
                url,
                disable_bulk_delete=True,  # which not every service has
                retry_config={"retry_timeout": timedelta(seconds=retry_seconds)},
            )
            next(iter(self._store.list(chunk_size=1)), None)

    def read(self, name: str) -> bytes | None:
        found = self.find(name)
        return None if found is None else found[0]

    def find(self, name: str) -> tuple[bytes, str | None] | None:
        """Returns an object, unpacked, and its version."""
        with _errors(name):
            try:
                found = self._store.get(name)
            except FileNotFoundError as e:
                if _word(e) == _NO_BUCKET:
                    raise
                return None
            data, version = bytes(found.bytes()), found.meta["e_tag"]
            if found.attributes.get("Content-Encoding", "") != "gzip":
                return data, version
        try:
            return gunzip(data, MAX_TILE_BYTES, name), version
        except MalformedError as e:
            raise BackendError(e.message, code="corrupt", field=name) from e

    def holds(self, name: str) -> bool:
        with _errors(name):
            try:
                self._store.head(name)
            except FileNotFoundError:
                return False
            return True

    def names(self) -> Iterator[str]:
        with _errors("blobs"):
            for page in self._store.list(chunk_size=1000):
                yield from (found["path"] for found in page)

    def exchange(self, name: str, version: str | None, data: bytes, headers: dict[str, str]) -> str | None:
        """Puts `data` in the place of `version` (None: of nothing) and returns its own; returns None, and changes
        nothing, if something else is there."""
        with _errors(name):
            try:
                put = self._store.put(
                    name, data, attributes=headers, mode="create" if version is None else {"e_tag": version}
                )
            except (AlreadyExistsError, PreconditionError):
                return None
            return put["e_tag"]

    def replace(self, name: str, data: bytes, headers: dict[str, str]) -> None:
        with _errors(name):
            self._store.put(name, data, attributes=headers)

    def remove(self, name: str) -> None:
        with _errors(name):
            self._store.delete(name)


def _check_endpoint() -> None:
    """Checks what the library does not: an address that is none makes it panic, and plain http fails without a reason.

    Raises:
        MalformedError: the environment names no http(s) address, or one of plain http without saying that it may be.
    """
    for name in _ENDPOINTS:
        if (url := os.environ.get(name)) is None:
            continue
        if not re.match(r"https?://[A-Za-z0-9\[]", url):
            raise MalformedError("expected the http(s) URL of an object store", field=name)
        if url.startswith("http:") and "AWS_ALLOW_HTTP" not in os.environ:
            raise MalformedError("plain http is for a network of your own, and needs AWS_ALLOW_HTTP=true", field=name)


@contextmanager
def _errors(field: str) -> Iterator[None]:
    """Turns the library's errors into BackendError: ``read-only`` if the service forbids it, else ``unavailable``."""
    try:
        yield
    except (BaseError, FileNotFoundError) as e:
        word = _word(e)
        said = f"the object store answers {word}" if word else "the object store does not answer"
        denied = isinstance(e, PermissionDeniedError | UnauthenticatedError)
        raise BackendError(said, code="read-only" if denied else "unavailable", field=field) from e


def _word(error: Exception) -> str:
    """Returns the service's own word for why it refused, or its status; nothing where it did not answer."""
    text = str(error)
    found = _CODE.search(text) or _STATUS.search(text)
    return found[1] if found else ""
