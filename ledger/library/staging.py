"""Where a library is built before it takes its place, and the step by which it does.

A library is built beside its place, in ``.<name>.trainmark-partial/library``, and put there by a rename; the one it
replaces waits in ``.<name>.trainmark-previous`` until that is done.  A crash between the two renames leaves the place
empty and both folders whole: the next run puts the previous one back first.  Nothing is flushed file by file, so after
a power failure a folder may hold damaged files; :func:`ledger.library.verified.verify_library` finds them and a run
repairs them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import BackendError, ConflictError
from ledger.files import locked, shown_path
from ledger.library.output import foreign_files
from ledger.manifests import Manifest

_PARTIAL, _PREVIOUS = "trainmark-partial", "trainmark-previous"
_LIBRARY, _JOURNAL = "library", "journal"


@dataclass(frozen=True, slots=True)
class Staging:
    """Where a library is built: `library` becomes the output folder, `journal` outlives a run that fails."""

    out: Path
    library: Path
    journal: Path

    def publish(self, previous: Manifest | None) -> None:
        """Puts the library into its place, instead of the one of manifest `previous`.

        Raises:
            ConflictError: ``output-folder``: the place holds files that Trainmark did not write; nothing changed.
            BackendError: the disk refuses; the old library is in its place, or will be after the next run.
        """
        waiting = _beside(self.out, _PREVIOUS)
        try:
            if previous is not None:
                foreign = foreign_files(self.out, previous)
                if foreign:
                    more = f" and {len(foreign) - 1} more files" if len(foreign) > 1 else ""
                    raise ConflictError(
                        f"{shown_path(self.out)} holds {shown_path(foreign[0])}{more}, which Trainmark did not write;"
                        " move that away first, or choose another folder",
                        code="output-folder",
                        field="out",
                    )
                os.rename(self.out, waiting)
            os.rename(self.library, self.out)  # an empty folder in its place is replaced, any other is an error
            if previous is not None:
                shutil.rmtree(waiting)
        except OSError as e:
            raise BackendError(f"cannot put {shown_path(self.out)} into place: {e.strerror}", field="out") from e


@contextmanager
def staging(out: Path) -> Iterator[Staging]:
    """Holds the only place where a library for `out` may be built, empty but for the journal of a run that failed.

    A run that fails leaves the journal and no copies; one that succeeds leaves nothing.

    Raises:
        ConflictError: ``in-use``: another run builds there.
        BackendError: the disk refuses.
    """
    place = _beside(out, _PARTIAL)
    with locked(place, create=True):
        found = Staging(out, place / _LIBRARY, place / _JOURNAL)
        try:
            _restore(out)
            shutil.rmtree(found.library, ignore_errors=True)
            found.library.mkdir()
        except OSError as e:
            raise BackendError(f"cannot write {shown_path(place)}: {e.strerror}", field="out") from e
        try:
            yield found
        except BaseException:
            shutil.rmtree(found.library, ignore_errors=True)
            with suppress(OSError):  # fails while the journal is in it
                place.rmdir()
            raise
        shutil.rmtree(place, ignore_errors=True)


def _beside(out: Path, suffix: str) -> Path:
    return out.with_name(f".{out.name}.{suffix}")


def _restore(out: Path) -> None:
    """Ends what a crash in :meth:`Staging.publish` left: before the second rename undoes it, after it finishes it."""
    waiting = _beside(out, _PREVIOUS)
    if waiting.exists():
        if out.exists():
            shutil.rmtree(waiting)
        else:
            os.rename(waiting, out)


def write(path: Path, data: bytes) -> None:
    """Writes a file of a library that is not in its place yet, so in any order and without care for crashes.

    Raises:
        BackendError: the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as e:
        raise BackendError(f"cannot write {shown_path(path)}: {e.strerror}", field="out") from e
