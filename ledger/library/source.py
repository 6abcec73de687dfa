"""The creator's folder: which files are works, which are not, and which names a manifest cannot hold.

A work is each regular file below the folder but those of :func:`walk`'s reasons; its manifest path is relative, with
``/`` (docs/format.md, section 2).  Nothing is left out silently: what is not a work is reported with its reason.  No
symbolic link is followed, so no file outside the folder is ever read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger import text
from ledger.errors import BackendError, MalformedError, NotFoundError
from ledger.files import shown_path
from ledger.manifests import MAX_ENTRIES

MANIFEST_FILE: Final = "dataset_manifest.json"
ATTRIBUTION_SUFFIX: Final = ".attribution.json"
SIDECAR_SUFFIX: Final = ".xmp"
LICENSE_SUFFIX: Final = ".license.json"
LICENSE_TEXT_SUFFIX: Final = ".license.txt"

MAX_FILE_BYTES: Final = 512 * 1024 * 1024
"""Of one work: it is held in memory twice while metadata is written."""

MAX_NAME_BYTES: Final = 255 - len(ATTRIBUTION_SUFFIX)
"""Of one file name: its attribution manifest adds a suffix, and file systems stop at 255 bytes."""

_OWN_NAMES = (MANIFEST_FILE, f"{MANIFEST_FILE}.asc", "creator.json")
_OWN_SUFFIXES = (ATTRIBUTION_SUFFIX, LICENSE_SUFFIX, LICENSE_TEXT_SUFFIX, ".proof.json", ".token.json")
_KEY_SUFFIXES = (".pem", ".key")
_SYSTEM_NAMES = ("thumbs.db", "desktop.ini", "__macosx")
_NAMED = 20


@dataclass(frozen=True, slots=True)
class Work:
    """One file of a library: its manifest path, where it is, and its size when the folder was read."""

    path: str
    file: Path
    size: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something in the folder that is no work; `reason` is one of those of :func:`walk`."""

    path: str
    reason: str


def walk(
    folder: Path, left_out: Collection[Path] = (), reserved: Collection[str] = ()
) -> tuple[tuple[Work, ...], tuple[Skipped, ...]]:
    """Returns the works in `folder`, sorted by the UTF-8 bytes of their path, and what is none.

    `reserved` are further names that will be written beside the copies of the works.

    Reasons: ``hidden`` (the name begins with a dot), ``symlink``, ``special`` (a pipe, a device), ``sidecar``
    (``.xmp``: metadata of another file), ``output`` (made by Trainmark, or a whole folder that is a built library),
    ``key`` (``.pem``, ``.key``: never published), ``system`` (``Thumbs.db`` and the like), ``left-out`` (in
    `left_out`).

    Raises:
        NotFoundError: there is no such folder.
        MalformedError: no work, too many, one too large, or names that a manifest cannot hold; all of them are named.
        BackendError: something cannot be read; it is named.
    """
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {shown_path(folder)}", field="folder")
    excluded = {path.resolve() for path in left_out}
    works: list[Work] = []
    skipped: list[Skipped] = []
    open_folders = [(folder, "")]
    while open_folders:
        at, prefix = open_folders.pop()
        for found in _listed(at):
            path = prefix + found.name
            reason = _reason(found, excluded)
            if reason is not None:
                skipped.append(Skipped(path, reason))
            elif found.is_dir(follow_symlinks=False):
                open_folders.append((Path(found.path), f"{path}/"))
            else:
                works.append(Work(path, Path(found.path), _status(found).st_size))
        if len(works) > MAX_ENTRIES:
            raise MalformedError(
                f"a manifest holds at most {MAX_ENTRIES} files; cut the library into parts", field="folder"
            )
    _check(works, (MANIFEST_FILE, *reserved))
    if not works:
        raise MalformedError(f"no file in {shown_path(folder)} can be published", field="folder")
    works.sort(key=lambda work: work.path.encode())
    skipped.sort(key=lambda skip: skip.path)
    return tuple(works), tuple(skipped)


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as e:
        raise BackendError(f"cannot read {shown_path(folder)}: {e.strerror}", field="folder") from e


def _status(found: os.DirEntry[str]) -> os.stat_result:
    try:
        return found.stat(follow_symlinks=False)
    except OSError as e:
        raise BackendError(f"cannot read {shown_path(found.path)}: {e.strerror}", field="folder") from e


def _reason(found: os.DirEntry[str], excluded: Collection[Path]) -> str | None:
    """Returns why `found` is no work, None if it is one, or a folder to look into."""
    name = found.name.lower()
    if found.is_symlink():
        return "symlink"
    if name.startswith("."):
        return "hidden"
    if name in _SYSTEM_NAMES:
        return "system"
    if excluded and Path(found.path).resolve() in excluded:
        return "left-out"
    if found.is_dir(follow_symlinks=False):
        return "output" if _is_library(Path(found.path)) else None
    if name in _OWN_NAMES or name.endswith(_OWN_SUFFIXES):
        return "output"
    if name.endswith(_KEY_SUFFIXES):
        return "key"
    if name.endswith(SIDECAR_SUFFIX):
        return "sidecar"
    return None if stat.S_ISREG(_status(found).st_mode) else "special"


def _is_library(folder: Path) -> bool:
    try:
        return (folder / MANIFEST_FILE).is_file()
    except OSError as e:
        raise BackendError(f"cannot read {shown_path(folder)}: {e.strerror}", field="folder") from e


def _check(works: Iterable[Work], reserved: Iterable[str]) -> None:
    """Refuses names and sizes that a manifest or a file system cannot hold, all at once."""
    problems: list[tuple[str, str]] = []
    keys = {text.path_key(name): name for name in reserved}
    for work in works:
        problem = _problem(work, keys)
        if problem:
            problems.append((work.path, problem))
    if problems:
        raise MalformedError(listed(problems), field="files" if len(problems) > 1 else "file")


def _problem(work: Work, keys: dict[str, str]) -> str | None:
    try:
        text.path(work.path, "path")
    except MalformedError as e:
        return e.message
    if len(work.path.rpartition("/")[2].encode()) > MAX_NAME_BYTES:
        return f"the name has more than {MAX_NAME_BYTES} bytes, which leaves no room for {ATTRIBUTION_SUFFIX}"
    if work.size > MAX_FILE_BYTES:
        return f"{work.size} bytes, at most {MAX_FILE_BYTES} are taken"
    # Of every name that will be written: where case does not count, none may be another's, nor that of a folder.
    folders = [work.path[:at] for at, c in enumerate(work.path) if c == "/"]
    for folder in folders:
        other = keys.setdefault(f"{text.path_key(folder)}/", folder)
        if f"{text.path_key(folder)}" in keys:
            return f"{shown_path(keys[text.path_key(folder)])} is a file, and {shown_path(other)} a folder of that name"
    for name in (work.path, work.path + ATTRIBUTION_SUFFIX, work.path + SIDECAR_SUFFIX):
        key = text.path_key(name)
        if key in keys or f"{key}/" in keys:
            return f"where case does not count it is one name with {shown_path(keys.get(key) or keys[f'{key}/'])}"
        keys[key] = name
    return None


def listed(problems: Iterable[tuple[str, str]]) -> str:
    """Returns files and what is told of each, one a line; beyond twenty it counts."""
    found = sorted(problems)
    lines = [f"{shown_path(path)}: {problem}" for path, problem in found[:_NAMED]]
    if len(found) > _NAMED:
        lines.append(f"and {len(found) - _NAMED} more")
    return lines[0] if len(lines) == 1 else "".join(f"\n  {line}" for line in lines)
