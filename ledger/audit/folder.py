"""What an auditor keeps between two audits: its own copy of the log, and how far it has come.

::

    <folder>/state.json        what the log showed, and how many leaves have been read (docs/format.md, section 8)
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

from ledger.canonical import (
    Json,
    as_constant,
    as_indices,
    as_int,
    as_list,
    as_object,
    as_text,
    canonical,
    optional,
    parse,
)
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
MAX_REFUSED: Final = 1_000_000
"""No registry logs such leaves: they are remembered so that a few of them do not have to be verified again."""
MAX_OPEN: Final = 1000


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint with the `note` that signed it."""

    note: bytes
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class History:
    """How far an auditor has come: the `last` checkpoint that it found true, None before the first.

    `shown` are those that the log showed since and that no tree was compared with, `others` those that somebody else
    was shown and that were bigger than the log; each with the log's own signature alone, up to ``MAX_OPEN``.  `size`
    leaves under `root` have been read, perhaps more than the last checkpoint covers; the leaves `refused` among them
    hold no statement with a true signature.
    """

    last: Signed | None = None
    shown: tuple[Signed, ...] = ()
    others: tuple[Signed, ...] = ()
    size: int = 0
    root: bytes = EMPTY_ROOT
    refused: tuple[int, ...] = ()

    @property
    def signed(self) -> tuple[Signed, ...]:
        """All that the log signed for this auditor to see."""
        return self.shown if self.last is None else (self.last, *self.shown)

    @property
    def since(self) -> int:
        """The size of the last checkpoint."""
        return 0 if self.last is None else self.last.checkpoint.size


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

    def load(self) -> History:
        """Returns how far the last audit came.

        Raises:
            BackendError: ``audit-state``: the file is none of this program's.
        """
        try:
            return parse_history(read_file(self.path / STATE, MAX_STATE_BYTES, STATE))
        except NotFoundError:
            return History()
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

    def commit(self, history: History) -> None:
        """Makes `history` what the next audit begins with; all tiles kept so far are on the disk before."""
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
        if history.last is not None:
            self.log.path.mkdir(exist_ok=True)
            replace_file(self.log.path / "checkpoint", history.last.note)
        replace_file(self.path / STATE, format_history(history))

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


def read_signed(note: bytes, field: str = "checkpoint") -> Signed:
    """Reads a checkpoint note; verifies nothing."""
    return Signed(note, parse_checkpoint(note, field)[0])


def format_history(history: History) -> bytes:
    """Writes ``state.json``."""
    return canonical(
        {
            "trainmark": KIND,
            "checkpoint": None if history.last is None else history.last.note.decode(),
            "shown": [signed.note.decode() for signed in history.shown],
            "others": [signed.note.decode() for signed in history.others],
            "read": {"size": history.size, "root": digest_encode(history.root)},
            "refused": list(history.refused),
        },
        max_text=MAX_NOTE_BYTES,
    )


def parse_history(data: bytes, field: str = STATE) -> History:
    """Reads ``state.json``; verifies no signature."""
    o = as_object(
        parse(data, field, MAX_STATE_BYTES, max_text=MAX_NOTE_BYTES),
        field,
        ("trainmark", "checkpoint", "shown", "others", "read", "refused"),
    )
    as_constant(o["trainmark"], f"{field}.trainmark", KIND)
    read = as_object(o["read"], f"{field}.read", ("size", "root"))
    history = History(
        optional(o["checkpoint"], _as_signed, f"{field}.checkpoint"),
        _as_signed_list(o["shown"], f"{field}.shown"),
        _as_signed_list(o["others"], f"{field}.others"),
        as_int(read["size"], f"{field}.read.size", 0, MAX_LOG_SIZE),
        digest_decode(read["root"], f"{field}.read.root"),
        as_indices(o["refused"], f"{field}.refused", MAX_REFUSED),
    )
    if history.size < history.since:
        raise MalformedError("fewer leaves were read than the checkpoint covers", field=f"{field}.read.size")
    if history.size > max((signed.checkpoint.size for signed in history.signed), default=0):
        raise MalformedError("more leaves were read than the log showed", field=f"{field}.read.size")
    return history


def _as_signed(value: Json, field: str) -> Signed:
    return read_signed(as_text(value, field).encode(), field)


def _as_signed_list(value: Json, field: str) -> tuple[Signed, ...]:
    return tuple(_as_signed(note, f"{field}[{n}]") for n, note in enumerate(as_list(value, field, MAX_OPEN)))
