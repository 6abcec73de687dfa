"""The audit of a log: every byte of it, against what it signed and against what it showed before.

Steps, in this order; the first that fails ends the audit, and what was seen before is kept as it was:

1. ``checkpoint``: the note is signed as the auditor's own trust file asks.
2. ``fork``, ``rollback``: it does not contradict the last checkpoint seen.  A smaller one is a rollback, or, if it has
   another root than the tree that was read, a fork; so is one of the same size with another root.  Of a bigger one the
   log's own hash tiles show the root at the last size: another root is a fork, and the evidence is kept.
3. ``audit-state``: the auditor's own copy still has the roots it had; it is folded again without signatures.
4. ``tile``, ``leaf-path``: entry bundles and hash tiles are what they should be, to the byte, partial ones included.
5. Every statement's signature; and the fold: whether its key counted at its index, and all void rules.
6. ``root``: all leaves together have the root that the log signed.
7. ``wrong-log``: the log is that of the registry in the trust file.
8. ``fork``: checkpoints that others were shown are of this tree too.

Void leaves refuse nothing: they are reported.  Progress is written down as the audit goes on, so that one which was
interrupted is taken up where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NoReturn, Protocol, TypeAlias

from ledger.audit.bundles import Bundle, Read, hashes_of, read_bundle, read_bundles
from ledger.audit.folder import AuditFolder, Seen, damaged
from ledger.audit.frontier import Frontier
from ledger.audit.watching import Watch, Watched
from ledger.canonical import Object
from ledger.checkpoint import Checkpoint, parse_checkpoint
from ledger.encoding import HASH_BYTES, digest_encode, sha256
from ledger.errors import (
    BackendError,
    ConflictError,
    MalformedError,
    NotFoundError,
    VerificationError,
    shown,
)
from ledger.files import shown_path
from ledger.fork import make_fork, verify_fork
from ledger.merkle import NodeOf, root, root_at
from ledger.note import parse_note, parse_vkey
from ledger.policy import NO_QUORUM, verify_checkpoint
from ledger.state import Fold
from ledger.statements import Statement
from ledger.tiles import (
    ENTRIES,
    HEIGHT,
    MAX_LEVEL,
    WIDTH,
    ReadTile,
    Tile,
    TileNodes,
    format_path,
    split_hashes,
    tile_of,
)
from ledger.trust import Trust

COMMIT_EVERY: Final = 128
"""Bundles after which progress is written down."""

Progress: TypeAlias = Callable[[int, int], None]


class Source(Protocol):
    """Where a log is read: a folder, or a registry's address."""

    def checkpoint(self) -> bytes:
        """Returns the newest note, not verified. Raises NotFoundError."""

    def tile(self, tile: Tile) -> bytes:
        """Returns a tile, not verified. Raises NotFoundError."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found: the log at `size` is right, and grew from `since`, where the last audit ended.

    `void` are the leaves since then that do not count, with the reason.
    """

    origin: str
    size: int
    root: bytes
    since: int
    witnesses: tuple[str, ...]
    void: tuple[tuple[int, str], ...]
    fold: Fold
    watched: tuple[Watched, ...]
    not_checked: tuple[str, ...]

    def value(self) -> Object:
        """Returns what was found as JSON."""
        return {
            "log": self.origin,
            "size": self.size,
            "root": digest_encode(self.root),
            "since": self.since,
            "witnesses": list(self.witnesses),
            "void": [{"leaf": index, "reason": reason} for index, reason in self.void],
            "void_in_all": len(self.fold.void),
            "unknown": list(self.fold.unknown),
            "manifests": len(self.fold.manifests),
            "watched": [watched.value() for watched in self.watched],
            "not_checked": list(self.not_checked),
        }


def audit(
    source: Source,
    trust: Trust,
    folder: AuditFolder,
    *,
    jobs: int = 1,
    watch: Sequence[str] = (),
    others: Sequence[bytes] = (),
    report: Progress | None = None,
) -> Audit:
    """Audits the log at `source`; the caller holds the lock of `folder`.

    `jobs` processes verify signatures, `others` are notes of this log that somebody else was shown, `report` is told
    how many leaves of how many have been read.

    Raises:
        VerificationError: the code of the step that refused; after ``fork`` the evidence is in the folder.
        ConflictError: ``other-log``: the folder is about another log.
        BackendError: ``protocol``, ``tile-missing``, ``audit-state``, or what the source raises.
        MalformedError: a word of `watch`, or a note of `others`.
    """
    return _Audit(source, trust, folder, jobs, Watch(watch), report).run(others)


@dataclass(slots=True)
class _Audit:
    """One audit under way."""

    source: Source
    trust: Trust
    folder: AuditFolder
    jobs: int
    watch: Watch
    report: Progress | None
    seen: Seen = field(default_factory=Seen)
    fold: Fold = field(default_factory=Fold)
    frontier: Frontier = field(default_factory=Frontier)
    refused: list[int] = field(default_factory=list)
    since: int = 0
    total: int = 0

    def run(self, others: Sequence[bytes]) -> Audit:
        given = [self._signed(other) for other in others]
        self.seen = self.folder.load()
        last = self.seen.checkpoint
        self.since = 0 if last is None else last.size
        note, checkpoint, witnesses = self._checkpoint()  # 1
        self.total = checkpoint.size
        read = _Reader(self.source)
        self._compare(last, checkpoint, note, read)  # 2
        self._read_again(last)  # 3
        try:
            self._read_new(checkpoint, read)  # 4, 5
            self._check_whole(checkpoint)  # 6, 7
        except VerificationError:
            if last is not None or self.seen.size:  # what was read on the way there is not to be believed
                self.folder.commit(_up_to(self.seen, last))
            raise
        self.folder.commit(Seen(note, checkpoint.size, checkpoint.root, tuple(self.refused)))
        if last is not None:
            self.folder.forget_partial([tile for tile in _partial(last.size) if tile not in _partial(checkpoint.size)])
        not_checked = self._compare_others(others, given, checkpoint, note)  # 8
        if checkpoint.size == self.since:
            self._remember_states()
        for watched, states in self.watch.states(self.fold):
            watched.after = states
        void = tuple((index, reason) for index, reason in self.fold.void.items() if index >= self.since)
        not_checked += self._new_key()
        if not witnesses:
            not_checked.append("that everybody is shown the same log: no witness signed the checkpoint")
        return Audit(
            checkpoint.origin,
            checkpoint.size,
            checkpoint.root,
            self.since,
            witnesses,
            void,
            self.fold,
            tuple(self.watch.watched),
            tuple(not_checked),
        )

    def _new_key(self) -> list[str]:
        """Returns the log key that the log's last policy names, where the trust file does not: the key that it names
        signed the checkpoint too, and will not for ever."""
        if not self.fold.policies:
            return []
        index, policy = self.fold.policies[-1]
        if parse_vkey(policy.log_key) in self.trust.policy.logs:
            return []
        return [f"checkpoints by the log's new key {policy.log_key}, named at leaf {index}: the trust file does not"]

    def _check_whole(self, checkpoint: Checkpoint) -> None:
        root = self.frontier.root()
        if root != checkpoint.root:
            raise VerificationError(
                f"the {checkpoint.size} leaves have the root {root.hex()}, the log signed {checkpoint.root.hex()}",
                code="root",
                field="checkpoint",
            )
        if checkpoint.size and self.fold.registry != self.trust.registry:
            raise VerificationError(
                f"the log is of {self.fold.registry}, the trust file's registry is {self.trust.registry}",
                code="wrong-log",
            )

    # -- 1 and 2: the checkpoint

    def _checkpoint(self) -> tuple[bytes, Checkpoint, tuple[str, ...]]:
        try:
            data = self.source.checkpoint()
            note = parse_note(data)
            checkpoint, witnesses = verify_checkpoint(note, self.trust.policy)
        except NotFoundError as e:
            raise NotFoundError("there is no log: it has no checkpoint", field="checkpoint") from e
        except MalformedError as e:
            raise BackendError(
                f"what is served as checkpoint is none: {e.message}", code="protocol", field="checkpoint"
            ) from e
        return data, checkpoint, witnesses

    def _compare(self, last: Checkpoint | None, new: Checkpoint, note: bytes, read: _Reader) -> None:
        """Step 2.  That the log's hash tiles lead to what it signed is asked first, also of a log never seen before:
        only then do they show what it says its history is."""
        if last is not None and last.origin != new.origin:
            raise ConflictError(
                f"the folder {shown_path(self.folder.path)} is about {shown(last.origin)}, this log is "
                f"{shown(new.origin)}: each log has its own",
                code="other-log",
                field="--state",
            )
        if last is not None and new.size < last.size:
            own = self._own_nodes(last)
            if root_at(new.size, own) != new.root:
                self._forked(note, own)
            raise VerificationError(
                f"the log shows {new.size} leaves; it showed {last.size} before", code="rollback", field="checkpoint"
            )
        nodes = TileNodes(new.size, read.hashes)
        if last is not None and new.size == last.size:
            if new.root != last.root:
                self._forked(note, nodes)
            return
        if nodes.root() != new.root:
            _check_edge(new.size, read)
            raise VerificationError(
                f"the log's hash tiles do not lead to the root that it signed over {new.size} leaves", code="tile"
            )
        if last is not None and root_at(last.size, nodes) != last.root:
            self._forked(note, nodes)

    def _forked(self, note: bytes, nodes: NodeOf) -> NoReturn:
        """Keeps the evidence that `note` contradicts the last checkpoint; `nodes` are of the bigger tree of the two."""
        assert self.seen.note is not None
        data = make_fork(self.seen.note, note, nodes, self.trust.policy)
        result = verify_fork(data, self.trust.policy)
        path = self.folder.keep_evidence(data, (result.first.size, result.second.size), sha256(data))
        raise VerificationError(f"{result.sentence}; the evidence is {shown_path(path)}", code="fork")

    def _own_nodes(self, checkpoint: Checkpoint) -> TileNodes:
        """Returns the nodes of the auditor's own copy."""
        nodes = TileNodes(checkpoint.size, self.folder.log.tile)
        try:
            if nodes.root() == checkpoint.root:
                return nodes
        except (NotFoundError, MalformedError) as e:
            raise damaged(f"the copy in {shown_path(self.folder.log.path)} is damaged: {e}") from e
        raise damaged(f"the copy in {shown_path(self.folder.log.path)} has another root at {checkpoint.size} leaves")

    def _signed(self, other: bytes) -> Checkpoint:
        """Reads a note that somebody else was shown; its signature is the log's, whoever cosigned it."""
        checkpoint, note = parse_checkpoint(other, "--checkpoint")
        verify_checkpoint(note, replace(self.trust.policy, quorum=NO_QUORUM))
        return checkpoint

    def _compare_others(
        self, others: Sequence[bytes], given: Sequence[Checkpoint], checkpoint: Checkpoint, note: bytes
    ) -> list[str]:
        """Step 8; returns what it could not check."""
        self.seen = replace(self.seen, note=note)
        own = self._own_nodes(checkpoint)
        open_questions = []
        for other, theirs in zip(others, given, strict=True):
            if theirs.origin != checkpoint.origin:
                raise MalformedError(f"is of the log {shown(theirs.origin)}", field="--checkpoint")
            if theirs.size > checkpoint.size:
                open_questions.append(f"a checkpoint of {theirs.size} leaves: the log shows {checkpoint.size} so far")
            elif root_at(theirs.size, own) != theirs.root:
                self._forked(other, own)
        return open_questions

    # -- 3 to 5: the leaves

    def _read_again(self, last: Checkpoint | None) -> None:
        """Step 3: folds what was read before, out of the auditor's own copy.

        Of it only full bundles stay; the last, partial one is read again, wider, from the log.
        """
        size, refused = self.seen.size, frozenset(self.seen.refused)
        try:
            for bundle, leaves in self._bundles(0, size, self.folder.log.tile, known=refused):
                hashes = hashes_of(bundle)
                end = bundle.first + len(hashes)
                if last is not None and bundle.first < last.size <= end:
                    self._check_copy(hashes[: last.size - bundle.first], last.root)
                if end == size:
                    self._check_copy(hashes, self.seen.root)
                if len(hashes) < WIDTH:
                    return
                self._take(bundle, leaves)
                self.frontier.add(hashes)
        except (NotFoundError, VerificationError, MalformedError) as e:
            raise damaged(f"the copy in {shown_path(self.folder.log.path)} is damaged: {e}") from e

    def _check_copy(self, hashes: Sequence[bytes], root: bytes) -> None:
        edge = self.frontier.copy()
        edge.add(hashes)
        if edge.root() != root:
            raise damaged(f"the copy in {shown_path(self.folder.log.path)} has another root at {edge.size} leaves")

    def _read_new(self, checkpoint: Checkpoint, read: _Reader) -> None:
        """Steps 4 and 5."""
        size = checkpoint.size
        for number, (bundle, leaves) in enumerate(self._bundles(self.frontier.size, size, read.tile), 1):
            self._take(bundle, leaves)
            self.folder.keep(bundle.tile, bundle.entries)
            for tile, data in self.frontier.add(hashes_of(bundle)):
                self._keep_checked(tile, data, read)
            if number % COMMIT_EVERY == 0 and self.frontier.size % WIDTH == 0:
                self._write_progress()
        for tile, data in self.frontier.partial_tiles():
            self._keep_checked(tile, data, read)

    def _keep_checked(self, tile: Tile, data: bytes, read: _Reader) -> None:
        """Keeps a hash tile that the leaves give, if the log has the same; level 0 was compared leaf by leaf."""
        if tile.level and read.tile(tile) != data:
            raise VerificationError(
                "the log's tile does not hold the hashes of the leaves below it", code="tile", field=format_path(tile)
            )
        self.folder.keep(tile, data)

    def _write_progress(self) -> None:
        seen = replace(self.seen, size=self.frontier.size, root=self.frontier.root(), refused=tuple(self.refused))
        if seen.size > self.seen.size:
            self.folder.commit(seen)

    def _bundles(
        self, start: int, end: int, read: ReadTile, known: frozenset[int] | None = None
    ) -> Iterator[tuple[Bundle, Sequence[Read]]]:
        """Yields the bundles of leaves `start` (a multiple of 256) to `end`, read; of `known` ones the signatures were
        verified before, but for those leaves."""

        def fetched() -> Iterator[Bundle]:
            for index in range(start // WIDTH, (end + WIDTH - 1) // WIDTH):
                tile = tile_of(ENTRIES, end, index)
                hashes = read(tile_of(0, end, index))
                yield Bundle(tile, read(tile), hashes, known is not None, known or frozenset())

        return read_bundles(fetched(), (end - start + WIDTH - 1) // WIDTH, self.jobs)

    def _take(self, bundle: Bundle, leaves: Sequence[Read]) -> None:
        """Folds the leaves of a bundle, and shows them to who watches."""
        for at, leaf in enumerate(leaves):
            index = bundle.first + at
            if index == self.since:
                self._remember_states()
            if isinstance(leaf, Statement):
                reason, statement = self.fold.add_statement(leaf), leaf
            else:
                reason, statement = self.fold.add(leaf), None
                self.refused.append(index)
            if self.watch.watched:
                self.watch.see(index, statement, reason, new=index >= self.since)
        if self.report is not None:
            self.report(self.fold.size, self.total)

    def _remember_states(self) -> None:
        for watched, states in self.watch.states(self.fold):
            watched.before = states


class _Reader:
    """Reads a log's tiles and says what it means when one is not as it should be."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def tile(self, tile: Tile) -> bytes:
        """Returns a tile; where a partial one is gone because the log has grown, it is cut out of the full one."""
        try:
            try:
                return self._source.tile(tile)
            except NotFoundError:
                if tile.width == WIDTH:
                    raise
                return _cut(self._source.tile(replace(tile, width=WIDTH)), tile.width, tile.level)
        except NotFoundError as e:
            raise BackendError(
                "the log signed that it has this tile and does not serve it",
                code="tile-missing",
                field=format_path(tile),
            ) from e
        except MalformedError as e:
            raise VerificationError(e.message, code="tile", field=format_path(tile)) from e

    def hashes(self, tile: Tile) -> bytes:
        """Returns a hash tile of the right length.

        Raises:
            VerificationError: ``tile``.
        """
        data = self.tile(tile)
        if len(data) != HASH_BYTES * tile.width:
            raise VerificationError(
                f"expected {tile.width} hashes, found {len(data)} bytes", code="tile", field=format_path(tile)
            )
        return data


def _cut(data: bytes, width: int, level: int) -> bytes:
    """Returns the first `width` hashes, or leaves, of a full tile."""
    if level != ENTRIES:
        return data[: HASH_BYTES * width]
    at = 0
    for _ in range(width):
        at += 2 + int.from_bytes(data[at : at + 2], "big")
    return data[:at]


def _partial(size: int) -> list[Tile]:
    """Returns the partial tiles of a log of `size` leaves."""
    levels = ((ENTRIES, size), *((level, size >> (HEIGHT * level)) for level in range(MAX_LEVEL + 1)))
    return [tile_of(level, size, count // WIDTH) for level, count in levels if count % WIDTH]


def _check_edge(size: int, read: _Reader) -> None:
    """Finds the tile at the edge that is not made of what lies below it, to name what is wrong with a root.

    Raises:
        VerificationError: ``tile``, or ``leaf-path`` of the lowest level.
    """
    for tile in _partial(size):
        if tile.level == ENTRIES:
            read_bundle(Bundle(tile, read.tile(tile), read.hashes(replace(tile, level=0)), known=True))
            continue
        first = tile.index * WIDTH
        below = [Tile(tile.level - 1, first + at) for at in range(tile.width)] if tile.level else []
        if any(
            root(split_hashes(read.hashes(one), one)) != hash_
            for one, hash_ in zip(below, split_hashes(read.hashes(tile), tile), strict=False)
        ):
            raise VerificationError(
                "does not hold the roots of the tiles below it", code="tile", field=format_path(tile)
            )


def _up_to(seen: Seen, last: Checkpoint | None) -> Seen:
    """Returns what was seen up to the last checkpoint, without what was read beyond it."""
    if last is None:
        return Seen()
    return Seen(seen.note, last.size, last.root, tuple(index for index in seen.refused if index < last.size))
