"""Rules of the TileStore port, on the in-memory reference and on a folder."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from stat import S_IMODE

import pytest

from ledger.errors import BackendError, ConflictError, NotFoundError
from ledger.ports import TileStore
from ledger.store.files import FolderTileStore
from ledger.store.memory import MemoryTileStore
from ledger.tiles import ENTRIES, Tile
from tests.support import ROOT

Open = Callable[[], TileStore]
"""Opens one store again and again, as another process would."""


@pytest.fixture(params=["memory", "folder"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "memory":
        store = MemoryTileStore()
        return lambda: store
    return lambda: FolderTileStore(tmp_path / "public")


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


@pytest.mark.parametrize("there", [False, True])
def test_files_and_their_folders_are_on_the_disk(folder: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    # Also those of tiles that were there: their writer may have died before it came to the folders.
    store = FolderTileStore(folder)
    if there:
        store.write([PARTIAL])
    synced: list[int] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        real(fd)
        synced.append(os.fstat(fd).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    store.write([PARTIAL])
    tile, *folders = (folder / name for name in ("tile/0/004.p/7", "tile/0/004.p", "tile/0", "tile", ""))
    assert (tile.stat().st_ino in synced) is not there
    assert [ino for ino in synced if ino != tile.stat().st_ino] == [path.stat().st_ino for path in folders]
    synced.clear()
    store.write_checkpoint(b"note")
    assert synced == [(folder / "checkpoint").stat().st_ino, folder.stat().st_ino]


def test_leftovers_of_a_crash_are_removed_but_not_a_living_writers_file(folder: Path) -> None:
    FolderTileStore(folder).write([FULL])
    leftover, living = folder / ".tmp" / "leftover", folder / ".tmp" / "living"
    leftover.write_bytes(b"half a ti")
    with living.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        FolderTileStore(folder)
        assert files(folder) == {"tile/0/003": b"full", ".tmp/living": b""}
    FolderTileStore(folder)
    assert files(folder) == {"tile/0/003": b"full"}


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
