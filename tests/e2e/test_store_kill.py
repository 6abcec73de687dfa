"""A log that is killed at any instant: nothing acknowledged is lost, nothing forks, and what is staged completes it.

A child process appends to a log in the order of docs/format.md, section 4 (commit, tiles, checkpoint, published), and
says each size once it is committed.  It is killed twenty times, and each time all that it left is checked from outside.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from ledger.merkle import Tree, leaf_hashes, root
from ledger.ports import Head, TileStore
from ledger.sequencer import append, load_edge
from ledger.store.engine import open_engine
from ledger.store.entries import SqlEntryStore
from ledger.store.files import FolderTileStore
from ledger.tiles import ENTRIES, HEIGHT, WIDTH, Tile, TileNodes, all_tiles, format_entries, parse_path, read_leaves
from tests.support import ROOT

ROUNDS = 20


def new_leaf(index: int) -> bytes:
    return b"leaf %d " % index + random.Random(index).randbytes(index % 700)


def note_of(size: int, root: bytes) -> bytes:
    """Stands for the signed checkpoint: says which size and root."""
    return b"%d %b" % (size, root.hex().encode())


def open_log(folder: Path) -> SqlEntryStore:
    return SqlEntryStore(open_engine(f"sqlite:///{folder / 'log.db'}"), folder / "log.lock")


def publish(store: SqlEntryStore, public: TileStore) -> None:
    head = store.head()
    if head:
        public.write(store.staged())
        public.write_checkpoint(head.note)
        store.published()


def write_for_ever(folder: Path) -> None:
    """What the child process does."""
    store, public = open_log(folder), FolderTileStore(folder / "public")
    publish(store, public)  # what an earlier life left staged
    head = store.head()
    edge = load_edge(head.size if head else 0, public.read)
    draw = random.Random()
    print("ready", edge.size, flush=True)
    while True:
        grown, tiles = append(edge, [new_leaf(edge.size + n) for n in range(draw.choice((1, 2, 40, 300)))])
        head = Head(grown.size, grown.root, note_of(grown.size, grown.root))
        store.commit(edge.size, head, [new_leaf(n) for n in range(edge.size, grown.size)], tiles)
        print("committed", grown.size, flush=True)
        publish(store, public)
        edge = grown


def tile_over(tile: Tile, leaves: list[bytes], tree: Tree) -> bytes:
    """Returns what a tile of this log holds."""
    numbers = range(tile.index * WIDTH, tile.index * WIDTH + tile.width)
    if tile.level == ENTRIES:
        return format_entries([leaves[n] for n in numbers])
    return b"".join(tree.node(HEIGHT * tile.level, n) for n in numbers)


def check_log(folder: Path, acknowledged: int) -> bool:
    """Checks all that a killed writer left; returns whether it left tiles staged."""
    files = [
        path.relative_to(folder / "public").as_posix() for path in (folder / "public").rglob("*") if path.is_file()
    ]
    public = FolderTileStore(folder / "public")
    store = open_log(folder)
    head = store.head()
    assert head is not None
    assert head.size >= acknowledged

    # The database agrees with itself.
    leaves = list(store.leaves(0, head.size))
    assert leaves == [new_leaf(index) for index in range(head.size)]
    assert root(leaf_hashes(leaves)) == head.root
    assert head.note == note_of(head.size, head.root)

    # Whatever has the name of a tile, or is staged, holds what the leaves say: no half file, none of a forked log.
    tree, staged = Tree(leaf_hashes(leaves)), dict(store.staged())
    named = [parse_path(name) for name in files if not name.startswith(".tmp/") and name != "checkpoint"]
    for tile in named:
        assert public.read(tile) == tile_over(tile, leaves, tree)
    assert all(data == tile_over(tile, leaves, tree) for tile, data in staged.items())

    # The published checkpoint stands on tiles that are all there.
    note = public.read_checkpoint()
    size = int(note.split()[0]) if note else 0
    assert size <= head.size
    assert list(read_leaves(size, public.read)) == leaves[:size]
    if size:
        assert note == note_of(size, TileNodes(size, public.read).root())

    # With what is staged, so does the head.
    assert set(all_tiles(head.size)) <= staged.keys() | set(named)
    store.close()
    return bool(staged)


def test_a_log_survives_being_killed(tmp_path: Path) -> None:
    draw = random.Random(20)
    command = [sys.executable, "-m", "tests.e2e.test_store_kill", str(tmp_path)]
    acknowledged, interrupted = 0, 0
    for _ in range(ROUNDS):
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            ready = process.stdout.readline().split()
            time.sleep(draw.uniform(0.0, 0.15))
            process.kill()
            lines = process.stdout.read().splitlines()
        assert ready[:1] == ["ready"]
        assert int(ready[1]) >= acknowledged
        acknowledged = max([acknowledged, *(int(line.split()[1]) for line in lines if line.startswith("committed "))])
        if acknowledged:
            interrupted += check_log(tmp_path, acknowledged)
    assert acknowledged > 1000
    assert interrupted > 0  # it died between commit and publication at least once
    store, public = open_log(tmp_path), FolderTileStore(tmp_path / "public")
    publish(store, public)
    assert not list((tmp_path / "public").glob(".tmp/*"))  # which removed what was being written
    head = store.head()
    store.close()
    assert head is not None
    assert public.read_checkpoint() == head.note
    assert TileNodes(head.size, public.read).root() == head.root
    assert list(read_leaves(head.size, public.read)) == [new_leaf(index) for index in range(head.size)]


if __name__ == "__main__":
    write_for_ever(Path(sys.argv[1]))
