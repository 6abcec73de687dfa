"""Rules of the TileStore port, on the in-memory reference, on a folder and on a bucket."""

from __future__ import annotations

import fcntl
import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from stat import S_IMODE

import httpx
import pytest
from obstore.store import S3Store

from ledger.errors import BackendError, ConflictError, MalformedError, NotFoundError, TrainmarkError
from ledger.ports import TileStore
from ledger.store import files as files_module
from ledger.store.files import FolderTileStore
from ledger.store.memory import MemoryTileStore
from ledger.store.s3 import S3TileStore
from ledger.tiles import ENTRIES, Tile
from tests.support import ROOT
from tests.support.objects import ObjectStore
from tests.support.process import free_port

Open = Callable[[], TileStore]
"""Opens one store again and again, as another process would."""


@pytest.fixture(params=["memory", "folder", "bucket"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "memory":
        store = MemoryTileStore()
        return lambda: store
    if request.param == "bucket":
        url = request.getfixturevalue("bucket_url")
        return lambda: S3TileStore(url)
    return lambda: FolderTileStore(tmp_path / "public")


@pytest.fixture
def bucket_url(s3: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place in a bucket of its own, whose objects anybody may read."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.new_bucket('public')}/public"


FULL = (Tile(0, 3), b"full")
PARTIAL = (Tile(0, 4, 7), b"seven")
WIDER = (Tile(0, 4, 9), b"nine")
BUNDLE = (Tile(ENTRIES, 1234567, 1), b"a bundle")
HIGH = (Tile(5, 0, 1), b"level 5")
ALL = [FULL, PARTIAL, WIDER, BUNDLE, HIGH]


def test_an_empty_store(open_store: Open) -> None:
    store = open_store()
    assert store.read_checkpoint() is None
    with pytest.raises(NotFoundError, match="no tile/0/003"):
        store.read(FULL[0])


def test_what_is_written_is_read_also_when_opened_again(open_store: Open) -> None:
    open_store().write(ALL)
    for store in (open_store(), open_store()):
        assert [(tile, store.read(tile)) for tile, _ in ALL] == ALL


def test_writing_nothing(open_store: Open) -> None:
    open_store().write([])


def test_an_empty_tile_is_a_tile(open_store: Open) -> None:
    open_store().write([(FULL[0], b"")])
    assert open_store().read(FULL[0]) == b""


def test_a_partial_tile_is_found_under_its_own_width_only(open_store: Open) -> None:
    store = open_store()
    store.write([PARTIAL, WIDER])
    for width in (1, 6, 8, 10, 256):
        with pytest.raises(NotFoundError):
            store.read(Tile(0, 4, width))
    store.write([(Tile(0, 4), b"whole")])
    assert [store.read(Tile(0, 4, width)) for width in (7, 9, 256)] == [b"seven", b"nine", b"whole"]


def test_writing_the_same_again_changes_nothing(open_store: Open) -> None:
    open_store().write(ALL)
    open_store().write([*ALL, *ALL])
    assert [(tile, open_store().read(tile)) for tile, _ in ALL] == ALL


def test_a_tile_never_changes(open_store: Open) -> None:
    store = open_store()
    store.write([PARTIAL, FULL])
    with pytest.raises(ConflictError, match=r"tile/0/004\.p/7 holds other bytes") as caught:
        store.write([(PARTIAL[0], b"other"), WIDER])
    assert caught.value.code == "tile-conflict"
    assert [store.read(PARTIAL[0]), store.read(FULL[0])] == [b"seven", b"full"]
    store.write([WIDER, FULL])
    assert store.read(WIDER[0]) == b"nine"


def test_the_checkpoint_is_replaced(open_store: Open) -> None:
    open_store().write_checkpoint(b"first\n\n")
    assert open_store().read_checkpoint() == b"first\n\n"
    open_store().write_checkpoint(b"second")
    open_store().write_checkpoint(b"second")
    assert open_store().read_checkpoint() == b"second"


# What only a folder can show.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "public"


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_files_lie_where_a_web_server_looks_for_them(folder: Path) -> None:
    store = FolderTileStore(folder)
    store.write([FULL, PARTIAL, BUNDLE])
    store.write_checkpoint(b"note")
    assert files(folder) == {
        "tile/0/003": b"full",
        "tile/0/004.p/7": b"seven",
        "tile/entries/x001/x234/567.p/1": b"a bundle",
        "checkpoint": b"note",
    }
    umask = os.umask(0)
    os.umask(umask)
    assert S_IMODE((folder / "tile/0/003").stat().st_mode) == 0o644 & ~umask


def test_the_same_bytes_are_not_written_again(folder: Path) -> None:
    store = FolderTileStore(folder)
    store.write([FULL])
    before = (folder / "tile/0/003").stat()
    store.write([FULL])
    after = (folder / "tile/0/003").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


class Synced:
    """What is brought to the disk, as paths below a folder, in order; a file under the name that it has at the end."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._found, self._real = folder, list[int](), os.fsync
        monkeypatch.setattr(os, "fsync", self._fsync)

    def _fsync(self, fd: int) -> None:
        self._real(fd)
        self._found.append(os.fstat(fd).st_ino)

    def take(self) -> list[str]:
        """Returns what was brought there since the last time."""
        names = {path.stat().st_ino: str(path.relative_to(self._folder)) for path in self._folder.rglob("*")}
        taken = [names.get(found, ".") for found in self._found]
        self._found.clear()
        return taken


@pytest.fixture
def synced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Synced:
    FolderTileStore(folder)
    return Synced(folder, monkeypatch)


@pytest.mark.parametrize("there", [False, True])
def test_files_and_their_folders_are_on_the_disk(folder: Path, synced: Synced, there: bool) -> None:
    # Also those of tiles that were there: their writer may have died before it came to the folders.
    if there:
        FolderTileStore(folder).write([PARTIAL])
        synced.take()
    store = FolderTileStore(folder)
    store.write([PARTIAL])
    new = [] if there else ["tile/0/004.p/7"]
    assert synced.take() == [*new, "tile/0/004.p", "tile/0", "tile", "."]
    store.write_checkpoint(b"note")
    assert synced.take() == ["checkpoint", "."]


def test_a_folder_that_is_on_the_disk_is_not_brought_there_again(folder: Path, synced: Synced) -> None:
    store = FolderTileStore(folder)
    store.write([PARTIAL])
    synced.take()
    store.write([WIDER])
    assert synced.take() == ["tile/0/004.p/9", "tile/0/004.p"]
    store.write([FULL])
    assert synced.take() == ["tile/0/003", "tile/0"]
    store.write([HIGH])
    assert synced.take() == ["tile/5/000.p/1", "tile/5/000.p", "tile/5", "tile"]
    store.write([WIDER])
    assert synced.take() == ["tile/0/004.p"]


def test_a_folder_that_was_removed_is_brought_to_the_disk_again(folder: Path, synced: Synced) -> None:
    store = FolderTileStore(folder)
    store.write([PARTIAL, HIGH])
    shutil.rmtree(folder / "tile" / "0")
    synced.take()
    store.write([PARTIAL])
    assert synced.take() == ["tile/0/004.p/7", "tile/0/004.p", "tile/0", "tile"]


def test_folders_that_are_forgotten_are_brought_to_the_disk_again(
    folder: Path, synced: Synced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "_MAX_PLACED", 3)
    store = FolderTileStore(folder)
    store.write([PARTIAL])
    synced.take()
    store.write([WIDER])
    assert synced.take() == ["tile/0/004.p/9", "tile/0/004.p"]
    store.write([FULL])
    assert synced.take() == ["tile/0/003", "tile/0", "tile", "."]


def test_leftovers_of_a_crash_are_removed_but_not_a_living_writers_file(folder: Path) -> None:
    FolderTileStore(folder).write([FULL])
    leftover, living = folder / ".tmp" / "leftover", folder / ".tmp" / "living"
    leftover.write_bytes(b"half a ti")
    with living.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        store = FolderTileStore(folder)
        assert store.read(FULL[0]) == b"full"
        assert ".tmp/leftover" in files(folder)  # who reads changes nothing
        store.write_checkpoint(b"note")
        assert files(folder) == {"tile/0/003": b"full", "checkpoint": b"note", ".tmp/living": b""}
    FolderTileStore(folder).write_checkpoint(b"note")
    assert files(folder) == {"tile/0/003": b"full", "checkpoint": b"note"}


def test_a_full_disk_leaves_no_half_tile(folder: Path) -> None:
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from ledger.errors import BackendError; from ledger.store.files import FolderTileStore\n"
        "from ledger.tiles import Tile\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        "store = FolderTileStore(Path(sys.argv[1]))\n"
        "try: store.write([(Tile(0, 0), b'x' * 8192), (Tile(0, 1), b'x' * 20000)])\n"
        "except BackendError as e: print(e.code)\n"
    )
    command = [sys.executable, "-c", program, str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "disk-full\n"
    assert files(folder) == {"tile/0/000": b"x" * 8192}


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BackendError, match="File exists"):
        FolderTileStore(tmp_path / "file")
    store = FolderTileStore(tmp_path / "public")
    (tmp_path / "public" / "tile").write_bytes(b"")
    for use in (lambda: store.write([FULL]), lambda: store.read(FULL[0])):
        with pytest.raises(BackendError, match="Not a directory"):
            use()
    (tmp_path / "public" / "checkpoint").mkdir()
    with pytest.raises(BackendError, match="Is a directory"):
        store.read_checkpoint()


# What only a bucket can show.


def served(s3: ObjectStore, url: str, path: str) -> httpx.Response:
    """Returns what anybody gets who asks for a file of the log, and says nothing of compression."""
    return httpx.get(f"{s3.url}/{url.removeprefix('s3://')}/{path}", headers={"Accept-Encoding": "identity"})


def test_a_bucket_serves_the_log_as_it_stands(s3: ObjectStore, bucket_url: str) -> None:
    leaves = bytes(1000)
    store = S3TileStore(bucket_url)
    store.write([FULL, PARTIAL, (BUNDLE[0], leaves)])
    store.write_checkpoint(b"note")
    immutable = ("application/octet-stream", "public, max-age=31536000, immutable")
    for path, data, kept in (
        ("tile/0/003", b"full", immutable),
        ("tile/0/004.p/7", b"seven", immutable),
        ("tile/entries/x001/x234/567.p/1", leaves, immutable),
        ("checkpoint", b"note", ("text/plain; charset=utf-8", "no-cache")),
    ):
        answer = served(s3, bucket_url, path)
        assert (answer.status_code, answer.content) == (200, data)
        assert (answer.headers["content-type"], answer.headers["cache-control"]) == kept
        coding = "gzip" if "entries" in path else None
        assert answer.headers.get("content-encoding") == coding
    assert int(served(s3, bucket_url, "tile/entries/x001/x234/567.p/1").headers["content-length"]) < 100


def test_two_writers_at_once_do_not_replace_each_others_tiles(bucket_url: str) -> None:
    tiles = [Tile(0, n) for n in range(40)]

    def write(mine: bytes) -> list[Tile]:
        store, kept = S3TileStore(bucket_url), []
        for tile in tiles:
            try:
                store.write([(tile, mine)])
            except ConflictError:
                continue
            kept.append(tile)
        return kept

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(write, (b"one", b"other"))
    assert sorted(one + other) == tiles
    store = S3TileStore(bucket_url)
    assert [store.read(tile) for tile in tiles] == [b"one" if tile in one else b"other" for tile in tiles]


@pytest.mark.parametrize("before", [None, b"first"])
def test_a_late_writer_does_not_replace_a_newer_checkpoint(bucket_url: str, before: bytes | None) -> None:
    late, other = S3TileStore(bucket_url), S3TileStore(bucket_url)
    if before is not None:
        late.write_checkpoint(before)
    assert late.read_checkpoint() == other.read_checkpoint() == before
    other.write_checkpoint(b"second")
    for _ in range(2):
        with pytest.raises(ConflictError, match="checkpoint: another writer") as caught:
            late.write_checkpoint(b"late")
        assert caught.value.code == "second-writer"
        assert other.read_checkpoint() == b"second"
    other.write_checkpoint(b"third")


def test_a_checkpoint_whose_answer_was_lost_is_there(bucket_url: str) -> None:
    store = S3TileStore(bucket_url)
    store.write_checkpoint(b"first")
    S3TileStore(bucket_url).write_checkpoint(b"second")  # its own request, as far as it knows
    store.write_checkpoint(b"second")
    store.write_checkpoint(b"third")
    store.write_checkpoint(b"fourth")
    assert store.read_checkpoint() == b"fourth"


@pytest.mark.parametrize("damaged", [b"leaves", gzip.compress(b"leaves", mtime=0)[:-1], b""])
def test_a_damaged_bundle_is_not_returned(bucket_url: str, damaged: bytes) -> None:
    S3Store.from_url(bucket_url).put("tile/entries/000", damaged, attributes={"Content-Encoding": "gzip"})
    with pytest.raises(BackendError, match=r"tile/entries/000: .*gzip stream") as caught:
        S3TileStore(bucket_url).read(Tile(ENTRIES, 0))
    assert caught.value.code == "corrupt"


def test_a_bundle_that_came_uncompressed_is_read_too(bucket_url: str) -> None:
    S3Store.from_url(bucket_url).put("tile/entries/000", b"leaves")
    assert S3TileStore(bucket_url).read(Tile(ENTRIES, 0)) == b"leaves"


URLS = [
    "",
    "bucket",
    "s3://",
    "s3://b",
    "s3://Bucket/x",
    "s3://key:secret@bucket/x",
    "s3://bucket/../x",
    "s3://bucket/",
]


@pytest.mark.parametrize("url", [*URLS, "s3://bucket//x", "https://s3.amazonaws.com/bucket", "gs://bucket/x"])
def test_what_is_no_place_in_a_bucket(url: str) -> None:
    with pytest.raises(MalformedError) as caught:
        S3TileStore(url, "TRAINMARK_TILES")
    assert str(caught.value) == "TRAINMARK_TILES: expected s3://bucket/prefix, the keys in the environment"


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
@pytest.mark.parametrize("address", ["objects.example", "ftp://objects.example", "https://", "http:// x", ""])
def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch, name: str, address: str) -> None:
    monkeypatch.setenv(name, address)
    with pytest.raises(MalformedError, match=f"{name}: expected the http"):
        S3TileStore("s3://bucket/x")


def test_plain_http_has_to_be_allowed(s3: ObjectStore, bucket_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(MalformedError, match=r"AWS_ENDPOINT_URL: plain http .* needs AWS_ALLOW_HTTP=true"):
        S3TileStore(bucket_url)


def failed(call: Callable[[], object], secret: str) -> TrainmarkError:
    """Returns the error of a call, in which there is no word of who asked, or where."""
    with pytest.raises(BackendError) as caught:
        call()
    assert secret not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
    return caught.value


def test_a_bucket_that_is_not_there(s3: ObjectStore, bucket_url: str) -> None:
    error = failed(lambda: S3TileStore("s3://no-such-bucket/x", "TRAINMARK_TILES"), "testing")
    assert (error.code, error.message) == ("unavailable", "the object store answers NoSuchBucket")
    store, name = S3TileStore(bucket_url), bucket_url.split("/")[2]
    httpx.delete(f"{s3.url}/{name}").raise_for_status()
    calls: list[Callable[[], object]] = [
        store.read_checkpoint,
        lambda: store.read(FULL[0]),
        lambda: store.write([FULL]),
        lambda: store.write_checkpoint(b"note"),
    ]
    assert [failed(call, "testing").code for call in calls] == ["unavailable"] * 4


def test_a_service_that_is_not_there(bucket_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    error = failed(lambda: S3TileStore(bucket_url, "TRAINMARK_TILES", retry_seconds=0.2), "testing")
    assert (error.code, str(error)) == ("unavailable", "TRAINMARK_TILES: the object store does not answer")


def test_a_service_that_forbids_it(s3: ObjectStore, bucket_url: str) -> None:
    store = S3TileStore(bucket_url)
    with s3.forbidding():
        for call in (lambda: store.write([FULL]), lambda: store.write_checkpoint(b"note"), store.read_checkpoint):
            error = failed(call, "testing")
            assert (error.code, error.message) == ("read-only", "the object store answers InvalidAccessKeyId")
    assert store.read_checkpoint() is None
