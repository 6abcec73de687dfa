"""The folder that comes out: its files, the step by which it takes its place, its check, and new statements in it.

::

    dataset_manifest.json               the signed manifest
    <license_id>.license.json  .txt     the terms, and the text people read
    <path>                              the published copy of each work
    <path>.attribution.json             its attribution manifest
    <path>.xmp                          its sidecar, where the metadata is not inside the copy

A library is built beside its place, in ``.<name>.trainmark-partial/library``, and put there by a rename; the one it
replaces waits in ``.<name>.trainmark-previous`` until that is done.  A crash between the two renames leaves the place
empty and both folders whole: the next run puts the previous one back first.  Nothing is flushed file by file, so after
a power failure a folder may hold damaged files; :func:`verify_library` finds them and a run repairs them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.encoding import digest_encode, sha256
from ledger.errors import (
    BackendError,
    ConflictError,
    MalformedError,
    NotFoundError,
    TrainmarkError,
    VerificationError,
    shown,
)
from ledger.images import xmp
from ledger.images.content import content_hash
from ledger.images.embed import read_rights
from ledger.library.files import TEMPORARY, locked, read_file, replace_file, shown_path
from ledger.library.source import (
    ATTRIBUTION_SUFFIX,
    LICENSE_SUFFIX,
    LICENSE_TEXT_SUFFIX,
    MANIFEST_FILE,
    MAX_FILE_BYTES,
    SIDECAR_SUFFIX,
)
from ledger.manifests import (
    MAX_ATTRIBUTION_BYTES,
    MAX_MANIFEST_BYTES,
    Attribution,
    Entry,
    Header,
    Manifest,
    format_attribution,
    format_manifest,
    parse_attribution,
    parse_manifest,
    with_statement,
)
from ledger.merkle import Tree, leaf_hashes
from ledger.statements import ManifestBody, Statement, verify_statement
from ledger.terms import MAX_LICENSE_TEXT_BYTES, MAX_TERMS_BYTES, Terms, parse_terms, verify_text

Progress = Callable[[int, int], None]
"""Called with (done, total) steps, from 0 to total; what it raises stops the run."""

MAX_SIDECAR_BYTES: Final = 1024 * 1024
_PARTIAL, _PREVIOUS = "trainmark-partial", "trainmark-previous"
_LIBRARY, _JOURNAL = "library", "journal"
_FILE_ERRORS = (MalformedError, VerificationError, NotFoundError)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one file of a built library; `code` is that of the error it would be by itself."""

    path: str
    code: str
    message: str


class DamagedLibraryError(VerificationError):
    """A built folder is not what its manifest says; `problems` names each file."""

    code = "damaged-library"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{first.message}{more}", field=shown_path(first.path))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class VerifiedLibrary:
    """A built folder that holds what its manifest says; `foreign` are the files in it that are not its own."""

    manifest: Manifest
    terms: Terms
    license_text: str
    foreign: tuple[str, ...]


def license_files(license_id: str) -> tuple[str, str]:
    """Returns the names of the terms and of the text people read."""
    return license_id + LICENSE_SUFFIX, license_id + LICENSE_TEXT_SUFFIX


def load_manifest(folder: Path) -> Manifest:
    """Reads ``dataset_manifest.json`` in `folder`; signatures and files are not checked.

    Raises:
        NotFoundError: there is none.
        MalformedError: not the format.
        VerificationError: its entries are not those of its header.
    """
    return parse_manifest(read_file(folder / MANIFEST_FILE, MAX_MANIFEST_BYTES, "manifest"))


def attributions(manifest: Manifest) -> Iterator[tuple[str, Attribution]]:
    """Yields the file name and the attribution manifest of each entry."""
    tree = Tree(leaf_hashes(entry.data for entry in manifest.entries))
    for index, entry in enumerate(manifest.entries):
        path = tuple(tree.inclusion_proof(index))
        yield (
            entry.path + ATTRIBUTION_SUFFIX,
            Attribution(manifest.header, entry, index, path, manifest.statements),
        )


def own_files(manifest: Manifest) -> set[str]:
    """Returns the names of all files that a library of this manifest may hold."""
    suffixes = ("", ATTRIBUTION_SUFFIX, SIDECAR_SUFFIX)
    works = {entry.path + suffix for entry in manifest.entries for suffix in suffixes}
    return works | {MANIFEST_FILE, *license_files(manifest.header.license_id)}


def foreign_files(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    """Returns the files in `folder`, sorted, that building and publishing did not write."""
    own = own_files(manifest)
    found = []
    for at, _, names in os.walk(folder, onerror=_raise):
        prefix = "" if Path(at) == folder else Path(at).relative_to(folder).as_posix() + "/"
        found += [prefix + name for name in names if prefix + name not in own and name != TEMPORARY]
    return tuple(sorted(found))


def _raise(error: OSError) -> None:
    raise BackendError(f"cannot read {shown_path(error.filename)}: {error.strerror}", field="folder") from error


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


def refresh_statements(out_dir: Path, statement: Statement) -> Manifest:
    """Adds the creator's statement for one log to a built library: manifest first, then each attribution manifest.

    Each file changes in one step.  Called again after a crash it finishes the work; an older statement of that log is
    replaced.  Header and entries never change.

    Raises:
        MalformedError: not a statement about a manifest.
        VerificationError: ``bad-signature``, ``header-digest``: about another manifest, or not by its creator.
        NotFoundError: no library there.
        ConflictError: ``in-use``.
        BackendError: the disk refuses.
    """
    with locked(out_dir):
        old = load_manifest(out_dir)
        if not isinstance(statement.body, ManifestBody):
            raise MalformedError(f"expected a manifest statement, found {shown(statement.type)}", field="statement")
        verify_statement(statement)
        if statement.body.manifest != old.header.digest or statement.by != old.header.creator_id:
            raise VerificationError(
                "the statement is about another manifest, or by another creator",
                code="header-digest",
                field="statement",
            )
        new = Manifest(old.header, old.entries, with_statement(old.statements, statement))
        data = format_manifest(new)
        parse_manifest(data)
        replace_file(out_dir / MANIFEST_FILE, data)
        for name, attribution in attributions(new):
            path, data = out_dir / name, format_attribution(attribution)
            if _current(path) != data:
                replace_file(path, data)
    return new


def _current(path: Path) -> bytes | None:
    try:
        return read_file(path, MAX_ATTRIBUTION_BYTES, "attribution")
    except (NotFoundError, MalformedError):
        return None


def verify_library(out_dir: Path, progress: Progress | None = None) -> VerifiedLibrary:
    """Checks a built folder against its manifest and returns what it holds.

    1. The manifest is well formed and its entries are those of its header.
    2. Each statement is signed, and one by the creator is for no log.
    3. Terms and text are those of the header, and name each other.
    4. Each copy has its published hash, content hash and metadata (inside or in a sidecar) that names its
       original, license and creator.
    5. Each attribution manifest verifies by itself and is of this manifest.

    Whether a key was valid then, and what became of the manifest, is in the log and not checked here.

    Raises:
        NotFoundError: no manifest there.
        MalformedError, VerificationError: the manifest itself fails (1, 2).
        DamagedLibraryError: files fail (3–5); it names them all.
        BackendError: something cannot be read.
    """
    manifest = load_manifest(out_dir)
    for statement in manifest.statements:
        verify_statement(statement)
    if not any(s.log is None for s in manifest.statements):
        raise VerificationError("no statement of the creator for no log", code="bad-signature", field="statements")
    problems: list[Problem] = []
    license_text, terms = "", None
    terms_file, text_file = license_files(manifest.header.license_id)
    try:
        terms = parse_terms(read_file(out_dir / terms_file, MAX_TERMS_BYTES, "terms"))
        if terms.digest != manifest.header.license_digest:
            raise VerificationError("these are not the terms of the header", code="terms-digest", field="terms")
        license_text = verify_text(terms, read_file(out_dir / text_file, MAX_LICENSE_TEXT_BYTES, "text"))
    except _FILE_ERRORS as e:
        problems.append(Problem(terms_file if terms is None else text_file, e.code, str(e)))
    total = len(manifest.entries)
    for index, (entry, (name, attribution)) in enumerate(zip(manifest.entries, attributions(manifest), strict=True)):
        if progress:
            progress(index, total)
        try:
            _check_copy(out_dir, manifest.header, entry)
        except _FILE_ERRORS as e:
            problems.append(Problem(entry.path, e.code, str(e)))
        try:
            _check_attribution(out_dir / name, attribution)
        except _FILE_ERRORS as e:
            problems.append(Problem(name, e.code, str(e)))
    if progress:
        progress(total, total)
    if problems or terms is None:
        raise DamagedLibraryError(tuple(problems))
    return VerifiedLibrary(manifest, terms, license_text, foreign_files(out_dir, manifest))


def _check_copy(folder: Path, header: Header, entry: Entry) -> None:
    data = read_file(folder / entry.path, MAX_FILE_BYTES + MAX_SIDECAR_BYTES, "file")
    if sha256(data) != entry.published_hash:
        raise VerificationError("not the published copy of the manifest", code="file-mismatch", field="published_hash")
    if content_hash(data) != entry.content_hash:
        raise VerificationError("not the picture of the original", code="file-mismatch", field="content_hash")
    beside = folder / (entry.path + SIDECAR_SUFFIX)
    if beside.exists():
        packet = xmp.parse([read_file(beside, MAX_SIDECAR_BYTES, "sidecar")])
        found = xmp.flat(xmp.read(packet))
    else:
        try:
            found = read_rights(data)
        except TrainmarkError as e:
            raise NotFoundError("no sidecar, and no metadata can be read from the copy", field="sidecar") from e
    wanted = {
        "provenance_hash": digest_encode(entry.provenance_hash),
        "license_digest": digest_encode(header.license_digest),
        "creator_id": header.creator_id,
    }
    for key, value in wanted.items():
        if found.get(f"trainmark:{key}") != value:
            raise VerificationError("the metadata says something else", code="file-mismatch", field=key)


def _check_attribution(path: Path, wanted: Attribution) -> None:
    data = read_file(path, MAX_ATTRIBUTION_BYTES, "attribution")
    if parse_attribution(data) != wanted:
        raise VerificationError("of another manifest, or with other statements", code="entry-path", field="attribution")
