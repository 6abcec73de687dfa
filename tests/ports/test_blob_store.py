"""Rules of the BlobStore port, on the in-memory reference, on a folder, on a bucket and beside an IPFS node."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from stat import S_IMODE

import httpx
import pytest
from obstore.store import S3Store

from ledger.encoding import sha256
from ledger.errors import BackendError, NotFoundError
from ledger.ipfs import IpfsNode
from ledger.ports import BlobStore
from ledger.registry.sharing import SharedBlobStore
from ledger.store.files import FolderBlobStore
from ledger.store.memory import MemoryBlobStore
from ledger.store.outbox import SqliteOutbox
from ledger.store.s3 import S3BlobStore
from tests.support.objects import ObjectStore

Open = Callable[[], BlobStore]
"""Opens one store again and again, as another process would."""


@pytest.fixture(params=["memory", "folder", "bucket", "shared"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "memory":
        store = MemoryBlobStore()
        return lambda: store
    if request.param == "bucket":
        url = request.getfixturevalue("bucket_url")
        return lambda: S3BlobStore(url)
    if request.param == "shared":
        outbox, node = request.getfixturevalue("outbox"), IpfsNode("/ip4/127.0.0.1/tcp/1")  # which has nothing to give
        return lambda: SharedBlobStore(FolderBlobStore(tmp_path / "blobs"), outbox, node)
    return lambda: FolderBlobStore(tmp_path / "blobs")


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[SqliteOutbox]:
    with closing(SqliteOutbox(tmp_path / "outbox.db")) as outbox:
        yield outbox


@pytest.fixture
def bucket_url(s3: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place in a bucket of its own."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.new_bucket()}/blobs"


BLOBS = [b"", b"a", bytes(range(256)) * 4096, "Übung\0".encode()]


def test_an_empty_store(open_store: Open) -> None:
    store = open_store()
    assert list(store.digests()) == []
    assert not store.has(sha256(b"a"))
    with pytest.raises(NotFoundError, match=f"no blob sha256:{sha256(b'a').hex()}"):
        store.get(sha256(b"a"))


def test_what_is_put_is_there_also_when_opened_again(open_store: Open) -> None:
    assert [open_store().put(blob) for blob in BLOBS] == [sha256(blob) for blob in BLOBS]
    store = open_store()
    assert [store.get(sha256(blob)) for blob in BLOBS] == BLOBS
    assert all(store.has(sha256(blob)) for blob in BLOBS)
    assert sorted(store.digests()) == sorted(sha256(blob) for blob in BLOBS)


def test_putting_again_changes_nothing(open_store: Open) -> None:
    store = open_store()
    assert store.put(b"a") == store.put(b"a") == open_store().put(b"a")
    assert list(store.digests()) == [sha256(b"a")]
    store.delete(sha256(b"a"))
    assert list(store.digests()) == []


def test_deleting(open_store: Open) -> None:
    store = open_store()
    kept, gone = store.put(b"kept"), store.put(b"gone")
    store.delete(gone)
    store.delete(gone)
    for seen in (store, open_store()):
        assert list(seen.digests()) == [kept]
        assert (seen.has(gone), seen.has(kept)) == (False, True)
        with pytest.raises(NotFoundError):
            seen.get(gone)
    assert store.put(b"gone") == gone
    assert store.get(gone) == b"gone"


def test_blobs_may_go_while_digests_are_listed(open_store: Open) -> None:
    store = open_store()
    digests = {store.put(b"%d" % n) for n in range(50)}
    for digest in store.digests():
        digests.remove(digest)
        store.delete(digest)
    assert (digests, list(store.digests())) == (set(), [])


@pytest.mark.parametrize("digest", [b"", b"../../..", bytes(31), bytes(33)])
def test_what_is_no_digest_names_no_blob(open_store: Open, digest: bytes) -> None:
    store = open_store()
    for use in (store.get, store.has, store.delete):
        with pytest.raises(ValueError, match="a digest has 32 bytes"):
            use(digest)


def test_many_threads_put_the_same_and_other_blobs(open_store: Open) -> None:
    store = open_store()
    blobs = [b"blob %d" % (n % 20) for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(store.put, blobs)) == [sha256(blob) for blob in blobs]
    assert sorted(store.digests()) == sorted({sha256(blob) for blob in blobs})
    assert all(store.get(sha256(blob)) == blob for blob in blobs)


# What only a folder can show.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


def blob_path(folder: Path, digest: bytes) -> Path:
    name = digest.hex()
    return folder / name[:2] / name[2:4] / name


def test_blobs_are_for_their_owner_only(folder: Path) -> None:
    digest = FolderBlobStore(folder).put(b"private")
    assert S_IMODE(blob_path(folder, digest).stat().st_mode) == 0o600
    assert S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("damaged", [b"Privat", b"private and more", b""])
def test_a_damaged_blob_is_not_returned_and_is_whole_when_put_again(folder: Path, damaged: bytes) -> None:
    store = FolderBlobStore(folder)
    digest = store.put(b"private")
    blob_path(folder, digest).write_bytes(damaged)
    with pytest.raises(BackendError, match="have changed") as caught:
        store.get(digest)
    assert caught.value.code == "corrupt"
    assert store.put(b"private") == digest
    assert store.get(digest) == b"private"


def test_a_blob_and_its_folders_are_on_the_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderBlobStore(folder)
    synced: list[int] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        real(fd)
        synced.append(os.fstat(fd).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    path = blob_path(folder, store.put(b"a"))
    folders = [path.parent.stat().st_ino, path.parent.parent.stat().st_ino, folder.stat().st_ino]
    assert synced == [path.stat().st_ino, *folders]
    synced.clear()
    store.put(b"a")
    assert synced == folders[:1]
    synced.clear()
    FolderBlobStore(folder).put(b"a")  # a writer that does not know what another brought to the disk
    assert synced == folders
    synced.clear()
    store.delete(sha256(b"a"))
    store.delete(sha256(b"a"))
    assert synced == folders[:1] * 2


def test_other_files_are_no_blobs(folder: Path) -> None:
    store = FolderBlobStore(folder)
    digest = store.put(b"a")
    path = blob_path(folder, digest)
    for other in (
        folder / ".tmp" / sha256(b"b").hex(),  # a leftover of a crash
        path.parent / sha256(b"c").hex(),  # in the folder of others
        path.parent / path.name.upper(),
        path.parent / "README",
        folder / "README",
        path.parent.parent / "README",
    ):
        other.write_bytes(b"")
    assert list(store.digests()) == [digest]
    again = FolderBlobStore(folder)
    assert list(again.digests()) == [digest]
    assert len(list((folder / ".tmp").iterdir())) == 1
    again.delete(digest)
    assert list((folder / ".tmp").iterdir()) == []


def test_a_disk_that_fails(folder: Path) -> None:
    store = FolderBlobStore(folder)
    path = blob_path(folder, sha256(b"a"))
    path.mkdir(parents=True)
    for use in (lambda: store.put(b"a"), lambda: store.get(sha256(b"a")), lambda: store.delete(sha256(b"a"))):
        with pytest.raises(BackendError, match="Is a directory"):
            use()
    path.rmdir()
    path.parent.rmdir()
    path.parent.write_bytes(b"")
    with pytest.raises(BackendError, match="Not a directory"):
        store.has(sha256(b"a"))


# What only a bucket can show.


def test_strangers_read_no_blob(s3: ObjectStore, bucket_url: str) -> None:
    digest = S3BlobStore(bucket_url).put(b"private")
    at = f"{s3.url}/{bucket_url.removeprefix('s3://')}/{digest.hex()}"
    assert [httpx.get(at).status_code, httpx.head(at).status_code] == [403, 403]
    assert S3BlobStore(bucket_url).get(digest) == b"private"


@pytest.mark.parametrize("damaged", [b"Privat", b"private and more", b""])
def test_a_damaged_object_is_not_returned_and_is_whole_when_put_again(bucket_url: str, damaged: bytes) -> None:
    store = S3BlobStore(bucket_url)
    digest = store.put(b"private")
    S3Store.from_url(bucket_url).put(digest.hex(), damaged)
    with pytest.raises(BackendError, match="have changed") as caught:
        store.get(digest)
    assert caught.value.code == "corrupt"
    assert store.put(b"private") == digest
    assert store.get(digest) == b"private"


def test_other_objects_are_no_blobs(bucket_url: str) -> None:
    store = S3BlobStore(bucket_url)
    digest = store.put(b"a")
    name = digest.hex()
    beside = S3Store.from_url(bucket_url.removesuffix("/blobs"))
    for other in (
        f"blobs/{name.upper()}",
        f"blobs/{name}00",
        "blobs/README",
        f"blobs/{name[:2]}/{name}",
        name,
        "blobsx",
    ):
        beside.put(other, b"")
    assert list(store.digests()) == [digest]


def test_a_blob_of_many_parts(bucket_url: str) -> None:
    blob = os.urandom(1 << 20) * 11
    assert S3BlobStore(bucket_url).get(S3BlobStore(bucket_url).put(blob)) == blob


def test_a_bucket_that_goes_away(s3: ObjectStore, bucket_url: str) -> None:
    store = S3BlobStore(bucket_url)
    httpx.delete(f"{s3.url}/{bucket_url.split('/')[2]}").raise_for_status()
    for call in (lambda: store.put(b"a"), lambda: store.get(sha256(b"a")), lambda: list(store.digests())):
        with pytest.raises(BackendError, match="the object store answers NoSuchBucket") as caught:
            call()
        assert caught.value.code == "unavailable"
