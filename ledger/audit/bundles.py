"""Reading entry bundles on several processors: form, hashes and signatures of the statements in them.

Nearly all the time of an audit goes into Ed25519, so bundles are handed to processes of a pool and come back in their
order, a bounded number at a time.  What comes back of a statement is what the fold needs, without its bytes and as
plain tuples: pickling its classes costs as much as the fold.  A leaf that is no statement, or is badly signed, comes
back as it is, for the fold to say why it is void.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from sys import intern
from typing import Any, Final, TypeAlias

from ledger.errors import BackendError, MalformedError, TrainmarkError, VerificationError
from ledger.merkle import leaf_hashes
from ledger.statements import Statement, parse_statement, verify_statement
from ledger.tiles import WIDTH, Tile, format_path, parse_entries, split_hashes

Read: TypeAlias = "Statement | bytes"
"""A statement whose signature is true, or a leaf that holds none."""

Handed: TypeAlias = "tuple[Any, ...] | bytes"
"""A leaf on its way between processes: what ``_fields`` gives of a statement, or a leaf as it is."""

SMALL: Final = 16
"""Bundles that are read in this process: starting others takes longer."""
WAITING: Final = 16
"""Bundles under way for each process: as many as keep it busy while this one waits for the disk, 3 MiB of each."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """An entry bundle and the level-0 tile beside it, as they were given.

    `known` says that the signatures were verified at an earlier time, but for those of the leaves `refused`.
    """

    tile: Tile
    entries: bytes
    hashes: bytes
    known: bool = False
    refused: frozenset[int] = frozenset()

    @property
    def first(self) -> int:
        """The index of its first leaf."""
        return self.tile.index * WIDTH

    @property
    def hash_tile(self) -> Tile:
        """The level-0 tile beside it."""
        return replace(self.tile, level=0)


def hashes_of(bundle: Bundle) -> list[bytes]:
    """Returns the leaf hashes that the tile beside the bundle holds.

    Raises:
        VerificationError: ``tile``: it is cut off, or too long.
    """
    try:
        return split_hashes(bundle.hashes, bundle.hash_tile)
    except MalformedError as e:
        raise VerificationError(e.message, code="tile", field=e.field) from e


def read_bundle(bundle: Bundle) -> list[Read]:
    """Reads every leaf of a bundle.

    Raises:
        VerificationError: ``tile``: the bundle has not as many leaves as it should; ``leaf-path``: a leaf is not the
            one whose hash the tile holds.
    """
    hashes = hashes_of(bundle)
    try:
        leaves = parse_entries(bundle.entries, bundle.tile.width, format_path(bundle.tile))
    except MalformedError as e:
        raise VerificationError(e.message, code="tile", field=e.field) from e
    for at, (found, wanted) in enumerate(zip(leaf_hashes(leaves), hashes, strict=True)):
        if found != wanted:
            raise VerificationError(
                f"leaf {bundle.first + at} is not the one whose hash {format_path(bundle.hash_tile)} holds",
                code="leaf-path",
                field=format_path(bundle.tile),
            )
    return [
        leaf if bundle.first + at in bundle.refused else _read(leaf, bundle.known) for at, leaf in enumerate(leaves)
    ]


def _read(leaf: bytes, known: bool) -> Read:
    try:
        s = parse_statement(leaf)
        if not known:
            verify_statement(s)
    except TrainmarkError:
        return leaf
    return s


def _read_there(bundle: Bundle) -> list[Handed]:
    """Reads a bundle in a process of the pool."""
    return [leaf if isinstance(leaf, bytes) else _fields(leaf) for leaf in read_bundle(bundle)]


def _fields(s: Statement) -> Handed:
    """Returns the fields of a statement without its bytes, and those of its body behind the body's class."""
    body = s.body
    # A text that is one object goes over once for each bundle.
    found = (getattr(body, name) for name in body.__slots__)
    values = tuple([intern(value) if type(value) is str else value for value in found])
    return s.type, intern(s.by), intern(s.key), s.log, s.known_block, type(body), values


def _statement(leaf: Handed) -> Read:
    if isinstance(leaf, bytes):
        return leaf
    kind, by, key, log, known_block, body, values = leaf
    # The fold keeps a did for each manifest: one object each, however many there are.
    return Statement(kind, intern(by), intern(key), log, known_block, body(*values), b"", b"", b"")


def read_bundles(bundles: Iterable[Bundle], count: int, jobs: int) -> Iterator[tuple[Bundle, Sequence[Read]]]:
    """Yields each of `count` bundles with what was read of it, in their order, read by `jobs` processes.

    Raises:
        VerificationError: as ``read_bundle``.
        BackendError: ``unavailable``: a process was killed.
    """
    if jobs <= 1 or count <= SMALL:
        for bundle in bundles:
            yield bundle, read_bundle(bundle)
        return
    # Started anew and not forked: a copy of a process that has threads may hold their locks for ever.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
    try:
        waiting: deque[tuple[Bundle, Future[list[Handed]]]] = deque()
        for bundle in bundles:
            with _interrupts_held():
                waiting.append((bundle, pool.submit(_read_there, bundle)))
            if len(waiting) >= WAITING * jobs:
                oldest, answer = waiting.popleft()
                yield oldest, [_statement(leaf) for leaf in answer.result()]
        for oldest, answer in waiting:
            yield oldest, [_statement(leaf) for leaf in answer.result()]
    except BrokenProcessPool as e:
        raise BackendError("a process that read the log was ended; run it again", code="unavailable") from e
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C is for this process, which ends the others; one that is started here does not see it at any time."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
