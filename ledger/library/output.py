"""The folder that comes out: the names and content of its files, and new statements in it.

::

    dataset_manifest.json               the signed manifest
    <license_id>.license.json  .txt     the terms, and the text people read
    <path>                              the published copy of each work
    <path>.attribution.json             its attribution manifest
    <path>.xmp                          its sidecar, where the metadata is not inside the copy
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ledger.errors import BackendError, MalformedError, NotFoundError, VerificationError, shown
from ledger.files import TEMPORARY, locked, read_file, replace_file, shown_path
from ledger.library.source import (
    ATTRIBUTION_SUFFIX,
    LICENSE_SUFFIX,
    LICENSE_TEXT_SUFFIX,
    MANIFEST_FILE,
    SIDECAR_SUFFIX,
)
from ledger.manifests import (
    MAX_ATTRIBUTION_BYTES,
    MAX_MANIFEST_BYTES,
    Attribution,
    Manifest,
    format_attribution,
    format_manifest,
    parse_manifest,
    with_statement,
)
from ledger.merkle import Tree, leaf_hashes
from ledger.statements import ManifestBody, Statement, verify_statement


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
