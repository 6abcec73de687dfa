"""The copies of all works of a library, each with its entry: prepared side by side, written where nobody looks yet.

Each thread has a decoding process.  What is wrong with files is gathered, so that one run names them all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from ledger.errors import ConflictError, MalformedError, RefusedError, TrainmarkError, VerificationError
from ledger.files import read_file, shown_path
from ledger.images.worker import Worker
from ledger.library.journal import Journal
from ledger.library.progress import Steps
from ledger.library.source import MAX_FILE_BYTES, SIDECAR_SUFFIX, Skipped, Work, listed
from ledger.library.staging import write
from ledger.library.tagging import Declaration, Record, Tags, tag
from ledger.manifests import Entry, read_entry
from ledger.ports import Entropy


@dataclass(frozen=True, slots=True)
class Conflict:
    """Rights of somebody else in a file: the first property that differs, and what the file says."""

    path: str
    property: str
    message: str

    @classmethod
    def of(cls, path: str, error: ConflictError) -> Conflict:
        """Returns what `error` tells of the file at `path`."""
        return cls(path, error.field or "", error.message)


class RightsConflictError(ConflictError):
    """Files hold rights of somebody else, and nothing was written; `conflicts` names each file."""

    code = "rights_conflict"

    def __init__(self, conflicts: tuple[Conflict, ...]) -> None:
        super().__init__(listed((c.path, f"{c.property}: {c.message}") for c in conflicts), field="files")
        self.conflicts = conflicts


class BrokenFilesError(MalformedError):
    """Files cannot be tagged, and nothing was written; the message names them."""

    def __init__(self, problems: Collection[tuple[str, str]]) -> None:
        super().__init__(listed(problems), field="files" if len(problems) > 1 else "file")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A work whose copy is written: its path, what is known of it, and its entry."""

    path: str
    record: Record
    entry: Entry


@dataclass(frozen=True, slots=True)
class Copies:
    """Makes the copies of one run in the folder `library`; `declared` gives what the creator declares of a path.

    `skip_broken` leaves out what cannot be tagged.
    """

    library: Path
    tags: Tags
    journal: Journal
    declared: Callable[[str], Declaration]
    sidecar_on_conflict: bool
    keep_private: bool
    skip_broken: bool

    def prepare(
        self, works: Sequence[Work], workers: int, entropy: Entropy, steps: Steps
    ) -> tuple[list[Prepared], list[Skipped]]:
        """Writes all copies and sidecars; returns what is ready, and what is left out as ``broken``.

        Raises:
            BrokenFilesError: all files that cannot be tagged; with `skip_broken` only where nothing else is there.
            RightsConflictError: all files with other rights.
        """
        prepared: list[Prepared] = []
        conflicts: list[Conflict] = []
        broken: list[tuple[str, str]] = []
        for work, found in zip(works, self._records(works, workers), strict=True):
            if isinstance(found, Record):
                salt = self.journal.salt(work.path, found, entropy)
                value = found.entry(work.path, self.declared(work.path), salt)
                prepared.append(Prepared(work.path, found, read_entry(value, shown_path(work.path))))
            elif isinstance(found, ConflictError):
                conflicts.append(Conflict.of(work.path, found))
            else:
                broken.append((work.path, str(found)))
            steps.step()
        if broken and not (self.skip_broken and (prepared or conflicts)):
            raise BrokenFilesError(broken)
        if conflicts:
            raise RightsConflictError(tuple(conflicts))
        for _ in broken:
            steps.step()  # it gets no attribution manifest
        return prepared, [Skipped(path, "broken") for path, _ in broken]

    def _records(self, works: Sequence[Work], workers: int) -> Iterator[Record | TrainmarkError]:
        """Yields in order; each thread has a decoding process, and Python's lock is free while that works."""
        with ExitStack() as stack:
            idle: SimpleQueue[Worker] = SimpleQueue()
            for _ in range(workers):
                idle.put(stack.enter_context(Worker()))

            def one(work: Work) -> Record | TrainmarkError:
                worker = idle.get()
                try:
                    return self._tag(work, worker)
                finally:
                    idle.put(worker)

            pool = ThreadPoolExecutor(workers)
            stack.callback(pool.shutdown, cancel_futures=True)
            yield from pool.map(one, works)

    def _tag(self, work: Work, worker: Worker) -> Record | TrainmarkError:
        """Writes the copy of one file; returns what is wrong with the file instead of raising it."""
        try:
            tagged = tag(
                read_file(work.file, MAX_FILE_BYTES, "file"),
                self.declared(work.path),
                self.tags,
                examine=worker.examine,
                known=lambda provenance_hash: self.journal.codes(work.path, provenance_hash),
                keep_private=self.keep_private,
                sidecar_on_conflict=self.sidecar_on_conflict,
            )
        except (ConflictError, MalformedError, RefusedError, VerificationError) as e:
            return e
        write(self.library / work.path, tagged.published)
        if tagged.sidecar is not None:
            write(self.library / (work.path + SIDECAR_SUFFIX), tagged.sidecar)
        return tagged.record
