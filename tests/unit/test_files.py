"""Files that are written whole or not at all, and folders that one run at a time works on."""

from __future__ import annotations

import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ledger.errors import BackendError, ConflictError, MalformedError, NotFoundError
from ledger.files import create_file, locked, read_file, replace_file, shown_path
from tests.support.process import COMMAND, environment


def test_a_long_path_is_shown_by_its_end() -> None:
    assert shown_path("a\n.jpg") == r"'a\n.jpg'"
    assert shown_path("Küste\u202e.jpg") == r"'Küste\u202e.jpg'"
    shown = shown_path("x" * 300 + "/name.jpg")
    assert len(shown) < 170
    assert shown.endswith("x/name.jpg'")


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    """In a process, since opening a pipe to which nobody writes would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name, message in (("pipe", "is not a file"), ("device", "is not a file"), ("loop", "Too many levels")):
        done = subprocess.run(
            [*COMMAND, "show", name], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=30
        )
        assert done.returncode in (2, 3)
        assert message in done.stderr


def test_replacing_and_creating(tmp_path: Path) -> None:
    path = tmp_path / "a"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert read_file(path, 3, "a") == b"two"
    with pytest.raises(ConflictError):
        create_file(path, b"three")
    create_file(tmp_path / "b", b"four", 0o600)
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o600
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"two", "b": b"four"}


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").write_bytes(b"x")
    with pytest.raises(BackendError, match="cannot write"):
        replace_file(tmp_path / "folder", b"data")
    with pytest.raises(BackendError, match="cannot write"):
        create_file(tmp_path / "no" / "file", b"data")
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "kept"]


def test_reading_is_capped(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1234")
    with pytest.raises(MalformedError, match="more than 3 bytes"):
        read_file(tmp_path / "a", 3, "a")
    with pytest.raises(NotFoundError, match="there is no file"):
        read_file(tmp_path / "b", 3, "b")
    with pytest.raises(MalformedError, match="is a folder, not a file"):
        read_file(tmp_path, 3, "folder")
    with pytest.raises(BackendError, match="cannot read"):
        read_file(tmp_path / "a" / "below", 3, "a")


def test_a_lock_ends_with_its_block(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(ConflictError) as error, locked(tmp_path):
            pass
        assert error.value.code == "in-use"
    with locked(tmp_path):
        pass
    with pytest.raises(NotFoundError), locked(tmp_path / "no"):
        pass
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BackendError), locked(tmp_path / "file"):
        pass


def test_a_folder_that_its_holder_removes_is_never_held_twice(tmp_path: Path) -> None:
    place, threads, turns = tmp_path / "place", 8, 60

    def work(_: int) -> int:
        held = 0
        while held < turns:
            try:
                with locked(place, create=True):
                    (place / "holder").open("x").close()  # fails where another is in here, or the folder is gone
                    (place / "holder").unlink()
                    place.rmdir()
                    held += 1
            except ConflictError:
                continue
        return held

    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(work, range(threads))) == [turns] * threads
