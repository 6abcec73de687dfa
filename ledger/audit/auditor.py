"""The audit of a log: every byte of it, against what it signed and against what it showed before.

Steps, in this order; the first that fails ends the audit, and what was seen before is kept as it was:

1. ``checkpoint``: the note is signed as the auditor's own trust file asks.
2. ``fork``, ``rollback``: it contradicts no checkpoint that the log showed before, read to its end or not.  A smaller
   one is a rollback, or, if it has another root than the tree that was read, a fork; so is one of the same size with
   another root.  Any other one is written down before a tile is asked for.  Of a bigger one the log's own hash tiles
   show the roots at the sizes before: another root is a fork, and the evidence is kept.
3. ``audit-state``: the auditor's own copy still has the roots it had; it is folded again without signatures.
4. ``tile``, ``leaf-path``: entry bundles and hash tiles are what they should be, to the byte, partial ones included.
5. Every statement's signature; and the fold: whether its key counted at its index, and all void rules.
   ``refused-leaves``: more leaves than an auditor remembers hold no statement with a true signature.
6. ``root``: all leaves together have the root that the log signed.
7. ``wrong-log``: the log is that of the registry in the trust file.
8. ``fork``: checkpoints that others were shown are of this tree too.  One that is bigger is an open question, which the
   next audits ask again.

Void leaves refuse nothing: they are reported.  Progress is written down as the audit goes on, so that one which was
interrupted is taken up where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeAlias

from ledger.audit.bundles import Bundle, Read, hashes_of, read_bundle, read_bundles
from ledger.audit.folder import MAX_OPEN, MAX_REFUSED, STATE, AuditFolder, History, Signed, damaged, read_signed
from ledger.audit.frontier import Frontier
from ledger.audit.watching import Watch, Watched
from ledger.canonical import Object
from ledger.checkpoint import Checkpoint
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
from ledger.fork import bare_note, make_fork, verify_fork
from ledger.merkle import EMPTY_ROOT, NodeOf, root, root_at
from ledger.note import parse_note, parse_vkey
from ledger.policy import verify_checkpoint
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


def look_again(source: Source, trust: Trust, folder: AuditFolder) -> int:
    """Returns the log's size now: steps 1 and 2 alone, so that what the log shows is what it is held to later.

    Raises:
        VerificationError, ConflictError, BackendError: as ``audit``.
    """
    return _Audit(source, trust, folder).look_again()


@dataclass(slots=True)
class _Audit:
    """One audit under way."""

    source: Source
    trust: Trust
    folder: AuditFolder
    jobs: int = 1
    watch: Watch = field(default_factory=Watch)
    report: Progress | None = None
    history: History = field(default_factory=History)
    fold: Fold = field(default_factory=Fold)
    frontier: Frontier = field(default_factory=Frontier)
    refused: list[int] = field(default_factory=list)
    since: int = 0
    total: int = 0

    def run(self, others: Sequence[bytes]) -> Audit:
        given = [read_signed(bare_note(other, self.trust.policy, "--checkpoint")) for other in others]
        self.history = self._load()
        self.since = self.history.since
        new, witnesses = self._checkpoint()  # 1
        checkpoint = new.checkpoint
        self.total = checkpoint.size
        read = _Reader(self.source)
        self._check_same_log(checkpoint, given)
        self._keep_questions(given)
        self._compare(new, read)  # 2
        self._read_again()  # 3
        try:
            self._read_new(checkpoint, read)  # 4, 5
            self._check_whole(checkpoint)  # 6, 7
        except VerificationError:  # what was read on the way there is not to be believed
            self.folder.commit(_up_to_last(self.history))
            raise
        not_checked = self._finish(new)  # 8
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

    def look_again(self) -> int:
        self.history = self._load()
        new, _ = self._checkpoint()
        self._check_same_log(new.checkpoint, ())
        self._compare(new, _Reader(self.source))
        return new.checkpoint.size

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

    def _load(self) -> History:
        """Returns what was seen before; what is signed in it is checked again, without the quorum of that day."""
        history = self.folder.load()
        for signed in (*history.signed, *history.others):
            try:
                bare_note(signed.note, self.trust.policy)
            except VerificationError as e:
                path = shown_path(self.folder.path / STATE)
                raise damaged(f"{path}: the checkpoint of {signed.checkpoint.size} leaves: {e.message}") from e
        return history

    def _checkpoint(self) -> tuple[Signed, tuple[str, ...]]:
        try:
            data = self.source.checkpoint()
            checkpoint, witnesses = verify_checkpoint(parse_note(data), self.trust.policy)
        except NotFoundError as e:
            raise NotFoundError("there is no log: it has no checkpoint", field="checkpoint") from e
        except MalformedError as e:
            raise BackendError(
                f"what is served as checkpoint is none: {e.message}", code="protocol", field="checkpoint"
            ) from e
        return Signed(data, checkpoint), witnesses

    def _check_same_log(self, new: Checkpoint, given: Sequence[Signed]) -> None:
        for old in self.history.signed:
            if old.checkpoint.origin != new.origin:
                raise ConflictError(
                    f"the folder {shown_path(self.folder.path)} is about {shown(old.checkpoint.origin)}, this log is "
                    f"{shown(new.origin)}: each log has its own",
                    code="other-log",
                    field="--state",
                )
        for other in given:
            if other.checkpoint.origin != new.origin:
                raise MalformedError(f"is of the log {shown(other.checkpoint.origin)}", field="--checkpoint")

    def _keep_questions(self, given: Sequence[Signed]) -> None:
        """Writes down what others were shown, whatever becomes of this audit."""
        others = tuple({other.checkpoint: other for other in (*self.history.others, *given)}.values())
        if others == self.history.others:
            return
        if len(others) > MAX_OPEN:
            raise MalformedError(f"at most {MAX_OPEN} wait for a bigger log, now {len(others)}", field="--checkpoint")
        self.history = replace(self.history, others=others)
        self.folder.commit(self.history)

    def _compare(self, new: Signed, read: _Reader) -> None:
        """Step 2.  That the log's hash tiles lead to what it signed is asked first, also of a log never seen before:
        only then do they show what it says its history is."""
        checkpoint, last, before = new.checkpoint, self.history.last, self.history.signed
        nodes = TileNodes(checkpoint.size, read.hashes)
        for old in before:
            if old.checkpoint.size == checkpoint.size and old.checkpoint.root != checkpoint.root:
                raise self._fork(old, new, nodes)
        if last is not None and checkpoint.size < last.checkpoint.size:
            own = self._own_nodes(last.checkpoint)
            if root_at(checkpoint.size, own) != checkpoint.root:
                raise self._fork(last, new, own)
            raise _rollback(checkpoint.size, last.checkpoint.size)
        if any(old.checkpoint == checkpoint for old in before):
            known = self.history
        else:
            # Of a log that signed so many and served the tiles of none, the first ones are enough to hold it to.
            known = replace(self.history, shown=(*self.history.shown, self._bare(new))[:MAX_OPEN])
            self.folder.commit(known)
        biggest = max((old.checkpoint.size for old in before), default=0)
        if checkpoint.size < biggest:
            raise _rollback(checkpoint.size, biggest)
        if last is not None and checkpoint == last.checkpoint:
            return
        if nodes.root() != checkpoint.root:
            _check_edge(checkpoint.size, read)
            raise VerificationError(
                f"the log's hash tiles do not lead to the root that it signed over {checkpoint.size} leaves",
                code="tile",
            )
        for old in before:
            if root_at(old.checkpoint.size, nodes) != old.checkpoint.root:
                fork = self._fork(old, new, nodes)
                # The evidence holds it now: a log that goes on from what it showed before is not refused for it.
                shown_before = tuple(one for one in known.shown if one.checkpoint != checkpoint)
                self.folder.commit(replace(known, shown=shown_before))
                raise fork
        self.history = replace(self.history, shown=(self._bare(new),))

    def _bare(self, new: Signed) -> Signed:
        return replace(new, note=bare_note(new.note, self.trust.policy))

    def _fork(self, one: Signed, other: Signed, nodes: NodeOf) -> VerificationError:
        """Keeps the evidence that two checkpoints contradict each other; `nodes` are of the bigger tree of the two."""
        data = make_fork(one.note, other.note, nodes, self.trust.policy)
        result = verify_fork(data, self.trust.policy)
        path = self.folder.keep_evidence(data, (result.first.size, result.second.size), sha256(data))
        return VerificationError(f"{result.sentence}; the evidence is {shown_path(path)}", code="fork")

    def _own_nodes(self, checkpoint: Checkpoint) -> TileNodes:
        """Returns the nodes of the auditor's own copy."""
        nodes = TileNodes(checkpoint.size, self.folder.log.tile)
        try:
            if nodes.root() == checkpoint.root:
                return nodes
        except (NotFoundError, MalformedError) as e:
            raise damaged(f"the copy in {shown_path(self.folder.log.path)} is damaged: {e}") from e
        raise damaged(f"the copy in {shown_path(self.folder.log.path)} has another root at {checkpoint.size} leaves")

    def _finish(self, new: Signed) -> list[str]:
        """Step 8, and the end of the audit: `new` becomes the last checkpoint.  Returns what could not be compared."""
        size, others = new.checkpoint.size, self.history.others
        own = self._own_nodes(new.checkpoint)
        later = tuple(other for other in others if other.checkpoint.size > size)
        forks = [
            self._fork(other, new, own)
            for other in others
            if other.checkpoint.size <= size and root_at(other.checkpoint.size, own) != other.checkpoint.root
        ]
        self.folder.commit(History(new, (), later, size, new.checkpoint.root, tuple(self.refused)))
        self.folder.forget_partial([tile for tile in _partial(self.since) if tile not in _partial(size)])
        if forks:
            raise VerificationError("; ".join(fork.message for fork in forks), code="fork")
        return [f"a checkpoint of {other.checkpoint.size} leaves: the log shows {size} so far" for other in later]

    # -- 3 to 5: the leaves

    def _read_again(self) -> None:
        """Step 3: folds what was read before, out of the auditor's own copy.

        Of it only full bundles stay; the last, partial one is read again, wider, from the log.
        """
        size, last, refused = self.history.size, self.history.last, frozenset(self.history.refused)
        try:
            for bundle, leaves in self._bundles(0, size, self.folder.log.tile, known=refused):
                hashes = hashes_of(bundle)
                end = bundle.first + len(hashes)
                if last is not None and bundle.first < self.since <= end:
                    self._check_copy(hashes[: self.since - bundle.first], last.checkpoint.root)
                if end == size:
                    self._check_copy(hashes, self.history.root)
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
        if self.frontier.size <= self.history.size:
            return
        size, root, refused = self.frontier.size, self.frontier.root(), tuple(self.refused)
        self.folder.commit(replace(self.history, size=size, root=root, refused=refused))

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
                if len(self.refused) > MAX_REFUSED:
                    raise VerificationError(
                        f"leaf {index} is one too many: {len(self.refused)} hold no statement with a true signature, "
                        f"and an audit goes on up to {MAX_REFUSED}",
                        code="refused-leaves",
                    )
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


def _rollback(size: int, before: int) -> VerificationError:
    return VerificationError(
        f"the log shows {size} leaves; it showed {before} before", code="rollback", field="checkpoint"
    )


def _up_to_last(history: History) -> History:
    """Returns what was seen up to the last checkpoint, without the leaves that were read beyond it."""
    size, at_last = history.since, EMPTY_ROOT if history.last is None else history.last.checkpoint.root
    return replace(history, size=size, root=at_last, refused=tuple(index for index in history.refused if index < size))
