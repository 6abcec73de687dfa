"""Appending to a log in batches of 256, each durable before the next: the tree, the tiles on disk, the database.

Four works on the same leaves, one batch of each in turn, so that a busy disk decides nothing: the tree alone; the tree
and the tile files with the checkpoint, brought to the disk; the same with the database, in the order in which a log
does it (docs/format.md, section 4); and the yardstick, which is what cannot be saved: the same bytes in as many files,
each brought to the disk, and their folders, without a tree, temporary names, renames or locks.  A log whose batches end
where tiles end writes three files for each; one leaf off, as every log with a policy is, five.

    python benchmarks/append.py [LEAVES]            100,000 by default
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter

from ledger.checkpoint import Checkpoint, sign_checkpoint
from ledger.ports import Head
from ledger.sequencer import Edge, append
from ledger.store.engine import open_engine
from ledger.store.entries import SqlEntryStore
from ledger.store.files import FolderTileStore
from ledger.tiles import Tile, format_path
from tests.simulator import ORIGIN, identity

KINDS = ("tree", "files", "database", "bare")
LEAVES = 100_000
BATCH = 256
LEAF_BYTES = 700
"""About what a signed manifest statement has."""

LOG_KEY = identity().log_key

Step = Callable[[Sequence[bytes]], None]


def batches(leaves: int) -> Iterator[list[bytes]]:
    """Yields the leaves of one batch after the other."""
    for start in range(0, leaves, BATCH):
        yield [b"%0*d" % (LEAF_BYTES, index) for index in range(start, start + BATCH)]


def edge_at(size: int) -> Edge:
    """Returns the edge of a log of `size` leaves."""
    return append(Edge(), [b"leaf %d" % index for index in range(size)])[0]


@dataclass
class Tree:
    """The tree alone: new tiles and the root, nothing stored."""

    edge: Edge

    def __call__(self, leaves: Sequence[bytes]) -> None:
        self.grow(leaves)

    def grow(self, leaves: Sequence[bytes]) -> tuple[Head, list[tuple[Tile, bytes]]]:
        self.edge, tiles = append(self.edge, leaves)
        checkpoint = Checkpoint(ORIGIN, self.edge.size, self.edge.root)
        return Head(checkpoint.size, checkpoint.root, sign_checkpoint(checkpoint, LOG_KEY)), tiles


@dataclass
class Files:
    """The tree, the tile files and the checkpoint."""

    tree: Tree
    public: FolderTileStore

    def __call__(self, leaves: Sequence[bytes]) -> None:
        head, tiles = self.tree.grow(leaves)
        self.public.write(tiles)
        self.public.write_checkpoint(head.note)


@dataclass
class Database:
    """All that a log stores for a batch."""

    tree: Tree
    public: FolderTileStore
    entries: SqlEntryStore

    def __call__(self, leaves: Sequence[bytes]) -> None:
        old = self.tree.edge.size
        head, tiles = self.tree.grow(leaves)
        self.entries.commit(old, head, leaves, tiles)
        self.public.write(tiles)
        self.public.write_checkpoint(head.note)
        self.entries.published()


@dataclass
class Bare:
    """As many files and bytes as `Files` writes, each on the disk, and each of their folders once."""

    folder: Path
    tree: Tree
    files: list[tuple[Path, bytes]] = field(default_factory=list)

    def prepare(self, leaves: Sequence[bytes]) -> None:
        """Makes what the next call writes."""
        head, tiles = self.tree.grow(leaves)
        self.files = [(self.folder / format_path(tile), data) for tile, data in tiles]
        self.files.append((self.folder / f"checkpoint-{head.size}", head.note))
        for path, _ in self.files:
            path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, leaves: Sequence[bytes]) -> None:
        for path, data in self.files:
            _synced(path, data)
        for folder in {path.parent for path, _ in self.files}:
            _synced(folder, None)


def _synced(path: Path, data: bytes | None) -> None:
    """Brings a folder, or a file with `data`, to the disk."""
    fd = os.open(path, os.O_RDONLY if data is None else os.O_WRONLY | os.O_CREAT)
    try:
        if data is not None:
            os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)


def measure(leaves: int, start: int, folder: Path, kinds: Sequence[str] = KINDS) -> dict[str, list[float]]:
    """Returns the seconds of every batch, by kind of work, on a log that has `start` leaves before."""
    first = edge_at(start)
    bare = Bare(folder / "bare", Tree(first))
    files = Files(Tree(first), FolderTileStore(folder / "files"))
    (folder / "database").mkdir()
    entries = SqlEntryStore(open_engine(f"sqlite:///{folder / 'database' / 'log.db'}"), folder / "database" / "lock")
    database = Database(Tree(first), FolderTileStore(folder / "public"), entries)
    if start:
        early = [b"leaf %d" % index for index in range(start)]
        edge, tiles = append(Edge(), early)
        entries.commit(0, Head(edge.size, edge.root, b""), early, tiles)
    works: dict[str, Step] = {"tree": Tree(first), "files": files, "database": database, "bare": bare}
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for batch in batches(leaves):
        bare.prepare(batch)
        for name in kinds:
            began = perf_counter()
            works[name](batch)
            times[name].append(perf_counter() - began)
    entries.close()
    return times


def rate(seconds: Sequence[float]) -> float:
    """Returns leaves per second at the batch in the middle of those that took so long: a neighbor may hold up some."""
    return BATCH / median(seconds)


def main() -> None:
    """Prints the table."""
    leaves = int(sys.argv[1]) if len(sys.argv) > 1 else LEAVES
    print(f"{leaves:,} leaves of {LEAF_BYTES} bytes in batches of {BATCH}; bare: the same files and nothing else")
    print(f"{'work':<24}{'batches':<12}{'median':>12}{'all':>12}{'of bare':>10}")
    for start, name in ((0, "aligned"), (1, "one off")):
        with tempfile.TemporaryDirectory(dir=".") as folder:
            times = measure(leaves, start, Path(folder))
        for work, seconds in times.items():
            whole, part = BATCH * len(seconds) / sum(seconds), rate(seconds) / rate(times["bare"])
            print(f"{work:<24}{name:<12}{rate(seconds):>10,.0f}/s{whole:>10,.0f}/s{part:>10.0%}", flush=True)


if __name__ == "__main__":
    main()
