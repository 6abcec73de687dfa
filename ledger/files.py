"""Files of whoever runs a command: read with a cap, written whole or not at all; folders locked against a second run.

A write goes to a temporary file in the same folder, is flushed to the disk and takes its name in one step, so a crash
leaves the old content or the new one.  Locks are ``flock`` on the folder itself: they end with the process, whatever
ends it.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ledger.errors import BackendError, ConflictError, MalformedError, NotFoundError, escaped

TEMPORARY: Final = ".trainmark.tmp"
"""The one temporary name in a folder; its writer holds the folder's lock, so a left-over one is dead."""


SHOWN_PATH_CHARS: Final = 160


def shown_path(path: Path | str) -> str:
    """Returns a path as a message may show it: escaped, and of a long one the end, with the name."""
    text = escaped(str(path))
    return text if len(text) <= SHOWN_PATH_CHARS else f"'…{text[-SHOWN_PATH_CHARS:]}"


def read_file(path: Path, max_bytes: int, field: str) -> bytes:
    """Returns the content of a regular file; nothing else is waited for, such as who writes into a pipe.

    Raises:
        NotFoundError: there is none.
        MalformedError: it is no regular file, or has more than `max_bytes` bytes.
        BackendError: it cannot be read.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise MalformedError(f"{shown_path(path)} is not a file", field=field)
            data = file.read(max_bytes + 1)
    except FileNotFoundError as e:
        raise NotFoundError(f"there is no file {shown_path(path)}", field=field) from e
    except IsADirectoryError as e:
        raise MalformedError(f"{shown_path(path)} is a folder, not a file", field=field) from e
    except OSError as e:
        raise BackendError(f"cannot read {shown_path(path)}: {e.strerror}", field=field) from e
    if len(data) > max_bytes:
        raise MalformedError(f"{shown_path(path)} has more than {max_bytes} bytes", field=field)
    return data


def replace_file(path: Path, data: bytes) -> None:
    """Writes `path`, whether it exists or not, in one step; the caller holds the folder's lock or owns the folder.

    Raises:
        BackendError: the disk refuses; the old content is still there.
    """
    temporary = path.parent / TEMPORARY
    try:
        _write(temporary, data, 0o644, os.O_TRUNC)
        os.replace(temporary, path)
    except OSError as e:
        with suppress(OSError):
            temporary.unlink()
        raise BackendError(f"cannot write {shown_path(path)}: {e.strerror}", field="file") from e


def create_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Writes a new file in one step and never replaces one.

    Raises:
        ConflictError: ``exists``: there is a file of that name; it is untouched.
        BackendError: the disk refuses; nothing of that name is there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            _write(temporary, data, mode, os.O_EXCL)
            os.link(temporary, path)  # unlike a rename, a link fails where the name is taken
        finally:
            with suppress(OSError):
                temporary.unlink()  # what a full disk took of it, too
        _sync_folder(path.parent)
    except FileExistsError as e:
        raise ConflictError(f"{shown_path(path)} exists and is not replaced", code="exists", field="file") from e
    except OSError as e:
        raise BackendError(f"cannot write {shown_path(path)}: {e.strerror}", field="file") from e


def _write(path: Path, data: bytes, mode: int, flag: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | flag, mode)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path, *, create: bool = False) -> Iterator[None]:
    """Holds the lock of `folder`; with `create` makes the folder when it is missing.

    Raises:
        ConflictError: ``in-use``: another process holds it.
        NotFoundError: there is no such folder.
        BackendError: it cannot be opened.
    """
    descriptor = _lock(folder, create)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path, create: bool) -> int:
    while True:
        try:
            if create:
                with suppress(FileExistsError):
                    folder.mkdir()
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError as e:
            if create and folder.parent.is_dir():
                continue  # its last holder removed it between the two calls
            raise NotFoundError(f"there is no folder {shown_path(folder)}", field="folder") from e
        except OSError as e:
            raise BackendError(f"cannot open {shown_path(folder)}: {e.strerror}", field="folder") from e
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            os.close(descriptor)
            message = f"another run is working on {shown_path(folder)}; wait until it has ended"
            raise ConflictError(message, code="in-use", field="folder") from e
        if _names(folder, descriptor):
            return descriptor
        os.close(descriptor)


def _names(folder: Path, descriptor: int) -> bool:
    """Whether `folder` is still what was opened: its last holder may have moved or removed it before the lock."""
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except FileNotFoundError:
        return False
