"""What is taken over from an earlier run: the fingerprints of files, which are dear to compute, and their salts.

The journal outlives a run that fails.  It has one line for each file that was prepared: canonical JSON, written in one
piece.  What a crash cut off is cut away before the next line.
"""

from __future__ import annotations

import os
from pathlib import Path

from ledger.canonical import Json, Object, as_object, as_text, canonical, optional, parse
from ledger.encoding import b64url_decode, b64url_encode, digest_decode, digest_encode, hex_decode
from ledger.errors import BackendError, MalformedError, NotFoundError, shown
from ledger.files import read_file, shown_path
from ledger.images.fingerprints import Fingerprints
from ledger.library.tagging import Record
from ledger.manifests import SALT_BYTES, Entry, Manifest
from ledger.ports import Entropy

_MAX_JOURNAL_BYTES = 512 * 1024 * 1024
_MAX_LINE_BYTES = 16 * 1024
_JOURNAL_KEYS = ("path", "provenance_hash", "dhash", "iscc", "salt")


class Journal:
    """The fingerprints and salts of files, by path and provenance hash: those of the file at `path` and of `previous`.

    What is added goes to the file.
    """

    def __init__(self, path: Path, previous: Manifest | None) -> None:
        self._found: dict[tuple[str, bytes], tuple[Fingerprints, str]] = {}
        self._path = path
        try:
            lines = read_file(path, _MAX_JOURNAL_BYTES, "journal").split(b"\n")
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
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, self._size)  # what a crash cut off goes, before anything follows it
            written = 0
            while written < len(line):  # the last bytes of a full disk are taken, and the next write tells
                written += os.pwrite(descriptor, line[written:], self._size + written)
        except OSError as e:
            raise BackendError(f"cannot write {shown_path(self._path)}: {e.strerror}", field="journal") from e
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
