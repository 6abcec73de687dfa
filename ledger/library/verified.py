"""Whether a built folder is what its manifest says: each copy, each attribution manifest, the license.

Whether a key was valid then, and what became of the manifest, is in the log and not checked here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.encoding import digest_encode, sha256
from ledger.errors import MalformedError, NotFoundError, TrainmarkError, VerificationError
from ledger.files import read_file, shown_path
from ledger.images import xmp
from ledger.images.content import content_hash
from ledger.images.embed import read_rights
from ledger.library.output import attributions, foreign_files, license_files, load_manifest
from ledger.library.progress import Progress
from ledger.library.source import MAX_FILE_BYTES, SIDECAR_SUFFIX
from ledger.manifests import MAX_ATTRIBUTION_BYTES, Attribution, Entry, Header, Manifest, parse_attribution
from ledger.statements import verify_statement
from ledger.terms import MAX_LICENSE_TEXT_BYTES, MAX_TERMS_BYTES, Terms, parse_terms, verify_text

MAX_SIDECAR_BYTES: Final = 1024 * 1024
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
