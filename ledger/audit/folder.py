"""What an auditor keeps between two audits: its own copy of the log, and how far it has come.

::

    <folder>/state.json        the last checkpoint, and how many leaves have been read (docs/format.md, section 8)
            /log/              checkpoint and tiles as they were verified: a log that can be served, or audited, itself
            /*.fork.json       evidence

A tile is written before ``state.json`` says that it was read, and ``state.json`` is replaced in one step, so whatever
ends an audit leaves what the last one has seen, or more.  The copy is trusted no more than the log: it is read again at
the start of each audit and must have the roots that ``state.json`` names.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.canonical import as_constant, as_indices, as_int, as_object, as_text, canonical, optional, parse
from ledger.checkpoint import MAX_LOG_SIZE, Checkpoint, parse_checkpoint
from ledger.encoding import digest_decode, digest_encode
from ledger.errors import BackendError, MalformedError, NotFoundError
from ledger.files import create_file, read_file, replace_file, shown_path
from ledger.merkle import EMPTY_ROOT
from ledger.note import MAX_NOTE_BYTES
from ledger.tiles import MAX_TILE_BYTES, Tile, format_path

KIND: Final = "audit/v1"
STATE: Final = "state.json"
MAX_STATE_BYTES: Final = 64 << 20
MAX_REFUSED: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Seen:
    """How far an auditor has come: the last checkpoint `note` that it found true, None before the first.

    `size` leaves under `root` have been read, perhaps more than that checkpoint covers; the leaves `refused` among them
    hold no statement with a true signature.
    """

    note: bytes | None = None
    size: int = 0
    root: bytes = EMPTY_ROOT
    refused: tuple[int, ...] = ()

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The last checkpoint."""
        return None if self.note is None else parse_checkpoint(self.note)[0]


class LogFolder:
    """A log's files in a folder, in which nothing is written: where a log is read that is not asked for over HTTP."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def checkpoint(self) -> bytes:
        """Returns the note. Raises NotFoundError."""
        return read_file(self.path / "checkpoint", MAX_NOTE_BYTES, "checkpoint")

    def tile(self, tile: Tile) -> bytes:
        """Returns a tile. Raises NotFoundError."""
        return read_file(self.path / format_path(tile), MAX_TILE_BYTES, format_path(tile))


class AuditFolder:
    """An auditor's own folder, made if it is not there; whoever writes in it holds its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = LogFolder(path / "log")
        self._made: set[Path] = set()
        self._written: set[Path] = set()

    def load(self) -> Seen:
        """Returns how far the last audit came.

        Raises:
            BackendError: ``audit-state``: the file is none of this program's.
        """
        try:
            return parse_seen(read_file(self.path / STATE, MAX_STATE_BYTES, STATE))
        except NotFoundError:
            return Seen()
        except MalformedError as e:
            raise damaged(f"{shown_path(self.path / STATE)}: {e.message}") from e

    def keep(self, tile: Tile, data: bytes) -> None:
        """Keeps a tile of the log; on the disk for good with the next ``commit``."""
        path = self.log.path / format_path(tile)
        try:
            if path.parent not in self._made:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._made.add(path.parent)
            temporary = path.with_name(f".{path.name}.tmp")
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except OSError as e:
            raise BackendError(f"cannot write {shown_path(path)}: {e.strerror}", field="state") from e
        self._written.add(path)

    def commit(self, seen: Seen) -> None:
        """Makes `seen` what the next audit begins with; all tiles kept so far are on the disk before."""
        try:
            for path in sorted(self._written) + sorted({path.parent for path in self._written}):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        except OSError as e:
            raise BackendError(f"cannot write {shown_path(self.path)}: {e.strerror}", field="state") from e
        self._written.clear()
        if seen.note is not None:
            self.log.path.mkdir(exist_ok=True)
            replace_file(self.log.path / "checkpoint", seen.note)
        replace_file(self.path / STATE, format_seen(seen))

    def forget_partial(self, tiles: list[Tile]) -> None:
        """Removes partial tiles that a wider one has replaced."""
        for tile in tiles:
            (self.log.path / format_path(tile)).unlink(missing_ok=True)

    def keep_evidence(self, data: bytes, sizes: tuple[int, int], digest: bytes) -> Path:
        """Keeps evidence of a fork; returns its file, the same for the same evidence."""
        path = self.path / f"{sizes[0]}-{sizes[1]}-{digest.hex()[:8]}.fork.json"
        if not path.exists():
            create_file(path, data)
        return path


def damaged(message: str) -> BackendError:
    """What an auditor kept is not what it wrote."""
    return BackendError(
        f"{message}; audit from the start with another --state folder, and keep this one", code="audit-state"
    )


def format_seen(seen: Seen) -> bytes:
    """Writes ``state.json``."""
    return canonical(
        {
            "trainmark": KIND,
            "checkpoint": None if seen.note is None else seen.note.decode(),
            "read": {"size": seen.size, "root": digest_encode(seen.root)},
            "refused": list(seen.refused),
        },
        max_text=MAX_NOTE_BYTES,
    )


def parse_seen(data: bytes, field: str = STATE) -> Seen:
    """Reads ``state.json``."""
    o = as_object(
        parse(data, field, MAX_STATE_BYTES, max_text=MAX_NOTE_BYTES),
        field,
        ("trainmark", "checkpoint", "read", "refused"),
    )
    as_constant(o["trainmark"], f"{field}.trainmark", KIND)
    text = optional(o["checkpoint"], as_text, f"{field}.checkpoint")
    read = as_object(o["read"], f"{field}.read", ("size", "root"))
    seen = Seen(
        None if text is None else text.encode(),
        as_int(read["size"], f"{field}.read.size", 0, MAX_LOG_SIZE),
        digest_decode(read["root"], f"{field}.read.root"),
        as_indices(o["refused"], f"{field}.refused", MAX_REFUSED),
    )
    checkpoint = seen.checkpoint
    if checkpoint is not None and checkpoint.size > seen.size:
        raise MalformedError("fewer leaves were read than the checkpoint covers", field=f"{field}.read.size")
    return seen
