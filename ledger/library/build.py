"""From a creator's folder to tagged copies and a signed manifest (docs/format.md, section 2).

:func:`build_manifest` is all or nothing: whatever stops it, the output folder is what it was.  It continues: the
fingerprints and salts of files that have not changed are taken over from the library that is there and from the
journal of a run that was interrupted.  The clock and randomness are arguments.

It publishes nothing, and it decides nothing: rights, releases and privacy are what the creator declares.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path
from queue import SimpleQueue
from typing import Final, Literal, TypeAlias
from uuid import UUID

from ledger.canonical import Json, Object, as_object, as_text, canonical, optional, parse
from ledger.encoding import b64url_decode, b64url_encode, digest_decode, digest_encode, hex_decode, time_encode
from ledger.errors import (
    BackendError,
    ConflictError,
    MalformedError,
    NotFoundError,
    RefusedError,
    TrainmarkError,
    VerificationError,
    shown,
)
from ledger.images.fingerprints import Fingerprints
from ledger.images.worker import Worker
from ledger.keys import SigningKey
from ledger.library.creator import Profile
from ledger.library.files import locked, read_file, shown_path
from ledger.library.output import (
    DamagedLibraryError,
    Problem,
    Progress,
    Staging,
    VerifiedLibrary,
    attributions,
    license_files,
    load_manifest,
    own_files,
    refresh_statements,
    staging,
    verify_library,
)
from ledger.library.source import MANIFEST_FILE, MAX_FILE_BYTES, SIDECAR_SUFFIX, Skipped, Work, refusal, walk
from ledger.library.tagging import Declaration, Record, Tags, tag
from ledger.manifests import (
    MAX_MANIFEST_BYTES,
    SALT_BYTES,
    Entry,
    Header,
    Manifest,
    entries_root,
    format_attribution,
    format_manifest,
    parse_manifest,
    read_entry,
    read_header,
    same_place,
    with_statement,
)
from ledger.ports import Clock, Entropy
from ledger.statements import Statement, manifest_body, sign_statement, verify_statement
from ledger.terms import Terms, verify_text

__all__ = [
    "Built",
    "Conflict",
    "DamagedLibraryError",
    "Declaration",
    "Description",
    "Problem",
    "RightsConflictError",
    "Skipped",
    "VerifiedLibrary",
    "build_manifest",
    "refresh_statements",
    "verify_library",
]

Outcome: TypeAlias = Literal["new", "unchanged", "replaced", "repaired"]

MAX_WORKERS: Final = 64
_MAX_JOURNAL_BYTES = 512 * 1024 * 1024
_MAX_LINE_BYTES = 16 * 1024
_JOURNAL_KEYS = ("path", "provenance_hash", "dhash", "iscc", "salt")


@dataclass(frozen=True, slots=True)
class Description:
    """What the header says of the library besides creator and license.

    `dataset_id` is ``urn:uuid:…``; None takes that of the library in the output folder, else a new one.
    """

    title: str
    version: str
    required_attribution_text: str
    dataset_id: str | None = None
    part: int = 1
    parts: int = 1


@dataclass(frozen=True, slots=True)
class Conflict:
    """Rights of somebody else in a file: the first property that differs, and what the file says."""

    path: str
    property: str
    message: str


class RightsConflictError(ConflictError):
    """Files hold rights of somebody else, and nothing was written; `conflicts` names each file."""

    code = "rights_conflict"

    def __init__(self, conflicts: tuple[Conflict, ...]) -> None:
        lines = [f"{shown_path(c.path)}: {c.property}: {c.message}" for c in conflicts[:20]]
        if len(conflicts) > 20:
            lines.append(f"and {len(conflicts) - 20} more")
        super().__init__("; ".join(lines), field="files")
        self.conflicts = conflicts


@dataclass(frozen=True, slots=True)
class Built:
    """What a run made, and what a person should look at.

    `outcome`: ``new``; ``unchanged`` (the library there was right already, nothing was written); ``repaired`` (the same
    manifest, damaged files written again); ``replaced`` (another manifest).  `skipped` is no work.  `conflicts` were
    settled by a sidecar.  `stripped` names private data taken out of the copies, by path; `not_examined` are the paths
    of copies in which nobody looked for such.
    """

    manifest: Manifest
    outcome: Outcome
    skipped: tuple[Skipped, ...]
    conflicts: tuple[Conflict, ...]
    stripped: Mapping[str, tuple[str, ...]]
    not_examined: tuple[str, ...]


def build_manifest(
    folder: Path,
    out_dir: Path,
    *,
    creator: Profile,
    key: SigningKey,
    terms: Terms,
    license_text: bytes,
    description: Description,
    declared: Declaration,
    clock: Clock,
    entropy: Entropy,
    declared_by_path: Mapping[str, Declaration] | None = None,
    on_conflict: Literal["refuse", "sidecar"] = "refuse",
    decided: Collection[str] = (),
    keep_private: bool = False,
    known_block: Object | None = None,
    left_out: Collection[Path] = (),
    workers: int = 1,
    progress: Progress | None = None,
) -> Built:
    """Builds the library of all works in `folder` in `out_dir`, signed by `key` for `creator`.

    `declared` holds for each file that `declared_by_path` does not name.  `on_conflict` ``sidecar`` leaves the rights
    in a file as they are and puts ours beside it; `decided` names properties whose differing values a person has
    settled (``ledger.images.embed``).  `keep_private` leaves location and serial numbers in the copies.  `workers`
    threads prepare files, each with a decoding process.  `progress` counts two steps for each file: its copy, and its
    attribution manifest.

    Raises:
        NotFoundError: no such folder, or none to hold `out_dir`.
        MalformedError: no files, bad names, damaged pictures, or something over a limit; the files are named.
        VerificationError: terms and text do not belong together, or a copy would not show the same picture.
        RightsConflictError: files hold other rights.
        ConflictError: ``output-folder``: `out_dir` is not ours to write; ``version-conflict``: this version was
            published with other content; ``in-use``: another run works there.
        BackendError: the disk refuses, or no decoding process can be started.
    """
    verify_text(terms, license_text)
    overrides = dict(declared_by_path or {})
    for one in (declared, *overrides.values()):
        _check_tier(one, terms)
    if not 1 <= workers <= MAX_WORKERS:
        raise MalformedError(f"expected 1 to {MAX_WORKERS}, found {shown(workers)}", field="workers")
    folder, out_dir = folder.resolve(), out_dir.resolve()
    _check_places(folder, out_dir)
    tags = Tags(creator, terms, description.required_attribution_text, decided)
    with ExitStack() as stack:
        place = stack.enter_context(staging(out_dir))
        if out_dir.is_dir():
            stack.enter_context(locked(out_dir))
        previous = _previous(out_dir, creator)
        works, skipped = walk(folder, (*left_out, out_dir), license_files(terms.license_id))
        unknown = sorted(set(overrides) - {work.path for work in works})
        if unknown:
            raise MalformedError(f"there is no file {shown_path(unknown[0])}", field="declared_by_path")

        memory = Memory(place.journal, previous)
        steps = _Steps(progress, 2 * len(works))
        run = _Run(
            place.library,
            tags,
            memory,
            lambda path: overrides.get(path, declared),
            on_conflict == "sidecar",
            keep_private,
        )
        prepared = run.prepare(works, workers, entropy, steps)
        entries = tuple(p.entry for p in prepared)
        header = _header(_Heading(creator, terms, description), entries, previous, clock, entropy)
        manifest = Manifest(header, entries, _statements(header, previous, key, known_block))
        _write_rest(place.library, manifest, terms, license_text, steps)
        outcome = _publish(place, manifest, previous)
    records = {p.path: p.record for p in prepared}
    return Built(
        manifest,
        outcome,
        tuple(skip for skip in skipped if folder / skip.path != place.library.parent),
        tuple(_conflict(path, record.conflict) for path, record in records.items() if record.conflict),
        {path: record.stripped for path, record in records.items() if record.stripped},
        tuple(path for path, record in records.items() if not record.examined),
    )


def _check_tier(declared: Declaration, terms: Terms) -> None:
    tiers = terms.payment.tiers
    if tiers and declared.price_tier not in tiers:
        raise MalformedError(
            f"the license has the tiers {', '.join(sorted(tiers))}, found {shown(declared.price_tier)}",
            field="price_tier",
        )


def _check_places(folder: Path, out_dir: Path) -> None:
    if folder == out_dir or folder.is_relative_to(out_dir):
        raise ConflictError("the pictures are in it; choose another", code="output-folder", field="out")
    if not out_dir.parent.is_dir():
        raise NotFoundError(f"there is no folder {shown_path(out_dir.parent)} to hold it", field="out")


def _previous(out_dir: Path, creator: Profile) -> Manifest | None:
    """Returns the manifest of the library that is in `out_dir`, None if nothing is there.

    Raises:
        ConflictError: ``output-folder``: something else is there.
    """
    if not out_dir.exists():
        return None
    try:
        if out_dir.is_dir() and not any(out_dir.iterdir()):
            return None
        found = load_manifest(out_dir)
    except (TrainmarkError, OSError) as e:
        raise ConflictError(
            f"{shown_path(out_dir)} is not a library that was built here ({e}); choose another folder",
            code="output-folder",
            field="out",
        ) from e
    if found.header.creator_id != creator.did:
        raise ConflictError(
            f"{shown_path(out_dir)} is a library of another creator; choose another folder",
            code="output-folder",
            field="out",
        )
    return found


class Memory:
    """The fingerprints and salts of files, by path and provenance hash; what is added goes to the journal.

    The journal has one line for each file that was prepared: canonical JSON, written in one piece.
    """

    def __init__(self, journal: Path, previous: Manifest | None) -> None:
        self._found: dict[tuple[str, bytes], tuple[Fingerprints, str]] = {}
        self._journal = journal
        try:
            lines = read_file(journal, _MAX_JOURNAL_BYTES, "journal").split(b"\n")
        except (NotFoundError, MalformedError):
            lines = []
        self._size = 0
        for line in lines[:-1]:  # behind the last newline is nothing, or what a crash cut off
            try:
                self._remember(line)
            except MalformedError:
                break
            self._size += len(line) + 1
        for entry in previous.entries if previous else ():
            codes = dict(entry.fingerprints)
            known = Fingerprints(codes.get("dhash"), codes.get("iscc"))
            self._found[entry.path, entry.provenance_hash] = known, _salt(entry)

    def _remember(self, line: bytes) -> None:
        o = as_object(parse(line, "journal", _MAX_LINE_BYTES), "journal", _JOURNAL_KEYS)
        codes = Fingerprints(
            optional(o["dhash"], _read_code, "journal.dhash"), optional(o["iscc"], _read_code, "journal.iscc")
        )
        salt = as_text(o["salt"], "journal.salt")
        b64url_decode(salt, "journal.salt", SALT_BYTES)
        key = as_text(o["path"], "journal.path"), digest_decode(o["provenance_hash"], "journal.provenance_hash")
        self._found[key] = codes, salt

    def codes(self, path: str, provenance_hash: bytes) -> Fingerprints | None:
        """Returns the fingerprints of a file that is known; threads may ask while one other adds."""
        found = self._found.get((path, provenance_hash))
        return found[0] if found else None

    def salt(self, path: str, record: Record, entropy: Entropy) -> str:
        """Returns the salt of a file; a new file gets one, and a line in the journal."""
        key = path, record.provenance_hash
        if key in self._found:
            return self._found[key][1]
        salt = b64url_encode(entropy(SALT_BYTES))
        line: Object = {
            "path": path,
            "provenance_hash": digest_encode(record.provenance_hash),
            "dhash": record.codes.dhash,
            "iscc": record.codes.iscc,
            "salt": salt,
        }
        self._append(canonical(line) + b"\n")
        self._found[key] = record.codes, salt
        return salt

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self._journal, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, self._size)  # what a crash cut off goes, before anything follows it
            written = 0
            while written < len(line):  # the last bytes of a full disk are taken, and the next write tells
                written += os.pwrite(descriptor, line[written:], self._size + written)
        except OSError as e:
            raise BackendError(f"cannot write {shown_path(self._journal)}: {e.strerror}", field="journal") from e
        finally:
            os.close(descriptor)
        self._size += len(line)


def _read_code(value: Json, field: str) -> str:
    code = hex_decode(value, field)
    if len(code) != 32:
        raise MalformedError(f"expected 64 hex digits, found {shown(value)}", field=field)
    return code.hex()


def _salt(entry: Entry) -> str:
    value = parse(entry.data, "entry", len(entry.data))
    assert isinstance(value, dict)
    return as_text(value["salt"], "entry.salt")


class _Steps:
    """Counts steps for a progress callback."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total
        self._tell()

    def step(self) -> None:
        self._done += 1
        self._tell()

    def _tell(self) -> None:
        if self._progress:
            self._progress(self._done, self._total)


@dataclass(frozen=True, slots=True)
class _Run:
    """What all files of one run have in common."""

    library: Path
    tags: Tags
    memory: Memory
    declared: Callable[[str], Declaration]
    sidecar_on_conflict: bool
    keep_private: bool

    def prepare(self, works: Sequence[Work], workers: int, entropy: Entropy, steps: _Steps) -> list[_Prepared]:
        """Writes all copies and sidecars.

        Raises:
            MalformedError: damaged files, all of them.
            RightsConflictError: all files with other rights.
        """
        prepared: list[_Prepared] = []
        conflicts: list[Conflict] = []
        damaged: list[tuple[str, str]] = []
        for work, found in zip(works, self._records(works, workers), strict=True):
            if isinstance(found, Record):
                salt = self.memory.salt(work.path, found, entropy)
                value = found.entry(work.path, self.declared(work.path), salt)
                prepared.append(_Prepared(work.path, found, read_entry(value, shown_path(work.path))))
            elif isinstance(found, ConflictError):
                conflicts.append(_conflict(work.path, found))
            else:
                damaged.append((work.path, str(found)))
            steps.step()
        if damaged:
            raise refusal(damaged)
        if conflicts:
            raise RightsConflictError(tuple(conflicts))
        return prepared

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
                known=lambda provenance_hash: self.memory.codes(work.path, provenance_hash),
                keep_private=self.keep_private,
                sidecar_on_conflict=self.sidecar_on_conflict,
            )
        except (ConflictError, MalformedError, RefusedError, VerificationError) as e:
            return e
        _write(self.library / work.path, tagged.published)
        if tagged.sidecar is not None:
            _write(self.library / (work.path + SIDECAR_SUFFIX), tagged.sidecar)
        return tagged.record


@dataclass(frozen=True, slots=True)
class _Prepared:
    path: str
    record: Record
    entry: Entry


def _conflict(path: str, error: ConflictError) -> Conflict:
    return Conflict(path, error.field or "", error.message)


def _write(path: Path, data: bytes) -> None:
    """Writes a file of a library that is not in its place yet, so in any order and without care for crashes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as e:
        raise BackendError(f"cannot write {shown_path(path)}: {e.strerror}", field="out") from e


@dataclass(frozen=True, slots=True)
class _Heading:
    """What a header is made of besides the entries."""

    creator: Profile
    terms: Terms
    description: Description

    def header(self, entries: Sequence[Entry], dataset_id: str, created_at: int) -> Header:
        description = self.description
        return read_header(
            {
                "type": "manifest",
                "v": 1,
                "dataset_id": dataset_id,
                "title": description.title,
                "version": description.version,
                "part": description.part,
                "parts": description.parts,
                "creator_id": self.creator.did,
                "creator_name": self.creator.name,
                "license_id": self.terms.license_id,
                "license_url": self.terms.license_url,
                "license_digest": digest_encode(self.terms.digest),
                "attribution_url": self.creator.attribution_url,
                "required_attribution_text": description.required_attribution_text,
                "entries_root": digest_encode(entries_root(entries)),
                "entry_count": len(entries),
                "created_at": time_encode(created_at),
            }
        )


def _header(
    heading: _Heading, entries: Sequence[Entry], previous: Manifest | None, clock: Clock, entropy: Entropy
) -> Header:
    """Returns the header of the library; that of `previous` where nothing but the time would differ.

    Raises:
        ConflictError: ``version-conflict``: `previous` was published and says something else of the same version.
    """
    dataset_id = heading.description.dataset_id
    if previous is None:
        return heading.header(entries, dataset_id or UUID(bytes=entropy(16), version=4).urn, clock())
    old = previous.header
    same = heading.header(entries, dataset_id or old.dataset_id, old.created_at)
    if same == old:
        return old
    logs = [statement.log for statement in previous.statements if statement.log is not None]
    if logs and same_place(same, old):
        raise ConflictError(
            f"version {old.version} was published to {logs[0]} with other content; give the new one another version",
            code="version-conflict",
            field="version",
        )
    return heading.header(entries, same.dataset_id, clock())


def _statements(
    header: Header, previous: Manifest | None, key: SigningKey, known_block: Object | None
) -> tuple[Statement, ...]:
    """Returns the statement for no log, and those that `previous` has for the same header."""
    kept: list[Statement] = []
    for statement in previous.statements if previous and previous.header == header else ():
        with suppress(VerificationError):
            kept.append(verify_statement(statement))
    if any(s.log is None for s in kept):
        return tuple(kept)
    body = manifest_body(header.digest)
    return with_statement(kept, sign_statement("manifest", header.creator_id, key, None, body, known_block))


def _write_rest(library: Path, manifest: Manifest, terms: Terms, license_text: bytes, steps: _Steps) -> None:
    """Writes everything but copies and sidecars.

    Raises:
        MalformedError: the manifest has more bytes than one may have.
    """
    data = format_manifest(manifest)
    if len(data) > MAX_MANIFEST_BYTES:
        raise MalformedError(
            f"would have {len(data)} bytes, at most {MAX_MANIFEST_BYTES} are allowed; cut the library into parts",
            field="manifest",
        )
    if parse_manifest(data) != manifest:
        raise VerificationError("does not read back as it was written", field="manifest")
    terms_file, text_file = license_files(terms.license_id)
    _write(library / MANIFEST_FILE, data)
    _write(library / terms_file, terms.data)
    _write(library / text_file, license_text)
    for name, attribution in attributions(manifest):
        _write(library / name, format_attribution(attribution))
        steps.step()


def _publish(place: Staging, manifest: Manifest, previous: Manifest | None) -> Outcome:
    """Puts what was built into its place, unless the very same is there."""
    if previous is None or manifest.header != previous.header:
        place.publish(previous)
        return "replaced" if previous else "new"
    if _same_files(place.library, place.out, own_files(manifest)):
        return "unchanged"
    place.publish(previous)
    return "repaired"


def _same_files(built: Path, there: Path, names: Iterable[str]) -> bool:
    return all(_same_file(built / name, there / name) for name in names)


def _same_file(a: Path, b: Path) -> bool:
    try:
        return cmp(a, b, shallow=False)
    except FileNotFoundError:
        return not a.exists() and not b.exists()
    except OSError:
        return False
