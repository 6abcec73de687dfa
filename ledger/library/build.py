"""From a creator's folder to tagged copies and a signed manifest (docs/format.md, section 2).

:func:`build_manifest` is all or nothing: whatever stops it, the output folder is what it was.  It continues: the
fingerprints and salts of files that have not changed are taken over from the library that is there and from the
journal of a run that was interrupted.  The clock and randomness are arguments.

It publishes nothing, and it decides nothing: rights, releases and privacy are what the creator declares.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path
from typing import Final, Literal, TypeAlias

from ledger.canonical import Object
from ledger.errors import ConflictError, MalformedError, NotFoundError, TrainmarkError, VerificationError, shown
from ledger.files import locked, shown_path
from ledger.keys import SigningKey
from ledger.library.copies import Conflict, Copies, Prepared
from ledger.library.creator import Profile
from ledger.library.heading import Description, Heading, header_of, statements_of
from ledger.library.journal import Journal
from ledger.library.output import attributions, license_files, load_manifest, own_files
from ledger.library.progress import Progress, Steps
from ledger.library.source import MANIFEST_FILE, Skipped, walk
from ledger.library.staging import Staging, staging, write
from ledger.library.tagging import Declaration, Tags
from ledger.manifests import MAX_MANIFEST_BYTES, Manifest, format_attribution, format_manifest, parse_manifest
from ledger.ports import Clock, Entropy
from ledger.terms import Terms, verify_text

Outcome: TypeAlias = Literal["new", "unchanged", "replaced", "repaired"]

MAX_WORKERS: Final = 64


@dataclass(frozen=True, slots=True)
class Built:
    """What a run made, and what a person should look at.

    `outcome`: ``new``; ``unchanged`` (the library there was right already, nothing was written); ``repaired`` (the same
    manifest, damaged files written again); ``replaced`` (another manifest).  `skipped` is no work, or ``broken``.
    `conflicts` were settled by a sidecar.  `stripped` names private data taken out of the copies, by path;
    `not_examined` are the paths of copies in which nobody looked for such.
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
    also_known_as: Collection[str] = (),
    on_conflict: Literal["refuse", "sidecar"] = "refuse",
    decided: Collection[str] = (),
    keep_private: bool = False,
    skip_broken: bool = False,
    known_block: Object | None = None,
    before_signing: Callable[[Sequence[Prepared]], None] | None = None,
    left_out: Collection[Path] = (),
    workers: int = 1,
    progress: Progress | None = None,
) -> Built:
    """Builds the library of all works in `folder` in `out_dir`, signed by `key` for `creator`.

    `declared` holds for each file that `declared_by_path` does not name.  `also_known_as` are further names of the
    creator, as files have them.  `on_conflict` ``sidecar`` leaves the rights in a file as they are and puts ours beside
    it; `decided` names properties whose differing values a person has settled (``ledger.images.embed``).
    `keep_private` leaves location and serial numbers in the copies, `skip_broken` leaves out files that cannot be
    tagged.  `before_signing` is shown what was prepared; what it raises stops the run.  `workers` threads prepare
    files, each with a decoding process.  `progress` counts two steps for each file: its copy, and its attribution
    manifest.

    Raises:
        NotFoundError: no such folder, or none to hold `out_dir`.
        MalformedError: no files, bad names, or something over a limit; the files are named.
        BrokenFilesError: damaged pictures, and files that the metadata does not fit into.
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
    folder, out_dir = _resolved(folder, "folder"), _resolved(out_dir, "out")
    _check_places(folder, out_dir)
    tags = Tags(creator, terms, description.required_attribution_text, also_known_as, decided)
    with ExitStack() as stack:
        place = stack.enter_context(staging(out_dir))
        if out_dir.is_dir():
            stack.enter_context(locked(out_dir))
        previous = _previous(out_dir, creator)
        works, skipped = walk(folder, (*left_out, out_dir), license_files(terms.license_id))
        unknown = sorted(set(overrides) - {work.path for work in works})
        if unknown:
            raise MalformedError(f"there is no file {shown_path(unknown[0])}", field="declared_by_path")

        journal = Journal(place.journal, previous)
        steps = Steps(progress, 2 * len(works))
        copies = Copies(
            place.library,
            tags,
            journal,
            lambda path: overrides.get(path, declared),
            on_conflict == "sidecar",
            keep_private,
            skip_broken,
        )
        prepared, broken = copies.prepare(works, workers, entropy, steps)
        if before_signing is not None:
            before_signing(prepared)
        entries = tuple(p.entry for p in prepared)
        header = header_of(Heading(creator, terms, description), entries, previous, clock, entropy)
        manifest = Manifest(header, entries, statements_of(header, previous, key, known_block))
        _write_rest(place.library, manifest, terms, license_text, steps)
        outcome = _publish(place, manifest, previous)
    records = {p.path: p.record for p in prepared}
    return Built(
        manifest,
        outcome,
        tuple(
            skip
            for skip in sorted((*skipped, *broken), key=lambda skip: skip.path)
            if folder / skip.path != place.library.parent
        ),
        tuple(Conflict.of(path, record.conflict) for path, record in records.items() if record.conflict),
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


def _resolved(path: Path, field: str) -> Path:
    """Follows links; one that leads to itself is an error, or still a link, as Python's version has it."""
    try:
        resolved = path.resolve()
        if not resolved.is_symlink():
            return resolved
    except (OSError, RuntimeError):
        pass
    raise MalformedError(f"{shown_path(path)} is a link that leads to itself", field=field)


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


def _write_rest(library: Path, manifest: Manifest, terms: Terms, license_text: bytes, steps: Steps) -> None:
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
    write(library / MANIFEST_FILE, data)
    write(library / terms_file, terms.data)
    write(library / text_file, license_text)
    for name, attribution in attributions(manifest):
        write(library / name, format_attribution(attribution))
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
